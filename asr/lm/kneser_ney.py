"""Interpolated modified Kneser-Ney estimation, as KenLM's `lmplz` defines it.

With a(hw) the adjusted count of an n-gram (how often it occurs at the highest order and after
`<s>`; else how many different words come before it), D the discounts of its order and h' the
history without its first word:

    p(w | h) = (a(hw) - D[a(hw)]) / sum_v a(hv) + gamma(h) p(w | h')
    gamma(h) = (sum of D[a(hv)] over kept hv + sum of a(hv) over pruned hv) / sum_v a(hv)

and for unigrams the last term is gamma / (num_words - 1): every word but `<s>` is equally likely.

References:
    Chen & Goodman (1999), equations 24 to 26; Heafield et al. (2013), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator, model_validator

from asr.config import Options
from asr.lm.classes import WordClass, classes_within, written_out
from asr.lm.compiled import compiled
from asr.lm.counting import BOS_ID, RUN_WORDS, count_ngrams
from asr.lm.ngram import NgramModel
from asr.lm.suffix_trie import SuffixTrie, fill_contexts, forward_model, suffix_trie
from asr.lm.tables import Array
from asr.progress import working

# What KenLM's --discount_fallback takes where the counts of counts give none.
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


class BuildOptions(Options):
    """How to build a model.

    Attributes:
        order: Length of the longest n-grams.
        prune: For each order from unigrams on, n-grams occurring so often or less are dropped;
            the last number counts for all longer ones; at most `order` numbers. Unigrams are never
            dropped: limit the vocabulary instead.
        run_words: Words that are sorted in memory; longer texts are sorted in files.
    """

    order: int = Field(default=3, ge=1, le=16)
    prune: tuple[int, ...] = (0,)
    run_words: int = Field(default=RUN_WORDS, ge=1, le=2**27)

    @field_validator("prune")
    @classmethod
    def _check_prune(cls, prune: tuple[int, ...]) -> tuple[int, ...]:
        if not prune or prune[0] != 0:
            raise ValueError("must begin with 0: unigrams are not pruned")
        if list(prune) != sorted(prune):
            raise ValueError("must not decrease, or histories of kept n-grams would be dropped")
        return prune

    @model_validator(mode="after")
    def _check_length(self) -> BuildOptions:
        if len(self.prune) > self.order:
            raise ValueError(
                f"`prune` has {len(self.prune)} numbers, expected one for each order from unigrams "
                f"on, at most {self.order} where `order` is {self.order}"
            )
        return self

    def threshold(self, order: int) -> int:
        """Largest count of a dropped n-gram of this order."""
        return self.prune[min(order, len(self.prune)) - 1]


@dataclass(frozen=True)
class Discounts:
    """What is taken from counts of 1, 2 and 3 or more."""

    amounts: tuple[float, float, float]
    is_fallback: bool


@dataclass(frozen=True)
class BuiltModel:
    """A model and the discounts of each order, from unigrams on."""

    model: NgramModel
    discounts: tuple[Discounts, ...]


def build_model(
    paths: Sequence[Path],
    options: BuildOptions,
    vocabulary: Sequence[str] | None = None,
    classes: Sequence[WordClass] = (),
) -> BuiltModel:
    """Estimate a model from texts.

    Args:
        paths: UTF-8 texts, plain or gzip, one sentence a line.
        options: Order, pruning and memory.
        vocabulary: Words of the model. Others are read as `<unk>`, which then has counts of its
            own; those the text lacks share what `<unk>` gets otherwise. None for all of the text.
        classes: Words that stand for each other, those that a vocabulary lacks left out; counts,
            pruning and discounts are those of the text in classes.

    Raises:
        DataError: A text cannot be read or holds a sentence mark; see `count_ngrams`. Or classes
            make too many n-grams; see `classes.written_out`.
    """
    if vocabulary is not None:
        classes = classes_within(classes, frozenset(vocabulary))
    trie, words = _counted(paths, options, vocabulary, classes)
    with working("estimating"):
        fill_contexts(trie)
        levels = list(pairwise(trie.starts))
        discounts = [discounts_of(trie.counts[begin:end]) for begin, end in levels]
        probs, gammas = _estimate(trie, discounts)
        # What is no longer needed makes room: these are a third of the memory.
        trie = trie._replace(first=trie.first[:0].copy(), counts=trie.counts[:0].copy())
        model = forward_model(trie, probs, gammas, words)
        return BuiltModel(written_out(model, classes) if classes else model, tuple(discounts))


def _counted(
    paths: Sequence[Path],
    options: BuildOptions,
    vocabulary: Sequence[str] | None,
    classes: Sequence[WordClass],
) -> tuple[SuffixTrie, list[bytes]]:
    limit = None if vocabulary is None else [word.encode() for word in vocabulary]
    labels = {word.encode(): one.label for one in classes for word in one.words}
    with count_ngrams(
        paths, options.order, limit, labels=labels, run_words=options.run_words
    ) as counts:
        thresholds = np.array([options.threshold(n) for n in range(1, options.order + 1)])
        with working("collecting n-grams"):
            return suffix_trie(counts, thresholds), counts.words


def discounts_of(adjusted: Array) -> Discounts:
    """Discounts of one order from its adjusted counts, with fallback.

    KenLM's rule: the fallback where no n-gram has count 1, 2 or 3, or where a discount for count j
    would be below 0 or above j.
    """
    n1, n2, n3, n4 = (int((adjusted == count).sum()) for count in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return Discounts(FALLBACK_DISCOUNTS, is_fallback=True)
    y = n1 / (n1 + 2 * n2)
    amounts = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    if not all(0 <= amount <= j for j, amount in enumerate(amounts, 1)):
        return Discounts(FALLBACK_DISCOUNTS, is_fallback=True)
    return Discounts(amounts, is_fallback=False)


def _estimate(trie: SuffixTrie, discounts: Sequence[Discounts]) -> tuple[Array, Array]:
    """Probability of every n-gram, and weight of the order below after each that can be a history.

    Returns:
        (num_nodes,) float32; that of the empty n-gram is the uniform distribution.
        (num_inner,) float32; 1 where nothing follows.
    """
    num_words = trie.starts[1] - trie.starts[0]
    probs = np.empty(trie.first.size, np.float32)
    probs[0] = 1.0 / (num_words - 1)
    gammas = np.ones(trie.num_inner, np.float32)
    for (begin, end), discount in zip(pairwise(trie.starts), discounts, strict=True):
        estimate_level(trie, begin, end, np.array((0.0, *discount.amounts)), probs, gammas)
    # As KenLM writes it: `<s>` is never predicted, and its probability never asked for.
    probs[1 + BOS_ID] = 1.0
    return probs, gammas


@compiled
def estimate_level(
    trie: SuffixTrie, begin: int, end: int, discounts: Array, probs: Array, gammas: Array
) -> None:
    """Fill the probabilities of one order, nodes begin … end - 1, and the weights before it."""
    totals = np.zeros(gammas.size)
    left_over = np.zeros(gammas.size)
    for node in range(begin, end):
        context, count = trie.context[node], trie.counts[node]
        totals[context] += count
        left_over[context] += count if trie.is_pruned[node] else discounts[min(count, 3)]
    for context in range(gammas.size):
        if totals[context] > 0:
            gammas[context] = left_over[context] / totals[context]
    for node in range(begin, end):
        context, count = trie.context[node], trie.counts[node]
        seen = (count - discounts[min(count, 3)]) / totals[context]
        probs[node] = seen + gammas[context] * probs[trie.suffix[node]]
