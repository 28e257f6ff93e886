"""What recorders do: each change has the size it states, and leaves the rest as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asr.corpora.recorders import (
    CUT_UNDER_DB,
    SHELF_DB,
    RecorderOptions,
    close_gate,
    cut_short,
    draw_recorder,
    high_shelf,
)
from asr.errors import ConfigError

RATE_HZ = 8000
ALL = RecorderOptions(shelf_share=0.7, gate_share=0.35, cut_share=0.8)
LEVELS = st.lists(st.floats(1e-4, 1.0), min_size=2, max_size=40)
"""Amplitude of each 10 ms of a word."""


def tone(hz: float, duration_s: float, amplitude: float = 1.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(duration_s * RATE_HZ)) / RATE_HZ)


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples**2)))


def word_of(levels: list[float]) -> np.ndarray:
    """A square wave whose power in each 10 ms is what its amplitude there says."""
    signs = np.tile([1.0, -1.0], 40)
    return np.concatenate([level * signs for level in levels])


def smoothed_levels_db(levels: list[float]) -> list[float]:
    """Slow and obvious: each 10 ms half of itself, a quarter of either neighbour."""
    decibels = [20 * np.log10(level) for level in levels]
    return [
        0.25 * decibels[max(0, place - 1)]
        + 0.5 * decibels[place]
        + 0.25 * decibels[min(len(levels) - 1, place + 1)]
        for place in range(len(levels))
    ]


@pytest.mark.parametrize("gain_db", [-20.0, 6.0])
def test_a_shelf_changes_what_is_above_its_corner(gain_db: float) -> None:
    for hz, expected_db in ((50.0, 0.0), (3950.0, gain_db)):
        wave = tone(hz, 1.0)
        changed_db = level_db(high_shelf(wave, gain_db, 800.0, RATE_HZ)) - level_db(wave)
        assert changed_db == pytest.approx(expected_db, abs=0.6)
    # At the corner of a first-order shelf the power is halfway between 1 and the gain's.
    at_corner = level_db(high_shelf(tone(800.0, 1.0), gain_db, 800.0, RATE_HZ))
    expected = 10 * np.log10((1 + 10 ** (gain_db / 10)) / 2) + level_db(tone(800.0, 1.0))
    assert at_corner == pytest.approx(expected, abs=0.05)


@given(st.integers(1, 400))
def test_a_shelf_without_gain_changes_nothing(num_samples: int) -> None:
    samples = np.random.default_rng(num_samples).standard_normal(num_samples)
    np.testing.assert_allclose(high_shelf(samples, 0.0, 1000.0, RATE_HZ), samples, atol=1e-9)


def test_a_gate_closes_on_weak_sounds_alone() -> None:
    word = np.concatenate([tone(500.0, 0.3), tone(500.0, 0.3, amplitude=0.03)])  # 30 dB apart
    gated = close_gate(word, 20.0, 15.0, RATE_HZ)
    loud, weak = slice(400, 2000), slice(2800, 4400)
    assert level_db(gated[loud]) == pytest.approx(level_db(word[loud]), abs=0.01)
    assert level_db(gated[weak]) == pytest.approx(level_db(word[weak]) - 15, abs=0.1)
    # Nothing is under a threshold that low.
    np.testing.assert_array_equal(close_gate(word, 40.0, 15.0, RATE_HZ), word)


def test_weak_ends_are_cut_off() -> None:
    quiet = tone(500.0, 0.2, amplitude=0.03)
    word = np.concatenate([quiet, tone(500.0, 0.3), quiet])
    kept = cut_short(word, RATE_HZ, 20.0)
    assert len(kept) == pytest.approx(0.3 * RATE_HZ, abs=0.021 * RATE_HZ)
    start = word.tobytes().find(kept.tobytes())
    assert start == pytest.approx(8 * 0.2 * RATE_HZ, abs=8 * 0.011 * RATE_HZ)
    np.testing.assert_array_equal(cut_short(word, RATE_HZ, 40.0), word)


def test_weak_middles_stay() -> None:
    word = np.concatenate([tone(500.0, 0.1), np.zeros(800), tone(500.0, 0.1)])
    np.testing.assert_array_equal(cut_short(word, RATE_HZ, 20.0), word)


def test_one_piece_ends_at_the_first_silence() -> None:
    vowel, consonant = tone(500.0, 0.2), tone(3000.0, 0.1, amplitude=0.3)
    word = np.concatenate([consonant, np.zeros(800), vowel, np.zeros(800), consonant])
    np.testing.assert_array_equal(cut_short(word, RATE_HZ, 20.0), word)
    kept = cut_short(word, RATE_HZ, 20.0, one_piece=True)
    assert len(kept) == pytest.approx(0.2 * RATE_HZ, abs=0.021 * RATE_HZ)
    assert np.abs(kept[200:-200]).max() == pytest.approx(1.0, abs=0.01)


def test_no_word_is_cut_to_a_click() -> None:
    word = np.concatenate([tone(500.0, 0.05), tone(500.0, 0.3, amplitude=0.001)])
    np.testing.assert_array_equal(cut_short(word, RATE_HZ, 20.0), word)


@given(LEVELS, st.floats(3, 40), st.booleans())
def test_cutting_is_what_a_loop_over_frames_says(
    levels: list[float], under_db: float, one_piece: bool
) -> None:
    word, decibels = word_of(levels), smoothed_levels_db(levels)
    threshold_db = max(decibels) - under_db
    # Rounding decides where a level is the threshold.
    assume(min(abs(level - threshold_db) for level in decibels) > 1e-3)
    assume(sorted(decibels)[-1] - sorted(decibels)[-2] > 1e-3)
    first, end = 0, len(levels)
    if one_piece:
        first = end = decibels.index(max(decibels))
        while first > 0 and decibels[first - 1] >= threshold_db:
            first -= 1
        while end < len(levels) and decibels[end] >= threshold_db:
            end += 1
    else:
        while decibels[first] < threshold_db:
            first += 1
        while decibels[end - 1] < threshold_db:
            end -= 1
    expected = word if end - first < 8 else word[80 * first : 80 * end]
    np.testing.assert_array_equal(cut_short(word, RATE_HZ, under_db, one_piece), expected)


@given(LEVELS, st.floats(5, 30), st.floats(1, 40))
def test_gating_is_what_a_loop_over_frames_says(
    levels: list[float], under_db: float, loss_db: float
) -> None:
    word, decibels = word_of(levels), smoothed_levels_db(levels)
    gated = close_gate(word, under_db, loss_db, RATE_HZ)
    for place, level in enumerate(decibels):
        below_db = max(decibels) - under_db - level
        expected_db = loss_db * min(1.0, max(0.0, below_db / 6))
        middle = 80 * place + 40
        assert -20 * np.log10(gated[middle] / word[middle]) == pytest.approx(expected_db, abs=1e-2)


@given(st.integers(1, 300), st.integers(0, 50))
def test_any_length_can_be_recorded(num_samples: int, seed: int) -> None:
    samples = np.random.default_rng(seed).standard_normal(num_samples)
    recorded = draw_recorder(ALL, RATE_HZ, np.random.default_rng(seed))(samples)
    assert 0 < len(recorded) <= num_samples
    assert np.isfinite(recorded).all()


def test_a_share_of_nothing_changes_and_draws_nothing() -> None:
    rng, untouched = np.random.default_rng(1), np.random.default_rng(1)
    samples = np.random.default_rng(2).standard_normal(3000)
    np.testing.assert_array_equal(draw_recorder(RecorderOptions(), RATE_HZ, rng)(samples), samples)
    assert rng.random() == untouched.random()


def test_recorders_treat_all_words_alike() -> None:
    word = np.random.default_rng(0).standard_normal(4000) * np.hanning(4000) ** 4
    for seed in range(20):
        record = draw_recorder(ALL, RATE_HZ, np.random.default_rng(seed))
        np.testing.assert_array_equal(record(word), record(word))


def test_shares_say_how_often() -> None:
    word = np.concatenate([tone(700.0, 0.1, 0.002), tone(700.0, 0.3), tone(700.0, 0.1, 0.002)])
    options = RecorderOptions(cut_share=0.3)
    rngs = [np.random.default_rng(seed) for seed in range(400)]
    cut = [len(draw_recorder(options, RATE_HZ, rng)(word)) < len(word) for rng in rngs]
    assert 0.2 < np.mean(cut) < 0.4


def test_a_shelf_is_drawn_within_its_bounds() -> None:
    wave = tone(3900.0, 0.5)
    options = RecorderOptions(shelf_share=1.0)
    gains_db = [
        level_db(draw_recorder(options, RATE_HZ, np.random.default_rng(seed))(wave))
        - level_db(wave)
        for seed in range(100)
    ]
    assert min(gains_db) == pytest.approx(SHELF_DB[0], abs=3)
    assert max(gains_db) == pytest.approx(SHELF_DB[1], abs=3)


def test_a_cut_is_drawn_within_its_bounds() -> None:
    """Of a word that falls by 1 dB each 10 ms, as many are left as the threshold has decibels."""
    word = word_of([10 ** (-place / 20) for place in range(60)])
    options = RecorderOptions(cut_share=1.0)
    kept = [
        len(draw_recorder(options, RATE_HZ, np.random.default_rng(seed))(word)) / 80
        for seed in range(200)
    ]
    assert CUT_UNDER_DB[0] <= min(kept) < CUT_UNDER_DB[0] + 2
    assert CUT_UNDER_DB[1] - 2 < max(kept) <= CUT_UNDER_DB[1] + 2


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_from_nothing_to_all(share: float) -> None:
    with pytest.raises(ConfigError, match="cut_share"):
        RecorderOptions(cut_share=share)
