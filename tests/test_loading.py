"""What is said where a process that reads audio ahead fails."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import numpy as np
import pytest
import torch

from asr.batching import Batch, BatchConfig, EpochSampler, ExampleDataset
from asr.errors import DataError, TrainingError
from asr.training.loading import make_loader, read_batches, workers_watched


class FailingAudio:
    """Three waveforms of a second; reading the last ends as it is told to."""

    def __init__(self, failure: Callable[[], None]) -> None:
        self._failure = failure

    def __len__(self) -> int:
        return 3

    def samples(self, index: int) -> np.ndarray:
        if index == 2:
            self._failure()
        return np.zeros(100, dtype=np.float32)


def whole(num_samples: int) -> int:
    return num_samples


def is_gone() -> None:
    raise DataError("there is no file c.wav", hint="look for it")


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def is_in_reach() -> None:
    if os.getpgrp() == os.getpgid(os.getppid()):
        raise DataError("a signal to the group of the training process ends this one too")


def read_all(failure: Callable[[], None], num_workers: int) -> int:
    examples = ExampleDataset(
        ids=("a", "b", "c"),
        audio=FailingAudio(failure),
        targets=((1,), (1,), (1,)),
        sample_rate_hz=100,
        num_output_frames=whole,
        augment=None,
        seed=0,
    )
    config = BatchConfig(max_batch_s=1.0, num_workers=num_workers)
    loader = make_loader(examples, EpochSampler([1.0, 1.0, 1.0], config, seed=0), config)
    with workers_watched():
        return sum(1 for _ in read_batches(loader))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_error_of_a_worker_is_that_error(num_workers: int) -> None:
    """Of an exception PyTorch hands over a traceback as text."""
    with pytest.raises(DataError) as caught:
        read_all(is_gone, num_workers)
    assert (caught.value.message, caught.value.hint) == ("there is no file c.wav", "look for it")


def test_a_worker_that_was_ended_is_told_of() -> None:
    with pytest.raises(TrainingError, match=r"was ended, perhaps .* --resume and fewer batching"):
        read_all(is_killed, 1)


@pytest.mark.skipif(not hasattr(os, "setpgrp"), reason="needs process groups")
def test_signals_to_the_group_of_the_training_process_leave_workers_alone() -> None:
    """`timeout` sends SIGTERM to all of it: the state is saved only where workers live on."""
    assert read_all(is_in_reach, 1) == 3


def test_a_connection_that_a_worker_left_is_told_of() -> None:
    """It may be ended while it hands over a batch."""

    class Left:
        def __iter__(self) -> Left:
            return self

        def __next__(self) -> Batch:
            raise ConnectionResetError(104, "Connection reset by peer")

    with pytest.raises(TrainingError, match=r"was ended, perhaps .*reset by peer"):
        next(read_batches(Left()))  # type: ignore[arg-type]


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="of the model"), workers_watched():
        raise RuntimeError("an error of the model")


def test_too_little_shared_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's thread in the worker would lose the batch, and training wait for it for ever."""

    def share(tensor: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", share)
    message = r"a batch of 0\.0 MB .*: unable to allocate .*; go on with --resume and fewer"
    with pytest.raises(TrainingError, match=message):
        read_all(lambda: None, 1)
