"""Perplexity, mixing, adaptation and pruning: by hand, by brute force, by what must not change."""

from __future__ import annotations

import gzip
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_files import GOLDEN, LN_10, assert_same_ngrams, ngrams_of, read_golden_queries

from asr.errors import DataError
from asr.lm.arpa import read_arpa
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.lm.mixing import adapt, best_weights, interpolate_models, maximise
from asr.lm.ngram import NgramModel
from asr.lm.perplexity import measure_perplexity
from asr.lm.pruning import prune
from asr.lm.trie import merged_rows

HELDOUT = GOLDEN / "heldout.txt"
GOLDEN_MODEL = read_arpa(GOLDEN / "commands.o3.arpa")


def build(directory: Path, text: str, order: int = 3) -> NgramModel:
    path = directory / "text.txt"
    path.write_text(text, encoding="utf-8")
    return build_model([path], BuildOptions(order=order)).model


@pytest.fixture
def pair(tmp_path: Path) -> tuple[NgramModel, NgramModel]:
    """Two models whose vocabularies overlap."""
    return (
        build(tmp_path, "a b a\nb c\na b c\nc c a\n" * 2),
        build(tmp_path, "a d d b\nd a b\nb d\n", order=2),
    )


def prob(model: NgramModel, history: tuple[str, ...], word: str) -> float:
    """p(word | <s> history); 0 for a word outside the vocabulary."""
    if model.id_of(word) < 0:
        return 0.0
    state = model.start()
    for earlier in history:
        state = model.score(state, model.id_of(earlier))[1]
    return math.exp(model.score(state, model.id_of(word))[0])


class TestPerplexity:
    def test_equals_kenlms_queries(self) -> None:
        golden = read_golden_queries(GOLDEN / "heldout.o3.query.txt")
        known = [v for word, v in golden if GOLDEN_MODEL.id_of(word) >= 0]
        found = measure_perplexity(GOLDEN_MODEL, [HELDOUT])
        assert found.num_sentences == 100
        assert found.num_words == len(golden) - 100 == 404
        assert found.num_unknown == len(golden) - len(known) > 0
        everything = 10 ** (-sum(v for _, v in golden) / len(golden))
        assert found.including_unknown == pytest.approx(everything, rel=1e-5)
        assert found.excluding_unknown == pytest.approx(10 ** (-sum(known) / len(known)), rel=1e-5)

    def test_blocks_and_files_add_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = measure_perplexity(GOLDEN_MODEL, [HELDOUT])
        lines = HELDOUT.read_bytes().splitlines(keepends=True)
        (tmp_path / "a").write_bytes(b"".join(lines[:30]))
        (tmp_path / "b.gz").write_bytes(gzip.compress(b"".join(lines[30:])))
        monkeypatch.setattr("asr.lm.counting.BLOCK_BYTES", 100)
        parts = measure_perplexity(GOLDEN_MODEL, [tmp_path / "a", tmp_path / "b.gz"])
        assert parts.log_prob == pytest.approx(whole.log_prob, rel=1e-12)
        assert (parts.num_sentences, parts.num_words, parts.num_unknown) == (
            whole.num_sentences,
            whole.num_words,
            whole.num_unknown,
        )

    def test_text_that_cannot_be_scored(self, tmp_path: Path) -> None:
        (tmp_path / "empty").write_bytes(b"")
        (tmp_path / "marks").write_text("call\ncall </s>\n")
        with pytest.raises(DataError, match="no text"):
            measure_perplexity(GOLDEN_MODEL, [tmp_path / "empty"])
        with pytest.raises(DataError, match="line 2: contains </s>"):
            measure_perplexity(GOLDEN_MODEL, [tmp_path / "marks"])


