"""SpecAugment: masks keep their bounds, are drawn evenly, and leave all else alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_augment import seeded
from torch import Tensor

from asr.augment import SpecAugment, SpecAugmentConfig
from asr.config import parse_options


def masked_ranges(row: Tensor) -> Iterator[tuple[int, int]]:
    """(start, end) of the runs of true values."""
    padded = [False, *row.tolist(), False]
    edges = [at for at in range(len(padded) - 1) if padded[at] != padded[at + 1]]
    return zip(edges[::2], edges[1::2], strict=True)


def spec_augment(**options: Any) -> SpecAugment:
    return SpecAugment(parse_options(SpecAugmentConfig, options, "test"))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    lengths=st.lists(st.integers(1, 120), min_size=1, max_size=4),
    widest=st.integers(0, 40),
    fraction=st.floats(0, 1),
    mels=st.integers(0, 30),
)
def test_masks_keep_their_bounds(
    seed: int, lengths: list[int], widest: int, fraction: float, mels: int
) -> None:
    module = spec_augment(
        num_time_masks=1,
        max_time_frames=widest,
        max_time_fraction=fraction,
        num_frequency_masks=1,
        max_frequency_mels=mels,
    )
    features = torch.ones(len(lengths), max(lengths), 20)
    padding = torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
    features[padding] = 7.0
    masked = module(features, torch.tensor(lengths), seeded(seed))
    assert (masked[padding] == 7.0).all()
    for row, length in zip(masked, lengths, strict=True):
        gone = row[:length] == 0
        frames, bands = gone.all(dim=1), gone.all(dim=0)
        assert torch.equal(gone, frames[:, None] | bands[None, :])  # whole frames, whole bands
        if not bands.all():
            assert frames.sum() <= min(widest, fraction * length + 1e-3)
            assert len(list(masked_ranges(frames))) <= 1
        if not frames.all():
            assert bands.sum() <= mels and len(list(masked_ranges(bands))) <= 1
    assert (features[~padding] == 1).all()  # the argument is not changed


def test_widths_and_places_are_uniform() -> None:
    module = spec_augment(num_time_masks=1, max_time_frames=3, max_time_fraction=1)
    masked = module(torch.ones(4000, 10, 1), torch.full((4000,), 10), seeded(0))
    gone = masked[:, :, 0] == 0
    widths = torch.bincount(gone.sum(dim=1), minlength=4)
    assert widths.shape == (4,) and (widths - 1000).abs().max() < 120  # four standard deviations
    first = gone[gone.sum(dim=1) == 3].int().argmax(dim=1)
    places = torch.bincount(first, minlength=8)
    assert places.shape == (8,) and (places - int(widths[3]) / 8).abs().max() < 50


def test_the_number_of_time_masks_grows_with_the_length() -> None:
    module = spec_augment(
        num_time_masks=3, frames_per_time_mask=100, max_time_frames=2, max_time_fraction=1
    )
    lengths = torch.tensor([99, 100, 250, 1000])
    most = [0, 0, 0, 0]
    for seed in range(40):
        gone = module(torch.ones(4, 1000, 1), lengths, seeded(seed))[:, :, 0] == 0
        found = [len(list(masked_ranges(row))) for row in gone]
        most = [max(pair) for pair in zip(most, found, strict=True)]
    assert most == [0, 1, 2, 3]


def test_utterances_of_a_batch_are_masked_independently() -> None:
    module = spec_augment(num_time_masks=2, num_frequency_masks=2)
    masked = module(torch.ones(8, 200, 80), torch.full((8,), 200), seeded(0))
    assert len({row.numpy().tobytes() for row in masked}) == 8


def test_one_kind_of_mask_leaves_the_draws_of_the_other() -> None:
    features, lengths = torch.ones(3, 100, 40), torch.full((3,), 100)
    both = spec_augment(num_time_masks=2, num_frequency_masks=2)(features, lengths, seeded(5))
    time = spec_augment(num_time_masks=2)(features, lengths, seeded(5))
    frequency = spec_augment(num_frequency_masks=2)(features, lengths, seeded(5))
    assert torch.equal(both, time * frequency) and not torch.equal(time, frequency)
    states = []
    for options in ({}, {"num_time_masks": 4}):
        generator = seeded(5)
        spec_augment(**options)(features, lengths, generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_the_mean_is_that_of_the_valid_frames() -> None:
    module = spec_augment(num_frequency_masks=1, max_frequency_mels=20, value="mean")
    features = torch.randn(2, 50, 20, generator=seeded(1)) + 3
    features[1, 10:30], features[1, 30:] = math.nan, 1e6
    masked = module(features, torch.tensor([50, 10]), seeded(2))
    for row, before, length in zip(masked, features, (50, 10), strict=True):
        gone = row[:length] != before[:length]
        assert gone.any()
        mean = before[:length].mean()
        torch.testing.assert_close(row[:length][gone], mean.expand(int(gone.sum())))


def test_eval_is_the_identity_and_half_precision_works() -> None:
    module = spec_augment(num_time_masks=2, num_frequency_masks=2, value="mean")
    features = torch.randn(2, 100, 80, dtype=torch.bfloat16, generator=seeded(0))
    masked = module(features, torch.tensor([100, 60]), seeded(0))
    assert masked.dtype == torch.bfloat16 and not torch.equal(masked, features)
    assert module.eval()(features, torch.tensor([100, 60]), seeded(0)) is features


def test_gradients_flow_to_what_is_not_masked() -> None:
    features = torch.ones(1, 50, 10, requires_grad=True)
    masked = spec_augment(num_time_masks=1)(features, torch.tensor([50]), seeded(0))
    masked.sum().backward()
    assert features.grad is not None and torch.equal(features.grad, masked.detach())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_masks_as_the_cpu_does_from_a_cpu_generator() -> None:
    module = spec_augment(num_time_masks=2, num_frequency_masks=2)
    features, lengths = torch.randn(3, 100, 80), torch.tensor([100, 70, 5])
    expected = module(features, lengths, seeded(0))
    assert torch.equal(module(features.cuda(), lengths.cuda(), seeded(0)).cpu(), expected)
    module(features.cuda(), lengths, torch.Generator("cuda").manual_seed(0))
