"""Vocal tract length perturbation: against a plain reference, and against a warped filterbank."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tones import tone_config

from asr.augment import FrequencyWarp, WarpConfig
from asr.augment.warping import warp_hz
from asr.config import parse_options
from asr.errors import ConfigError
from asr.experiment import ExperimentConfig
from asr.features import LogMel, LogMelConfig
from asr.training import train

RATE_HZ = 16000
FRONT_END = LogMelConfig(normalization="none")


def warper(probability: float = 1.0, max_change: float = 0.1) -> FrequencyWarp:
    config = WarpConfig(probability=probability, max_change=max_change)
    return FrequencyWarp(config, torch.tensor(FRONT_END.centres_hz), RATE_HZ)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def jaitly_hinton(hz: float, factor: float) -> float:
    """Equation 1 of the paper, with its boundary of 4800 Hz and S, the sampling rate."""
    boundary, half = 4800.0, RATE_HZ / 2
    if hz <= boundary * min(factor, 1) / factor:
        return hz * factor
    share = (half - boundary * min(factor, 1)) / (half - boundary * min(factor, 1) / factor)
    return half - share * (half - hz)


def reference_warp(features: np.ndarray, factor: float) -> np.ndarray:
    """One utterance, mel by mel: the value from where its centre comes from."""
    mels = [2595 * math.log10(1 + hz / 700) for hz in FRONT_END.centres_hz]
    rows = []
    for frame in features:
        sources = [jaitly_hinton(hz, 1 / factor) for hz in FRONT_END.centres_hz]
        at = [2595 * math.log10(1 + hz / 700) for hz in sources]
        rows.append(np.interp(at, mels, frame))  # constant beyond the ends
    return np.array(rows)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), factors=st.lists(st.floats(0.7, 1.3), min_size=1, max_size=4))
def test_a_batch_is_warped_as_each_alone(seed: int, factors: list[float]) -> None:
    features = torch.randn(len(factors), 5, 80, generator=seeded(seed))
    before = features.clone()
    warped = warper().warp(features, torch.tensor(factors))
    assert torch.equal(features, before) and warped.dtype == torch.float32
    for row, factor in enumerate(factors):
        expected = reference_warp(features[row].numpy(), float(np.float32(factor)))
        np.testing.assert_allclose(warped[row].numpy(), expected, atol=1e-4)
        alone = warper().warp(features[row : row + 1, :3], torch.tensor(factors[row : row + 1]))
        assert torch.equal(alone[0], warped[row, :3])  # frames and rows do not mix


@given(hz=st.floats(0, 8000), factor=st.floats(0.7, 1.3))
def test_the_inverse_factor_undoes_a_warp_and_the_ends_stay(hz: float, factor: float) -> None:
    there = warp_hz(torch.tensor(hz, dtype=torch.float64), torch.tensor(factor), 8000)
    assert float(there) == pytest.approx(jaitly_hinton(hz, float(np.float32(factor))), abs=1e-2)
    back = warp_hz(there, 1 / torch.tensor(factor, dtype=torch.float64), 8000)
    assert float(back) == pytest.approx(hz, abs=1e-2)
    ends = warp_hz(torch.tensor([0.0, 8000.0]), torch.tensor(factor), 8000)
    np.testing.assert_allclose(ends.numpy(), [0, 8000], atol=1e-2)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_a_warp_of_features_is_that_of_the_filterbank(factor: float) -> None:
    """On a smooth spectrum, filters moved as in the paper see what the warped features hold."""
    noise = np.random.default_rng(0).standard_normal(20 * RATE_HZ)
    colour = np.exp(1.5 * np.cos(np.fft.rfftfreq(len(noise), 1 / RATE_HZ) / 700))
    samples = torch.from_numpy(np.fft.irfft(np.fft.rfft(noise) * colour)).float() * 0.05
    front_end = LogMel(FRONT_END).eval()
    lengths = torch.tensor([len(samples)])
    features, _ = front_end(samples[None], lengths)
    warped = warper().warp(features, torch.tensor([factor]))[0].mean(dim=0)

    bins_hz = torch.arange(257) * RATE_HZ / 512
    centres = torch.tensor([20.0, *FRONT_END.centres_hz, 8000.0])
    edges = warp_hz(centres, torch.tensor(1 / factor), 8000)
    rising = (bins_hz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins_hz[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    emphasized = samples[1:] - 0.97 * samples[:-1]
    frames = emphasized.unfold(0, 400, 160) * torch.hann_window(400)
    moved = (torch.fft.rfft(frames, 512).abs().square() @ filters).log().mean(dim=0)
    # The moved filters have other widths, hence another energy in all of them.
    widths = ((edges[2:] - edges[:-2]) / (centres[2:] - centres[:-2])).log()
    difference = (moved - widths - warped)[5:70]
    assert float(difference.abs().max()) < 0.25
    if factor != 1:
        unwarped = features[0].mean(dim=0)
        assert float((unwarped - warped)[5:70].abs().max()) > 0.6


def drawn_places(batch: int, seed: int, **options: float) -> np.ndarray:
    """Where mel 40 of each utterance came from."""
    ramp = torch.arange(80.0).expand(batch, 1, 80)
    return warper(**options)(ramp, seeded(seed))[:, 0, 40].numpy()


def test_factors_fill_their_range_at_their_share() -> None:
    centre = FRONT_END.centres_hz[40]
    ramp = torch.arange(80.0)[None, None]
    ends = [float(warper().warp(ramp, torch.tensor([f]))[0, 0, 40]) for f in (1.1, 0.9)]
    assert centre < 4000 and ends[0] < 40 < ends[1]
    places = drawn_places(4000, 0)
    assert ends[0] <= places.min() < ends[0] + 0.05 and ends[1] - 0.05 < places.max() <= ends[1]
    assert abs(np.mean(places > 40) - 0.5) < 0.04
    sometimes = drawn_places(4000, 0, probability=0.25)
    assert abs(np.mean(np.abs(sometimes - 40) > 1e-4) - 0.25) < 0.04


def test_one_seed_gives_one_result_and_seeds_differ() -> None:
    assert np.array_equal(drawn_places(50, 1), drawn_places(50, 1))
    assert not np.array_equal(drawn_places(50, 1), drawn_places(50, 2))


def test_off_and_evaluation_draw_nothing() -> None:
    features = torch.randn(2, 4, 80, generator=seeded(0))
    generator = seeded(3)
    before = generator.get_state()
    assert warper(probability=0.0)(features, generator) is features
    assert warper().eval()(features, generator) is features
    assert torch.equal(generator.get_state(), before)
    assert WarpConfig().probability == 0


def test_padding_stays_zero() -> None:
    features = torch.randn(2, 6, 80, generator=seeded(0))
    features[1, 3:] = 0
    assert not warper()(features, seeded(1))[1, 3:].any()


def test_a_change_too_far_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_change"):
        parse_options(WarpConfig, {"max_change": 0.5}, "a.toml")


def test_one_mel_is_refused() -> None:
    values = {"features": {"num_mels": 1}, "augment": {"warp": {"probability": 1.0}}}
    with pytest.raises(
        ConfigError, match=r"^a\.toml: augment\.warp .* features\.num_mels .* 2, got 1"
    ):
        parse_options(ExperimentConfig, values, "a.toml")
    values["augment"]["warp"]["probability"] = 0.0
    assert parse_options(ExperimentConfig, values, "a.toml").features.num_mels == 1


def test_two_mels_are_enough() -> None:
    options = LogMelConfig(num_mels=2)
    warp = FrequencyWarp(WarpConfig(probability=1.0), torch.tensor(options.centres_hz), RATE_HZ)
    warped = warp.warp(torch.tensor([[[0.0, 1.0]]]), torch.tensor([1.1]))
    assert 0.0 == warped[0, 0, 0] < warped[0, 0, 1] < 1.0


def test_training_warps(tmp_path: Path) -> None:
    losses = []
    for number, probability in enumerate((0.0, 0.0, 1.0)):
        values = tone_config(tmp_path, epochs=1, log_every=1)
        values["augment"] = {"warp": {"probability": probability, "max_change": 0.3}}
        config = parse_options(ExperimentConfig, values, "test")
        train(config, tmp_path / str(number))
        lines = (tmp_path / str(number) / "metrics.jsonl").read_text().splitlines()
        found = [json.loads(line).get("train_loss") for line in lines]
        losses.append(next(loss for loss in found if loss is not None))
    assert losses[0] == losses[1] != losses[2]
