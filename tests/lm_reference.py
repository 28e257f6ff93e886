"""Interpolated modified Kneser-Ney from its definition, with dictionaries: slow and obvious."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from lm_files import Ngrams

FALLBACK = (0.0, 0.5, 1.0, 1.5)


def occurrences(sentences: Sequence[Sequence[str]], order: int) -> list[Counter[tuple[str, ...]]]:
    """How often each n-gram occurs, by length; none is `<s>` alone."""
    found: list[Counter[tuple[str, ...]]] = [Counter() for _ in range(order + 1)]
    for words in sentences:
        sentence = ("<s>", *words, "</s>")
        for end in range(2, len(sentence) + 1):
            for start in range(max(0, end - order), end):
                found[end - start][sentence[start:end]] += 1
    return found


def adjusted_counts(found: list[Counter[tuple[str, ...]]]) -> list[dict[tuple[str, ...], int]]:
    """Occurrences at the highest order and after `<s>`, else the number of words before."""
    order = len(found) - 1
    adjusted: list[dict[tuple[str, ...], int]] = [{} for _ in found]
    for n in range(1, order + 1):
        befores: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for ngram in found[min(n + 1, order)]:
            befores[ngram[1:]].add(ngram[0])
        for ngram, count in found[n].items():
            raw = n == order or ngram[0] == "<s>"
            adjusted[n][ngram] = count if raw else len(befores[ngram])
    return adjusted


def discounts(counts: Sequence[int]) -> tuple[float, ...]:
    """Chen & Goodman (1999), equation 26; what KenLM falls back to where it says nothing."""
    n = [sum(count == j for count in counts) for j in range(5)]
    if 0 in n[1:4]:
        return FALLBACK
    y = n[1] / (n[1] + 2 * n[2])
    amounts = (0.0, *(j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)))
    return amounts if all(0 <= amounts[j] <= j for j in (1, 2, 3)) else FALLBACK


def kneser_ney(
    sentences: Sequence[Sequence[str]], order: int, thresholds: Sequence[int], words: Sequence[str]
) -> Ngrams:
    """N-grams with log10 probability and back-off.

    Args:
        sentences: Words; those outside the vocabulary already replaced by `<unk>`.
        order: Length of the longest n-grams.
        thresholds: For each order, n-grams that occur so often or less are left out.
        words: The vocabulary without marks.
    """
    found = occurrences(sentences, order)
    adjusted = adjusted_counts(found)
    vocabulary = [(word,) for word in ("<unk>", "</s>", *words)]
    probs: dict[tuple[str, ...], float] = {}
    gammas: dict[tuple[str, ...], float] = {}
    for n in range(1, order + 1):
        amounts = discounts(list(adjusted[n].values()))
        totals: Counter[tuple[str, ...]] = Counter()
        left: dict[tuple[str, ...], float] = defaultdict(float)
        is_kept = {ngram: n == 1 or found[n][ngram] > thresholds[n - 1] for ngram in found[n]}
        for ngram, count in adjusted[n].items():
            totals[ngram[:-1]] += count
            left[ngram[:-1]] += amounts[min(count, 3)] if is_kept[ngram] else count
        gammas |= {context: left[context] / total for context, total in totals.items()}
        for ngram in vocabulary if n == 1 else [ngram for ngram in found[n] if is_kept[ngram]]:
            count = adjusted[n].get(ngram, 0)
            lower = probs[ngram[1:]] if n > 1 else 1.0 / len(vocabulary)
            context = ngram[:-1]
            probs[ngram] = (count - amounts[min(count, 3)]) / totals[context] + (
                gammas[context] * lower
            )
    probs[("<s>",)] = 1.0
    return {
        ngram: (math.log10(prob), math.log10(gammas.get(ngram, 1.0)) if len(ngram) < order else 0.0)
        for ngram, prob in probs.items()
    }
