"""The beam search with language model, lexicon and hotwords against scoring every transcript."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import reference
from beam_reference import TOKEN_ARPA, WITHOUT_UNKNOWN, WORD_ARPA, Situation, model_of, score
from hypothesis import given, settings
from hypothesis import strategies as st
from test_beam import CHARACTERS, EXACT, FRAME_S, VOCAB_SIZE, random_log_probs

from asr.decoding import BeamConfig, BeamDecoder, Knowledge
from asr.decoding.grammar import parse_grammar
from asr.decoding.options import MOST_SCORE, MOST_WEIGHT
from asr.errors import ConfigError, DataError
from asr.lm.ngram import NgramModel
from asr.tokens import Tokenizer, TokensConfig, build_tokenizer

WORDS = build_tokenizer(TokensConfig(kind="word"), ["a ab b"])
BPE = build_tokenizer(TokensConfig(kind="bpe", vocab_size=6), ["abba ab a bab", "bb aa ab abba"])
TOKENIZERS = {"char": CHARACTERS, "word": WORDS, "bpe": BPE}
WEIGHTED = EXACT.model_copy(
    update={
        "lm_weight": 0.7,
        "word_bonus": 0.9,
        "unknown_score": -2.5,
        "unknown_letter_score": -0.3,
    }
)
CLOSED = WEIGHTED.model_copy(update={"vocabulary": "closed"})
BY_TOKENS = WEIGHTED.model_copy(update={"lm_unit": "token"})
LEFT_AT_A_PRICE = WEIGHTED.model_copy(update={"off_grammar_score": -1.3})
GRAMMAR = parse_grammar("$s = a $rest | bb | ab ab; $rest = (ab | b)* [bb];")
SENTENCES = "a( ab| b)*( bb)?|bb|ab ab"
HOTWORDS = {"ab": 1.5, "b ab": 2.0, "ab a": 0.7, "b": -0.4}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NgramModel]:
    arpas = {"word": WORD_ARPA, "no unk": WITHOUT_UNKNOWN, "token": TOKEN_ARPA}
    return {name: model_of(tmp_path_factory.mktemp("lm"), arpa) for name, arpa in arpas.items()}


def situation_of(name: str, models: dict[str, NgramModel]) -> Situation:
    return {
        "nothing": Situation(WEIGHTED, Knowledge()),
        "open": Situation(WEIGHTED, Knowledge(models["word"])),
        "open, no <unk>": Situation(WEIGHTED, Knowledge(models["no unk"])),
        "closed": Situation(CLOSED, Knowledge(models["word"])),
        "closed, own lexicon": Situation(
            CLOSED, Knowledge(models["no unk"], ["a", "ab", "bb", "baa"])
        ),
        "closed, no LM": Situation(CLOSED, Knowledge(None, ["a", "ab", "bb"])),
        "open, own lexicon, no LM": Situation(WEIGHTED, Knowledge(None, ["a", "ab", "bb"])),
        "tokens": Situation(BY_TOKENS, Knowledge(models["token"])),
        "hotwords alone": Situation(EXACT, Knowledge(None, None, HOTWORDS)),
        "hotwords and LM": Situation(WEIGHTED, Knowledge(models["word"], None, HOTWORDS)),
        "hotwords, closed": Situation(CLOSED, Knowledge(models["word"], None, HOTWORDS)),
        "grammar": Situation(EXACT, Knowledge(grammar=GRAMMAR), SENTENCES),
        "grammar at a price": Situation(LEFT_AT_A_PRICE, Knowledge(grammar=GRAMMAR), SENTENCES),
        "grammar, closed, LM": Situation(
            CLOSED, Knowledge(models["word"], ["a", "ab", "b", "bb"], grammar=GRAMMAR), SENTENCES
        ),
        "all": Situation(
            LEFT_AT_A_PRICE, Knowledge(models["word"], ["ab", "b"], HOTWORDS, GRAMMAR), SENTENCES
        ),
    }[name]


SITUATIONS = (
    *("nothing", "open", "open, no <unk>", "closed", "closed, own lexicon", "closed, no LM"),
    *("open, own lexicon, no LM", "tokens", "hotwords alone", "hotwords and LM"),
    *("hotwords, closed", "grammar", "grammar at a price", "grammar, closed, LM", "all"),
)
# Situations whose lexicon has words that `WORDS` lacks.
OTHER_WORDS = (
    "closed, own lexicon",
    "closed, no LM",
    "open, own lexicon, no LM",
    "tokens",
    *("grammar", "grammar at a price", "grammar, closed, LM", "all"),
)
CASES = [
    (kind, name)
    for kind in TOKENIZERS
    for name in SITUATIONS
    if not (kind == "word" and name in OTHER_WORDS) and not (kind == "bpe" and name == "tokens")
]


def decoder_of(situation: Situation, tokenizer: Tokenizer) -> BeamDecoder:
    return BeamDecoder(
        tokenizer,
        FRAME_S,
        situation.config,
        situation.knowledge,
    )


@pytest.mark.parametrize(("kind", "name"), CASES)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), num_frames=st.integers(0, 5))
def test_equals_scoring_every_transcript(
    models: dict[str, NgramModel], kind: str, name: str, seed: int, num_frames: int
) -> None:
    tokenizer, situation = TOKENIZERS[kind], situation_of(name, models)
    log_probs = random_log_probs(seed, num_frames, len(tokenizer.vocab))
    expected: dict[tuple[str, ...], tuple[float, float, float]] = {}
    everything = reference.all_transcripts(log_probs.astype(float).tolist())
    for tokens, acoustic in everything.items():
        other = score(situation, tokenizer, tokens)
        words = tuple(tokenizer.decode(tokens).split())
        if other is not None:
            row = (acoustic + other, acoustic, other)
            expected[words] = max(row, expected.get(words, row))
    found = decoder_of(situation, tokenizer).decode(log_probs)
    if not expected:  # no sentence is as short, or as long
        assert [(one.tokens, one.score) for one in found] == [((), -math.inf)]
        return
    by_words = {tuple(one.text.split()): one for one in found}
    assert by_words.keys() == expected.keys()
    for words, one in by_words.items():
        parts = (one.score, one.acoustic_log_prob, one.lm_log_prob)
        assert parts[0] == pytest.approx(expected[words][0], abs=1e-6)
        assert one.score == one.acoustic_log_prob + one.lm_log_prob
        assert one.lm_log_prob == pytest.approx(score(situation, tokenizer, one.tokens), abs=1e-6)
        assert one.acoustic_log_prob == pytest.approx(everything[one.tokens], abs=1e-9)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


SITUATIONS = (
    "nothing",
    "open",
    "closed",
    "closed, own lexicon",
    "tokens",
    "hotwords and LM",
    "all",
)


@pytest.mark.parametrize("name", SITUATIONS)
def test_other_settings_are_those_of_a_new_decoder(
    models: dict[str, NgramModel], name: str
) -> None:
    """Among them weights, unknown words, vocabulary and beam; the first decoder stays as it is."""
    situation = situation_of(name, models)
    config, knowledge = situation.config, situation.knowledge
    update = {"lm_weight": 1.3, "word_bonus": -0.5, "unknown_score": -1.0, "vocabulary": "open"}
    others = config.model_copy(update={**update, "beam_width": 3, "num_best": 4})
    first = BeamDecoder(CHARACTERS, FRAME_S, others, knowledge)
    new = BeamDecoder(CHARACTERS, FRAME_S, config, knowledge)
    for seed in range(20):
        log_probs = random_log_probs(seed, 4, VOCAB_SIZE)
        before = first.decode(log_probs)
        assert first.with_config(config).decode(log_probs) == new.decode(log_probs)
        assert first.decode(log_probs) == before


def test_another_unit_of_the_language_model_is_another_decoder(
    models: dict[str, NgramModel],
) -> None:
    knowledge = Knowledge(models["word"], ["a", "ab", "b"])
    decoder = BeamDecoder(CHARACTERS, FRAME_S, WEIGHTED, knowledge)
    new = BeamDecoder(CHARACTERS, FRAME_S, BY_TOKENS, knowledge)
    log_probs = random_log_probs(1, 4, VOCAB_SIZE)
    assert decoder.with_config(BY_TOKENS).decode(log_probs) == new.decode(log_probs)
    assert decoder.decode(log_probs) != new.decode(log_probs)
    with pytest.raises(ConfigError, match="a closed vocabulary needs words"):
        BeamDecoder(CHARACTERS, FRAME_S).with_config(CLOSED)


def undecided(pattern: str) -> np.ndarray:
    """Frames of `CHARACTERS`; each sure of its character but for `?`, which is `a` or `b`."""
    log_probs = np.full((len(pattern), VOCAB_SIZE), -np.inf)
    for frame, symbol in zip(log_probs, pattern, strict=True):
        tokens = [0] if symbol == "-" else CHARACTERS.encode("ab" if symbol == "?" else symbol)
        frame[tokens] = -math.log(len(tokens))
    return log_probs


@pytest.mark.parametrize("ending", ["", " ", "-", " -"])
def test_the_last_word_counts_with_and_without_a_space_after_it(
    models: dict[str, NgramModel], ending: str
) -> None:
    decoder = BeamDecoder(CHARACTERS, FRAME_S, CLOSED, Knowledge(models["word"]))
    best = decoder.decode(undecided("ab " + "ba?" + ending))[0]
    assert best.text == "ab bab"
    expected = 0.7 * math.log(10) * (-0.3 - 0.2 - 0.6) + 2 * 0.9
    assert best.lm_log_prob == pytest.approx(expected, abs=1e-5)


def test_a_closed_vocabulary_always_has_an_answer(models: dict[str, NgramModel]) -> None:
    # The sound says "bbbbb…", of which no beam of 1 can make words; silence is unlikely.
    frames = np.full((9, VOCAB_SIZE), math.log(0.01 / (VOCAB_SIZE - 1)))
    frames[:, CHARACTERS.encode("b")[0]] = math.log(0.9)
    frames[::2, 0], frames[1::2, 0] = math.log(0.09), math.log(0.09)
    frames -= np.log(np.exp(frames).sum(axis=1, keepdims=True))
    config = BeamConfig(beam_width=1, vocabulary="closed")
    decoder = BeamDecoder(CHARACTERS, FRAME_S, config, Knowledge(None, ["abba"]))
    (best,) = decoder.decode(frames)
    assert best.text in ("", "abba")
    assert best.score > -math.inf


def test_what_a_closed_vocabulary_makes_impossible_has_probability_zero() -> None:
    config = BeamConfig(vocabulary="closed")
    (best,) = BeamDecoder(CHARACTERS, FRAME_S, config, Knowledge(None, ["ab"])).decode(
        undecided("ba")
    )
    assert (best.tokens, best.acoustic_log_prob, best.score) == ((), -math.inf, -math.inf)


def test_a_narrow_beam_of_nothing_but_the_impossible_has_probability_zero() -> None:
    # After "a" or silence comes "b" for sure: both prefixes of the beam become impossible.
    log_probs = undecided("ab")
    log_probs[0, [0, CHARACTERS.encode("a")[0]]] = math.log(0.25), math.log(0.75)
    config = BeamConfig(beam_width=1, vocabulary="closed", num_best=2)
    decoder = BeamDecoder(CHARACTERS, FRAME_S, config, Knowledge(None, ["aab"]))
    stream = decoder.stream()
    stream.accept(log_probs)
    assert stream.partial().score == -math.inf
    assert [one.score for one in stream.finish()] == [-math.inf]
    assert stream.word_features().shape[0] == 0
    assert decoder.decode(log_probs) == stream.finish()


def test_a_language_model_decides_what_the_sound_does_not(models: dict[str, NgramModel]) -> None:
    log_probs = undecided("a? b?b")
    assert (
        BeamDecoder(CHARACTERS, FRAME_S, WEIGHTED, Knowledge(models["word"]))
        .decode(log_probs)[0]
        .text
        == "ab bab"
    )


def test_hotwords_count_only_when_completed() -> None:
    def best_score(pattern: str, hotwords: dict[str, float]) -> tuple[str, float]:
        config = BeamConfig(beam_width=50)
        decoder = BeamDecoder(CHARACTERS, FRAME_S, config, Knowledge(hotwords=hotwords))
        best = decoder.decode(undecided(pattern))[0]
        return best.text, best.lm_log_prob

    assert best_score("?-b", {"bb": 3.0}) == ("bb", 3.0)
    assert best_score("?-ba", {"bb": 3.0})[1] == 0.0  # only within a longer word
    assert best_score("a?-b", {"bb": 3.0})[1] == 0.0
    assert best_score("ab a ?-b", {"ab a bb": 3.0}) == ("ab a bb", 3.0)
    assert best_score("ab a ba", {"ab a bb": 3.0}) == ("ab a ba", 0.0)
    assert best_score("ab ab ab a", {"ab ab a": 2.0, "ab": 1.0}) == ("ab ab ab a", 5.0)


def test_thousands_of_hotwords_change_nothing_else() -> None:
    generator = np.random.default_rng(0)
    phrases = {"".join(generator.choice(["a", "b"], 12)): 1.0 for _ in range(5000)}
    log_probs = undecided("?-? ?a ab")
    many = BeamDecoder(
        CHARACTERS, FRAME_S, knowledge=Knowledge(hotwords={**phrases, "bb": 4.0})
    ).decode(log_probs)
    assert many == BeamDecoder(
        CHARACTERS, FRAME_S, knowledge=Knowledge(hotwords={"bb": 4.0})
    ).decode(log_probs)
    assert many[0].text.startswith("bb ")


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), cut=st.integers(0, 40))
def test_streams_and_threads_give_the_same(
    models: dict[str, NgramModel], seed: int, cut: int
) -> None:
    config = BeamConfig(beam_width=20, num_best=5, num_threads=2)
    decoder = BeamDecoder(CHARACTERS, FRAME_S, config, Knowledge(models["word"], hotwords=HOTWORDS))
    log_probs = random_log_probs(seed, 40, VOCAB_SIZE)
    expected = decoder.decode(log_probs)
    stream = decoder.stream()
    stream.accept(log_probs[:cut])
    stream.partial()
    stream.accept(log_probs[cut:])
    assert stream.finish() == expected
    assert decoder.decode_list([log_probs, log_probs[:7], log_probs])[2] == expected


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_scores_overflow_nothing(models: dict[str, NgramModel], sign: int) -> None:
    most = sign * MOST_SCORE
    config = BeamConfig(
        lm_weight=MOST_WEIGHT,
        word_bonus=most,
        unknown_score=most,
        unknown_letter_score=-MOST_SCORE,
        num_best=5,
    )
    knowledge = Knowledge(models["word"], ["ab", "b"], {"ab": most, "b ab": most})
    stream = BeamDecoder(CHARACTERS, FRAME_S, config, knowledge).stream()
    stream.accept(random_log_probs(6, 60, VOCAB_SIZE))
    assert np.isfinite(stream.word_features()).all()
    assert all(math.isfinite(one.score) for one in stream.finish())


class TestRefusals:
    def test_a_closed_vocabulary_needs_words(self) -> None:
        with pytest.raises(ConfigError, match="closed vocabulary needs words; give a lexicon"):
            BeamDecoder(CHARACTERS, FRAME_S, CLOSED)

    @pytest.mark.parametrize(
        ("hotwords", "message"),
        [
            ({"": 1.0}, "a hotword must hold a word, got ''"),
            ({"  ": 1.0}, "a hotword must hold a word"),
            ({"aB": 1.0}, "characters that the model's tokens lack: 'B'"),
            ({"a": math.inf}, "bonus of the hotword 'a' must be within 1000000 of 0, got inf"),
            ({"a": math.nan}, "bonus of the hotword 'a' must be within 1000000 of 0, got nan"),
            ({"ab": -1e308}, "bonus of the hotword 'ab' must be within 1000000 of 0, got -1e"),
            ({"a b": 1.0, "a  b": 2.0}, "'a b' is there twice"),
        ],
    )
    def test_hotwords(self, hotwords: dict[str, float], message: str) -> None:
        with pytest.raises(DataError, match=message):
            BeamDecoder(CHARACTERS, FRAME_S, knowledge=Knowledge(hotwords=hotwords))

    def test_hotwords_outside_a_closed_vocabulary(self) -> None:
        with pytest.raises(DataError, match="'bb' is not in the lexicon"):
            BeamDecoder(CHARACTERS, FRAME_S, CLOSED, Knowledge(None, ["ab"], {"ab bb": 1.0}))

    def test_grammar_outside_a_closed_vocabulary(self) -> None:
        with pytest.raises(
            DataError, match="grammar, line 1: 'bb' can never be said: it is not in"
        ):
            BeamDecoder(CHARACTERS, FRAME_S, CLOSED, Knowledge(None, ["a", "ab", "b"], {}, GRAMMAR))

    def test_lexicon_that_the_tokens_cannot_spell(self) -> None:
        with pytest.raises(DataError, match="cannot spell the word 'Ab' of the lexicon and 1 more"):
            BeamDecoder(CHARACTERS, FRAME_S, CLOSED, Knowledge(None, ["Ab", "ab", "b a"]))

    def test_language_model_of_other_words(self, tmp_path: Path) -> None:
        upper = model_of(
            tmp_path,
            "\\data\\\nngram 1=3\n\n\\1-grams:\n0\t<s>\n-1\t</s>\n-1\tAB\n\n\\end\\\n",
        )
        with pytest.raises(DataError, match="can spell no word of the language model"):
            BeamDecoder(CHARACTERS, FRAME_S, WEIGHTED, Knowledge(upper))
        with pytest.raises(DataError, match="has none of the words of the lexicon"):
            BeamDecoder(CHARACTERS, FRAME_S, WEIGHTED, Knowledge(upper, ["ab", "a"]))
        with pytest.raises(DataError, match="model of tokens lacks the token ' ' and 2 more"):
            BeamDecoder(CHARACTERS, FRAME_S, BY_TOKENS, Knowledge(upper))


def test_a_grammar_keeps_a_sentence_that_can_end_in_the_narrowest_beam() -> None:
    config = BeamConfig(beam_width=1)
    decoder = BeamDecoder(
        CHARACTERS, FRAME_S, config, Knowledge(grammar=parse_grammar("$s = a [ab];"))
    )
    log_probs = undecided("a ?")
    log_probs[-1] = np.log([0.1, *([1e-9] * (VOCAB_SIZE - 1))])
    log_probs[-1, CHARACTERS.encode("a")] = math.log(0.9)
    assert decoder.decode(log_probs)[0].text == "a"


def test_what_no_sentence_says_costs_its_price_once() -> None:
    grammar = parse_grammar("ab ab\nbb\n")
    free = BeamDecoder(
        CHARACTERS,
        FRAME_S,
        EXACT.model_copy(update={"off_grammar_score": -2.0}),
        Knowledge(grammar=grammar),
    )
    for pattern, price in (("ab ab", 0.0), ("ab ba ba", -2.0), ("ab", -2.0), ("a", -2.0)):
        best = free.decode(undecided(pattern))[0]
        assert (best.text, best.lm_log_prob) == (pattern, price)
    strict = BeamDecoder(CHARACTERS, FRAME_S, EXACT, Knowledge(grammar=grammar))
    assert strict.decode(undecided("ab ?b"))[0].text == "ab ab"
    assert strict.decode(undecided("ab ba"))[0].score == -math.inf
