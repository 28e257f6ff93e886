"""Quiet before and after an utterance: where it stands, how long and how faint it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from asr.augment import AugmentConfig, WaveformAugment, effects
from asr.config import parse_options

RATE_HZ = 8000


def voice(num_samples: int = 4000) -> np.ndarray:
    """Something of a mean power of 0.01."""
    noise = np.random.default_rng(0).standard_normal(num_samples)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)) * 0.1, np.float32)


def surround(seed: int, **values: Any) -> np.ndarray:
    config = parse_options(AugmentConfig, {"quiet": {"probability": 1.0, **values}}, "test")
    return WaveformAugment(config)(voice(), RATE_HZ, torch.Generator().manual_seed(seed))


def place_of_voice(samples: np.ndarray) -> int:
    """Where the utterance begins: it is there bit for bit."""
    found = [
        start
        for start in np.flatnonzero(samples == voice()[0])
        if np.array_equal(samples[start : start + 4000], voice())
    ]
    (place,) = found
    return int(place)


@pytest.mark.parametrize("seed", range(5))
def test_the_utterance_stands_in_quiet_of_the_drawn_level(seed: int) -> None:
    samples = surround(seed, max_s=2.0, low_db=40, high_db=40)
    before = place_of_voice(samples)
    around = np.concatenate([samples[:before], samples[before + 4000 :]])
    assert 0 < len(around) <= 2 * 2.0 * RATE_HZ
    # 40 dB below 0.01; the power of a few thousand samples of noise is right to some percent.
    assert np.mean(around.astype(np.float64) ** 2) == pytest.approx(1e-6, rel=0.15)


def test_durations_and_levels_fill_their_ranges() -> None:
    befores, afters, levels_db = [], [], []
    for seed in range(100):
        samples = surround(seed, max_s=1.0, low_db=30, high_db=60)
        before = place_of_voice(samples)
        befores.append(before / RATE_HZ)
        afters.append((len(samples) - before - 4000) / RATE_HZ)
        around = np.concatenate([samples[:before], samples[before + 4000 :]])
        levels_db.append(-20 - 10 * np.log10(np.mean(around.astype(np.float64) ** 2)))
    for values in (befores, afters):
        assert 0 <= min(values) < 0.1 and 0.9 < max(values) < 1
        assert 0.4 < np.mean(values) < 0.6
    assert abs(np.corrcoef(befores, afters)[0, 1]) < 0.3
    assert 29 < min(levels_db) < 33 and 57 < max(levels_db) < 61


def test_silence_stays_silent() -> None:
    quiet = effects.surround(torch.zeros(100), torch.randn(50), 20, 30.0)
    assert torch.equal(quiet, torch.zeros(150))


def test_no_quiet_is_the_utterance_alone() -> None:
    assert np.array_equal(surround(1, max_s=0), voice())
