"""Queries of n-gram models: against KenLM's results and against back-off by its definition."""

from __future__ import annotations

import tempfile
from itertools import product
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_files import (
    GOLDEN,
    LN_10,
    DictionaryModel,
    Ngrams,
    arpa_text,
    read_golden_queries,
    read_ngrams,
)

from asr.lm.arpa import read_arpa
from asr.lm.bulk import score_words
from asr.lm.ngram import SENTENCE_BREAK, NgramModel, advance
from asr.lm.tables import FEW, UNKNOWN_LOG_PROB, empty_tables, find_child

HELDOUT = [line.split() for line in (GOLDEN / "heldout.txt").read_text().splitlines()]
SMALL: Ngrams = {
    ("<s>",): (-99.0, -0.3),
    ("</s>",): (-0.7, 0.0),
    ("a",): (-0.5, -0.25),
    ("b",): (-0.6, 0.125),
    ("c",): (-0.9, 0.0),
    ("<s>", "a"): (-0.2, -0.5),
    ("a", "b"): (-0.4, 0.0),
    ("b", "c"): (-0.1, -0.75),
    ("a", "b", "c"): (-0.05, 0.0),
    ("b", "c", "a"): (-0.35, 0.0),
}


def model_of(ngrams: Ngrams, order: int = 3) -> NgramModel:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "lm.arpa"
        path.write_text(arpa_text(ngrams, order), encoding="utf-8")
        return read_arpa(path)


@pytest.mark.parametrize("name", ["o3", "o4", "o3.prune001"])
def test_queries_equal_those_of_kenlm(name: str) -> None:
    model = read_arpa(GOLDEN / f"commands.{name}.arpa")
    golden = read_golden_queries(GOLDEN / f"heldout.{name}.query.txt")
    log_probs = [value for words in HELDOUT for value in model.word_log_probs(words)]
    assert [word for word, _ in golden] == [w for words in HELDOUT for w in [*words, "</s>"]]
    np.testing.assert_allclose(
        np.array(log_probs) / LN_10, [log10 for _, log10 in golden], atol=1e-5
    )


def test_log10_becomes_natural_once() -> None:
    model = model_of(SMALL)
    log_prob, state = model.score(0, model.id_of("c"))
    assert log_prob == pytest.approx(-0.9 * LN_10, rel=1e-6)
    assert state == 0, "c has neither children nor a back-off"


def test_known_sentence_by_hand() -> None:
    model = model_of(SMALL)
    log10s = np.array(model.word_log_probs(["a", "b", "c", "c"])) / LN_10
    # <s> a; then `a b` after backing off from `<s> a` (-0.5); a b c; then c after the contexts
    # `b c` (-0.75) and c (0); the end after c (0).
    np.testing.assert_allclose(log10s, [-0.2, -0.5 - 0.4, -0.05, -0.75 - 0.9, -0.7], rtol=1e-6)


def test_histories_with_equal_futures_are_one_state() -> None:
    model = model_of(SMALL)
    after_c = model.score(model.start(), model.id_of("c"))[1]
    after_unknown = model.score(model.start(), -1)[1]
    assert after_c == after_unknown == 0
    _, long_state = model.score(model.score(model.start(), model.id_of("a"))[1], model.id_of("b"))
    short_state = model.score(model.score(0, model.id_of("a"))[1], model.id_of("b"))[1]
    assert long_state == short_state != 0


def test_a_model_without_unknown_word_gives_kenlms_price() -> None:
    model = model_of(SMALL)
    assert model.unk_id == -1
    assert model.id_of("zzz") == -1
    log_prob, state = model.score(model.start(), -1)
    assert log_prob == pytest.approx(UNKNOWN_LOG_PROB - 0.3 * LN_10)
    assert state == 0


@pytest.mark.parametrize("word", [-1, -7, 6, 10**9])
def test_ids_outside_the_vocabulary_are_unknown(word: int) -> None:
    model = model_of(SMALL | {("<unk>",): (-2.0, 0.0)})
    assert model.score(0, word) == model.score(0, model.unk_id)


