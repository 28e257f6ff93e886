"""The beam search without a language model against slow references, torch and torchaudio."""

from __future__ import annotations

import copy
import math
import pickle
import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import reference
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import parse_options
from asr.decoding import BeamConfig, BeamDecoder, GreedyDecoder, Hypothesis
from asr.decoding.calibration import Calibration
from asr.decoding.search import kth_highest, log_add
from asr.errors import ConfigError
from asr.tokens import TokensConfig, build_tokenizer

FRAME_S = 0.04
CHARACTERS = build_tokenizer(TokensConfig(kind="char"), ["ab a"])
VOCAB_SIZE = len(CHARACTERS.vocab)
EXACT = BeamConfig(
    beam_width=5000, beam_threshold=math.inf, token_threshold=math.inf, num_best=5000
)
seeds = st.integers(0, 2**32 - 1)


def random_log_probs(seed: int, num_frames: int, vocab_size: int) -> npt.NDArray[np.float32]:
    """(num_frames, vocab_size), undecided to sure, some tokens impossible."""
    generator = np.random.default_rng(seed)
    logits = generator.choice([0.3, 2.0, 8.0]) * generator.standard_normal((num_frames, vocab_size))
    logits[:, 1:][generator.random((num_frames, vocab_size - 1)) < 0.1] = -np.inf
    with np.errstate(divide="ignore"):
        return np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)


