"""The beam search over tensors against the compiled one, brute force and torch's CTC loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import reference
import torch
from beam_reference import TOKEN_ARPA, Situation, model_of, score
from hypothesis import given, settings
from hypothesis import strategies as st
from test_beam import (
    CHARACTERS,
    FRAME_S,
    VOCAB_SIZE,
    check_times,
    ctc_log_prob,
    random_log_probs,
)
from test_beam_fusion import BPE, WORDS
from torch import Tensor

from asr import ctc
from asr.decoding import BeamConfig, BeamDecoder, Hypothesis, Knowledge
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.lm.ngram import NgramModel
from asr.tensor_decoding import TensorBeamConfig, TensorBeamDecoder
from asr.tensor_decoding.search import _choose, _grown_hash, _log_add
from asr.tokens import Tokenizer, TokensConfig, build_tokenizer

HAS_GPU = torch.cuda.is_available()
GPU = pytest.param("cuda", marks=pytest.mark.skipif(not HAS_GPU, reason="no GPU"))
every_device = pytest.mark.parametrize("device", ["cpu", GPU])
seeds = st.integers(0, 2**32 - 1)
EXACT = TensorBeamConfig(
    beam_width=400, beam_threshold=math.inf, token_threshold=math.inf, num_best=400
)
TOKENIZERS: dict[str, Tokenizer] = {"char": CHARACTERS, "word": WORDS, "bpe": BPE}
WITHOUT_UNKNOWN = TOKEN_ARPA.replace("-2\t<unk>\t0\n", "").replace("1=6", "1=5")
# `b` counts as unknown here.
WITHOUT_B = (
    TOKEN_ARPA.replace("1=6", "1=5")
    .replace("-1.1\tb\t-0.3\n", "")
    .replace("2=4", "2=2")
    .replace("-0.3\t<s> b\n-0.2\tb a\n", "")
)
WITHOUT_END = TOKEN_ARPA.replace("1=6", "1=5").replace("-0.9\t</s>\t0\n", "")
WITHOUT_END = WITHOUT_END.replace("2=4", "2=3").replace("-0.4\ta </s>\n", "")


def token_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NgramModel]:
    """Models of characters from ARPA texts, and of the tokens of each tokenizer, orders 1 to 5."""
    arpas = {
        "arpa": TOKEN_ARPA,
        "no unk": WITHOUT_UNKNOWN,
        "no end": WITHOUT_END,
        "no b": WITHOUT_B,
    }
    found = {name: model_of(tmp_path_factory.mktemp("lm"), arpa) for name, arpa in arpas.items()}
    generator = np.random.default_rng(0)
    for name, tokenizer in TOKENIZERS.items():
        lines = []
        for _ in range(60):
            tokens = generator.integers(1, len(tokenizer.vocab), generator.integers(1, 9))
            lines.append(" ".join(tokenizer.vocab[token].replace(" ", "▁") for token in tokens))
        path = tmp_path_factory.mktemp("text") / "text"
        path.write_text("\n".join([*lines, "ab"]) + "\n", encoding="utf-8")
        for order in (1, 2, 3, 5):
            found[f"{name}{order}"] = build_model([path], BuildOptions(order=order)).model
    return found


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NgramModel]:
    return token_models(tmp_path_factory)


def settings_of(config: TensorBeamConfig) -> BeamConfig:
    """The same for the compiled decoder."""
    values = config.model_dump(exclude={"max_tokens_per_frame"})
    return BeamConfig(**values, lm_unit="token", num_threads=1)


def padded(
    utterances: Sequence[npt.NDArray[np.floating[Any]]], device: str, garbage: float = math.nan
) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(one) for one in utterances], device=device)
    shape = (len(utterances), 2 + max(map(len, utterances)), utterances[0].shape[1])
    batch = torch.full(shape, garbage, dtype=torch.from_numpy(utterances[0]).dtype)
    for row, one in zip(batch, utterances, strict=True):
        row[: len(one)] = torch.from_numpy(one)
    return batch.to(device), lengths


def check_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.frames == other.frames
        for word, expected_word in zip(one.words, other.words, strict=True):
            assert replace(word, confidence=0.0) == replace(expected_word, confidence=0.0)
        parts = (one.score, one.acoustic_log_prob, one.lm_log_prob)
        assert parts == pytest.approx(
            (other.score, other.acoustic_log_prob, other.lm_log_prob), abs=1e-9
        )
        assert one.score == one.acoustic_log_prob + one.lm_log_prob


@every_device
@settings(max_examples=30)
@given(seed=seeds, num_frames=st.integers(0, 5))
def test_without_pruning_it_equals_the_walk_through_all_paths(
    device: str, seed: int, num_frames: int
) -> None:
    log_probs = random_log_probs(seed, num_frames, VOCAB_SIZE)
    everything = reference.all_transcripts(log_probs.astype(float).tolist())
    decoder = TensorBeamDecoder(CHARACTERS, FRAME_S, EXACT)
    found = decoder.decode_tensors(*padded([log_probs], device))
    scores = found.scores[0].tolist()
    count = sum(value > -math.inf for value in scores)
    assert scores == sorted(scores, reverse=True)
    tokens = [
        tuple(row[:length]) for row, length in zip(*lists(found.tokens, found.lengths), strict=True)
    ]
    assert dict(zip(tokens[:count], scores[:count], strict=True)) == pytest.approx(
        everything, abs=1e-9
    )
    assert len(set(tokens[:count])) == count
    assert tokens[count:] == [()] * (len(tokens) - count)


def lists(*values: Tensor) -> list[Any]:
    """Those of the first utterance."""
    return [value[0].tolist() for value in values]


@every_device
@pytest.mark.parametrize("name", ["arpa", "no unk", "no end", "no b", "char3"])
@settings(max_examples=10)
@given(seed=seeds, num_frames=st.integers(0, 4))
def test_with_a_language_model_it_equals_scoring_every_transcript(
    models: dict[str, NgramModel], name: str, device: str, seed: int, num_frames: int
) -> None:
    config = EXACT.model_copy(update={"lm_weight": 0.7, "word_bonus": 0.9})
    log_probs = random_log_probs(seed, num_frames, VOCAB_SIZE)
    situation = Situation(settings_of(config), Knowledge(lm=models[name]))
    everything = reference.all_transcripts(log_probs.astype(float).tolist())
    decoder = TensorBeamDecoder(CHARACTERS, FRAME_S, config, models[name])
    found = decoder.decode_tensors(*padded([log_probs], device))
    rows = zip(*lists(found.tokens, found.lengths, found.scores, found.lm_log_probs), strict=True)
    scored = {tuple(row[:length]): parts for row, length, *parts in rows if parts[0] > -math.inf}
    assert scored.keys() == everything.keys()
    for tokens, (total, other) in scored.items():
        assert other == pytest.approx(score(situation, CHARACTERS, tokens), abs=1e-6)
        assert total - other == pytest.approx(everything[tokens], abs=1e-9)


@every_device
@settings(max_examples=60)
@given(
    seed=seeds,
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    width=st.integers(1, 25),
    beam_threshold=st.sampled_from([2.0, 12.0, math.inf]),
    token_threshold=st.sampled_from([1.0, 7.0, math.inf]),
    num_best=st.sampled_from([1, 4]),
)
def test_equals_the_compiled_decoder(
    device: str,
    seed: int,
    lengths: list[int],
    width: int,
    beam_threshold: float,
    token_threshold: float,
    num_best: int,
) -> None:
    config = TensorBeamConfig(
        beam_width=width,
        beam_threshold=beam_threshold,
        token_threshold=token_threshold,
        num_best=num_best,
    )
    utterances = [random_log_probs(seed + i, n, VOCAB_SIZE) for i, n in enumerate(lengths)]
    found = TensorBeamDecoder(CHARACTERS, FRAME_S, config).decode_batch(*padded(utterances, device))
    compiled = BeamDecoder(CHARACTERS, FRAME_S, settings_of(config))
    for one, log_probs in zip(found, utterances, strict=True):
        check_same(one, compiled.decode(log_probs))


@every_device
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("char", name) for name in ("arpa", "no unk", "no end", "no b", "char1", "char2")),
        *(("char", "char5"), ("word", "word2"), ("bpe", "bpe3"), ("bpe", "bpe5")),
    ],
)
@settings(max_examples=12)
@given(
    seed=seeds,
    lengths=st.lists(st.integers(0, 25), min_size=1, max_size=3),
    width=st.integers(1, 25),
    lm_weight=st.sampled_from([0.0, 0.5, 1.3]),
    word_bonus=st.sampled_from([0.0, 1.1, -0.7]),
)
def test_equals_the_compiled_decoder_with_a_language_model(
    models: dict[str, NgramModel],
    kind: str,
    name: str,
    device: str,
    seed: int,
    lengths: list[int],
    width: int,
    lm_weight: float,
    word_bonus: float,
) -> None:
    config = TensorBeamConfig(
        beam_width=width, lm_weight=lm_weight, word_bonus=word_bonus, num_best=3
    )
    tokenizer, lm = TOKENIZERS[kind], models[name]
    vocab_size = len(tokenizer.vocab)
    utterances = [random_log_probs(seed + i, n, vocab_size) for i, n in enumerate(lengths)]
    decoder = TensorBeamDecoder(tokenizer, FRAME_S, config, lm)
    compiled = BeamDecoder(tokenizer, FRAME_S, settings_of(config), Knowledge(lm=lm))
    for one, log_probs in zip(
        decoder.decode_batch(*padded(utterances, device)), utterances, strict=True
    ):
        check_same(one, compiled.decode(log_probs))


@settings(max_examples=30)
@given(seed=seeds, num_frames=st.integers(1, 40))
def test_the_winner_has_the_probability_that_torch_computes(seed: int, num_frames: int) -> None:
    log_probs = random_log_probs(seed, num_frames, VOCAB_SIZE)
    best = TensorBeamDecoder(CHARACTERS, FRAME_S).decode(log_probs)[0]
    # Paths that leave the beam are lost.
    assert best.acoustic_log_prob <= ctc_log_prob(log_probs, best.tokens) + 1e-9
    log_probs = log_probs[:5]
    best = TensorBeamDecoder(CHARACTERS, FRAME_S, EXACT).decode(log_probs)[0]
    expected = min(ctc_log_prob(log_probs, best.tokens), 0.0)
    assert best.acoustic_log_prob == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("frames", "best", "probability"),
    [
        # Blank, a: "a" is a-, -a and aa, 0.24 + 0.24 + 0.16; greedily it is nothing, 0.36.
        ([[0.6, 0.4], [0.6, 0.4]], "a", 0.64),
        # Only a blank between them makes two of one letter: a-a, 0.9 ** 3.
        ([[0.1, 0.9], [0.9, 0.1], [0.1, 0.9]], "aa", 0.729),
        # Without one it is the same letter, however long: aa, a-, -a.
        ([[0.1, 0.9], [0.1, 0.9]], "a", 0.99),
        ([[1.0, 0.0], [1.0, 0.0]], "", 1.0),
        ([[0.0, 1.0], [0.0, 1.0]], "a", 1.0),
    ],
)
def test_what_can_be_worked_out_by_hand(
    frames: list[list[float]], best: str, probability: float
) -> None:
    tokenizer = build_tokenizer(TokensConfig(kind="char"), ["a"])
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array(frames))
    found = TensorBeamDecoder(tokenizer, FRAME_S).decode(log_probs)[0]
    assert found.text == best
    assert found.acoustic_log_prob == pytest.approx(math.log(probability), abs=1e-12)


@settings(max_examples=30)
@given(seed=seeds, num_frames=st.integers(1, 30))
def test_times_are_those_of_the_best_path(seed: int, num_frames: int) -> None:
    generator = np.random.default_rng(seed)
    logits = torch.from_numpy(2.0 * generator.standard_normal((num_frames, VOCAB_SIZE)))
    log_probs = logits.log_softmax(dim=1).float()
    config = TensorBeamConfig(beam_width=200)
    (best,) = TensorBeamDecoder(CHARACTERS, FRAME_S, config).decode(log_probs.numpy())
    if not best.tokens:
        return
    check_times(best, log_probs)


@every_device
def test_a_large_vocabulary_with_sharp_peaks(device: str) -> None:
    """300 words, of which a frame's threshold lets through fewer than the limit."""
    words = [f"{first}{second}" for first in "abcdefghijklmno" for second in "pqrstuvwxyzaeiouylmn"]
    tokenizer = build_tokenizer(TokensConfig(kind="word"), [" ".join(words)])
    generator = np.random.default_rng(0)
    utterances = []
    for num_frames in (120, 80, 30):
        logits = 0.5 * generator.standard_normal((num_frames, len(tokenizer.vocab)))
        peaks = generator.integers(0, logits.shape[1], (num_frames, 3))
        peaks[:, 0] *= generator.random(num_frames) < 0.4
        np.put_along_axis(logits, peaks, generator.uniform(7, 12, peaks.shape), axis=1)
        utterances.append(torch.from_numpy(logits).log_softmax(1).float().numpy())
    config = TensorBeamConfig(beam_width=40, token_threshold=4.0, num_best=5)
    found = TensorBeamDecoder(tokenizer, FRAME_S, config).decode_batch(*padded(utterances, device))
    compiled = BeamDecoder(tokenizer, FRAME_S, settings_of(config))
    for one, log_probs in zip(found, utterances, strict=True):
        assert max((log_probs > log_probs.max(1, keepdims=True) - 4.0).sum(1)) < 32
        check_same(one, compiled.decode(log_probs))


