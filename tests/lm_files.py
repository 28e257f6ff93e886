"""A slow, obvious back-off model, golden files and small ARPA texts for the tests of `asr.lm`."""

from __future__ import annotations

import gzip
import math
import re
from pathlib import Path

from asr.lm.ngram import NgramModel

GOLDEN = Path(__file__).parent / "golden"
LN_10 = math.log(10.0)
Ngrams = dict[tuple[str, ...], tuple[float, float]]


def read_golden_queries(path: Path) -> list[tuple[str, float]]:
    """KenLM's (word, log10 probability) of every word and sentence end."""
    found = re.findall(r"(\S+)=\d+ \d+ (\S+)", path.read_text(encoding="utf-8"))
    return [(word, float(log10)) for word, log10 in found]


def read_ngrams(path: Path) -> Ngrams:
    """Every n-gram of an ARPA file with its log10 probability and back-off."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    ngrams: Ngrams = {}
    order = 0
    for line in text.split("\\data\\", 1)[1].splitlines():
        if match := re.fullmatch(r"\\(\d+)-grams:", line.strip()):
            order = int(match[1])
        elif order and line.strip() and not line.startswith("\\"):
            fields = line.split()
            words = tuple(fields[1 : order + 1])
            backoff = float(fields[order + 1]) if len(fields) > order + 1 else 0.0
            ngrams[words] = (float(fields[0]), backoff)
    return ngrams


class DictionaryModel:
    """Back-off by its definition: the longest listed n-gram, else the weight and one word less."""

    def __init__(self, ngrams: Ngrams, order: int) -> None:
        self.ngrams = ngrams
        self.order = order

    def word(self, word: str) -> str:
        return word if (word,) in self.ngrams else "<unk>"

    def log10(self, history: tuple[str, ...], word: str) -> float:
        if (*history, word) in self.ngrams:
            return self.ngrams[(*history, word)][0]
        if not history:
            return -100.0
        backoff = self.ngrams.get(history, (0.0, 0.0))[1]
        return backoff + self.log10(history[1:], word)

    def log10_of(self, words: list[str]) -> list[float]:
        """Log10 probabilities of the words of a sentence and of its end."""
        sentence = ["<s>", *map(self.word, words), "</s>"]
        return [
            self.log10(tuple(sentence[max(0, end - self.order + 1) : end]), sentence[end])
            for end in range(1, len(sentence))
        ]


def arpa_text(ngrams: Ngrams, order: int) -> str:
    """ARPA text of n-grams; back-offs of 0 are left out, as SRILM does."""
    lines = ["\\data\\"]
    by_order = [[w for w in ngrams if len(w) == length] for length in range(1, order + 1)]
    lines += [f"ngram {length}={len(rows)}" for length, rows in enumerate(by_order, 1)]
    for length, rows in enumerate(by_order, 1):
        lines += ["", f"\\{length}-grams:"]
        for words in rows:
            log_prob, backoff = ngrams[words]
            tail = f"\t{backoff!r}" if backoff else ""
            lines.append(f"{log_prob!r}\t{' '.join(words)}{tail}")
    return "\n".join([*lines, "", "\\end\\", ""])


def ngrams_of(model: NgramModel) -> Ngrams:
    """Every n-gram of a model with its log10 probability and back-off, by walking its trie."""
    tables = model.tables
    found: Ngrams = {}
    path: dict[int, tuple[str, ...]] = {0: ()}
    for node in range(tables.backoff.size):
        for child in range(tables.first_child[node], tables.first_child[node + 1]):
            path[child] = (*path[node], model.words[tables.word[child]])
            backoff = float(tables.backoff[child]) if child < tables.backoff.size else 0.0
            found[path[child]] = (float(tables.log_prob[child]) / LN_10, backoff / LN_10)
    return found


def assert_same_ngrams(got: Ngrams, expected: Ngrams, tolerance: float) -> None:
    """The same n-grams, and log10 values no further apart than `tolerance`."""
    assert set(got) == set(expected)
    far = {
        ngram: (got[ngram], values)
        for ngram, values in expected.items()
        if max(abs(a - b) for a, b in zip(got[ngram], values, strict=True)) > tolerance
    }
    assert far == {}