def as_text(tokens: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(CHARACTERS.decode(tokens).split())


@given(seed=seeds, num_frames=st.integers(0, 5))
def test_without_pruning_it_equals_the_walk_through_all_paths(seed: int, num_frames: int) -> None:
    log_probs = random_log_probs(seed, num_frames, VOCAB_SIZE)
    everything = reference.all_transcripts(log_probs.astype(float).tolist())
    by_words: dict[tuple[str, ...], float] = {}
    for tokens, value in everything.items():
        words = as_text(tokens)
        by_words[words] = max(value, by_words.get(words, -math.inf))
    found = BeamDecoder(CHARACTERS, FRAME_S, EXACT).decode(log_probs)
    assert {as_text(one.tokens): one.acoustic_log_prob for one in found} == pytest.approx(by_words)
    assert len(found) == len(by_words)
    assert all(left.score >= right.score for left, right in pairwise(found))
    for one in found:
        assert one.acoustic_log_prob == pytest.approx(everything[one.tokens], abs=1e-9)
        assert (one.lm_log_prob, one.score) == (0.0, one.acoustic_log_prob)


@given(seed=seeds, num_frames=st.integers(1, 12), width=st.integers(1, 12))
def test_a_narrow_beam_equals_the_slow_one(seed: int, num_frames: int, width: int) -> None:
    log_probs = random_log_probs(seed, num_frames, VOCAB_SIZE)
    expected = reference.prefix_beam_search(log_probs.astype(float).tolist(), width)
    config = EXACT.model_copy(update={"beam_width": width})
    found = BeamDecoder(CHARACTERS, FRAME_S, config).decode(log_probs)
    assert found[0].acoustic_log_prob == pytest.approx(max(expected.values()), abs=1e-9)
    for one in found:
        assert one.acoustic_log_prob == pytest.approx(expected[one.tokens], abs=1e-9)


@settings(max_examples=50)
@given(seed=seeds, num_frames=st.integers(1, 40))
def test_the_winner_has_the_probability_that_torch_computes(seed: int, num_frames: int) -> None:
    log_probs = random_log_probs(seed, num_frames, VOCAB_SIZE)
    narrow = BeamDecoder(CHARACTERS, FRAME_S).decode(log_probs)[0]
    # Paths that leave the beam are lost.
    assert narrow.acoustic_log_prob <= ctc_log_prob(log_probs, narrow.tokens) + 1e-9
    two = build_tokenizer(TokensConfig(kind="char"), ["ab"])
    log_probs = random_log_probs(seed, min(num_frames, 10), len(two.vocab))
    exact = BeamDecoder(two, FRAME_S, EXACT).decode(log_probs)[0]
    expected = ctc_log_prob(log_probs, exact.tokens)
    assert exact.acoustic_log_prob == pytest.approx(min(expected, 0.0), abs=1e-9)


def ctc_log_prob(log_probs: npt.NDArray[np.float32], tokens: tuple[int, ...]) -> float:
    loss = torch.nn.functional.ctc_loss(
        torch.from_numpy(log_probs.astype(np.float64))[:, None],
        torch.tensor(tokens, dtype=torch.int64).reshape(1, -1),
        torch.tensor([len(log_probs)]),
        torch.tensor([len(tokens)]),
        reduction="sum",
    )
    return -float(loss)


@settings(max_examples=50)
@given(seed=seeds, num_frames=st.integers(1, 30))
def test_times_are_those_of_the_best_path(seed: int, num_frames: int) -> None:
    generator = np.random.default_rng(seed)
    logits = torch.from_numpy(2.0 * generator.standard_normal((num_frames, VOCAB_SIZE)))
    log_probs = logits.log_softmax(dim=1).float()
    best = BeamDecoder(CHARACTERS, FRAME_S, BeamConfig(beam_width=400)).decode(log_probs.numpy())[0]
    if not best.tokens:
        return
    check_times(best, log_probs)


def check_times(hypothesis: Hypothesis, log_probs: torch.Tensor) -> None:
    """Token frames and word times are those of torchaudio's forced alignment."""
    path, scores = torchaudio.functional.forced_align(
        log_probs[None], torch.tensor([list(hypothesis.tokens)]), blank=0
    )
    spans = torchaudio.functional.merge_tokens(path[0], scores[0].exp())
    assert hypothesis.frames == tuple(span.start for span in spans)
    words = CHARACTERS.word_spans(hypothesis.tokens)
    for word, (_, first, last) in zip(hypothesis.words, words, strict=True):
        assert word.start_s == spans[first].start * FRAME_S
        assert word.end_s == spans[last - 1].end * FRAME_S


def test_confidence_is_what_posterior_and_entropy_say() -> None:
    # One frame of two words: "a" 0.7, "b" 0.3.
    log_probs = np.full((1, VOCAB_SIZE), -np.inf)
    log_probs[0, CHARACTERS.encode("a")[0]], log_probs[0, CHARACTERS.encode("b")[0]] = np.log(
        [0.7, 0.3]
    )
    calibration = Calibration(bias=0.2, posterior_weight=0.8, entropy_weight=-0.3)
    config = BeamConfig(num_best=2, calibration=calibration)
    found = BeamDecoder(CHARACTERS, FRAME_S, config).decode(log_probs)
    entropy = -0.7 * math.log(0.7) - 0.3 * math.log(0.3)
    for one, text, odds in zip(found, "ab", (7 / 3, 3 / 7), strict=True):
        log_odds = 0.2 + 0.8 * math.log(odds) - 0.3 * math.log(entropy)
        assert one.text == text
        assert one.words[0].confidence == pytest.approx(1 / (1 + math.exp(-log_odds)))


def test_sums_paths_where_greedy_takes_one() -> None:
    # Each frame: blank 0.6, "a" 0.4. The best path is empty (0.36), but "a" has three (0.64).
    log_probs = np.full((2, VOCAB_SIZE), -np.inf)
    log_probs[:, 0], log_probs[:, CHARACTERS.encode("a")[0]] = math.log(0.6), math.log(0.4)
    assert GreedyDecoder(CHARACTERS, FRAME_S).decode(log_probs)[0].text == ""
    (best,) = BeamDecoder(CHARACTERS, FRAME_S).decode(log_probs)
    assert best.text == "a"
    assert best.acoustic_log_prob == pytest.approx(math.log(0.64))


def test_hypotheses_are_distinct_as_words() -> None:
    log_probs = random_log_probs(5, 6, VOCAB_SIZE)
    config = BeamConfig(num_best=50, beam_threshold=math.inf, token_threshold=math.inf)
    texts = [one.text for one in BeamDecoder(CHARACTERS, FRAME_S, config).decode(log_probs)]
    assert len(texts) == len(set(texts)) > 10


def test_ties_are_broken_the_same_way_every_time() -> None:
    undecided = np.full((6, VOCAB_SIZE), -math.log(VOCAB_SIZE), dtype=np.float32)
    config = BeamConfig(beam_width=7, num_best=7)
    found = [BeamDecoder(CHARACTERS, FRAME_S, config).decode(undecided) for _ in range(2)]
    assert found[0] == found[1]


def test_a_prefix_meets_itself_again() -> None:
    # "a" leaves a beam of 2 while "ab" stays; what grows into "ab" later must add to it, not
    # stand beside it: all hypotheses of every seed are different token sequences.
    for seed in range(100):
        log_probs = random_log_probs(seed, 25, 3)
        two = build_tokenizer(TokensConfig(kind="char"), ["ab"])
        stream = BeamDecoder(two, FRAME_S, BeamConfig(beam_width=4, num_best=9)).stream()
        stream.accept(log_probs)
        tokens = [one.tokens for one in stream.finish()]
        assert len(tokens) == len(set(tokens))
        assert len(tokens) == len(stream._beam.entries[0, : stream._beam.now[1]])


def test_thresholds_prune() -> None:
    log_probs = random_log_probs(3, 12, VOCAB_SIZE)
    widths = {}
    for threshold in (0.5, 4.0, math.inf):
        config = BeamConfig(beam_threshold=threshold, token_threshold=math.inf, num_best=100)
        found = BeamDecoder(CHARACTERS, FRAME_S, config).decode(log_probs)
        assert all(found[0].score - one.score <= threshold for one in found)
        widths[threshold] = len(found)
    assert widths[0.5] < widths[4.0] < widths[math.inf]
    # With only the best token of each frame, the one path that is left is the greedy one.
    config = BeamConfig(token_threshold=1e-9, num_best=100)
    texts = {one.text for one in BeamDecoder(CHARACTERS, FRAME_S, config).decode(log_probs)}
    assert GreedyDecoder(CHARACTERS, FRAME_S).decode(log_probs)[0].text in texts


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda decoder: pickle.loads(pickle.dumps(decoder))]
)
def test_copies_of_a_used_decoder_decode_as_it_does(
    copied: Callable[[BeamDecoder], BeamDecoder],
) -> None:
    log_probs = random_log_probs(3, 12, VOCAB_SIZE)
    decoder = BeamDecoder(CHARACTERS, FRAME_S)
    expected = decoder.decode(log_probs)
    assert copied(decoder).decode(log_probs) == expected