def test_hypotheses_are_distinct_as_words_and_prefixes_as_tokens() -> None:
    log_probs = random_log_probs(11, 6, VOCAB_SIZE)
    config = EXACT.model_copy(update={"num_best": 20})
    decoder = TensorBeamDecoder(CHARACTERS, FRAME_S, config)
    found = decoder.decode(log_probs)
    assert len({one.text for one in found}) == len(found) == 20
    prefixes = decoder.decode_tensors(*padded([log_probs], "cpu"))
    assert prefixes.tokens.shape == (1, 20, 8)
    texts = [
        CHARACTERS.decode(row[:length])
        for row, length in zip(*lists(prefixes.tokens, prefixes.lengths), strict=True)
    ]
    assert len(set(texts)) < len(texts)
    assert list(dict.fromkeys(texts)) == [one.text for one in found][: len(set(texts))]


def test_it_runs_where_only_deterministic_operations_may() -> None:
    decoder = TensorBeamDecoder(CHARACTERS, FRAME_S)
    log_probs = random_log_probs(5, 12, VOCAB_SIZE)
    expected = decoder.decode(log_probs)
    torch.use_deterministic_algorithms(True)
    try:
        assert decoder.decode(log_probs) == expected
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("width", [1, 2, 3, 7])
@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_of_equals_the_one_that_was_first_stays(width: int, num_frames: int) -> None:
    log_probs = np.full((num_frames, 4), math.log(0.25))
    config = EXACT.model_copy(update={"beam_width": width})
    found = TensorBeamDecoder(CHARACTERS, FRAME_S, config).decode(log_probs)
    expected = BeamDecoder(CHARACTERS, FRAME_S, settings_of(config)).decode(log_probs)
    check_same(found, expected)


