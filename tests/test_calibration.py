"""Calibration: fits that cannot run away, and measures with figures worked out by hand."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import parse_options
from asr.decoding.calibration import (
    Binning,
    Calibration,
    ReliabilityBin,
    area_under_roc,
    calibration_error,
    fit_calibration,
    normalized_cross_entropy,
    reliability,
    words_correct,
)
from asr.decoding.confidence import MAX_LOG_ODDS, MIN_ENTROPY
from asr.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]
TRUE = Calibration(bias=1.0, posterior_weight=0.1, entropy_weight=-0.2)

judged = st.lists(
    st.tuples(st.integers(0, 20).map(lambda number: number / 20), st.booleans()),
    min_size=1,
    max_size=40,
)


def drawn(num_words: int, seed: int = 0) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Features of words as a beam gives them, right with the probability that TRUE says."""
    generator = np.random.default_rng(seed)
    log_odds = np.clip(generator.normal(5, 4, num_words), -MAX_LOG_ODDS, MAX_LOG_ODDS)
    entropies = np.maximum(generator.normal(-4, 2, num_words), math.log(MIN_ENTROPY))
    features = np.column_stack((log_odds, entropies))
    return features, generator.random(num_words) < TRUE.confidence(features)


def weights(calibration: Calibration) -> Floats:
    return np.array([calibration.bias, calibration.posterior_weight, calibration.entropy_weight])


def test_confidence_by_hand() -> None:
    calibration = Calibration(bias=0.5, posterior_weight=0.25, entropy_weight=-1.0)
    expected = [1 / (1 + math.exp(-(0.5 + 0.25 * 4 + 2))), 1 / (1 + math.exp(-(0.5 - 1 - 1)))]
    found = calibration.confidence([[4.0, -2.0], [-4.0, 1.0]])
    assert found == pytest.approx(expected, rel=1e-12)
    assert found.dtype == np.float64


def test_confidence_of_extremes_is_a_probability() -> None:
    steep = Calibration(bias=100, posterior_weight=100, entropy_weight=-100)
    found = steep.confidence([[MAX_LOG_ODDS, -9.0], [-MAX_LOG_ODDS, 14.0]])
    assert found.tolist() == [1.0, 0.0]
    assert steep.confidence(np.zeros((0, 2))).shape == (0,)


def test_the_default_rises_with_the_posterior_and_falls_with_entropy() -> None:
    low, high, undecided = Calibration().confidence([[1.0, -3.0], [2.0, -3.0], [2.0, -1.0]])
    assert low < high > undecided
    assert Calibration().num_words == 0


def test_a_calibration_comes_back_from_json() -> None:
    calibration = fit_calibration(*drawn(50))
    values = json.loads(json.dumps(calibration.model_dump(mode="json")))
    assert parse_options(Calibration, values, "model") == calibration
    assert calibration.num_words == 50


@pytest.mark.parametrize(
    "values",
    [
        {"bias": math.nan},
        {"posterior_weight": math.inf},
        {"entropy_weight": -1e9},
        {"num_words": -1},
        {"temperature": 2.0},
        {"bias": "much"},
    ],
)
def test_what_no_fit_gives_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        parse_options(Calibration, values, "model")


def test_a_fit_finds_what_the_data_were_made_with() -> None:
    features, is_correct = drawn(50_000)
    assert weights(fit_calibration(features, is_correct)) == pytest.approx(weights(TRUE), abs=0.1)


def penalised(at: Floats, features: Floats, is_correct: npt.NDArray[np.bool_], l2: float) -> float:
    """What a fit makes smallest, as it is defined."""
    bias, posterior_weight, entropy_weight = at.tolist()
    total = l2 / 2 * float(((at - weights(Calibration())) ** 2).sum())
    for (log_odds, entropy), right in zip(features.tolist(), is_correct, strict=True):
        score = bias + posterior_weight * log_odds + entropy_weight * entropy
        total += math.log1p(math.exp(-score if right else score))
    return total


@settings(max_examples=60)
@given(
    num_words=st.integers(1, 40),
    seed=st.integers(0, 1000),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    l2=st.sampled_from([0.1, 1.0, 30.0]),
)
def test_no_neighbour_of_a_fit_is_better(
    num_words: int, seed: int, share: float, l2: float
) -> None:
    features, _ = drawn(num_words, seed)
    generator = np.random.default_rng(seed)
    is_correct = generator.random(num_words) < share
    found = weights(fit_calibration(features, is_correct, l2))
    lowest = penalised(found, features, is_correct, l2)
    for direction in (*np.eye(3), *-np.eye(3), *generator.normal(size=(4, 3))):
        assert penalised(found + 0.01 * direction, features, is_correct, l2) > lowest


