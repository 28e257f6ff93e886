"""The beam search over phones against scoring every sequence of them by its words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import reference
from beam_reference import model_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_beam import EXACT, FRAME_S, random_log_probs

from asr.decoding import BeamConfig, BeamDecoder, GreedyDecoder, Knowledge
from asr.decoding.grammar import parse_grammar
from asr.errors import DataError
from asr.lm.ngram import NgramModel
from asr.tokens import PhoneTokenizer

# `to`, `two` and `too` sound alike, `red` like one way to say `read`; no model knows `too`.
SOUNDS: dict[str, list[tuple[str, ...]]] = {
    "to": [("t", "u")],
    "two": [("t", "u")],
    "too": [("t", "u")],
    "read": [("i", "t"), ("u",)],
    "red": [("u",)],
    "tea": [("t", "i")],
}
PHONES = PhoneTokenizer(("i", "t", "u"), SOUNDS)
ARPA = """\\data\\
ngram 1=8
ngram 2=4

\\1-grams:
-1.6\t<unk>\t0
0\t<s>\t-0.3
-0.9\t</s>\t0
-0.6\tto\t-0.2
-0.9\ttwo\t-0.1
-1.0\tread\t-0.3
-1.1\tred\t0
-0.8\ttea\t-0.2

\\2-grams:
-0.1\ttea two
-0.2\tread two
-0.1\tto read
-0.7\t<s> red

