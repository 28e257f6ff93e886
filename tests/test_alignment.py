"""Forced alignment against a slow trellis search over every path, and by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.alignment import AlignedToken, AlignedWord, align_tokens, align_words
from asr.ctc import collapse, min_frames
from asr.errors import ConfigError, DataError
from asr.tokens import TokensConfig, build_tokenizer


def random_log_probs(seed: int, num_frames: int, vocab_size: int) -> np.ndarray:
    logits = 3 * np.random.default_rng(seed).standard_normal((num_frames, vocab_size))
    normalised = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return normalised.astype(np.float32)


def uniform(num_frames: int, vocab_size: int) -> np.ndarray:
    return np.full((num_frames, vocab_size), -math.log(vocab_size))


def viterbi(log_probs: np.ndarray, tokens: list[int]) -> tuple[list[int], float]:
    """The best path, by the textbook recursion over blank-interleaved labels (Graves 2006)."""
    labels = [0]
    for token in tokens:
        labels += [token, 0]
    num_frames, num_labels = len(log_probs), len(labels)
    best = np.full((num_frames, num_labels), -np.inf)
    came_from = np.zeros((num_frames, num_labels), dtype=int)
    best[0, :2] = log_probs[0, labels[:2]]
    for frame in range(1, num_frames):
        for label in range(num_labels):
            sources = [label]
            if label >= 1:
                sources.append(label - 1)
            if label >= 2 and labels[label] != 0 and labels[label] != labels[label - 2]:
                sources.append(label - 2)
            source = max(sources, key=lambda index: best[frame - 1, index])
            came_from[frame, label] = source
            best[frame, label] = best[frame - 1, source] + log_probs[frame, labels[label]]
    label = max((num_labels - 1, num_labels - 2), key=lambda index: best[-1, index])
    score, path = float(best[-1, label]), []
    for frame in range(num_frames - 1, -1, -1):
        path.append(labels[label])
        label = came_from[frame, label]
    return path[::-1], score


def in_form(log_probs: np.ndarray, form: str) -> np.ndarray | torch.Tensor:
    """The same values as they may come: with gradients, in other memory layouts, locked."""
    if form == "tensor":
        return torch.from_numpy(log_probs).requires_grad_()
    if form == "fortran":
        return np.asfortranarray(log_probs)
    if form == "backwards":
        return log_probs[::-1].copy()[::-1]
    if form == "read-only":
        log_probs = log_probs.copy()
        log_probs.flags.writeable = False
    return log_probs


def path_of(spans: list[AlignedToken], num_frames: int) -> list[int]:
    path = [0] * num_frames
    for span in spans:
        assert 0 <= span.start_frame < span.end_frame <= num_frames
        for frame in range(span.start_frame, span.end_frame):
            assert path[frame] == 0, "spans overlap"
            path[frame] = span.token
    return path


def test_slow_search_finds_the_best_of_all_paths() -> None:
    """The reference itself, against every path there is."""
    log_probs, tokens = random_log_probs(0, 6, 3), [1, 1, 2]
    paths = [path for path in itertools.product(range(3), repeat=6) if collapse(path)[0] == tokens]
    scores = [sum(log_probs[frame, token] for frame, token in enumerate(path)) for path in paths]
    path, score = viterbi(log_probs, tokens)
    assert tuple(path) == paths[int(np.argmax(scores))]
    assert score == pytest.approx(max(scores), abs=1e-5)


@given(
    tokens=st.lists(st.integers(1, 4), min_size=1, max_size=7),
    spare=st.integers(0, 9),
    seed=st.integers(0, 999),
    form=st.sampled_from(["array", "tensor", "fortran", "backwards", "read-only"]),
)
@settings(max_examples=80)
def test_alignment_is_the_best_path(tokens: list[int], spare: int, seed: int, form: str) -> None:
    num_frames = min_frames(tokens) + spare
    log_probs = random_log_probs(seed, num_frames, 5)
    spans = align_tokens(in_form(log_probs, form), tokens)
    assert [span.token for span in spans] == tokens
    path, score = viterbi(log_probs, tokens)
    found = path_of(spans, num_frames)
    assert found == path
    blanks = sum(float(log_probs[frame, 0]) for frame in range(num_frames) if found[frame] == 0)
    assert sum(span.log_prob for span in spans) + blanks == pytest.approx(score, abs=1e-4)


@given(seed=st.integers(0, 999), tokens=st.lists(st.integers(1, 3), min_size=1, max_size=4))
@settings(max_examples=80)
def test_zero_probabilities_are_never_walked_through(seed: int, tokens: list[int]) -> None:
    log_probs = random_log_probs(seed, 9, 4)
    holes = np.random.default_rng(seed).random(log_probs.shape) < 0.4
    holes[:, 0] &= ~holes.all(axis=1)  # every frame says something
    log_probs[holes] = -np.inf
    log_probs -= np.log(np.exp(log_probs).sum(axis=1, keepdims=True))
    path, score = viterbi(log_probs, tokens)
    if score == -math.inf:
        with pytest.raises(DataError, match="probability above zero"):
            align_tokens(log_probs, tokens)
    else:
        assert path_of(align_tokens(log_probs, tokens), 9) == path


def peaked(path: list[int], vocab_size: int, high: float = 0.8) -> np.ndarray:
    """Log-probabilities that put `high` on one path."""
    probs = np.full((len(path), vocab_size), (1 - high) / (vocab_size - 1))
    probs[np.arange(len(path)), path] = high
    return np.log(probs).astype(np.float32)


def test_words_by_hand() -> None:
    tokenizer = build_tokenizer(TokensConfig(kind="char"), ["ab bb"])
    space, a, b = (tokenizer.vocab.index(character) for character in " ab")
    path = [0, a, a, 0, b, space, 0, b, 0, b, b, 0]
    words = align_words(peaked(path, 4), tokenizer.encode("ab bb"), tokenizer, frame_s=0.04)
    assert [word.text for word in words] == ["ab", "bb"]
    assert [word.start_s for word in words] == pytest.approx([0.04, 0.28])
    assert [word.end_s for word in words] == pytest.approx([0.2, 0.44])
    assert [word.score for word in words] == pytest.approx([0.8, 0.8])
    with pytest.raises(ConfigError, match="frame_s must be a positive number of seconds"):
        align_words(peaked(path, 4), tokenizer.encode("ab bb"), tokenizer, frame_s=-0.04)


def test_score_is_the_geometric_mean_over_frames() -> None:
    tokenizer = build_tokenizer(TokensConfig(kind="word"), ["yes no"])
    yes, no = tokenizer.encode("yes"), tokenizer.encode("no")
    probs = np.array([[0.05, 0.9, 0.05], [0.35, 0.4, 0.25], [0.9, 0.05, 0.05], [0.2, 0.1, 0.7]])
    probs = probs[:, [0, *yes, *no]]
    words = align_words(np.log(probs), yes + no, tokenizer, 0.01)
    expected = [
        AlignedWord("yes", 0.0, 0.02, pytest.approx(0.6)),  # √(0.9 × 0.4)
        AlignedWord("no", 0.03, 0.04, pytest.approx(0.7)),
    ]
    assert words == expected


def test_an_empty_transcript_has_no_spans() -> None:
    tokenizer = build_tokenizer(TokensConfig(kind="word"), ["yes no"])
    assert align_tokens(random_log_probs(0, 5, 3), []) == []
    assert align_tokens(random_log_probs(0, 0, 3), []) == []
    assert align_words(random_log_probs(0, 5, 3), [], tokenizer, 0.01) == []


def test_one_frame_and_exactly_enough() -> None:
    assert [(s.start_frame, s.end_frame) for s in align_tokens(peaked([1], 3), [1])] == [(0, 1)]
    spans = align_tokens(random_log_probs(1, 3, 3), [2, 2])
    assert [(span.start_frame, span.end_frame) for span in spans] == [(0, 1), (2, 3)]


@pytest.mark.parametrize(
    ("log_probs", "tokens", "message"),
    [
        (uniform(2, 3), [1, 1], "2 tokens needs at least 3 frames under CTC, got 2"),
        (uniform(0, 3), [1], "1 tokens needs at least 1 frames under CTC, got 0"),
        (uniform(4, 3), [1, 0], "tokens must be 1 to 2, got 0"),
        (uniform(4, 3), [3], "tokens must be 1 to 2, got 3"),
        (uniform(4, 3), [-1], "tokens must be 1 to 2, got -1"),
        (uniform(4, 3)[None], [1], r"\(num_frames, vocab_size\), got shape \(1, 4, 3\)"),
        (np.full((4, 3), np.nan), [1], "log_probs holds NaN"),
        (np.zeros((4, 3)), [1], "must be normalised"),
        (np.full((4, 3), -np.inf), [1], "must be normalised"),
    ],
)
def test_what_cannot_be_aligned_is_refused(
    log_probs: np.ndarray, tokens: list[int], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        align_tokens(log_probs, tokens)


@pytest.mark.parametrize("of", [np.array, torch.tensor, tuple])
def test_tokens_may_be_an_array_or_a_tensor(of: Callable[[list[int]], list[int]]) -> None:
    tokenizer = build_tokenizer(TokensConfig(), ["ab"])
    tokens = tokenizer.encode("ab")
    log_probs = random_log_probs(1, 8, len(tokenizer.vocab))
    assert align_tokens(log_probs, of(tokens)) == align_tokens(log_probs, tokens)
    expected = align_words(log_probs, tokens, tokenizer, 0.04)
    assert align_words(log_probs, of(tokens), tokenizer, 0.04) == expected


def test_a_text_in_place_of_tokens_is_refused() -> None:
    tokenizer = build_tokenizer(TokensConfig(), ["ab"])
    log_probs = random_log_probs(1, 8, len(tokenizer.vocab))
    for tokens in ("ab", [1.5]):
        with pytest.raises(DataError, match=r"tokens must be integers; .* tokenizer\.encode"):
            align_words(log_probs, tokens, tokenizer, 0.04)  # type: ignore[arg-type]
