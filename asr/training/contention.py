"""Threads that wait for each other, noticed by what a bit of the work takes with and without.

OpenMP's threads meet at the end of every product, many thousand times a second, and spin until the
last is there. Where another program has a processor that one of them needs, all wait for its turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from asr.threads import cpu_threads

WORTH_SAYING = 1.5
"""Times as long as with one thread; idle processors have 0.5 to 1.1."""
INTERVAL_S = 60.0
"""Seconds between two looks, at the least."""
NUM_LOOKS = 3
"""Of each kind, of which the shortest counts: everybody is interrupted now and then."""
BATCH_SIZE, NUM_FRAMES = 8, 100
"""Of the work: 10 to 20 ms for small models."""


class ThreadWatch:
    """Says once that a run would be faster with one thread.

    Args:
        work: A bit of what the run does, on the CPU.
        clock: Seconds.
    """

    def __init__(
        self, work: Callable[[], object], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._work, self._clock = work, clock
        self._next_s = clock()
        self._has_said = torch.get_num_threads() == 1

    def notice(self) -> str | None:
        """What there is to say, if it is time to look."""
        if self._has_said or self._clock() < self._next_s:
            return None
        looks = [(self._time_s(0), self._time_s(1)) for _ in range(NUM_LOOKS)]
        together_s, alone_s = map(min, zip(*looks, strict=True))
        self._next_s = self._clock() + INTERVAL_S
        if together_s < WORTH_SAYING * alone_s:
            return None
        self._has_said = True
        return (
            f"note: {torch.get_num_threads()} threads are {together_s / alone_s:.1f} times as slow "
            "as one: other programs use their processors, or they are too many for this model; "
            "stop, and go on with --resume --set training.num_threads=1"
        )

    def _time_s(self, num_threads: int) -> float:
        with cpu_threads(num_threads):
            start = self._clock()
            self._work()
            return self._clock() - start


def watch_threads(model: nn.Module, num_mels: int) -> ThreadWatch | None:
    """The watch of a model that is trained on the CPU; None for other devices.

    Args:
        model: An `AcousticModel`, left as it is, and so is the global generator.
        num_mels: Size of its features.
    """
    if next(model.parameters()).device.type != "cpu":
        return None
    features = torch.zeros(BATCH_SIZE, NUM_FRAMES, num_mels)
    lengths = torch.full((BATCH_SIZE,), NUM_FRAMES)

    @torch.no_grad()
    def work() -> None:
        was_training = model.training
        model.eval()
        model(features, lengths)
        model.train(was_training)

    return ThreadWatch(work)
