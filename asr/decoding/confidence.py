"""How sure a beam search is of each word of its best hypothesis (compiled; no torch).

Two things are known of a word: how much of the beam's probability agrees with it, and how undecided
the acoustic model was about its tokens. `calibration` turns both into a probability.

References:
    Wessel, Schlüter, Macherey & Ney (2001), Confidence measures for large vocabulary continuous
    speech recognition; Laptev & Ginsburg (2023), Fast entropy-based methods of word-level
    confidence estimation for end-to-end automatic speech recognition; Ukkonen (1985), Algorithms
    for approximate string matching, for the alignment.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from asr.decoding.fusion import Spelling
from asr.lm.compiled import compiled, kernel

Array = npt.NDArray[Any]
int64: Any = numba.int64

NUM_FEATURES = 2
"""Of each word: log-odds of its posterior, log of the entropy of its tokens."""

MAX_LOG_ODDS = 10.0
"""Posteriors count as at least this far from 0 and 1: what a beam has dropped is not impossible."""

MIN_ENTROPY = 1e-4
"""Nats; entropies below it count as it."""

MAX_EDITS = 64
"""Hypotheses more word edits away from the best one are not aligned in full."""

UNREACHED = -(1 << 30)


@kernel
def _word_keys(tokens: Array, spelling: Spelling, keys: Array) -> int:
    """Fill `keys` with 64 bits for each word, the same for words of the same characters.

    Different words get the same key by chance alone, with probability 2⁻⁶⁴.

    Returns:
        The number of words.
    """
    multiplier = np.uint64(0x9E3779B97F4A7C15)
    key, is_open, num_words = multiplier, False, int64(0)
    for index in range(tokens.size):
        token = tokens[index]
        begin, end = spelling.first[token], spelling.first[token + 1]
        if is_open and spelling.closes_before[token]:
            keys[num_words] = key
            key, is_open, num_words = multiplier, False, num_words + 1
        for place in range(begin, end):
            key = (key ^ np.uint64(spelling.labels[place])) * multiplier
            key ^= key >> np.uint64(29)
            is_open = True
        if is_open and spelling.closes_after[token]:
            keys[num_words] = key
            key, is_open, num_words = multiplier, False, num_words + 1
    if is_open:
        keys[num_words] = key
        num_words += 1
    count: int = num_words
    return count


@kernel
def fill_spans(tokens: Array, spelling: Spelling, spans: Array) -> int:
    """Fill the rows of `spans`: first token of each word, and one past its last.

    As `Tokenizer.spelled_spans`: spaces that a token begins or ends with are left out.

    Returns:
        The number of words.
    """
    first, num_words = int64(-1), int64(0)
    for index in range(tokens.size):
        token = tokens[index]
        if first >= 0 and spelling.closes_before[token]:
            spans[num_words, 0], spans[num_words, 1] = first, index
            first, num_words = int64(-1), num_words + 1
        if first < 0 and spelling.first[token] < spelling.first[token + 1]:
            first = int64(index)
        if first >= 0 and spelling.closes_after[token]:
            spans[num_words, 0], spans[num_words, 1] = first, index + 1
            first, num_words = int64(-1), num_words + 1
    if first >= 0:
        spans[num_words, 0], spans[num_words, 1] = first, tokens.size
        num_words += 1
    count: int = num_words
    return count


@kernel
def _slide(best: Array, other: Array, index: int, diagonal: int) -> int:
    """First index of `best` from `index` on whose word `other` has not, `diagonal` further on."""
    end = min(best.size, other.size - diagonal)
    while index < end and best[index] == other[index + diagonal]:
        index += 1
    return index


@kernel
def _before_slide(furthest: Array, edits: int, diagonal: int, end: int) -> tuple[int, int]:
    """Index of `best` that `edits` edits reach without matches after the last, and its diagonal.

    Among edits that reach the same index, a substitution comes before a deletion before an
    insertion; what would lie past `end` counts as `end`.
    """
    above = furthest[edits - 1]
    column = diagonal + MAX_EDITS + 1
    index, source = min(above[column] + 1, end), diagonal
    if min(above[column + 1] + 1, end) > index:
        index, source = min(above[column + 1] + 1, end), diagonal + 1
    if min(above[column - 1], end) > index:
        index, source = min(above[column - 1], end), diagonal - 1
    return index, source


@kernel
def _search_edits(best: Array, other: Array, furthest: Array) -> int:
    """Word edits between two hypotheses, or -1 for more than MAX_EDITS.

    Writes to `furthest[edits, diagonal + MAX_EDITS + 1]` the index of `best` that so many edits
    reach at most, with `diagonal` words more behind it in `other`.
    """
    goal = other.size - best.size
    furthest[0] = UNREACHED
    furthest[0, MAX_EDITS + 1] = _slide(best, other, int64(0), int64(0))
    if goal == 0 and furthest[0, MAX_EDITS + 1] == best.size:
        return 0
    for edits in range(1, MAX_EDITS + 1):
        furthest[edits] = UNREACHED
        for diagonal in range(-edits, edits + 1):
            end = min(best.size, other.size - diagonal)
            index, _ = _before_slide(furthest, edits, diagonal, end)
            if max(0, -diagonal) <= index:
                index = _slide(best, other, index, diagonal)
                furthest[edits, diagonal + MAX_EDITS + 1] = index
        if abs(goal) <= edits and furthest[edits, goal + MAX_EDITS + 1] == best.size:
            return edits
    return -1


@kernel
def mark_hits(best: Array, other: Array, furthest: Array, is_hit: Array) -> None:
    """Mark the words of `best` that an alignment with the fewest edits finds in `other`.

    Costs words + edits². With more than MAX_EDITS edits only the words that both begin with, and
    those that both end with, are marked.

    Args:
        best, other: Words as numbers.
        furthest: (MAX_EDITS + 1, 2 × MAX_EDITS + 3) int32, scratch.
        is_hit: (number of words of `best`,) bool, overwritten.
    """
    is_hit[:] = False
    edits = _search_edits(best, other, furthest)
    diagonal = other.size - best.size
    if edits < 0:
        begin = furthest[0, MAX_EDITS + 1]
        is_hit[:begin] = True
        index = best.size
        while (
            index > max(begin, begin - diagonal) and best[index - 1] == other[index - 1 + diagonal]
        ):
            index -= 1
            is_hit[index] = True
        return
    while edits > 0:
        reached = furthest[edits, diagonal + MAX_EDITS + 1]
        end = min(best.size, other.size - diagonal)
        index, diagonal = _before_slide(furthest, edits, diagonal, end)
        is_hit[index:reached] = True
        edits -= 1
    is_hit[: furthest[0, MAX_EDITS + 1]] = True


@compiled
def word_posteriors(tokens: Array, first: Array, log_weights: Array, spelling: Spelling) -> Array:
    """How much of the beam's probability has each word of the best hypothesis.

    A hypothesis has a word if it stands there in their word alignment (`mark_hits`). Words count
    as the same by their characters, however these are cut into tokens.

    Args:
        tokens: int32, of all hypotheses in a row.
        first: (num_hypotheses + 1,) integers; hypothesis h has tokens[first[h]:first[h + 1]].
            Hypothesis 0 is the best one; there must be at least that.
        log_weights: (num_hypotheses,) float64 natural-log scores, of any sum; their softmax is
            what they count. -inf counts nothing.
        spelling: Text of the tokens.

    Returns:
        (number of words of hypothesis 0,) float64 in [0, 1]; zero where all weights are -inf.
    """
    longest, highest = int64(1), -np.inf
    for index in range(log_weights.size):
        longest = max(longest, first[index + 1] - first[index])
        highest = max(highest, log_weights[index])
    scratch = np.empty((2, longest), np.uint64)
    num_words = _word_keys(tokens[first[0] : first[1]], spelling, scratch[0])
    best = scratch[0, :num_words]
    posteriors, is_hit = np.zeros(num_words), np.zeros(num_words, np.bool_)
    furthest = np.empty((MAX_EDITS + 1, 2 * MAX_EDITS + 3), np.int32)
    total = 0.0
    if highest == -np.inf:
        return posteriors
    for index in range(log_weights.size):
        weight = math.exp(log_weights[index] - highest)
        total += weight
        if weight > 0.0:
            count = _word_keys(tokens[first[index] : first[index + 1]], spelling, scratch[1])
            mark_hits(best, scratch[1, :count], furthest, is_hit)
            for word in range(num_words):
                posteriors[word] += weight * is_hit[word]
    for word in range(num_words):
        posteriors[word] = min(posteriors[word] / total, 1.0)
    return posteriors


@kernel
def _entropy(log_probs: Array) -> float:
    """Nats, of one frame."""
    entropy = 0.0
    for token in range(log_probs.size):
        log_prob = log_probs[token]
        if log_prob > -np.inf:
            entropy -= math.exp(log_prob) * log_prob
    return max(entropy, 0.0)


@compiled
def frame_entropies(log_probs: Array) -> Array:
    """Entropy of each frame.

    Args:
        log_probs: (num_frames, vocab_size) normalised natural logs, -inf where impossible.

    Returns:
        (num_frames,) float32, nats, in [0, log(vocab_size)] up to rounding.
    """
    entropies = np.empty(len(log_probs), np.float32)
    for frame in range(len(log_probs)):
        entropies[frame] = _entropy(log_probs[frame])
    return entropies


@compiled
def run_entropies(log_probs: Array, starts: Array, ends: Array) -> Array:
    """As `frame_entropies`, where only the frames from `starts` to before `ends` are asked for.

    Args:
        log_probs: (num_frames, vocab_size) normalised natural logs, -inf where impossible.
        starts, ends: (num_tokens,) integers, of each token's run of frames.

    Returns:
        (num_frames,) float32; in other frames inf.
    """
    entropies = np.full(len(log_probs), np.inf, np.float32)
    for token in range(starts.size):
        for frame in range(starts[token], ends[token]):
            entropies[frame] = _entropy(log_probs[frame])
    return entropies


@compiled
def word_features(
    posteriors: Array, entropies: Array, starts: Array, ends: Array, spans: Array
) -> Array:
    """What `Calibration` reads of each word of a hypothesis.

    The entropy of a token is the lowest in its run, where the model is most decided; that of a
    word is the mean of its tokens'. Blank frames do not count: they are many, and always sure.
    On AN4 development data these two did as well as any three of posterior, entropies of tokens
    or of frames, and mean or lowest peak of the tokens' posteriors.

    Args:
        posteriors: (num_words,) of `word_posteriors`, in [0, 1]; 1/2 where nothing is known of
            other hypotheses, as after greedy decoding.
        entropies: (num_frames,) of `frame_entropies` or `run_entropies`.
        starts, ends: (num_tokens,) integers: each token's run of frames on the best path, the end
            exclusive; no run is empty.
        spans: (num_words, 2) integers: first token of each word, and one past its last.

    Returns:
        (num_words, 2) float64: log-odds of the posterior in [-MAX_LOG_ODDS, MAX_LOG_ODDS]; log of
        the entropy in nats, at least log(MIN_ENTROPY).
    """
    features = np.empty((len(posteriors), NUM_FEATURES))
    least = 1.0 / (1.0 + math.exp(MAX_LOG_ODDS))
    for word in range(len(posteriors)):
        posterior = min(max(posteriors[word], least), 1.0 - least)
        features[word, 0] = math.log(posterior) - math.log1p(-posterior)
        entropy = 0.0
        for token in range(spans[word, 0], spans[word, 1]):
            lowest = np.inf
            for frame in range(starts[token], ends[token]):
                lowest = min(lowest, entropies[frame])
            entropy += lowest
        entropy /= spans[word, 1] - spans[word, 0]
        features[word, 1] = math.log(max(entropy, MIN_ENTROPY))
    return features
