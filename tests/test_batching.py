"""Batches: every utterance once, bounded, reproducible, and the same after a resume."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr import ctc
from asr.batching import (
    BatchConfig,
    EpochSampler,
    Example,
    ExampleDataset,
    collate,
    plan_batches,
    seeded,
)
from asr.errors import DataError
from asr.threads import cpu_threads
from asr.training.loading import make_loader, read_batches

durations = st.lists(st.floats(0.1, 30.0), min_size=1, max_size=60)
configs = st.builds(
    BatchConfig,
    max_batch_s=st.floats(1.0, 60.0),
    max_batch_size=st.integers(1, 10),
    num_buckets=st.integers(1, 8),
)


class ListAudio:
    """Waveforms held in a list."""

    def __init__(self, waveforms: list[np.ndarray]) -> None:
        self._waveforms = waveforms

    def __len__(self) -> int:
        return len(self._waveforms)

    def samples(self, index: int) -> np.ndarray:
        return self._waveforms[index].copy()


class Shorten:
    """Keeps a drawn share of the samples, and adds a drawn number to them."""

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, generator: torch.Generator
    ) -> np.ndarray:
        kept = 1 + int(torch.randint(len(samples), (), generator=generator))
        return samples[:kept] + float(torch.rand((), generator=generator))


def divide_by_ten(num_samples: int) -> int:
    """Ten samples a frame."""
    return num_samples // 10


def make_dataset(augment: Shorten | None = None, seed: int = 0) -> ExampleDataset:
    waveforms = [np.full(100 + 10 * i, i / 100, dtype=np.float32) for i in range(12)]
    return ExampleDataset(
        ids=tuple(f"utt{i}" for i in range(12)),
        audio=ListAudio(waveforms),
        targets=tuple((1, 1, 2) for _ in range(12)),
        sample_rate_hz=100,
        num_output_frames=divide_by_ten,
        augment=augment,
        seed=seed,
    )


def make_sampler(seed: int = 0) -> EpochSampler:
    lengths = [1.0 + 0.1 * i for i in range(12)]
    return EpochSampler(lengths, BatchConfig(max_batch_s=5.0, num_buckets=3, num_workers=0), seed)


@given(durations, configs, st.none() | st.integers(0, 5))
def test_every_utterance_is_in_exactly_one_batch(
    lengths: list[float], config: BatchConfig, seed: int | None
) -> None:
    generator = None if seed is None else seeded(seed)
    batches = plan_batches(lengths, config, generator)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(durations, configs, st.integers(0, 5))
def test_batches_are_bounded(lengths: list[float], config: BatchConfig, seed: int) -> None:
    for batch in plan_batches(lengths, config, seeded(seed)):
        assert len(batch) <= config.max_batch_size
        padded_s = len(batch) * max(lengths[index] for index in batch)
        assert len(batch) == 1 or padded_s <= config.max_batch_s


@given(durations, configs)
def test_the_plan_is_a_function_of_the_seed(lengths: list[float], config: BatchConfig) -> None:
    assert plan_batches(lengths, config, seeded(3)) == plan_batches(lengths, config, seeded(3))


def test_another_epoch_has_another_order() -> None:
    sampler = make_sampler()
    sampler.start(0, 0)
    first = [[index for _, index in batch] for batch in sampler]
    sampler.start(1, 0)
    assert [[index for _, index in batch] for batch in sampler] != first


def test_buckets_keep_similar_lengths_together() -> None:
    lengths = [float(i) for i in range(1, 101)]
    config = BatchConfig(max_batch_s=120.0, max_batch_size=10, num_buckets=10)
    for batch in plan_batches(lengths, config, seeded(0)):
        assert max(lengths[i] for i in batch) - min(lengths[i] for i in batch) <= 19


def test_a_small_set_is_not_cut_into_tiny_batches() -> None:
    config = BatchConfig(max_batch_s=26.0, num_buckets=16)
    assert len(plan_batches([6.0 + 0.01 * i for i in range(27)], config, seeded(0))) == 7


@given(st.integers(0, 3), st.integers(0, 4))
def test_a_resumed_epoch_goes_on_with_the_same_batches(epoch: int, done: int) -> None:
    sampler = make_sampler()
    sampler.start(epoch, 0)
    whole = list(sampler)
    sampler.start(epoch, done)
    assert list(sampler) == whole[done:]
    assert len(sampler) == len(whole) - done


def test_seeds_are_mixed() -> None:
    streams = {
        tuple(torch.rand(3, generator=seeded(*numbers)).tolist())
        for numbers in [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 1), (0, 1, 0)]
    }
    assert len(streams) == 7


def test_collate_pads_with_zeros() -> None:
    batch = collate(
        [
            Example("a", np.ones(3, dtype=np.float32), (5, 6)),
            Example("b", np.ones(1, dtype=np.float32), ()),
        ]
    )
    assert batch.ids == ("a", "b")
    assert batch.samples.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.sample_lengths.tolist() == [3, 1]
    assert batch.targets.tolist() == [[5, 6], [0, 0]]
    assert batch.target_lengths.tolist() == [2, 0]


def test_collate_refuses_a_blank_in_the_targets() -> None:
    with pytest.raises(DataError, match="'a' contain the blank"):
        collate([Example("a", np.ones(3, dtype=np.float32), (1, ctc.BLANK))])


def test_collate_refuses_nothing() -> None:
    with pytest.raises(DataError, match="at least one utterance"):
        collate([])


def test_augmentation_depends_on_seed_epoch_and_utterance_alone() -> None:
    dataset, same, other = (
        make_dataset(Shorten()),
        make_dataset(Shorten()),
        make_dataset(Shorten(), 1),
    )
    np.testing.assert_array_equal(dataset[(2, 5)].samples, same[(2, 5)].samples)
    assert dataset[(2, 5)].samples[0] != dataset[(3, 5)].samples[0]
    assert dataset[(2, 5)].samples[0] != other[(2, 5)].samples[0]


def test_augmentation_that_leaves_too_few_frames_is_not_used() -> None:
    dataset = make_dataset(Shorten())
    needed = 10 * ctc.min_frames((1, 1, 2))
    lengths = [len(dataset[(epoch, 0)].samples) for epoch in range(200)]
    assert min(lengths) >= needed
    assert len(set(lengths)) > 10


def test_augmentation_leaves_a_frame_of_an_utterance_without_words() -> None:
    dataset = replace(make_dataset(Shorten()), targets=((),) * 12)
    lengths = [len(dataset[(epoch, 0)].samples) for epoch in range(200)]
    assert 10 <= min(lengths) < 30


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_worker_processes_change_nothing(num_workers: int) -> None:
    dataset, sampler = make_dataset(Shorten()), make_sampler()
    alone = [collate([dataset[key] for key in keys]) for keys in sampler]
    loader = make_loader(dataset, sampler, BatchConfig(num_workers=num_workers))
    for batch, expected in zip(read_batches(loader), alone, strict=True):
        assert batch.ids == expected.ids
        assert torch.equal(batch.samples, expected.samples)
        assert torch.equal(batch.targets, expected.targets)


class Threads:
    """Writes the number of threads it may use over the samples."""

    def __call__(
        self, samples: np.ndarray, sample_rate_hz: int, generator: torch.Generator
    ) -> np.ndarray:
        return np.full_like(samples, torch.get_num_threads())


def test_augmentation_has_one_thread_wherever_it_runs() -> None:
    dataset = replace(make_dataset(), augment=Threads())
    with cpu_threads(2):
        assert dataset[(0, 0)].samples[0] == 1
        assert torch.get_num_threads() == 2


def test_a_dataset_travels_to_worker_processes() -> None:
    dataset = make_dataset(Shorten())
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy[(0, 3)].samples, dataset[(0, 3)].samples)