\\end\\
"""
WEIGHTED = EXACT.model_copy(
    update={"lm_weight": 0.7, "word_bonus": 0.4, "unknown_score": -1.5, "unknown_letter_score": -1}
)
CLOSED = WEIGHTED.model_copy(update={"vocabulary": "closed"})


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> NgramModel:
    return model_of(tmp_path_factory.mktemp("lm"), ARPA)


@dataclass(frozen=True)
class Case:
    """A search, and the words that it can choose from."""

    config: BeamConfig
    has_lm: bool
    lexicon: tuple[str, ...] | None
    words: tuple[str, ...]


CASES = {
    "dictionary alone": Case(CLOSED, False, None, tuple(SOUNDS)),
    "dictionary alone, open": Case(WEIGHTED, False, None, tuple(SOUNDS)),
    "own lexicon": Case(CLOSED, False, ("two", "tea", "red"), ("two", "tea", "red")),
    "model": Case(CLOSED, True, None, ("to", "two", "read", "red", "tea")),
    "model, open": Case(WEIGHTED, True, None, ("to", "two", "read", "red", "tea")),
    "model and lexicon": Case(CLOSED, True, ("too", "two", "tea"), ("two", "tea")),
    "a word without rival that the model lacks": Case(CLOSED, True, ("too", "red"), ("too", "red")),
}


def written(
    case: Case, lm: NgramModel | None, tokens: Sequence[int]
) -> tuple[list[str], float] | None:
    """The words of tokens and what they score beside the sound; None if impossible."""
    config, state, texts, total = case.config, 0, [], 0.0
    if lm is not None:
        state = lm.start()
    beginnings = {
        one[:end] for word in case.words for one in PHONES.spellings(word) for end in range(1, 9)
    }
    for spelling, _, _ in PHONES.spelled_spans(tokens):
        known = [word for word in case.words if spelling in PHONES.spellings(word)]
        if not known and config.vocabulary == "closed":
            return None
        ids = [-1] if lm is None else [lm.id_of(word) for word in known] or [-1]
        scores = [(0.0, 0)] if lm is None else [lm.score(state, index) for index in ids]
        best = max(range(len(scores)), key=lambda place: scores[place][0])
        texts.append(known[best] if known else PHONES.readings(spelling)[0])
        total += config.lm_weight * scores[best][0]
        state = scores[best][1]
        total += config.word_bonus if lm is not None else 0.0
        if not known or (lm is not None and ids[best] < 0):
            total += config.unknown_score
        strange = [end for end in range(1, 9) if spelling[:end] not in beginnings]
        total += config.unknown_letter_score * len([end for end in strange if end <= len(spelling)])
    return texts, total + (config.lm_weight * lm.finish(state) if lm is not None else 0.0)


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), num_frames=st.integers(1, 5))
def test_equals_scoring_every_sequence_of_phones(
    lm: NgramModel, name: str, seed: int, num_frames: int
) -> None:
    case = CASES[name]
    model = lm if case.has_lm else None
    log_probs = random_log_probs(seed, num_frames, len(PHONES.vocab))
    best: tuple[float, list[str]] = (-math.inf, [])
    for tokens, acoustic in reference.all_transcripts(log_probs.tolist()).items():
        found = written(case, model, tokens)
        if found is not None:
            best = max(best, (acoustic + found[1], found[0]), key=lambda one: one[0])
    decoder = BeamDecoder(PHONES, FRAME_S, case.config, Knowledge(model, case.lexicon))
    hypothesis = decoder.decode(log_probs)[0]
    assert hypothesis.score == pytest.approx(best[0], abs=1e-6)
    assert [word.text for word in hypothesis.words] == best[1]


def emissions_of(text: str) -> np.ndarray:
    """Log-probabilities of phones that no bonus changes, `|` between words, a blank after each."""
    tokens = [PHONES.vocab.index(" " if name == "|" else name) for name in text.split()]
    probs = np.full((2 * len(tokens), len(PHONES.vocab)), 1e-30)
    probs[np.arange(0, len(probs), 2), tokens] = 1.0
    probs[np.arange(1, len(probs), 2), 0] = 1.0
    log_probs: np.ndarray = np.log(probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)
    return log_probs


def words_of(decoder: BeamDecoder | GreedyDecoder, text: str) -> str:
    return decoder.decode(emissions_of(text))[0].text


def test_the_words_before_decide_between_words_that_sound_alike(lm: NgramModel) -> None:
    decoder = BeamDecoder(PHONES, FRAME_S, CLOSED, Knowledge(lm))
    assert words_of(decoder, "t u | u | t u") == "to read two"
    assert words_of(decoder, "u | t i | t u | t u") == "red tea two to"
    assert words_of(GreedyDecoder(PHONES, FRAME_S), "t i | t u") == "tea to"
    stream = decoder.stream()
    stream.accept(emissions_of("t u | u | t u"))
    assert stream.finish()[0].text == "to read two"


def test_hotwords_count_in_each_pronunciation() -> None:
    heard = emissions_of("u | t i")
    plain = BeamDecoder(PHONES, FRAME_S, CLOSED)
    hot = BeamDecoder(PHONES, FRAME_S, CLOSED, Knowledge(hotwords={"read tea": 3.0}))
    gain = hot.decode(heard)[0].score - plain.decode(heard)[0].score
    assert gain == pytest.approx(3.0, abs=1e-6)
    with pytest.raises(DataError, match="no pronunciation of 'kiwi'"):
        BeamDecoder(PHONES, FRAME_S, WEIGHTED, Knowledge(hotwords={"kiwi": 3.0}))


def price(
    texts: Sequence[str],
    lm: NgramModel | None,
    hotwords: Mapping[str, float],
    choices: Sequence[Sequence[str]],
) -> float:
    """What tells ways to write the same sound apart: language model and hotwords.

    A word that the model lacks stands for the likeliest of the `choices` there that it knows.
    """
    total = sum(
        weight
        for phrase, weight in hotwords.items()
        for begin in range(len(texts))
        if list(texts[begin : begin + len(phrase.split())]) == phrase.split()
    )
    if lm is not None:
        state = lm.start()
        for text, choice in zip(texts, choices, strict=True):
            word = lm.id_of(text)
            if word < 0:
                known = [index for index in map(lm.id_of, choice) if index >= 0]
                ranked = [(-lm.score(state, index)[0], place) for place, index in enumerate(known)]
                word = known[min(ranked)[1]] if known else -1
            log_prob, state = lm.score(state, word)
            total += WEIGHTED.lm_weight * log_prob
        total += WEIGHTED.lm_weight * lm.finish(state)
    return total


def sounds_of(texts: Sequence[str]) -> set[str]:
    """Every way to say a sentence, as `emissions_of` reads it."""
    ways = itertools.product(*(SOUNDS[text] for text in texts))
    return {" | ".join(" ".join(phones) for phones in way) for way in ways}


def choices_of(heard: str, favoured: Container[str], lm: NgramModel | None) -> list[list[str]]:
    """For each word that was heard, those that may be written."""
    choices = []
    for sound in heard.split(" | "):
        alike = [word for word, ways in SOUNDS.items() if tuple(sound.split()) in ways]
        known = alike[:1] if lm is None else [word for word in alike if lm.id_of(word) >= 0]
        choices.append(
            [*known, *(word for word in alike if word in favoured and word not in known)]
        )
    return choices


sentences_of_words = st.lists(
    st.lists(st.sampled_from(sorted(SOUNDS)), min_size=1, max_size=4).map(tuple),
    min_size=1,
    max_size=8,
    unique=True,
)


@settings(max_examples=60)
@given(sentences=sentences_of_words, data=st.data(), has_lm=st.booleans())
def test_what_a_grammar_forbids_is_never_written(
    lm: NgramModel, sentences: list[tuple[str, ...]], data: st.DataObject, has_lm: bool
) -> None:
    """Though other words sound alike; of its own sentences the likeliest is written."""
    grammar = parse_grammar("\n".join(map(" ".join, sentences)))
    model = lm if has_lm else None
    decoder = BeamDecoder(PHONES, FRAME_S, WEIGHTED, Knowledge(model, grammar=grammar))
    heard = data.draw(st.sampled_from(sorted(sounds_of(data.draw(st.sampled_from(sentences))))))
    got = tuple(words_of(decoder, heard).split())
    alike = [texts for texts in sentences if heard in sounds_of(texts)]
    assert got in alike
    spoken = {word for sentence in sentences for word in sentence}
    choices = choices_of(heard, spoken, model)
    best = max(price(texts, model, {}, choices) for texts in alike)
    assert price(got, model, {}, choices) == pytest.approx(best, abs=1e-5)


@settings(max_examples=60)
@given(
    said=st.lists(st.sampled_from(sorted(SOUNDS)), min_size=1, max_size=4),
    phrases=sentences_of_words,
    data=st.data(),
    has_lm=st.booleans(),
)
def test_of_words_that_sound_alike_hotwords_are_written(
    lm: NgramModel,
    said: list[str],
    phrases: list[tuple[str, ...]],
    data: st.DataObject,
    has_lm: bool,
) -> None:
    """Where their bonus outweighs what the language model prefers."""
    weights = st.floats(-3, 6).map(lambda weight: round(weight, 2))
    hotwords = {" ".join(phrase): data.draw(weights) for phrase in phrases}
    model = lm if has_lm else None
    # Emissions are certain: a narrow search finds the same, and soon.
    narrow = WEIGHTED.model_copy(update={"beam_threshold": 60.0, "token_threshold": 60.0})
    decoder = BeamDecoder(PHONES, FRAME_S, narrow, Knowledge(model, hotwords=hotwords))
    heard = data.draw(st.sampled_from(sorted(sounds_of(said))))
    named = {word for phrase in phrases for word in phrase}
    favoured = {word for text, bonus in hotwords.items() if bonus > 0 for word in text.split()}

    # Where no hotword has a rival, each word is chosen after those before it, as the search does.
    sounds = {sound for word in named for sound in sounds_of([word])}
    assume(any(len(choices_of(sound, favoured, model)[0]) > 1 for sound in sounds))
    choices = choices_of(heard, favoured, model)
    got = words_of(decoder, heard).split()
    assert all(word in choice for word, choice in zip(got, choices, strict=True))
    best = max(price(texts, model, hotwords, choices) for texts in itertools.product(*choices))
    assert price(got, model, hotwords, choices) == pytest.approx(best, abs=1e-5)


def test_a_phrase_that_is_not_said_changes_nothing(tmp_path: Path) -> None:
    """Its words stand beside others, though the language model has no price for what it lacks."""
    lm = model_of(tmp_path, ARPA.replace("-1.6\t<unk>\t0\n", "").replace("1=8", "1=7"))
    assert lm.unk_id < 0
    decoder = BeamDecoder(PHONES, FRAME_S, WEIGHTED, Knowledge(lm, hotwords={"too read": 6.0}))
    assert words_of(decoder, "u | t i | t u | t u") == "red tea two to"
    assert words_of(decoder, "t u | u") == "too read"


def test_a_hotword_that_the_language_model_lacks_is_written(lm: NgramModel) -> None:
    knowledge = Knowledge(lm, hotwords={"too": 6.0})
    assert words_of(BeamDecoder(PHONES, FRAME_S, WEIGHTED, knowledge), "t i | t u") == "tea too"


def test_words_that_the_search_does_not_know_are_written_as_they_are_named(lm: NgramModel) -> None:
    """Neither `to` nor `too` is in the lexicon; the dictionary has `to` first."""
    lexicon = ["red", "read", "tea"]
    for wish in (
        Knowledge(lm, lexicon, hotwords={"too": 6.0}),
        Knowledge(lm, lexicon, grammar=parse_grammar("too")),
        Knowledge(None, lexicon, grammar=parse_grammar("too")),
    ):
        assert words_of(BeamDecoder(PHONES, FRAME_S, WEIGHTED, wish), "t u") == "too"
    # Such a word leads on in a sentence, to one of two words that sound alike.
    for second, other in (("read", "red"), ("red", "read")):
        grammar = parse_grammar(f"to {second}\ntea {other}")
        decoder = BeamDecoder(PHONES, FRAME_S, WEIGHTED, Knowledge(lm, lexicon, grammar=grammar))
        assert words_of(decoder, "t u | u") == f"to {second}"


def test_a_word_that_is_disfavoured_does_not_join_its_rivals(lm: NgramModel) -> None:
    knowledge = Knowledge(lm, hotwords={"too": -1.0})
    assert words_of(BeamDecoder(PHONES, FRAME_S, WEIGHTED, knowledge), "t i | t u") == "tea two"


def test_partial_results_are_beginnings_of_the_grammar(lm: NgramModel) -> None:
    grammar = parse_grammar("to read\ntwo tea to")
    stream = BeamDecoder(PHONES, FRAME_S, EXACT, Knowledge(lm, grammar=grammar)).stream()
    stream.accept(emissions_of("t u | t i | t"))
    assert [word.text for word in stream.partial().words[:2]] == ["two", "tea"]


def test_a_grammar_says_which_of_the_words_that_sound_alike() -> None:
    grammar = parse_grammar("$s = two (red | tea);")
    decoder = BeamDecoder(PHONES, FRAME_S, EXACT, Knowledge(grammar=grammar))
    assert words_of(decoder, "t u | u") == "two red"
    assert words_of(decoder, "t u | i t") != "two read"
    with pytest.raises(DataError, match="no pronunciation of the word 'kiwi'"):
        BeamDecoder(PHONES, FRAME_S, EXACT, Knowledge(grammar=parse_grammar("$s = kiwi;")))


def test_off_the_grammar_all_words_of_the_dictionary_are_said() -> None:
    grammar = parse_grammar("$s = two red;")
    off = CLOSED.model_copy(update={"off_grammar_score": -5.0})
    decoder = BeamDecoder(PHONES, FRAME_S, off, Knowledge(hotwords={"tea": 1.0}, grammar=grammar))
    assert words_of(decoder, "t i | i t") == "tea read"
    assert words_of(decoder, "t u | u") == "two red"


def test_a_grammar_word_may_be_said_in_each_of_its_ways() -> None:
    grammar = parse_grammar("$s = tea read;")
    decoder = BeamDecoder(PHONES, FRAME_S, EXACT, Knowledge(grammar=grammar))
    assert words_of(decoder, "t i | i t") == words_of(decoder, "t i | u") == "tea read"


def test_a_lexicon_needs_pronunciations(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot spell the word 'kiwi' of the lexicon"):
        BeamDecoder(PHONES, FRAME_S, CLOSED, Knowledge(None, ["tea", "kiwi"]))
