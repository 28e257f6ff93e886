"""Mixing, adapting, pruning and renormalising of any normalised models: sums, means, limits."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_files import ngrams_of
from lm_reference import ProperModel

from asr.errors import DataError
from asr.lm.mixing import adapt, interpolate_models
from asr.lm.ngram import NgramModel
from asr.lm.perplexity import measure_perplexity
from asr.lm.pruning import prune
from asr.lm.renormalising import order_rows, with_backoffs
from asr.lm.trie import OrderTable

SETTINGS = settings(max_examples=40)
Probs = dict[tuple[str, ...], float]


@dataclass(frozen=True)
class Proper:
    """A normalised model, slow and fast."""

    reference: ProperModel
    model: NgramModel


def tables_of_probs(probs: Probs) -> tuple[list[bytes], list[OrderTable]]:
    """The vocabulary and what `with_backoffs` takes; its back-offs are garbage to be ignored."""
    words = [ngram[0] for ngram in probs if len(ngram) == 1]
    tables = []
    for length in range(1, max(map(len, probs)) + 1):
        rows = [ngram for ngram in probs if len(ngram) == length]
        ids = np.array([[words.index(word) for word in row] for row in rows], np.int32)
        log_probs = np.log([probs[row] for row in rows]).astype(np.float32)
        tables.append(OrderTable(ids, log_probs, np.full(len(rows), 9.0, np.float32)))
    return [word.encode() for word in words], tables


@st.composite
def propers(draw: st.DrawFn, names: str = "abcde") -> Proper:
    """Probabilities that leave something after every history; order 1 to 4."""

    def shares_of(num: int) -> list[float]:
        shares: list[float] = (0.9 * generator.dirichlet(np.full(num, 2.0)) + 0.1 / num).tolist()
        return shares

    seed, order = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 4))
    unknown = draw(st.sampled_from(["<unk>", "<UNK>", ""]))
    generator = np.random.default_rng(seed)
    known = [name for name in names if generator.random() < 0.8] or ["a"]
    words = ["</s>", *known, *([unknown] if unknown else [])]
    probs: Probs = {("<s>",): 1.0}
    probs |= {(word,): share for word, share in zip(words, shares_of(len(words)), strict=True)}
    level: list[tuple[str, ...]] = [("<s>",), *[(word,) for word in known]]
    for _ in range(2, order + 1):
        longer = []
        for history in level:
            chosen = generator.permutation(words)[: generator.integers(0, len(words))].tolist()
            for word, share in zip(chosen, shares_of(len(chosen) + 1)[1:], strict=True):
                probs[(*history, word)] = share
                longer += [(*history, word)] if word in known else []
            if generator.random() < 0.2:
                # Nothing can begin a sentence after words; some files list it all the same.
                probs[(*history, "<s>")] = 0.5
        level = [ngram for ngram in longer if generator.random() < 0.5]
    return Proper(ProperModel(probs), with_backoffs(*tables_of_probs(probs)))


def unk_named(words: Sequence[str]) -> tuple[str, ...]:
    """Words as mixtures name them."""
    return tuple("<unk>" if word == "<UNK>" else word for word in words)


def events(model: NgramModel) -> list[str]:
    """What can follow a history."""
    return [word for word in model.words if word != "<s>"]


def prob(model: NgramModel, history: Sequence[str], word: str) -> float:
    """Probability of a word after a history, which may begin with `<s>`; 0 for a new word."""
    if model.id_of(word) < 0:
        return 0.0
    state = 0
    for earlier in history:
        state = model.score(state, model.id_of(earlier))[1]
    return math.exp(model.score(state, model.id_of(word))[0])


def histories(*models: NgramModel) -> list[tuple[str, ...]]:
    """Every n-gram that could be one, some that are not listed, and none."""
    found = {ngram for model in models for ngram in ngrams_of(model) if "</s>" not in ngram}
    return sorted({(), ("a", "a", "a"), ("new", "b"), *found})


def assert_sums_to_one(model: NgramModel) -> None:
    for history in histories(model):
        total = math.fsum(prob(model, history, word) for word in events(model))
        assert total == pytest.approx(1.0, abs=2e-4), history


@SETTINGS
@given(propers())
def test_back_offs_follow_from_the_probabilities(proper: Proper) -> None:
    found = {unk_named(ngram): values for ngram, values in ngrams_of(proper.model).items()}
    assert set(found) == set(proper.reference.probs)
    for ngram, (log10, backoff) in found.items():
        assert 10**log10 == pytest.approx(proper.reference.probs[ngram], rel=1e-6)
        if len(ngram) < proper.model.order:
            weight = proper.reference.weight(ngram)
            assert 10**backoff == pytest.approx(weight, rel=1e-3, abs=1e-5), ngram
    assert_sums_to_one(proper.model)


@SETTINGS
@given(propers())
def test_any_history_gives_the_probabilities_of_the_definition(proper: Proper) -> None:
    for history in histories(proper.model):
        for word in events(proper.model):
            expected = proper.reference.prob(unk_named(history), *unk_named([word]))
            assert prob(proper.model, history, word) == pytest.approx(expected, rel=1e-3, abs=1e-6)


@SETTINGS
@given(st.lists(propers(), min_size=1, max_size=3), st.data())
def test_mixtures_list_weighted_means_and_add_up(
    propers_: list[Proper], data: st.DataObject
) -> None:
    shares = data.draw(
        st.lists(st.integers(0, 9), min_size=len(propers_), max_size=len(propers_)).filter(any)
    )
    weights = [share / sum(shares) for share in shares]
    mixed = interpolate_models([proper.model for proper in propers_], weights)
    # A model of no weight is left out, with what it alone lists.
    kept = [one.model for one, weight in zip(propers_, weights, strict=True) if weight > 0]
    assert mixed.order == max(model.order for model in kept)
    found = ngrams_of(mixed)
    assert set(found) == {unk_named(ngram) for model in kept for ngram in ngrams_of(model)}
    for ngram, (log10, _) in found.items():
        parts = [
            weight * proper.reference.prob(ngram[:-1], ngram[-1])
            for weight, proper in zip(weights, propers_, strict=True)
        ]
        expected = 1.0 if ngram == ("<s>",) else sum(parts)
        assert 10**log10 == pytest.approx(expected, rel=1e-3, abs=1e-9), ngram
    assert_sums_to_one(mixed)


@SETTINGS
@given(propers(), propers("bcdxy"))
def test_all_weight_on_one_model_is_that_model(first: Proper, second: Proper) -> None:
    mixed = interpolate_models([first.model, second.model], [1.0, 0.0])
    for history in histories(first.model, second.model):
        for word in events(first.model):
            found = prob(mixed, unk_named(history), *unk_named([word]))
            assert found == pytest.approx(prob(first.model, history, word), rel=1e-2, abs=1e-5)


@SETTINGS
@given(propers(), st.sampled_from([0.0, 1e-6, 1e-3, 1e-2, 0.1, 1.0, 1e9]))
def test_pruning_keeps_unigrams_beginnings_probabilities_and_sums(
    proper: Proper, threshold: float
) -> None:
    whole, pruned = ngrams_of(proper.model), ngrams_of(prune(proper.model, threshold))
    assert set(pruned) <= set(whole)
    assert {ngram for ngram in whole if len(ngram) == 1} <= set(pruned)
    assert all(ngram[:-1] in pruned for ngram in pruned if len(ngram) > 1)
    for ngram, (log10, _) in pruned.items():
        assert log10 == pytest.approx(whole[ngram][0], abs=1e-6)
    if threshold == 1e9:
        assert all(len(ngram) == 1 for ngram in pruned)
    assert_sums_to_one(prune(proper.model, threshold))


@SETTINGS
@given(propers())
def test_rows_are_the_ngrams_in_the_order_of_nodes(proper: Proper) -> None:
    names = [
        tuple(proper.model.words[word] for word in row)
        for rows in order_rows(proper.model)
        for row in rows
    ]
    assert len(names) == len(set(names))
    found = ngrams_of(proper.model)
    # ngrams_of walks breadth first, as nodes are numbered.
    assert names == list(found)


sentences = st.lists(
    st.lists(st.sampled_from(["a", "b", "x", "y"]), min_size=1, max_size=5), min_size=1, max_size=6
)


@settings(max_examples=25)
@given(propers(), sentences)
def test_adapting_from_none_to_half(proper: Proper, lines: list[list[str]]) -> None:
    base = proper.model
    with tempfile.TemporaryDirectory() as directory:
        text = Path(directory) / "text"
        text.write_text("".join(" ".join(line) + "\n" for line in lines))
        none, hardly, half = (adapt(base, [text], weight) for weight in (0.0, 1e-6, 0.5))
        costs = [measure_perplexity(model, [text]).log_prob for model in (hardly, half)]
    new = {word for line in lines for word in line}
    assert set(hardly.words) == set(half.words) == set(none.words) | new | {"<s>", "</s>", "<unk>"}
    for history in histories(base):
        for word in events(base):
            found = prob(none, unk_named(history), *unk_named([word]))
            assert found == pytest.approx(prob(base, history, word), rel=1e-2, abs=1e-5)
    assert costs[1] > costs[0] - 1e-3
    assert_sums_to_one(half)


@pytest.mark.parametrize(
    "weights",
    [[math.nan, 1.0], [math.nan, math.nan], [math.inf, -math.inf], [0.5, 0.5 + 2e-6], [], [2, -1]],
)
def test_weights_that_are_none(weights: list[float]) -> None:
    model = with_backoffs(*tables_of_probs({("a",): 0.5, ("b",): 0.5}))
    with pytest.raises(DataError, match="models with weights"):
        interpolate_models([model, model], weights)
    with pytest.raises(DataError, match="0 models with weights"):
        interpolate_models([], [])


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_share_of_a_text_is_between_none_and_all(tmp_path: Path, weight: float) -> None:
    (tmp_path / "text").write_text("a b\n")
    model = with_backoffs(*tables_of_probs({("a",): 0.5, ("b",): 0.5}))
    with pytest.raises(DataError, match="the weight of the sentences is"):
        adapt(model, [tmp_path / "text"], weight)


def test_pruning_below_no_number_is_refused() -> None:
    model = with_backoffs(*tables_of_probs({("a",): 0.5, ("b",): 0.5}))
    with pytest.raises(DataError, match="threshold nan"):
        prune(model, math.nan)


def test_a_model_with_both_spellings_of_unknown_is_mixed() -> None:
    """The first is the unknown word; the other is a word like others."""
    probs: Probs = {("<unk>",): 0.25, ("<UNK>",): 0.25, ("a",): 0.5}
    model = with_backoffs(*tables_of_probs(probs))
    mixed = interpolate_models([model, model], [0.5, 0.5])
    assert mixed.words == model.words
    assert mixed.unk_id == 0
    assert [prob(mixed, (), word) for word in mixed.words] == pytest.approx([0.25, 0.25, 0.5])
