"""What every decoder keeps to, then what each one alone does. A new decoder joins `DECODERS`."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding import (
    BeamConfig,
    BeamDecoder,
    Decoder,
    GreedyDecoder,
    Hypothesis,
    LogProbs,
    check_log_probs,
)
from asr.errors import ConfigError, DataError
from asr.tensor_decoding import TensorBeamConfig, TensorBeamDecoder
from asr.tokens import Tokenizer, TokensConfig, build_tokenizer

FRAME_S = 0.04
TEXTS = ["one two", "oh no", "two ten"]
CHARACTERS = build_tokenizer(TokensConfig(kind="char"), TEXTS)
WORDS = build_tokenizer(TokensConfig(kind="word"), TEXTS)
DECODERS: dict[str, Callable[[Tokenizer], Decoder]] = {
    "greedy": lambda tokenizer: GreedyDecoder(tokenizer, FRAME_S),
    "beam": lambda tokenizer: BeamDecoder(tokenizer, FRAME_S),
    "wide": lambda tokenizer: BeamDecoder(tokenizer, FRAME_S, BeamConfig(num_best=9)),
    "tensor": lambda tokenizer: TensorBeamDecoder(tokenizer, FRAME_S),
    "tensor wide": lambda tokenizer: TensorBeamDecoder(
        tokenizer, FRAME_S, TensorBeamConfig(num_best=9)
    ),
}

every_decoder = pytest.mark.parametrize("make", DECODERS.values(), ids=DECODERS)
every_tokenizer = pytest.mark.parametrize("tokenizer", [CHARACTERS, WORDS], ids=["char", "word"])
seeds = st.integers(0, 2**32 - 1)
num_frames_up_to = st.integers(0, 25)


def random_log_probs(seed: int, num_frames: int, vocab_size: int) -> npt.NDArray[np.float32]:
    """(num_frames, vocab_size) of anything from undecided to certain, some tokens impossible."""
    generator = np.random.default_rng(seed)
    sharpness = generator.choice([0.1, 3.0, 30.0])
    logits = sharpness * generator.standard_normal((num_frames, vocab_size))
    # Never the blank, so that something stays possible in every frame.
    logits[:, 1:][generator.random((num_frames, vocab_size - 1)) < 0.1] = -np.inf
    return normalised(logits).astype(np.float32)


def normalised(logits: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    highest = logits.max(axis=-1, keepdims=True)
    return logits - highest - np.log(np.exp(logits - highest).sum(axis=-1, keepdims=True))


def certain(path: list[int], vocab_size: int) -> npt.NDArray[np.float32]:
    """Log-probabilities that allow this path only: 0 on it, -inf elsewhere."""
    log_probs = np.full((len(path), vocab_size), -np.inf, dtype=np.float32)
    log_probs[np.arange(len(path)), path] = 0.0
    return log_probs


def path_of(pattern: str) -> list[int]:
    """Frames written as characters of `CHARACTERS`, the blank as `-`."""
    return [0 if symbol == "-" else CHARACTERS.encode(symbol)[0] for symbol in pattern]


@given(
    seed=seeds,
    vocab_size=st.integers(1, 40),
    total=st.floats(-2e-3, 2e-3).filter(lambda x: abs(abs(x) - 1e-3) > 1e-6),
)
def test_the_tolerance_holds_for_the_sum_of_all_tokens(
    seed: int, vocab_size: int, total: float
) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.choice([0.1, 3.0, 10.0]) * generator.standard_normal((5, vocab_size))
    log_probs = normalised(logits)
    log_probs[3] += total
    if abs(total) < 1e-3:
        check_log_probs(log_probs, vocab_size)
    else:
        with pytest.raises(DataError, match="probabilities of frame 3 sum to"):
            check_log_probs(log_probs, vocab_size)


@every_decoder
class TestEveryDecoder:
    @every_tokenizer
    @given(seed=seeds, num_frames=num_frames_up_to)
    def test_hypotheses_are_what_their_type_says(
        self, make: Callable[[Tokenizer], Decoder], tokenizer: Tokenizer, seed: int, num_frames: int
    ) -> None:
        vocab_size = len(tokenizer.vocab)
        hypotheses = make(tokenizer).decode(random_log_probs(seed, num_frames, vocab_size))
        assert hypotheses
        assert all(left.score >= right.score for left, right in pairwise(hypotheses))
        for one in hypotheses:
            assert one.score == one.acoustic_log_prob + one.lm_log_prob
            assert one.acoustic_log_prob <= 0
            assert all(0 < token < vocab_size for token in one.tokens)
            assert len(one.frames) == len(one.tokens)
            assert all(left < right for left, right in pairwise((-1, *one.frames, num_frames)))
            assert one.text == tokenizer.decode(one.tokens)
            check_words(one, tokenizer, num_frames)

    @every_tokenizer
    @given(seed=seeds, lengths=st.lists(num_frames_up_to, max_size=5))
    def test_batch_equals_alone_whatever_the_padding(
        self,
        make: Callable[[Tokenizer], Decoder],
        tokenizer: Tokenizer,
        seed: int,
        lengths: list[int],
    ) -> None:
        decoder, vocab_size = make(tokenizer), len(tokenizer.vocab)
        alone = [random_log_probs(seed + i, n, vocab_size) for i, n in enumerate(lengths)]
        shape = (len(lengths), max(lengths, default=0) + 2, vocab_size)
        batch = np.random.default_rng(seed).choice([np.nan, np.inf, 1e30, 0.0], size=shape)
        batch = batch.astype(np.float32)
        for row, one in zip(batch, alone, strict=True):
            row[: len(one)] = one
        expected = [decoder.decode(one) for one in alone]
        assert decoder.decode_batch(batch, lengths) == expected
        assert decoder.decode_batch(batch, np.array(lengths, dtype=np.int64)) == expected

    @given(path=st.lists(st.integers(0, len(CHARACTERS.vocab) - 1), max_size=25))
    def test_a_certain_path_is_read_out(
        self, make: Callable[[Tokenizer], Decoder], path: list[int]
    ) -> None:
        best = make(CHARACTERS).decode(certain(path, len(CHARACTERS.vocab)))[0]
        tokens, frames = reference.collapse(path)
        assert (best.tokens, best.frames) == (tuple(tokens), tuple(frames))
        assert best.acoustic_log_prob == 0.0
        assert all(word.confidence > 0.9999 for word in best.words)

    def test_no_frames_give_one_empty_hypothesis(
        self, make: Callable[[Tokenizer], Decoder]
    ) -> None:
        empty = np.zeros((0, len(CHARACTERS.vocab)), dtype=np.float32)
        assert make(CHARACTERS).decode(empty) == [Hypothesis((), (), (), 0.0, 0.0, 0.0)]
        assert make(CHARACTERS).decode(empty)[0].text == ""

    def test_input_stays_as_it_was_and_may_be_read_only(
        self, make: Callable[[Tokenizer], Decoder]
    ) -> None:
        log_probs = random_log_probs(7, 20, len(CHARACTERS.vocab))
        before = log_probs.copy()
        log_probs.flags.writeable = False
        first = make(CHARACTERS).decode(log_probs)
        assert make(CHARACTERS).decode(log_probs) == first
        assert np.array_equal(log_probs, before)

    def test_float64_and_strided_input_read_the_same(
        self, make: Callable[[Tokenizer], Decoder]
    ) -> None:
        log_probs = random_log_probs(3, 20, len(CHARACTERS.vocab))
        expected = make(CHARACTERS).decode(log_probs)
        assert make(CHARACTERS).decode(log_probs.astype(np.float64)) == expected
        assert make(CHARACTERS).decode(np.asfortranarray(log_probs)) == expected

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda x: np.exp(x), "these are probabilities; pass their natural logarithm"),
            (lambda x: x + 5, r"look like logits \(highest .*, above 0\); apply log_softmax"),
            (lambda x: x / np.float32(np.log(10)), "scaled or base-10 logarithms"),
            (lambda x: x - np.float32(0.01), r"sum to exp\(-0.01\) instead of 1 \(20 of 20 fra"),
            (lambda x: np.where(np.arange(20)[:, None] == 4, np.nan, x), "NaN .*in frame 4"),
            (lambda x: np.where(np.arange(20)[:, None] == 4, -np.inf, x), "ties of frame 4 sum"),
            (lambda x: np.where(np.arange(20)[:, None] == 4, np.inf, x), "must be normalised"),
            (lambda x: x[:, :-1], r"vocab_size 8, got shape \(20, 7\)"),
            (lambda x: x[None], r"must be \(num_frames, vocab_size\), got shape \(1, 20, 8\)"),
            (lambda x: x.astype(np.int64), "must be a float32 or float64 array, got int64"),
            (lambda x: x.astype(np.float16), r"got float16; pass .*\.astype\(numpy\.float32\)"),
            (lambda x: x.tolist(), "must be a float32 or float64 array, got list"),
            (torch.from_numpy, r"got Tensor; pass log_probs\.detach\(\)\.cpu\(\)\.numpy\(\)"),
        ],
    )
    def test_what_is_not_log_probabilities_is_refused(
        self,
        make: Callable[[Tokenizer], Decoder],
        change: Callable[[LogProbs], Any],
        message: str,
    ) -> None:
        vocab_size = len(CHARACTERS.vocab)
        log_probs = normalised(np.random.default_rng(1).standard_normal((20, vocab_size)))
        with pytest.raises(DataError, match=message):
            make(CHARACTERS).decode(change(log_probs.astype(np.float32)))

    def test_rounding_is_not_refused(self, make: Callable[[Tokenizer], Decoder]) -> None:
        log_probs = random_log_probs(5, 20, len(CHARACTERS.vocab))
        make(CHARACTERS).decode(log_probs + np.float32(5e-4))
        make(CHARACTERS).decode(log_probs - np.float32(5e-4))

    @pytest.mark.parametrize(
        ("lengths", "message"),
        [
            ([3, 5], r"in \[0, 4\].*got 5 for utterance 1"),
            ([-1, 4], "got -1 for utterance 0"),
            ([4], r"lengths must be \(2,\) integers"),
            ([4.0, 4.0], "of float64"),
            ([[4, 4]], r"got shape \(1, 2\)"),
        ],
    )
    def test_wrong_lengths_are_refused(
        self, make: Callable[[Tokenizer], Decoder], lengths: Any, message: str
    ) -> None:
        batch = np.zeros((2, 4, len(CHARACTERS.vocab)), dtype=np.float32)
        with pytest.raises(DataError, match=message):
            make(CHARACTERS).decode_batch(batch, lengths)

    def test_wrong_batches_are_refused(self, make: Callable[[Tokenizer], Decoder]) -> None:
        one = random_log_probs(1, 4, len(CHARACTERS.vocab))
        with pytest.raises(DataError, match=r"\(batch, max_frames, vocab_size\), got shape"):
            make(CHARACTERS).decode_batch(one, [4])
        with pytest.raises(DataError, match=r"vocab_size 8, got shape \(1, 4, 7\)"):
            make(CHARACTERS).decode_batch(one[None, :, :-1], [4])
        with pytest.raises(DataError, match=r"a float32 or float64 (array|tensor), got list"):
            make(CHARACTERS).decode_batch(one[None].tolist(), [4])


def check_words(one: Hypothesis, tokenizer: Tokenizer, num_frames: int) -> None:
    spans = tokenizer.word_spans(one.tokens)
    assert [word.text for word in one.words] == [text for text, _, _ in spans]
    for word, (_, first, last) in zip(one.words, spans, strict=True):
        assert word.start_s == one.frames[first] * FRAME_S
        assert one.frames[last - 1] * FRAME_S < word.end_s <= num_frames * FRAME_S
        assert 0 <= word.confidence <= 1
    assert all(left.end_s <= right.start_s for left, right in pairwise(one.words))


class TestGreedy:
    @every_tokenizer
    @given(seed=seeds, num_frames=num_frames_up_to)
    def test_equals_the_slow_best_path(
        self, tokenizer: Tokenizer, seed: int, num_frames: int
    ) -> None:
        log_probs = random_log_probs(seed, num_frames, len(tokenizer.vocab))
        (one,) = GreedyDecoder(tokenizer, FRAME_S).decode(log_probs)
        path, total = reference.best_path(log_probs.tolist())
        tokens, frames = reference.collapse(path)
        assert (one.tokens, one.frames) == (tuple(tokens), tuple(frames))
        assert one.acoustic_log_prob == pytest.approx(total)
        assert one.lm_log_prob == 0.0

    def test_times_by_hand(self) -> None:
        # 0.04 s a frame: "oh" from frame 1 to the end of 4, "no" from 7 to the end of 9.
        (one,) = GreedyDecoder(CHARACTERS, FRAME_S).decode(
            certain(path_of("-oohh  noo--"), len(CHARACTERS.vocab))
        )
        assert one.text == "oh no"
        assert one.frames == (1, 3, 5, 7, 8)
        times = [(word.start_s, word.end_s) for word in one.words]
        assert times == [
            (pytest.approx(0.04), pytest.approx(0.20)),
            (pytest.approx(0.28), pytest.approx(0.40)),
        ]

    def test_last_word_ends_with_the_last_frame(self) -> None:
        (one,) = GreedyDecoder(CHARACTERS, 0.5).decode(
            certain(path_of("noo"), len(CHARACTERS.vocab))
        )
        assert (one.words[0].start_s, one.words[0].end_s) == (0.0, 1.5)

    def test_blank_between_repeats_keeps_both(self) -> None:
        (one,) = GreedyDecoder(CHARACTERS, FRAME_S).decode(
            certain(path_of("too-o"), len(CHARACTERS.vocab))
        )
        assert one.text == "too"
        assert one.frames == (0, 1, 4)

    def test_ties_go_to_the_lowest_index(self) -> None:
        vocab_size = len(CHARACTERS.vocab)
        undecided = np.full((3, vocab_size), -math.log(vocab_size), dtype=np.float32)
        assert GreedyDecoder(CHARACTERS, FRAME_S).decode(undecided)[0].tokens == ()

    def test_confidence_by_hand(self) -> None:
        # "n" peaks at 0.9 in its two frames, "o" is 0.4: sqrt(0.9 · 0.4) = 0.6.
        probabilities = np.full((3, len(CHARACTERS.vocab)), 1e-12)
        for frame, token, posterior in zip(range(3), path_of("nno"), [0.5, 0.9, 0.4], strict=True):
            probabilities[frame, token] = posterior
            probabilities[frame, 0] = min(1 - posterior, 0.3)
            probabilities[frame, 1] = 1 - posterior - probabilities[frame, 0]
        (one,) = GreedyDecoder(CHARACTERS, FRAME_S).decode(np.log(probabilities + 1e-12))
        assert one.text == "no"
        assert one.words[0].confidence == pytest.approx(0.6, rel=1e-6)
        assert one.acoustic_log_prob == pytest.approx(math.log(0.5 * 0.9 * 0.4))

    @given(seed=seeds, num_frames=num_frames_up_to)
    def test_confidence_equals_the_slow_one(self, seed: int, num_frames: int) -> None:
        log_probs = random_log_probs(seed, num_frames, len(CHARACTERS.vocab))
        (one,) = GreedyDecoder(CHARACTERS, FRAME_S).decode(log_probs)
        path, _ = reference.best_path(log_probs.tolist())
        for word in one.words:
            first, last = round(word.start_s / FRAME_S), round(word.end_s / FRAME_S)
            expected = reference.word_confidence(log_probs[first:last].tolist(), path[first:last])
            assert word.confidence == pytest.approx(expected)

    @pytest.mark.parametrize("frame_s", [0.0, -0.01, math.nan, math.inf])
    def test_frames_must_last(self, frame_s: float) -> None:
        with pytest.raises(ConfigError, match="frame_s must be a positive number of seconds"):
            GreedyDecoder(CHARACTERS, frame_s)