class TestInterpolate:
    def test_listed_ngrams_get_the_weighted_mean(self, pair: tuple[NgramModel, NgramModel]) -> None:
        mixed = interpolate_models(pair, [0.3, 0.7])
        listed = {ngram for model in pair for ngram in ngrams_of(model) if ngram[0] == "<s>"}
        assert mixed.order == 3
        for ngram in sorted(listed - {("<s>",)}):
            parts = [prob(model, ngram[1:-1], ngram[-1]) for model in pair]
            assert prob(mixed, ngram[1:-1], ngram[-1]) == pytest.approx(
                0.3 * parts[0] + 0.7 * parts[1], rel=1e-4
            )

    def test_every_history_adds_up_to_one(self, pair: tuple[NgramModel, NgramModel]) -> None:
        mixed = interpolate_models(pair, [0.3, 0.7])
        assert sorted(mixed.words) == sorted(["<s>", "</s>", "<unk>", "a", "b", "c", "d"])
        words = [word for word in mixed.words if word != "<s>"]
        for history in [(), *product("abcd", repeat=1), *product("abcd", repeat=2)]:
            total = sum(prob(mixed, history, word) for word in words)
            assert total == pytest.approx(1.0, abs=1e-4)

    def test_a_model_mixed_with_itself_is_the_same(self) -> None:
        mixed = interpolate_models([GOLDEN_MODEL, GOLDEN_MODEL], [0.25, 0.75])
        assert_same_ngrams(ngrams_of(mixed), ngrams_of(GOLDEN_MODEL), 1e-3)

    def test_all_weight_on_one_model_keeps_its_probabilities(
        self, pair: tuple[NgramModel, NgramModel]
    ) -> None:
        mixed = interpolate_models(pair, [1.0, 0.0])
        for history in product("abc", repeat=2):
            for word in ("a", "b", "c", "</s>", "<unk>"):
                assert prob(mixed, history, word) == pytest.approx(
                    prob(pair[0], history, word), rel=1e-3
                )

    @pytest.mark.parametrize("chosen", [0, 1])
    def test_a_model_without_weight_brings_neither_words_nor_ngrams(
        self, pair: tuple[NgramModel, NgramModel], chosen: int
    ) -> None:
        """Its words would be known, and so improbable that they spoil every perplexity."""
        mixed = interpolate_models(pair, [1.0 - chosen, float(chosen)])
        assert set(mixed.words) == set(pair[chosen].words)
        assert_same_ngrams(ngrams_of(mixed), ngrams_of(pair[chosen]), 1e-3)

    @pytest.mark.parametrize("weights", [[1.0], [0.5, 0.6], [-0.5, 1.5]])
    def test_weights_that_do_not_fit(
        self, pair: tuple[NgramModel, NgramModel], weights: list[float]
    ) -> None:
        with pytest.raises(DataError, match="2 models with weights"):
            interpolate_models(pair, weights)

    @pytest.mark.parametrize("weight", [-0.1, 2.0, math.nan])
    def test_a_share_of_sentences_is_between_0_and_1(
        self, pair: tuple[NgramModel, NgramModel], tmp_path: Path, weight: float
    ) -> None:
        with pytest.raises(DataError, match=r"weight of the sentences is .*between 0 and 1"):
            adapt(pair[0], [tmp_path / "none"], weight)


class TestWeights:
    def test_two_words_by_hand(self) -> None:
        # d/dw [log(0.8 w + 0.2 (1 - w)) + log(0.3 w + 0.6 (1 - w))] = 0 at w = 5/6.
        weights = maximise(np.array([[0.8, 0.2], [0.3, 0.6]]))
        assert weights == pytest.approx([5 / 6, 1 / 6], abs=1e-4)

    @settings(max_examples=25)
    @given(st.lists(st.tuples(*[st.floats(0.01, 1.0)] * 2), min_size=1, max_size=20))
    def test_no_other_weights_are_better(self, rows: list[tuple[float, float]]) -> None:
        probs = np.array(rows)
        weights = maximise(probs)
        best = np.log(probs @ weights).sum()
        for weight in np.linspace(0, 1, 101):
            assert np.log(probs @ [weight, 1 - weight]).sum() <= best + 1e-3

    def test_the_text_of_a_model_gives_it_the_weight(
        self, tmp_path: Path, pair: tuple[NgramModel, NgramModel]
    ) -> None:
        (tmp_path / "held").write_text("d a b\nzzz\na d d b\n")
        weights = best_weights(pair, [tmp_path / "held"])
        assert weights[1] > 0.9
        mixtures = [
            measure_perplexity(interpolate_models(pair, [1 - w, w]), [tmp_path / "held"])
            for w in (weights[1], weights[1] - 0.2, 0.5)
        ]
        assert mixtures[0].excluding_unknown < min(m.excluding_unknown for m in mixtures[1:])

    @pytest.mark.parametrize("text", ["", "\n", "A D\nB\n"])
    def test_text_without_a_known_word(self, tmp_path: Path, text: str) -> None:
        """Sentence ends alone would decide, which every model knows."""
        (tmp_path / "empty").write_text(text)
        with pytest.raises(DataError, match="no model knows a word"):
            best_weights([GOLDEN_MODEL], [tmp_path / "empty"])


