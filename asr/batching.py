"""Batches by duration: which utterances go together, and the audio and tokens they become.

The order of an epoch is a pure function of (utterances, options, seed, epoch), and the augmentation
of an utterance a pure function of (seed, epoch, utterance), so a resumed run sees exactly the
batches an uninterrupted one would, whatever the number of worker processes.

A batch carries waveforms, not features: the front end runs on the model's device, batched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from asr import ctc
from asr.config import Options
from asr.errors import DataError
from asr.threads import cpu_threads

Key = tuple[int, int]
"""(epoch, utterance index): all that a worker needs to make one training example."""


_BATCHES_PER_BUCKET = 4
"""Fewer, and the last batch of each bucket, which is never full, would cost too much."""


class BatchConfig(Options):
    """How utterances are grouped and how audio is brought in."""

    max_batch_s: float = Field(default=120.0, gt=0)
    """Audio seconds in a batch, padding included; a longer utterance gets a batch of its own."""
    max_batch_size: int = Field(default=64, ge=1)
    num_buckets: int = Field(default=16, ge=1)
    """Utterances of similar length share a bucket: more buckets, less padding, less mixing. A small
    set gets fewer, so that every bucket fills several batches."""
    num_workers: int = Field(default=1, ge=0, le=64)
    """Processes that read and augment audio ahead of training; 0 for none."""
    cache_max_h: float = Field(default=10.0, ge=0)
    """Decoded audio is kept in a memory-mapped file of the run when the set is no longer."""


@dataclass(frozen=True)
class Example:
    """One utterance, ready to be batched."""

    utterance_id: str
    samples: np.ndarray
    """(num_samples,) float32 in [-1, 1]."""
    targets: tuple[int, ...]
    """Token ids without blanks."""


@dataclass(frozen=True)
class Batch:
    """Utterances padded to one length; padding is zero and carries no meaning."""

    ids: tuple[str, ...]
    samples: Tensor
    """(batch, max_samples) float32 in [-1, 1]."""
    sample_lengths: Tensor
    """(batch,) int64."""
    targets: Tensor
    """(batch, max_tokens) int64, without blanks, padded with 0."""
    target_lengths: Tensor
    """(batch,) int64."""

    @property
    def num_tokens(self) -> Tensor:
        """() int64: what its loss is a mean over; an utterance without tokens counts as one."""
        return self.target_lengths.clamp(min=1).sum()

    def to(self, device: torch.device) -> Batch:
        """The same batch with samples and targets on `device`; lengths stay where they are."""
        return Batch(
            ids=self.ids,
            samples=self.samples.to(device, non_blocking=True),
            sample_lengths=self.sample_lengths,
            targets=self.targets.to(device, non_blocking=True),
            target_lengths=self.target_lengths,
        )

    def repeated(self, count: int) -> Batch:
        """The batch `count` times over, one after the other."""
        return Batch(
            ids=self.ids * count,
            samples=self.samples.repeat(count, 1),
            sample_lengths=self.sample_lengths.repeat(count),
            targets=self.targets.repeat(count, 1),
            target_lengths=self.target_lengths.repeat(count),
        )

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, for copies that overlap with computing."""
        return Batch(
            ids=self.ids,
            samples=self.samples.pin_memory(),
            sample_lengths=self.sample_lengths,
            targets=self.targets.pin_memory(),
            target_lengths=self.target_lengths,
        )


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples into one batch.

    Raises:
        DataError: `examples` is empty, or a target contains the blank.
    """
    if not examples:
        raise DataError("a batch needs at least one utterance, got none")
    sample_lengths = torch.tensor([len(example.samples) for example in examples])
    target_lengths = torch.tensor([len(example.targets) for example in examples])
    samples = torch.zeros(len(examples), int(sample_lengths.max()))
    targets = torch.zeros(len(examples), int(target_lengths.max()), dtype=torch.int64)
    for row, example in enumerate(examples):
        if ctc.BLANK in example.targets:
            raise DataError(f"the targets of {example.utterance_id!r} contain the blank")
        samples[row, : len(example.samples)] = torch.from_numpy(example.samples)
        targets[row, : len(example.targets)] = torch.tensor(example.targets, dtype=torch.int64)
    return Batch(
        ids=tuple(example.utterance_id for example in examples),
        samples=samples,
        sample_lengths=sample_lengths,
        targets=targets,
        target_lengths=target_lengths,
    )


def plan_batches(
    durations_s: Sequence[float], config: BatchConfig, generator: torch.Generator | None = None
) -> list[list[int]]:
    """Group utterances of similar length into batches of bounded duration.

    Args:
        durations_s: Length of each utterance, seconds, > 0.
        config: Bounds of a batch and the number of length buckets.
        generator: Shuffles utterances within a bucket and the batches; None for a plain order
            from short to long (evaluation).

    Returns:
        Lists of indices into `durations_s`; every index exactly once. In each batch
        `size * longest <= max_batch_s` unless it holds a single utterance.
    """
    order = np.argsort(np.asarray(durations_s), kind="stable")
    if generator is None:
        return _fill(order.tolist(), durations_s, config)
    batches: list[list[int]] = []
    filled = int(sum(durations_s) / config.max_batch_s) // _BATCHES_PER_BUCKET
    for bucket in np.array_split(order, max(1, min(config.num_buckets, filled))):
        mixed = bucket[torch.randperm(len(bucket), generator=generator).numpy()]
        batches.extend(_fill(mixed.tolist(), durations_s, config))
    shuffled = torch.randperm(len(batches), generator=generator).tolist()
    return [batches[index] for index in shuffled]


def _fill(
    order: Sequence[int], durations_s: Sequence[float], config: BatchConfig
) -> list[list[int]]:
    batches: list[list[int]] = []
    longest_s = 0.0
    for index in order:
        widened_s = max(longest_s, durations_s[index])
        size = len(batches[-1]) + 1 if batches else 0
        if size and size <= config.max_batch_size and size * widened_s <= config.max_batch_s:
            batches[-1].append(index)
            longest_s = widened_s
        else:
            batches.append([index])
            longest_s = durations_s[index]
    return batches


def seeded(*numbers: int) -> torch.Generator:
    """A CPU generator whose stream depends on all `numbers` (each >= 0), well mixed."""
    # The count goes in too: SeedSequence takes (0,) and (0, 0) for the same.
    entropy = int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(entropy >> 1)


class EpochSampler(Sampler[list[Key]]):
    """Yields the batches of one epoch, from a given batch on, as lists of keys."""

    def __init__(self, durations_s: Sequence[float], config: BatchConfig, seed: int) -> None:
        self._durations_s = list(durations_s)
        self._config = config
        self._seed = seed
        self._epoch = 0
        self._batches: list[list[int]] = []
        self._first_batch = 0
        self.start(epoch=0, first_batch=0)

    def start(self, epoch: int, first_batch: int) -> None:
        """Choose what the next iteration yields: this epoch, from `first_batch` on."""
        self._epoch = epoch
        self._batches = plan_batches(self._durations_s, self._config, seeded(self._seed, epoch))
        self._first_batch = first_batch

    @property
    def epoch_batches(self) -> int:
        """Batches in the whole epoch."""
        return len(self._batches)

    def __len__(self) -> int:
        return len(self._batches) - self._first_batch

    def __iter__(self) -> Iterator[list[Key]]:
        for batch in self._batches[self._first_batch :]:
            yield [(self._epoch, index) for index in batch]


class AudioSource(Protocol):
    """Where the waveform of an utterance comes from, by its index."""

    def __len__(self) -> int: ...

    def samples(self, index: int) -> np.ndarray:
        """(num_samples,) float32 in [-1, 1]."""
        ...


class Augment(Protocol):
    """Changes one waveform at random, drawing only from the generator."""

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, generator: torch.Generator
    ) -> np.ndarray:
        """(num_new_samples,) float32; the argument is left as it was."""
        ...


@dataclass(frozen=True)
class ExampleDataset(Dataset[Example]):
    """Training examples by (epoch, index), augmented as a pure function of (seed, epoch, index)."""

    ids: tuple[str, ...]
    audio: AudioSource
    targets: tuple[tuple[int, ...], ...]
    sample_rate_hz: int
    num_output_frames: Callable[[int], int]
    """Frames the model emits for so many samples."""
    augment: Augment | None
    seed: int

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: Key) -> Example:
        # As in a worker, so that the number of workers changes no bit.
        with cpu_threads(1):
            return self._example(*key)

    def _example(self, epoch: int, index: int) -> Example:
        samples = self.audio.samples(index)
        if self.augment is not None:
            generator = seeded(self.seed, epoch, index)
            changed = self.augment(samples, self.sample_rate_hz, generator)
            # Speeding up may leave fewer frames than CTC needs, or none; such a draw is not used.
            needed = max(1, ctc.min_frames(self.targets[index]))
            if self.num_output_frames(len(changed)) >= needed:
                samples = changed
        return Example(self.ids[index], samples, self.targets[index])
