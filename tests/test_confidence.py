"""Confidence features of words, against enumeration and slow, obvious Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding.confidence import (
    MAX_EDITS,
    MAX_LOG_ODDS,
    MIN_ENTROPY,
    fill_spans,
    frame_entropies,
    mark_hits,
    run_entropies,
    word_features,
    word_posteriors,
)
from asr.decoding.lexicon import build_spelling
from asr.tokens import Tokenizer, TokensConfig, build_tokenizer, tokenizer_from_dict
from asr.wer import count_errors

CHARACTERS = tokenizer_from_dict({"kind": "char", "vocab": ["<blank>", "a", " ", "b", "c"]})
WORDS = build_tokenizer(TokensConfig(kind="word"), ["a ab b c"])
BPE = build_tokenizer(TokensConfig(kind="bpe", vocab_size=6), ["abba ab a bab", "bb aa ab abba"])
TOKENIZERS = {"char": CHARACTERS, "word": WORDS, "bpe": BPE}

short = st.lists(st.integers(0, 2), max_size=5).map(tuple)
token_lists = st.lists(st.integers(0, 99), max_size=9)


def hits(best: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """Indices that `mark_hits` marks."""
    is_hit = np.ones(len(best), np.bool_)
    scratch = np.full((MAX_EDITS + 1, 2 * MAX_EDITS + 3), 7, np.int32)
    mark_hits(np.array(best, np.uint64), np.array(other, np.uint64), scratch, is_hit)
    return tuple(np.flatnonzero(is_hit).tolist())


def best_hit_sets(best: tuple[int, ...], other: tuple[int, ...]) -> set[tuple[int, ...]]:
    """Hits of every alignment with the fewest edits, by trying all sets of matched pairs."""

    def gap(left: int, right: int) -> int:
        return max(left, right)  # between matches: substitutions, then what is left over

    found: dict[tuple[int, ...], int] = {}
    for size in range(min(len(best), len(other)) + 1):
        for mine in combinations(range(len(best)), size):
            for theirs in combinations(range(len(other)), size):
                if any(best[i] != other[j] for i, j in zip(mine, theirs, strict=True)):
                    continue
                stops = list(zip((-1, *mine), (-1, *theirs), strict=True))
                nexts = [*stops[1:], (len(best), len(other))]
                cost = sum(
                    gap(i2 - i1 - 1, j2 - j1 - 1)
                    for (i1, j1), (i2, j2) in zip(stops, nexts, strict=True)
                )
                found[mine] = min(cost, found.get(mine, cost))
    return {mine for mine, cost in found.items() if cost == min(found.values())}


@given(best=short, other=short)
def test_hits_are_those_of_an_alignment_with_the_fewest_edits(
    best: tuple[int, ...], other: tuple[int, ...]
) -> None:
    assert hits(best, other) in best_hit_sets(best, other)


def test_the_enumeration_knows_by_hand() -> None:
    assert best_hit_sets((1, 2), (2,)) == {(1,)}
    assert best_hit_sets((1, 2), (2, 1)) == {(), (0,), (1,)}
    assert best_hit_sets((1, 1), (1,)) == {(0,), (1,)}


def test_a_substitution_comes_before_moving_words() -> None:
    assert hits((1, 2), (2, 1)) == ()
    assert hits((1, 1), (1,)) == (0,)


@settings(max_examples=50)
@given(
    shared=st.lists(st.integers(0, 3), min_size=200, max_size=300),
    edits=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 5)), max_size=12),
)
def test_long_hypotheses_that_share_nearly_all(
    shared: list[int], edits: list[tuple[int, int]]
) -> None:
    other = list(shared)
    for position, value in edits:
        if value == 5:
            del other[position]
        elif value == 4:
            other.insert(position, 9)
        else:
            other[position] = value
    found = set(hits(shared, other))
    rebuilt = [word for index, word in enumerate(shared) if index in found]
    assert is_subsequence(rebuilt, other)
    # With the fewest edits there are at most as many words missed as edits.
    distance = count_errors([str(x) for x in shared], [str(x) for x in other]).num_errors
    assert len(shared) - len(found) <= distance


def is_subsequence(part: Sequence[int], whole: Sequence[int]) -> bool:
    rest = iter(whole)
    return all(word in rest for word in part)


@pytest.mark.parametrize("num_edits", [MAX_EDITS - 1, MAX_EDITS])
def test_so_many_edits_are_aligned_in_full(num_edits: int) -> None:
    best = list(range(10, 10 + 2 * num_edits + 1))
    other = [0 if index % 2 else word for index, word in enumerate(best)]
    assert hits(best, other) == tuple(range(0, len(best), 2))


@pytest.mark.parametrize("extra", [(), (1, 1, 1)])
def test_with_more_edits_only_common_ends_count(extra: tuple[int, ...]) -> None:
    best = list(range(10, 10 + 2 * (MAX_EDITS + 1) + 1))
    changed = [0 if index % 2 else word for index, word in enumerate(best)]
    other = [*changed[:40], *extra, *changed[40:]]
    assert hits([1, 2, *best, 3], [1, 2, *other, 3]) == (0, 1, 2, len(best) + 1, len(best) + 2)


def test_common_ends_of_a_much_longer_hypothesis_do_not_overlap() -> None:
    repeated = [1] * 5
    assert hits(repeated, [1] * (5 + MAX_EDITS + 1)) == (0, 1, 2, 3, 4)
    assert hits([1] * (5 + MAX_EDITS + 1), repeated) == (0, 1, 2, 3, 4)


def words_of(tokenizer: Tokenizer, tokens: Sequence[int]) -> tuple[str, ...]:
    return tuple(text for text, _, _ in tokenizer.word_spans(tokens))


@pytest.mark.parametrize("name", TOKENIZERS)
@given(data=st.data())
def test_spans_are_those_of_the_tokenizer(name: str, data: st.DataObject) -> None:
    tokenizer = TOKENIZERS[name]
    tokens = data.draw(st.lists(st.integers(1, len(tokenizer.vocab) - 1), max_size=12))
    spans = np.full((len(tokens), 2), 99, np.int64)
    spelling, _ = build_spelling(tokenizer)
    num_words = fill_spans(np.array(tokens, np.int32), spelling, spans)
    expected = [[first, stop] for _, first, stop in tokenizer.spelled_spans(tokens)]
    assert spans[:num_words].tolist() == expected


def posteriors(
    tokenizer: Tokenizer, hypotheses: Sequence[Sequence[int]], log_weights: Sequence[float]
) -> list[float]:
    spelling, _ = build_spelling(tokenizer)
    tokens = np.array([token for one in hypotheses for token in one], np.int32)
    first = np.cumsum([0, *map(len, hypotheses)])
    found = word_posteriors(tokens, first, np.array(log_weights, np.float64), spelling)
    assert found.dtype == np.float64
    return list(found.tolist())


def slow_posteriors(
    tokenizer: Tokenizer, hypotheses: Sequence[Sequence[int]], log_weights: Sequence[float]
) -> list[float]:
    """By text and in linear probabilities."""
    readings = [words_of(tokenizer, one) for one in hypotheses]
    numbers = {word: i for i, word in enumerate(sorted({w for one in readings for w in one}))}
    coded = [[numbers[word] for word in one] for one in readings]
    weights = [math.exp(weight) for weight in log_weights]
    agreeing = [0.0] * len(readings[0])
    for weight, words in zip(weights, coded, strict=True):
        for index in hits(coded[0], words):
            agreeing[index] += weight
    return [one / sum(weights) for one in agreeing]


@given(
    kind=st.sampled_from(sorted(TOKENIZERS)),
    beam=st.lists(st.tuples(token_lists, st.floats(-30, 5)), min_size=1, max_size=6),
)
def test_posteriors_are_the_share_of_the_hypotheses_that_agree(
    kind: str, beam: list[tuple[list[int], float]]
) -> None:
    tokenizer, log_weights = TOKENIZERS[kind], [weight for _, weight in beam]
    num_tokens = len(tokenizer.vocab) - 1
    hypotheses = [[1 + number % num_tokens for number in numbers] for numbers, _ in beam]
    expected = slow_posteriors(tokenizer, hypotheses, log_weights)
    assert posteriors(tokenizer, hypotheses, log_weights) == pytest.approx(expected)


def encoded(*texts: str) -> list[list[int]]:
    return [CHARACTERS.encode(text) for text in texts]


def test_posteriors_by_hand() -> None:
    log_weights = np.log([0.5, 0.3, 0.2]).tolist()
    hypotheses = encoded("a bb c", "a bc c", "bb c")
    assert posteriors(CHARACTERS, hypotheses, log_weights) == pytest.approx([0.8, 0.7, 1.0])


def test_spaces_around_words_are_no_part_of_them() -> None:
    assert posteriors(CHARACTERS, encoded("a b", "  a   b "), [0.0, 0.0]) == [1.0, 1.0]


def test_words_count_by_their_characters_however_they_are_cut() -> None:
    ab, start, a, b = (BPE.vocab.index(token) for token in ("▁ab", "▁", "a", "b"))
    assert posteriors(BPE, [[ab, ab], [start, a, b, ab]], [0.0, 0.0]) == [1.0, 1.0]
    assert posteriors(BPE, [[ab, ab], [start, b, a, ab]], [0.0, 0.0]) == [0.5, 1.0]


@pytest.mark.parametrize("shift", [-5000.0, 800.0])
def test_scores_need_not_be_probabilities(shift: float) -> None:
    hypotheses, log_weights = encoded("a b", "a c", "b"), [-1.0, -2.0, -2.5]
    expected = posteriors(CHARACTERS, hypotheses, log_weights)
    shifted = [weight + shift for weight in log_weights]
    assert posteriors(CHARACTERS, hypotheses, shifted) == pytest.approx(expected)


def test_impossible_hypotheses_count_nothing() -> None:
    assert posteriors(CHARACTERS, encoded("a b", "c c"), [-3.0, -math.inf]) == [1.0, 1.0]
    assert posteriors(CHARACTERS, encoded("a b", "a b"), [-math.inf] * 2) == [0.0, 0.0]


def test_without_words_there_are_no_posteriors() -> None:
    assert posteriors(CHARACTERS, encoded(""), [0.0]) == []
    assert posteriors(CHARACTERS, encoded(" ", "a b"), [0.0, -1.0]) == []
    assert posteriors(CHARACTERS, encoded("a", ""), [0.0, 0.0]) == [0.5]


def random_log_probs(seed: int, dtype: Any = np.float32) -> npt.NDArray[Any]:
    generator = np.random.default_rng(seed)
    values = generator.dirichlet(np.full(6, 0.2), size=9)
    values[generator.random(values.shape) < 0.3] = 0.0
    values[:, 0] += 1e-3
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values / values.sum(axis=1, keepdims=True)), dtype)


@given(seed=st.integers(0, 1000), dtype=st.sampled_from([np.float32, np.float64]))
def test_entropies_are_minus_the_sum_of_p_log_p(seed: int, dtype: Any) -> None:
    log_probs = random_log_probs(seed, dtype)
    expected = [-sum(math.exp(x) * x for x in row if x > -math.inf) for row in log_probs.tolist()]
    found = frame_entropies(log_probs)
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array(expected), abs=1e-5)
    assert (found >= 0).all()


@given(seed=st.integers(0, 1000), data=st.data())
def test_entropies_of_runs_are_those_of_their_frames(seed: int, data: st.DataObject) -> None:
    log_probs = random_log_probs(seed, np.float64)
    edges = sorted(data.draw(st.sets(st.integers(0, len(log_probs)))))
    edges = edges[: len(edges) // 2 * 2]
    starts, ends = (np.array(edges[part::2], np.int32) for part in (0, 1))
    found, expected = run_entropies(log_probs, starts, ends), frame_entropies(log_probs)
    inside = [((starts <= frame) & (frame < ends)).any() for frame in range(len(log_probs))]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.where(inside, expected, np.inf))


def test_entropies_at_both_ends() -> None:
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array([[0.25] * 4, [0, 1, 0, 0], [0.5, 0, 0, 0.5]]))
    expected = [math.log(4), 0.0, math.log(2)]
    assert frame_entropies(log_probs) == pytest.approx(np.array(expected))
    assert frame_entropies(log_probs[:0]).shape == (0,)


def features(
    posteriors: Sequence[float],
    entropies: Sequence[float],
    runs: Sequence[tuple[int, int]],
    spans: Sequence[tuple[int, int]],
) -> npt.NDArray[np.float64]:
    starts, ends = np.array(runs, np.int32).reshape(-1, 2).T
    return word_features(
        np.array(posteriors, np.float64),
        np.array(entropies, np.float32),
        np.ascontiguousarray(starts),
        np.ascontiguousarray(ends),
        np.array(spans, np.int64).reshape(-1, 2),
    )


def test_features_by_hand() -> None:
    found = features(
        posteriors=[0.9, 0.5],
        entropies=[0.3, 0.0, 0.1, 0.5, 0.7, 0.0, 0.2],
        runs=[(0, 1), (2, 4), (4, 5), (6, 7)],
        spans=[(0, 2), (3, 4)],  # token 2 is a space
    )
    expected = [[math.log(9), math.log((0.3 + 0.1) / 2)], [0.0, math.log(0.2)]]
    assert found == pytest.approx(np.array(expected), rel=1e-6)


@pytest.mark.parametrize(("posterior", "log_odds"), [(0.0, -MAX_LOG_ODDS), (1.0, MAX_LOG_ODDS)])
def test_features_are_finite_whatever_the_beam_is_sure_of(
    posterior: float, log_odds: float
) -> None:
    found = features([posterior], [0.0], [(0, 1)], [(0, 1)])
    assert found == pytest.approx(np.array([[log_odds, math.log(MIN_ENTROPY)]]))


def test_no_words_no_features() -> None:
    assert features([], [0.1], [], []).shape == (0, 2)