@pytest.mark.parametrize("right", [True, False])
def test_words_that_are_all_right_or_all_wrong(right: bool) -> None:
    features, _ = drawn(30)
    calibration = fit_calibration(features, np.full(30, right))
    found = calibration.confidence(features)
    assert np.abs(weights(calibration)).max() < 10
    assert found.mean() > 0.95 if right else found.mean() < 0.2


def test_separable_words_do_not_diverge() -> None:
    features = np.array([[sign * 10.0, -sign * 5.0] for sign in (-1, 1) for _ in range(400)])
    calibration = fit_calibration(features, features[:, 0] > 0, l2=1e-3)
    assert np.abs(weights(calibration)).max() < 5
    assert calibration_error(calibration.confidence(features), features[:, 0] > 0) < 0.01


def test_a_confident_misfit_does_not_overshoot() -> None:
    features = np.array([[MAX_LOG_ODDS, -9.0]] * 500)
    found = fit_calibration(features, np.arange(500) % 2 == 0).confidence(features)
    assert found == pytest.approx(0.5, abs=0.01)


def test_few_words_stay_near_the_default() -> None:
    features, is_correct = drawn(1)
    one = fit_calibration(features, is_correct)
    assert weights(one) == pytest.approx(weights(Calibration()), abs=0.3)
    nothing = fit_calibration(np.zeros((0, 2)), np.zeros(0, np.bool_))
    assert nothing == Calibration()


def test_order_and_copies_of_words() -> None:
    features, is_correct = drawn(60)
    fitted = weights(fit_calibration(features, is_correct))
    backwards = fit_calibration(features[::-1], is_correct[::-1])
    assert weights(backwards) == pytest.approx(fitted, abs=1e-6)
    twice = fit_calibration(np.tile(features, (2, 1)), np.tile(is_correct, 2), l2=2.0)
    assert weights(twice) == pytest.approx(fitted, abs=1e-6)


def test_fitting_calibrates_words_it_has_not_seen() -> None:
    features, is_correct = drawn(4000)
    unseen, truth = drawn(4000, seed=1)
    fitted = fit_calibration(features, is_correct).confidence(unseen)
    default = Calibration().confidence(unseen)
    assert calibration_error(fitted, truth) < 0.02 < calibration_error(default, truth)
    assert normalized_cross_entropy(fitted, truth) > normalized_cross_entropy(default, truth)