@given(
    ranks=st.lists(st.sampled_from([-math.inf, -9.0, -4.0, -3.0, 0.0]), min_size=1, max_size=30),
    data=st.data(),
    threshold=st.sampled_from([3.5, 4.0, math.inf]),
)
def test_choosing_equals_a_stable_sort(
    ranks: list[float], data: st.DataObject, threshold: float
) -> None:
    width = data.draw(st.integers(1, len(ranks)))
    chosen, is_prefix = _choose(torch.tensor([ranks], dtype=torch.float64), width, threshold)
    lowest = max(ranks) - threshold
    alive = [i for i, rank in enumerate(ranks) if rank > -math.inf and rank >= lowest]
    expected = sorted(sorted(alive, key=lambda i: -ranks[i])[:width])
    assert chosen[0][is_prefix[0]].tolist() == expected
    assert is_prefix[0].tolist() == [i < len(expected) for i in range(width)]
    assert 0 <= int(chosen.min()) <= int(chosen.max()) < len(ranks)


@settings(max_examples=30)
@given(seed=seeds, num_frames=st.integers(1, 15), num_tokens=st.integers(1, 3))
def test_a_limit_of_tokens_cuts_as_a_threshold_does(
    seed: int, num_frames: int, num_tokens: int
) -> None:
    """Each frame has `num_tokens` tokens within 2 of the best, all others further than 4 below."""
    generator = np.random.default_rng(seed)
    vocab_size = len(WORDS.vocab)
    logits = generator.uniform(-9, -6, (num_frames, vocab_size))
    logits[:, 0] = generator.uniform(-1, 1, num_frames)
    for frame in logits:
        likely = generator.permutation(np.arange(1, vocab_size))[:num_tokens]
        frame[likely] = generator.uniform(-1, 1, len(likely))
    log_probs = torch.from_numpy(logits).log_softmax(1).numpy()
    base = {"beam_width": 9, "beam_threshold": math.inf, "num_best": 3}
    limited = TensorBeamConfig(**base, token_threshold=math.inf, max_tokens_per_frame=num_tokens)
    by_threshold = settings_of(TensorBeamConfig(**base, token_threshold=3.0))
    found = TensorBeamDecoder(WORDS, FRAME_S, limited).decode(log_probs)
    check_same(found, BeamDecoder(WORDS, FRAME_S, by_threshold).decode(log_probs))