def test_sentences_in_bulk_equal_sentences_one_by_one() -> None:
    model = read_arpa(GOLDEN / "commands.o3.arpa")
    ids = [[*map(model.id_of, words), model.eos_id] for words in HELDOUT]
    bulk = model.score_ids(np.array([i for row in ids for i in [*row, SENTENCE_BREAK]]))
    alone = [value for words in HELDOUT for value in [*model.word_log_probs(words), 0.0]]
    assert bulk.tolist() == alone


def test_model_describes_itself() -> None:
    model = read_arpa(GOLDEN / "commands.o3.arpa")
    assert (model.order, model.num_ngrams) == (3, (92, 526, 1922))
    assert model.words[model.bos_id] == "<s>"
    assert model.words[model.eos_id] == "</s>"
    assert model.words[model.unk_id] == "<unk>"
    assert all(model.id_of(word) == index for index, word in enumerate(model.words))
    with pytest.raises(ValueError, match="read-only"):
        model.tables.log_prob[0] = 1.0


def test_protocol_and_compiled_function_agree() -> None:
    model = read_arpa(GOLDEN / "commands.o3.arpa")
    state, total = model.start(), 0.0
    for word in HELDOUT[0]:
        assert model.score(state, model.id_of(word)) == advance(
            model.tables, state, model.id_of(word)
        )
        log_prob, state = model.score(state, model.id_of(word))
        total += log_prob
    total += model.finish(state)
    assert total == pytest.approx(model.sentence_log_prob(HELDOUT[0]), abs=1e-12)


def test_a_model_without_sentence_marks() -> None:
    model = model_of({("a",): (-0.3, 0.0), ("b",): (-0.4, 0.0)}, order=1)
    assert (model.bos_id, model.eos_id, model.start()) == (-1, -1, 0)
    assert model.finish(0) == 0.0
    np.testing.assert_allclose(model.word_log_probs(["b"]), [-0.4 * LN_10], rtol=1e-6)


numbers = st.integers(-40, 0).map(lambda value: value / 16)
words = ("a", "b", "c", "</s>")


@st.composite
def random_ngrams(draw: st.DrawFn) -> Ngrams:
    """Any subset of n-grams up to order 4, whose beginnings and ends may be missing."""
    ngrams: Ngrams = {(word,): (draw(numbers), draw(numbers)) for word in ("<s>", *words)}
    firsts: list[tuple[str, ...]] = [("<s>",), *[(word,) for word in words]]
    longer = [
        (*first, *rest) for n in (1, 2, 3) for first in firsts for rest in product(words, repeat=n)
    ]
    for ngram in draw(st.lists(st.sampled_from(longer), max_size=12, unique=True)):
        ngrams[ngram] = (draw(numbers), draw(numbers) if len(ngram) < 4 else 0.0)
    return ngrams


@settings(max_examples=60)
@given(random_ngrams(), st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=7))
def test_any_model_equals_back_off_by_definition(ngrams: Ngrams, sentence: list[str]) -> None:
    log10s = np.array(model_of(ngrams, 4).word_log_probs(sentence)) / LN_10
    expected = DictionaryModel(ngrams, 4).log10_of(sentence)
    np.testing.assert_allclose(log10s, expected, rtol=1e-6, atol=1e-6)


def test_every_golden_ngram_is_found_with_its_values() -> None:
    ngrams = read_ngrams(GOLDEN / "commands.o3.arpa")
    model = read_arpa(GOLDEN / "commands.o3.arpa")
    for ngram, (log10, _) in ngrams.items():
        state = model.start() if ngram[0] == "<s>" else 0
        for word in ngram[ngram[0] == "<s>" : -1]:
            state = model.score(state, model.id_of(word))[1]
        if ngram != ("<s>",):
            assert model.score(state, model.id_of(ngram[-1]))[0] / LN_10 == pytest.approx(
                log10, abs=1e-5
            )


