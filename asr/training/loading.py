"""Training batches, read ahead by worker processes, and what is said where a worker fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch.utils.data import DataLoader, Dataset, get_worker_info

from asr.batching import Batch, BatchConfig, EpochSampler, ExampleDataset, Key, collate
from asr.errors import AsrError, TrainingError

_FEWER_WORKERS = "go on with --resume and fewer batching.num_workers; 0 needs no other process"


@dataclass(frozen=True)
class _Batches(Dataset["Batch | AsrError"]):
    """Batches by the keys of their examples.

    In a worker an error is a value: of one that is raised PyTorch hands over a traceback as text.
    """

    examples: ExampleDataset

    def __getitem__(self, keys: list[Key]) -> Batch | AsrError:
        if get_worker_info() is None:
            return self._collated(keys)
        try:
            return _in_shared_memory(self._collated(keys))
        except AsrError as error:
            return error

    def _collated(self, keys: list[Key]) -> Batch:
        return collate([self.examples[key] for key in keys])


def _in_shared_memory(batch: Batch) -> Batch:
    """The same batch where the training process can read it.

    PyTorch would move it there by itself, in a thread of the worker; where that fails, the training
    process waits for ever.
    """
    try:
        for tensor in (batch.samples, batch.sample_lengths, batch.targets, batch.target_lengths):
            tensor.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise TrainingError(
            f"a batch of {batch.samples.nbytes / 1e6:.1f} MB does not go into shared memory: "
            f"{error}",
            hint=f"{_FEWER_WORKERS}; or give containers more (docker run --shm-size=1g)",
        ) from None
    return batch


def make_loader(
    examples: ExampleDataset, sampler: EpochSampler, config: BatchConfig, pin_memory: bool = False
) -> DataLoader[Batch | AsrError]:
    """Batches of `examples` in the sampler's order, for `read_batches`."""
    return DataLoader(
        _Batches(examples),
        batch_size=None,  # what the sampler gives is a batch
        sampler=sampler,
        num_workers=config.num_workers,
        persistent_workers=config.num_workers > 0,
        prefetch_factor=4 if config.num_workers > 0 else None,
        pin_memory=pin_memory,
        worker_init_fn=_leave_the_group,
    )


def _leave_the_group(_worker: int) -> None:
    """Make a worker's process group its own.

    Ctrl-C of a terminal, and the SIGTERM of `timeout`, go to every process of a group: workers that
    ended would take the training process along before it has saved its state.
    """
    if hasattr(os, "setpgrp"):  # not on Windows
        os.setpgrp()


def read_batches(loader: DataLoader[Batch | AsrError]) -> Iterator[Batch]:
    """The batches of an epoch.

    Raises:
        DataError: Audio cannot be read any more.
        TrainingError: There is too little shared memory, or a worker was ended.
    """
    batches = iter(loader)
    while True:
        try:
            batch = next(batches, None)
        except (ConnectionError, EOFError) as error:  # it was ended while it handed a batch over
            raise _worker_ended(error) from error
        if isinstance(batch, AsrError):
            raise batch
        if batch is None:
            return
        yield batch


@contextmanager
def workers_watched() -> Iterator[None]:
    """Say it in plain words where a worker is ended, which PyTorch raises wherever training is.

    Raises:
        TrainingError: A worker was ended.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise _worker_ended(error) from error


def _worker_ended(error: Exception) -> TrainingError:
    return TrainingError(
        f"a process that reads audio ahead was ended, perhaps for lack of memory: {error}",
        hint=_FEWER_WORKERS,
    )