def test_adapting_brings_in_words_and_sentences(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("call zaphod beeblebrox\nzaphod\n" * 3)
    adapted = adapt(GOLDEN_MODEL, [own], weight=0.2)
    assert adapted.id_of("zaphod") >= 0
    before = measure_perplexity(GOLDEN_MODEL, [own]).including_unknown
    after = measure_perplexity(adapted, [own]).including_unknown
    assert after < before / 5
    base_words = measure_perplexity(adapted, [HELDOUT]).excluding_unknown
    assert base_words < 1.35 * measure_perplexity(GOLDEN_MODEL, [HELDOUT]).excluding_unknown
    assert prob(adapted, ("call",), "zaphod") == pytest.approx(
        0.2 * prob(build_model([own], BuildOptions(order=3)).model, ("call",), "zaphod"), rel=1e-4
    )


def test_sentences_without_a_share_leave_the_model_as_it_is(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("call zaphod\n")
    adapted = adapt(GOLDEN_MODEL, [own], weight=0.0)
    assert_same_ngrams(ngrams_of(adapted), ngrams_of(GOLDEN_MODEL), 1e-3)
    found = measure_perplexity(adapted, [own])
    assert found.num_unknown == 1
    assert found.including_unknown == pytest.approx(
        measure_perplexity(GOLDEN_MODEL, [own]).including_unknown, rel=1e-3
    )


class TestPrune:
    def test_loss_of_one_ngram_is_the_relative_entropy(self, tmp_path: Path) -> None:
        """Stolcke's closed form against the sum over the vocabulary, of each single bigram."""
        model = build(tmp_path, "a b a\nb c\na b c\nc c a\n" * 3, order=2)
        words = [word for word in model.words if word != "<s>"]
        listed = [ngram for ngram in ngrams_of(model) if len(ngram) == 2]
        losses = {}
        for history, last in listed:
            state = model.start() if history == "<s>" else model.id_of(history) + 1
            before = {w: math.exp(model.score(state, model.id_of(w))[0]) for w in words}
            unigram = {w: math.exp(model.score(0, model.id_of(w))[0]) for w in words}
            kept = [w for h, w in listed if h == history and w != last]
            weight = (1 - sum(before[w] for w in kept)) / (1 - sum(unigram[w] for w in kept))
            after = {w: before[w] if w in kept else weight * unigram[w] for w in words}
            entropy = sum(before[w] * math.log(before[w] / after[w]) for w in words)
            weight_of_history = 1.0 if history == "<s>" else unigram[history]
            losses[(history, last)] = math.expm1(weight_of_history * entropy)
        for threshold in sorted(losses.values()):
            for factor, survives in ((0.98, True), (1.02, False)):
                pruned = ngrams_of(prune(model, threshold * factor))
                for ngram, loss in losses.items():
                    if loss == threshold:
                        assert (ngram in pruned) == survives

    def test_what_is_left_still_adds_up_to_one(self) -> None:
        pruned = prune(GOLDEN_MODEL, 1e-4)
        assert 92 < sum(pruned.num_ngrams) < 0.9 * sum(GOLDEN_MODEL.num_ngrams)
        words = [word for word in pruned.words if word != "<s>"]
        for history in [(), ("call",), ("call", "marta"), ("one", "two"), ("zzz", "five")]:
            assert sum(prob(pruned, history, w) for w in words) == pytest.approx(1.0, abs=1e-4)

    def test_kept_ngrams_keep_their_probability_and_their_beginnings(self) -> None:
        pruned, whole = ngrams_of(prune(GOLDEN_MODEL, 1e-4)), ngrams_of(GOLDEN_MODEL)
        assert all(ngram[:-1] in pruned for ngram in pruned if len(ngram) > 1)
        assert all(pruned[n][0] == pytest.approx(whole[n][0], abs=1e-5) for n in pruned)

    def test_more_is_dropped_at_a_higher_threshold_and_costs_more(self) -> None:
        models = [prune(GOLDEN_MODEL, threshold) for threshold in (0.0, 1e-5, 1e-4, 1e-3, 1e9)]
        sizes = [sum(model.num_ngrams) for model in models]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[-1] == 92
        text = GOLDEN / "commands.txt"
        costs = [measure_perplexity(model, [text]).including_unknown for model in models]
        assert costs == sorted(costs)
        original = measure_perplexity(GOLDEN_MODEL, [text]).including_unknown
        assert costs[0] == pytest.approx(original, rel=1e-4)

    def test_a_negative_threshold_is_refused(self) -> None:
        with pytest.raises(DataError, match="expected at least 0"):
            prune(GOLDEN_MODEL, -1.0)


def test_perplexity_of_certainty(tmp_path: Path) -> None:
    arpa = tmp_path / "lm.arpa"
    arpa.write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-99 <s>\n-0.5 </s>\n-0.5 a\n\n\\end\\\n")
    (tmp_path / "text").write_text("a a a\n\n")
    found = measure_perplexity(read_arpa(arpa), [tmp_path / "text"])
    assert found.including_unknown == pytest.approx(10**0.5)
    assert found.log_prob == pytest.approx(-5 * 0.5 * LN_10)


def test_perplexity_beyond_all_numbers(tmp_path: Path) -> None:
    arpa = tmp_path / "lm.arpa"
    arpa.write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-1 </s>\n-1000 a\n\n\\end\\\n")
    (tmp_path / "text").write_text("a a a\n")
    found = measure_perplexity(read_arpa(arpa), [tmp_path / "text"])
    assert found.including_unknown == found.excluding_unknown == math.inf


ENDLESS = "\\data\\\nngram 1=2\n\n\\1-grams:\n-0.3 a\n-0.4 b\n\n\\end\\\n"
"""A model without `</s>`."""


@pytest.fixture
def endless(tmp_path: Path) -> NgramModel:
    (tmp_path / "endless.arpa").write_text(ENDLESS)
    return read_arpa(tmp_path / "endless.arpa")


def test_sentence_ends_that_are_not_scored_do_not_count(
    tmp_path: Path, endless: NgramModel
) -> None:
    (tmp_path / "text").write_text("a b\n\nzzz b a\n")
    found = measure_perplexity(endless, [tmp_path / "text"])
    assert (found.num_sentences, found.num_words, found.num_ends) == (3, 5, 0)
    assert found.excluding_unknown == pytest.approx(10 ** (1.4 / 4))
    unknown = -found.unknown_log_prob / LN_10
    assert found.including_unknown == pytest.approx(10 ** ((1.4 + unknown) / 5))


def test_perplexity_of_nothing_known_and_of_nothing(tmp_path: Path, endless: NgramModel) -> None:
    (tmp_path / "text").write_text("zzz\n")
    assert math.isnan(measure_perplexity(endless, [tmp_path / "text"]).excluding_unknown)
    (tmp_path / "text").write_text("\n\n")
    with pytest.raises(DataError, match="no text in"):
        measure_perplexity(endless, [tmp_path / "text"])
    assert measure_perplexity(GOLDEN_MODEL, [tmp_path / "text"]).num_ends == 2


def test_weights_where_a_model_has_no_sentence_end(
    tmp_path: Path, endless: NgramModel, pair: tuple[NgramModel, NgramModel]
) -> None:
    """The end has probability 0 there, as it has in the mixture."""
    (tmp_path / "held").write_text("a b\nb a zzz\n")
    weights = best_weights([endless, pair[0]], [tmp_path / "held"])
    rows = [
        [math.exp(endless.sentence_log_prob([word])), prob(pair[0], history, word)]
        for history, word in [((), "a"), (("a",), "b"), ((), "b"), (("b",), "a")]
    ]
    ends = [prob(pair[0], history, "</s>") for history in [("a", "b"), ("b", "a", "zzz")]]
    assert 0.1 < weights[0] < 0.9
    assert weights == pytest.approx(maximise(np.array([*rows, *[[0.0, end] for end in ends]])))
    mixtures = [
        measure_perplexity(interpolate_models([endless, pair[0]], [w, 1 - w]), [tmp_path / "held"])
        for w in (weights[0], weights[0] / 2, (1 + weights[0]) / 2)
    ]
    assert mixtures[0].excluding_unknown < min(m.excluding_unknown for m in mixtures[1:])
    assert best_weights([endless, endless], [tmp_path / "held"]) == pytest.approx([0.5, 0.5])


def test_distinct_rows_of_parts_are_merged_sorted() -> None:
    generator = np.random.default_rng(0)
    every = np.array(list(product(range(4), repeat=3)), np.int32)
    for sizes in [(0,), (9,), (20, 0), (0, 20), (30, 30, 30), (64, 5)]:
        parts = [generator.permutation(every)[:size] for size in sizes]
        expected = sorted({tuple(row) for part in parts for row in part.tolist()})
        assert list(map(tuple, merged_rows(parts).tolist())) == expected


def test_three_models_of_different_orders(pair: tuple[NgramModel, NgramModel]) -> None:
    models, weights = [pair[1], GOLDEN_MODEL, pair[0]], [0.2, 0.3, 0.5]
    mixed = interpolate_models(models, weights)
    assert mixed.order == 3
    listed = {n for m in models for n in ngrams_of(m) if n[0] == "<s>" and len(n) > 1}
    for ngram in sorted(listed):
        history, word = ngram[1:-1], ngram[-1]
        parts = [weight * prob(m, history, word) for m, weight in zip(models, weights, strict=True)]
        assert prob(mixed, history, word) == pytest.approx(sum(parts), rel=1e-4)