@every_device
@pytest.mark.parametrize("with_lm", [False, True])
@pytest.mark.parametrize(("dtype", "width"), [(np.float32, 7), (np.float64, 31)])
def test_a_batch_equals_its_utterances_alone_to_the_bit(
    models: dict[str, NgramModel], dtype: type[Any], width: int, with_lm: bool, device: str
) -> None:
    lengths = (17, 0, 1, 33, 16, *range(12, 30))
    utterances = [
        random_log_probs(seed, n, VOCAB_SIZE).astype(dtype) for seed, n in enumerate(lengths)
    ]
    lm = models["char3"] if with_lm else None
    # Of odd width, so that values lie at other places of a vector than alone.
    config = TensorBeamConfig(beam_width=width, num_best=7)
    decoder = TensorBeamDecoder(CHARACTERS, FRAME_S, config, lm)
    alone = [decoder.decode_batch(*padded([one], device))[0] for one in utterances]
    for garbage in (math.nan, math.inf, -math.inf, 1e30, 0.0):
        assert decoder.decode_batch(*padded(utterances, device, garbage)) == alone
    found = decoder.decode_tensors(*padded(utterances, device))
    for index, (one, count) in enumerate(zip(alone, lengths, strict=True)):
        best = tuple(found.tokens[index, 0, : found.lengths[index, 0]].tolist())
        assert best == one[0].tokens
        assert float(found.scores[index, 0]) == one[0].score
        path = found.paths[index, 0].tolist()
        assert ctc.collapse(path) == (list(best), list(one[0].frames))
        assert set(path[count:]) <= {ctc.BLANK}
        assert not found.tokens[index, 0, found.lengths[index, 0] :].any()


