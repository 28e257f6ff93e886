"""From what is known of a word to the probability that it is right, and how far off that is.

`confidence.word_features` gives two numbers for each word. A `Calibration` weighs them; fitted on
development data it makes a confidence of 0.9 mean that nine such words in ten are right. It
belongs to one acoustic model, language model, decoder and its settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from asr import wer
from asr.config import Options
from asr.decoding.confidence import NUM_FEATURES
from asr.errors import DataError
from asr.lm.compiled import kernel

Floats = npt.NDArray[np.float64]
Binning = Literal["mass", "width"]

BOUND = 100.0
MAX_STEPS = 100
MAX_HALVINGS = 40
CONVERGED = 1e-10


class Calibration(Options):
    """Probability that a word is right: the logistic function of a weighted sum.

    The defaults are round numbers, not fitted to anything: half the log-odds of the beam, for
    beams are too sure of themselves, and as much for the entropy. Confidences are uncalibrated
    with them; they only rise and fall with what is known.

    Attributes:
        bias: Log-odds of a word whose features are zero.
        posterior_weight: Of the log-odds of its posterior: the inverse of a temperature.
        entropy_weight: Of the log of its entropy.
        num_words: How many words it was fitted on; 0 for not at all.
    """

    bias: float = Field(default=0.0, ge=-BOUND, le=BOUND)
    posterior_weight: float = Field(default=0.5, ge=-BOUND, le=BOUND)
    entropy_weight: float = Field(default=-0.5, ge=-BOUND, le=BOUND)
    num_words: int = Field(default=0, ge=0)

    def confidence(self, features: npt.ArrayLike) -> Floats:
        """Probability of each word that it is right.

        Args:
            features: (num_words, NUM_FEATURES) finite, of `word_features`.

        Returns:
            (num_words,) float64 in [0, 1].

        Raises:
            DataError: `features` has another shape, or holds what is not finite.
        """
        checked = _check_features(features)
        confidences = np.empty(len(checked))
        fill_confidences(self.coefficients(), checked, confidences)
        return confidences

    def coefficients(self) -> Floats:
        """(1 + NUM_FEATURES,) float64: the bias and the weights of the features."""
        return np.array([self.bias, self.posterior_weight, self.entropy_weight])


@kernel
def fill_confidences(coefficients: Floats, features: Floats, confidences: Floats) -> None:
    """In compiled code: the logistic function of weighted sums.

    Args:
        coefficients: As of `Calibration.coefficients`.
        features: (num_words, NUM_FEATURES).
        confidences: (num_words,), overwritten.
    """
    for word in range(len(features)):
        log_odds = coefficients[0]
        for feature in range(NUM_FEATURES):
            log_odds += coefficients[1 + feature] * features[word, feature]
        small = math.exp(-abs(log_odds))
        confidences[word] = (1.0 if log_odds >= 0 else small) / (1.0 + small)


def fit_calibration(
    features: npt.ArrayLike, is_correct: npt.ArrayLike, l2: float = 1.0
) -> Calibration:
    """Fit by most likelihood, drawn towards the default so that few words cannot mislead.

    Newton's method with steps that are halved until they help: the penalised likelihood has one
    maximum, also where all words are right, or all are wrong.

    Args:
        features: (num_words, NUM_FEATURES) finite, of `word_features`, of development data.
        is_correct: (num_words,) bool, of `words_correct`.
        l2: Penalty, l2 / 2 times the squared distance from the default, against the log-likelihood
            in nats; positive. 1 to 3 did best on AN4, with about 500 words.

    Returns:
        What was fitted; the default where there are no words.

    Raises:
        DataError: Shapes differ, something is not finite, or `l2` is not positive.
    """
    known, correct = _check_pair(_check_features(features), is_correct)
    if not (math.isfinite(l2) and l2 > 0):
        raise DataError(f"l2 must be a positive number, got {l2}")
    inputs = np.column_stack((np.ones(len(known)), known))
    prior = Calibration().coefficients()
    found, probability = prior, np.empty(len(known))
    for _ in range(MAX_STEPS):
        fill_confidences(found, known, probability)
        gradient = inputs.T @ (probability - correct) + l2 * (found - prior)
        spread = (inputs * (probability * (1 - probability))[:, None]).T @ inputs
        curvature = spread + l2 * np.eye(len(prior))
        step = np.asarray(np.linalg.solve(curvature, gradient), np.float64)
        moved = _line_search(inputs, correct, (found, step), prior, l2)
        if np.abs(moved - found).max() < CONVERGED:
            break
        found = moved
    bias, posterior_weight, entropy_weight = np.clip(found, -BOUND, BOUND).tolist()
    return Calibration(
        bias=bias,
        posterior_weight=posterior_weight,
        entropy_weight=entropy_weight,
        num_words=len(known),
    )


def words_correct(reference: Sequence[str], hypothesis: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which words of a hypothesis are right: those that its alignment with the reference hits.

    Words left out count nowhere: a confidence is of what was recognised.

    Args:
        reference: Words said, written as the hypothesis is.
        hypothesis: Words recognised.

    Returns:
        (num_words,) bool, of the hypothesis.

    >>> words_correct("one two three".split(), "one too three four".split()).tolist()
    [True, False, True, False]
    """
    pairs = wer.align(reference, hypothesis)
    return np.array(
        [pair.operation == "hit" for pair in pairs if pair.hypothesis is not None], np.bool_
    )


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Words of similar confidence.

    Attributes:
        low, high: Range of their confidences: in equal-width bins the bin's, in [low, high) but
            for the last, else that of the words.
        num_words: More than 0.
        confidence: Mean of their confidences.
        accuracy: Share of them that is right.
    """

    low: float
    high: float
    num_words: int
    confidence: float
    accuracy: float


def reliability(
    confidence: npt.ArrayLike,
    is_correct: npt.ArrayLike,
    num_bins: int = 10,
    binning: Binning = "mass",
) -> list[ReliabilityBin]:
    """How right words are, by confidence: the points of a reliability diagram.

    Args:
        confidence: (num_words,) in [0, 1].
        is_correct: (num_words,) bool.
        num_bins: At least 1; bins without words are left out.
        binning: ``mass`` gives every bin as many words, in order of confidence (of equal ones in
            the order given); ``width`` divides [0, 1] evenly.

    Raises:
        DataError: Shapes differ, or a value is out of its range.
    """
    confidences, correct = _check_confidences(confidence, is_correct)
    if num_bins < 1:
        raise DataError(f"num_bins must be at least 1, got {num_bins}")
    order = np.argsort(confidences, kind="stable")
    if binning == "mass":
        groups = np.array_split(order, num_bins)
        edges = [(confidences[g[0]], confidences[g[-1]]) if len(g) else (0, 0) for g in groups]
    else:
        bounds = np.arange(num_bins + 1) / num_bins
        groups = np.split(order, np.searchsorted(confidences[order], bounds[1:-1]))
        edges = list(pairwise(bounds))
    return [
        ReliabilityBin(
            low=float(low),
            high=float(high),
            num_words=len(group),
            confidence=float(confidences[group].mean()),
            accuracy=float(correct[group].mean()),
        )
        for group, (low, high) in zip(groups, edges, strict=True)
        if len(group)
    ]


def calibration_error(
    confidence: npt.ArrayLike,
    is_correct: npt.ArrayLike,
    num_bins: int = 10,
    binning: Binning = "mass",
) -> float:
    """Expected calibration error: mean over words of how far their bin's accuracy is off.

    Chance alone gives it a floor: perfect confidences of 500 words, nine in ten right, score
    about 0.024 in ten bins.

    Args:
        confidence, is_correct, num_bins, binning: As for `reliability`. Guo et al. divide the
            range evenly (``width``), where most words of a good recogniser share one bin.

    Returns:
        In [0, 1]; NaN without words.

    References:
        Guo, Pleiss, Sun & Weinberger (2017), On calibration of modern neural networks; Nguyen &
        O'Connor (2015), Posterior calibration and exploratory analysis, for equal masses.
    """
    bins = reliability(confidence, is_correct, num_bins, binning)
    num_words = sum(one.num_words for one in bins)
    if not num_words:
        return math.nan
    return sum(one.num_words * abs(one.accuracy - one.confidence) for one in bins) / num_words


def normalized_cross_entropy(confidence: npt.ArrayLike, is_correct: npt.ArrayLike) -> float:
    """NIST's normalised cross entropy of confidences.

    The share of the uncertainty about words, when only their rate of errors is known, that the
    confidences take away.

    Returns:
        At most 1, which is perfect; 0 for always saying the share of words that are right, less
        for misleading; -inf if a sure word is wrong. NaN where no word, or every word, is right.

    References:
        Siu, Gish & Richardson (1997), Improved estimation, evaluation and applications of
        confidence measures for speech recognition.
    """
    confidences, correct = _check_confidences(confidence, is_correct)
    num_words, num_correct = len(correct), int(correct.sum())
    if num_correct in (0, num_words):
        return math.nan
    rate = num_correct / num_words
    known = num_correct * math.log(rate) + (num_words - num_correct) * math.log1p(-rate)
    with np.errstate(divide="ignore"):
        told = np.log(np.where(correct, confidences, 1 - confidences)).sum()
    return float(1 - told / known)


def area_under_roc(confidence: npt.ArrayLike, is_correct: npt.ArrayLike) -> float:
    """Probability that a word that is right is more confident than one that is wrong.

    Returns:
        In [0, 1], equal confidences counting half; NaN where no word, or every word, is right.
    """
    confidences, correct = _check_confidences(confidence, is_correct)
    right, wrong = confidences[correct], np.sort(confidences[~correct])
    if not len(right) or not len(wrong):
        return math.nan
    below = np.searchsorted(wrong, right, side="left") + np.searchsorted(wrong, right, side="right")
    return float(below.mean() / 2 / len(wrong))


def _line_search(
    inputs: Floats, correct: Floats, move: tuple[Floats, Floats], prior: Floats, l2: float
) -> Floats:
    """Where the first of step, step / 2, … leads that lowers the penalised cross entropy."""

    def cost(at: Floats) -> float:
        log_odds = inputs @ at
        surprise = np.logaddexp(0.0, np.where(correct > 0, -log_odds, log_odds)).sum()
        return float(surprise + l2 / 2 * ((at - prior) ** 2).sum())

    start, step = move
    before = cost(start)
    for _ in range(MAX_HALVINGS):
        if cost(start - step) < before:
            return start - step
        step = step / 2
    return start


def _check_features(features: npt.ArrayLike) -> Floats:
    values = np.asarray(features, np.float64)
    if values.ndim != 2 or values.shape[1] != NUM_FEATURES:
        raise DataError(f"features must be (num_words, {NUM_FEATURES}), got shape {values.shape}")
    if not np.isfinite(values).all():
        raise DataError("features must be finite, got NaN or infinity")
    return values


def _check_pair(values: Floats, is_correct: npt.ArrayLike) -> tuple[Floats, Floats]:
    correct: npt.NDArray[Any] = np.asarray(is_correct)
    if correct.shape != values.shape[:1]:
        raise DataError(f"is_correct must be ({len(values)},), got shape {correct.shape}")
    if correct.size and correct.dtype != np.bool_:
        raise DataError(f"is_correct must be bool, got {correct.dtype}")
    return values, correct.astype(np.float64)


def _check_confidences(
    confidence: npt.ArrayLike, is_correct: npt.ArrayLike
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    values = np.asarray(confidence, np.float64)
    if values.ndim != 1:
        raise DataError(f"confidence must be (num_words,), got shape {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError("confidence must be in [0, 1]", hint="these are no probabilities")
    _, correct = _check_pair(values, is_correct)
    return values, correct > 0
