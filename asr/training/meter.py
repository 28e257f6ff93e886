"""Numbers of one step, and the audio, time and waiting of many."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from asr.batching import Batch


@dataclass(frozen=True)
class StepResult:
    """Numbers of one optimiser step."""

    loss: Tensor
    """Scalar on the device: nats per target token."""
    emitted_token: Tensor
    """Scalar bool on the device: some frame preferred a token to the blank."""
    frames_per_token: float


class Meter:
    """Audio, time and waiting of the steps since it was made."""

    def __init__(self) -> None:
        self.audio_s = 0.0
        self.total_s = 0.0
        self.wait_s = 0.0
        self.status = ""
        self._mark = time.perf_counter()

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Pass batches through, adding up how long each was waited for."""
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.wait_s += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def add(self, batch: Batch, sample_rate_hz: int) -> float:
        """Take one finished batch; returns the seconds since the last."""
        now = time.perf_counter()
        passed, self._mark = now - self._mark, now
        self.total_s += passed
        self.audio_s += float(batch.sample_lengths.sum()) / sample_rate_hz
        return passed

    def show(self, loss: float, rate: float) -> None:
        """Set the text beside the progress bar."""
        total_s = max(self.total_s, 1e-9)
        self.status = (
            f"loss {loss:.3f}  lr {rate:.1e}  {self.audio_s / total_s:.0f} audio-s/s  "
            f"data wait {100 * self.wait_s / total_s:.0f} %"
        )
