"""Back-off models, Kneser-Ney and mixtures by their definitions, with dictionaries."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from lm_files import Ngrams

from asr.lm.tables import UNKNOWN_LOG_PROB

# By word ids: natural log-probability and back-off.
IdNgrams = dict[tuple[int, ...], tuple[float, float]]

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
        ngram: (
            math.log10(prob),
            math.log10(max(gammas.get(ngram, 1.0), 1e-99)) if len(ngram) < order else 0.0,
        )
        for ngram, prob in probs.items()
    }


class TupleModel:
    """A back-off model whose states are tuples of words.

    Args:
        ngrams: What the model lists, all unigrams among them.
        order: Length of the longest n-grams.
        num_words: Size of the vocabulary.
        unk_id: What words outside the vocabulary count as, or -1.
    """

    def __init__(self, ngrams: IdNgrams, order: int, num_words: int, unk_id: int) -> None:
        self.order, self.num_words, self.unk_id = order, num_words, unk_id
        self.listed = dict(ngrams)
        # Beginnings that are not listed get what backing off gives, and back-off weight 1.
        for ngram in sorted(ngrams, key=len):
            for end in range(2, len(ngram)):
                if ngram[:end] not in self.listed:
                    prob = self.log_prob(ngram[: end - 1], ngram[end - 1])
                    self.listed[ngram[:end]] = (prob, 0.0)
        self.children: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for ngram in self.listed:
            self.children[ngram[:-1]].append(ngram[-1])

    def known(self, word: int) -> int:
        """The word, or what it counts as."""
        return word if 0 <= word < self.num_words else self.unk_id

    def log_prob(self, history: tuple[int, ...], word: int) -> float:
        """Natural log-probability by Katz's definition; the words of the history are known."""
        if (*history, word) in self.listed:
            return self.listed[(*history, word)][0]
        if not history:
            return UNKNOWN_LOG_PROB
        backoff = self.listed.get(history, (0.0, 0.0))[1]
        return backoff + self.log_prob(history[1:], word)

    def matters(self, history: tuple[int, ...]) -> bool:
        """Whether all the words of a history can matter."""
        if len(history) >= self.order or history not in self.listed:
            return False
        return bool(self.children.get(history)) or self.listed[history][1] != 0

    def state(self, history: tuple[int, ...]) -> tuple[int, ...]:
        """The longest ending of a history that matters."""
        known = tuple(map(self.known, history[-self.order :]))
        endings = [known[start:] for start in range(len(known))]
        return next((ending for ending in endings if self.matters(ending)), ())

    def log_probs(self, start: tuple[int, ...], words: Sequence[int]) -> list[float]:
        """The log-probability of every word of a text that begins after a history."""
        text = [*start, *map(self.known, words)]
        firsts = range(len(start), len(text))
        return [
            self.log_prob(tuple(text[max(0, at - self.order + 1) : at]), text[at]) for at in firsts
        ]


class ProperModel:
    """Normalised by its definition: what a history lists keeps its probability, the rest share.

    Args:
        probs: Probabilities, of all unigrams among them; beginnings of what is listed are listed.
            The unknown word is written in either way.
    """

    def __init__(self, probs: dict[tuple[str, ...], float]) -> None:
        self.probs = {
            tuple("<unk>" if word == "<UNK>" else word for word in ngram): prob
            for ngram, prob in probs.items()
        }

    def prob(self, history: tuple[str, ...], word: str) -> float:
        """Probability of a word after a history; 0 for one outside the vocabulary."""
        if (word,) not in self.probs:
            return 0.0
        known = tuple(name if (name,) in self.probs else "<unk>" for name in history)
        if (*known, word) in self.probs:
            return self.probs[(*known, word)]
        return self.weight(known) * self.prob(known[1:], word)

    def weight(self, history: tuple[str, ...]) -> float:
        """Back-off weight."""
        children = [n for n in self.probs if n[:-1] == history and n[-1] != "<s>"]
        left_here = 1 - math.fsum(self.probs[child] for child in children)
        left_shorter = 1 - math.fsum(self.prob(history[1:], child[-1]) for child in children)
        return left_here / left_shorter if children else 1.0