def test_memory_follows_the_beam_not_the_length() -> None:
    generator = np.random.default_rng(0)
    logits = 0.01 * generator.standard_normal((4000, 12)).astype(np.float32)
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    tokenizer = build_tokenizer(TokensConfig(kind="char"), ["abcdefghij "])
    decoder = BeamDecoder(tokenizer, FRAME_S, BeamConfig(beam_width=100))
    decoder.decode(log_probs[:10])
    tracemalloc.start()
    decoder.decode(log_probs)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 4,000 frames × 100 prefixes × 36 bytes would be 14 MB.
    assert peak < 4_000_000


@given(
    values=st.lists(st.floats(-1e3, 1e3) | st.sampled_from([0.0, -math.inf]), min_size=1),
    data=st.data(),
)
def test_kth_highest_equals_sorting(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    assert kth_highest(np.array(values), k) == sorted(values, reverse=True)[k - 1]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (0.0, 0.0, math.log(2)),
        (math.log(0.25), math.log(0.5), math.log(0.75)),
        (-1000.0, -1001.0, -1000 + math.log1p(math.exp(-1))),
        (-math.inf, -3.0, -3.0),
        (-3.0, -math.inf, -3.0),
        (-math.inf, -math.inf, -math.inf),
        (0.0, -100.0, 0.0),
    ],
)
def test_log_add(left: float, right: float, expected: float) -> None:
    assert log_add(left, right) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(
    "values",
    [
        {"beam_width": 0},
        {"beam_threshold": 0.0},
        {"beam_threshold": math.nan},
        {"token_threshold": -1.0},
        {"num_best": 0},
        {"lm_weight": -0.1},
        {"lm_weight": math.inf},
        {"lm_weight": 1e308},
        {"word_bonus": math.nan},
        {"word_bonus": 1e308},
        {"word_bonus": -1e308},
        {"unknown_score": -math.inf},
        {"unknown_score": 1e308},
        {"unknown_score": -1e308},
        {"unknown_letter_score": -1e308},
        {"vocabulary": "shut"},
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        parse_options(BeamConfig, values, "test")


def test_settings_must_be_settings() -> None:
    with pytest.raises(ConfigError, match="config must be a BeamConfig, got dict; such as"):
        BeamDecoder(CHARACTERS, FRAME_S, {"beam_width": 50})  # type: ignore[arg-type]


@pytest.mark.parametrize("frame_s", [0.0, -0.01, math.nan, math.inf])
def test_frames_must_last(frame_s: float) -> None:
    with pytest.raises(ConfigError, match="frame_s must be a positive number of seconds"):
        BeamDecoder(CHARACTERS, frame_s)