@pytest.mark.parametrize(
    ("features", "is_correct", "l2", "message"),
    [
        (np.zeros((3, 1)), np.zeros(3, np.bool_), 1.0, r"\(num_words, 2\), got shape \(3, 1\)"),
        (np.zeros(2), np.zeros(2, np.bool_), 1.0, r"\(num_words, 2\), got shape \(2,\)"),
        (np.zeros((3, 2)), np.zeros(2, np.bool_), 1.0, r"\(3,\), got shape \(2,\)"),
        (np.full((3, 2), np.nan), np.zeros(3, np.bool_), 1.0, "must be finite"),
        (np.zeros((3, 2)), np.zeros(3), 1.0, "must be bool, got float64"),
        (np.zeros((3, 2)), np.zeros(3, np.bool_), 0.0, "l2 must be a positive number"),
        (np.zeros((3, 2)), np.zeros(3, np.bool_), math.nan, "l2 must be a positive number"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    features: Floats, is_correct: npt.NDArray[Any], l2: float, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        fit_calibration(features, is_correct, l2)


def test_words_correct_are_those_that_the_alignment_hits() -> None:
    reference = ["rubout", "w", "l", "f"]
    assert words_correct(reference, ["w", "n", "f"]).tolist() == [True, False, True]
    assert words_correct([], ["a", "b"]).tolist() == [False, False]
    assert words_correct(["a"], []).tolist() == []
    assert words_correct([], []).dtype == np.bool_
    assert words_correct(["a", "b"], ["x", "a", "b"]).tolist() == [False, True, True]


CONFIDENCES = [0.95, 0.85, 0.9, 0.15, 0.35, 0.3, 0.55, 1.0]
CORRECT = [True, False, True, False, False, True, True, True]


def test_reliability_by_hand() -> None:
    by_width = reliability(CONFIDENCES, CORRECT, 2, "width")
    assert by_width == [
        ReliabilityBin(0.0, 0.5, 3, pytest.approx(0.8 / 3), pytest.approx(1 / 3)),
        ReliabilityBin(0.5, 1.0, 5, pytest.approx(4.25 / 5), pytest.approx(4 / 5)),
    ]
    by_mass = reliability(CONFIDENCES, CORRECT, 2)
    assert by_mass == [
        ReliabilityBin(0.15, 0.55, 4, pytest.approx(1.35 / 4), pytest.approx(2 / 4)),
        ReliabilityBin(0.85, 1.0, 4, pytest.approx(3.7 / 4), pytest.approx(3 / 4)),
    ]


def test_calibration_error_by_hand() -> None:
    by_width = 3 / 8 * (1 / 3 - 0.8 / 3) + 5 / 8 * (4.25 / 5 - 4 / 5)
    assert calibration_error(CONFIDENCES, CORRECT, 2, "width") == pytest.approx(by_width)
    by_mass = (2 - 1.35) / 8 + (3.7 - 3) / 8
    assert calibration_error(CONFIDENCES, CORRECT, 2) == pytest.approx(by_mass)
    assert calibration_error([1.0, 1.0], [True, True]) == 0.0
    assert calibration_error([1.0, 1.0], [False, False]) == 1.0
    assert math.isnan(calibration_error([], []))


@given(words=judged, num_bins=st.integers(1, 12))
def test_equal_width_bins_are_those_of_the_definition(
    words: list[tuple[float, bool]], num_bins: int
) -> None:
    edges = [index / num_bins for index in range(num_bins + 1)]
    error = 0.0
    for index, (low, high) in enumerate(pairwise(edges)):
        is_last = index == num_bins - 1
        inside = [word for word in words if low <= word[0] and (word[0] < high or is_last)]
        if inside:
            gap = sum(right for _, right in inside) - sum(told for told, _ in inside)
            error += abs(gap) / len(words)
    told, right = [word[0] for word in words], [word[1] for word in words]
    assert calibration_error(told, right, num_bins, "width") == pytest.approx(error, abs=1e-12)


@given(words=judged, num_bins=st.integers(1, 12), binning=st.sampled_from(["mass", "width"]))
def test_bins_share_out_all_words(
    words: list[tuple[float, bool]], num_bins: int, binning: Binning
) -> None:
    told, right = [word[0] for word in words], [word[1] for word in words]
    bins = reliability(told, right, num_bins, binning)
    assert sum(one.num_words for one in bins) == len(words)
    assert sum(one.num_words * one.confidence for one in bins) == pytest.approx(sum(told))
    assert sum(one.num_words * one.accuracy for one in bins) == pytest.approx(sum(right))
    assert all(one.low - 1e-9 <= one.confidence <= one.high + 1e-9 for one in bins)
    assert all(left.high <= right.low for left, right in pairwise(bins))
    if binning == "mass":
        counts = [one.num_words for one in bins]
        assert max(counts) - min(counts) <= 1
        assert len(bins) == min(num_bins, len(words))


def test_normalized_cross_entropy_by_hand() -> None:
    assert normalized_cross_entropy([0.75] * 4, [True, True, True, False]) == pytest.approx(0)
    assert normalized_cross_entropy([1.0, 1.0, 0.0], [True, True, False]) == 1.0
    # Three words right of four: 4 H(3/4) bits = 3.2451; told -log2(0.9^3 · 0.8) = 0.7780.
    told = normalized_cross_entropy([0.9, 0.9, 0.9, 0.2], [True, True, True, False])
    assert told == pytest.approx(1 - 0.7780 / 3.2451, abs=1e-4)
    assert normalized_cross_entropy([1.0, 0.5], [False, True]) == -math.inf
    assert math.isnan(normalized_cross_entropy([0.5, 0.5], [True, True]))
    assert math.isnan(normalized_cross_entropy([], []))


@given(words=judged)
def test_area_under_roc_counts_pairs(words: list[tuple[float, bool]]) -> None:
    told, right = [word[0] for word in words], [word[1] for word in words]
    pairs = [
        1.0 if good > bad else 0.5 if good == bad else 0.0
        for good, is_right in words
        if is_right
        for bad, is_wrong in words
        if not is_wrong
    ]
    if pairs:
        assert area_under_roc(told, right) == pytest.approx(sum(pairs) / len(pairs))
    else:
        assert math.isnan(area_under_roc(told, right))


@pytest.mark.parametrize("measure", [calibration_error, normalized_cross_entropy, area_under_roc])
def test_measures_refuse_what_is_no_confidence(measure: Any) -> None:
    for bad in ([1.5, 0.5], [-0.1, 0.5], [math.nan, 0.5]):
        with pytest.raises(DataError, match=r"in \[0, 1\]"):
            measure(bad, [True, False])
    with pytest.raises(DataError, match=r"\(num_words,\)"):
        measure([[0.5, 0.5]], [True, False])
    with pytest.raises(DataError, match=r"\(2,\), got shape \(1,\)"):
        measure([0.5, 0.5], [True])


def test_there_must_be_a_bin() -> None:
    with pytest.raises(DataError, match="num_bins must be at least 1"):
        reliability([0.5], [True], 0)