def random_model(seed: int) -> tuple[NgramModel, Ngrams]:
    """Dense and sparse histories: some have many children, for the hash table, others few."""
    generator = np.random.default_rng(seed)
    vocabulary = [f"w{index}" for index in range(60)]

    def value() -> float:
        return float(generator.uniform(-3, -0.1))

    ngrams: Ngrams = {(w,): (value(), value()) for w in ("<s>", "</s>", "<unk>", *vocabulary)}
    level: list[tuple[str, ...]] = [("<s>",), *[(word,) for word in vocabulary]]
    for order in (2, 3, 4):
        following: list[tuple[str, ...]] = []
        for history in level:
            most = 50 if generator.random() < 0.15 else 6
            chosen = generator.permutation(vocabulary)[: generator.integers(0, most)]
            following += [(*history, str(word)) for word in chosen]
        ngrams |= {ngram: (value(), value() if order < 4 else 0.0) for ngram in following[:3000]}
        level = following[:3000]
    return model_of(ngrams, 4), ngrams


class TestManyChildren:
    model, ngrams = random_model(5)

    def test_some_histories_are_hashed_and_some_are_not(self) -> None:
        num_children = np.diff(self.model.tables.first_child)[1:]
        assert (num_children > FEW).any()
        assert ((num_children > 0) & (num_children <= FEW)).any()
        is_used = self.model.tables.slots >= 0
        assert is_used.sum() == num_children[num_children > FEW].sum()

    def test_every_child_is_found_and_nothing_else(self) -> None:
        tables = self.model.tables
        words = np.arange(-1, len(self.model.words) + 1)
        for node in range(0, tables.num_inner, 7):
            begin, end = tables.first_child[node : node + 2]
            found = {int(word): find_child(tables, node, int(word)) for word in words}
            expected = {int(tables.word[child]): int(child) for child in range(begin, end)}
            assert {word: child for word, child in found.items() if child >= 0} == expected

    def test_sentences_equal_back_off_by_definition(self) -> None:
        reference = DictionaryModel(self.ngrams, 4)
        names = [name for ngram in list(self.ngrams)[::-1] for name in ngram if name[0] == "w"]
        for begin in range(0, 600, 30):
            sentence = [*names[begin : begin + 25], "other", *names[begin + 25 : begin + 30]]
            log10s = np.array(self.model.word_log_probs(sentence)) / LN_10
            np.testing.assert_allclose(log10s, reference.log10_of(sentence), atol=1e-5)

    @pytest.mark.parametrize("small_items", [0, 1 << 30], ids=["lanes", "in turn"])
    @pytest.mark.parametrize("num_sentences", [0, 1, 2, 40])
    def test_lanes_give_what_advance_gives(self, small_items: int, num_sentences: int) -> None:
        generator = np.random.default_rng(num_sentences)
        names = [name for ngram in list(self.ngrams)[::-1] for name in ngram if name[0] == "w"]
        expected, ids = [], []
        for _ in range(num_sentences):
            begin = generator.integers(0, len(names) - 40)
            sentence = names[begin : begin + generator.integers(0, 40)]
            sentence = [name if generator.random() < 0.97 else "other" for name in sentence]
            ids += [*map(self.model.id_of, sentence), self.model.eos_id, SENTENCE_BREAK]
            state = self.model.start_state
            for word in [*map(self.model.id_of, sentence), self.model.eos_id]:
                log_prob, state = advance(self.model.tables, state, word)
                expected.append(log_prob)
            expected.append(0.0)
        got = np.full(len(ids), np.nan)
        words = np.array(ids, np.int64)
        score_words(self.model.tables.ints, self.model.start_state, 3, words, got, small_items)
        assert got.tolist() == expected


def test_tables_of_no_model_are_of_the_types_of_any_other() -> None:
    tables = empty_tables()
    assert advance(tables, 0, 3) == (UNKNOWN_LOG_PROB, 0)
    for array, other in zip(tables, read_arpa(GOLDEN / "commands.o1.arpa").tables, strict=True):
        assert numba.typeof(array) == numba.typeof(other)