def test_arrays_and_tensors_of_any_layout_read_the_same() -> None:
    decoder = TensorBeamDecoder(CHARACTERS, FRAME_S)
    log_probs = random_log_probs(3, 20, VOCAB_SIZE)
    expected = decoder.decode(log_probs)
    strided = np.ascontiguousarray(log_probs[:, ::-1])[:, ::-1]
    assert decoder.decode(strided) == expected
    transposed = torch.from_numpy(log_probs).t().contiguous().t()[None]
    with torch.inference_mode():
        assert decoder.decode_batch(transposed, [20]) == [expected]
    learning = torch.from_numpy(log_probs)[None].requires_grad_()
    assert decoder.decode_batch(learning, torch.tensor([20])) == [expected]
    assert not decoder.decode_tensors(learning, torch.tensor([20])).scores.requires_grad


@every_device
def test_no_frames_and_no_utterances(models: dict[str, NgramModel], device: str) -> None:
    nothing = np.zeros((0, VOCAB_SIZE), np.float32)
    assert TensorBeamDecoder(CHARACTERS, FRAME_S).decode(nothing) == [
        Hypothesis((), (), (), 0.0, 0.0, 0.0)
    ]
    lm = models["arpa"]
    decoder = TensorBeamDecoder(CHARACTERS, FRAME_S, lm=lm)
    (best,) = decoder.decode_batch(*padded([nothing], device))[0]
    assert best.lm_log_prob == pytest.approx(0.5 * lm.finish(lm.start()))
    none = torch.zeros(0, 7, VOCAB_SIZE, device=device)
    assert decoder.decode_batch(none, []) == []
    assert decoder.decode_tensors(none, torch.zeros(0, dtype=torch.int64)).tokens.shape[0] == 0


@given(token=st.integers(1, 2**20), prefix=st.integers(-(2**63), 2**63 - 1))
def test_hashes_are_those_of_splitmix64(token: int, prefix: int) -> None:
    mask = 2**64 - 1
    mixed = ((prefix & mask) ^ (token * 0x9E3779B97F4A7C15) & mask) + 0x9E3779B97F4A7C15 & mask
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & mask
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & mask
    mixed ^= mixed >> 31
    found = int(_grown_hash(torch.tensor([prefix]), torch.tensor([token])))
    assert found & mask == mixed


def test_hashes_of_all_short_prefixes_differ() -> None:
    tokens, level = torch.arange(1, 61), torch.zeros(1, dtype=torch.int64)
    found = [level]
    for _ in range(3):
        level = _grown_hash(level[:, None], tokens).flatten()
        found.append(level)
    hashes = torch.cat(found)
    assert len(hashes) == 1 + 60 + 60**2 + 60**3
    assert len(hashes.unique()) == len(hashes)
    assert hashes[1:].abs().min() > 2  # the marks of the empty prefix and of none


@given(left=st.floats(-800, 0) | st.just(-math.inf), right=st.floats(-800, 0) | st.just(-math.inf))
def test_sums_of_probabilities(left: float, right: float) -> None:
    values = (torch.tensor([value], dtype=torch.float64) for value in (left, right))
    found = float(_log_add(*values))
    assert found == pytest.approx(reference.log_add(left, right), abs=1e-12)
