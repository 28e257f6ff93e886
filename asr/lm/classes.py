"""Classes of words that stand for each other in a language model: digits, months, names.

A text has few of the sequences that a class can say: "room four one" says nothing of "room nine
two". With classes the model is estimated from the text with each word of a class replaced by the
class, and a word w of a class C, after the history h, has

    p(w | h) = p(C | classes of h) / |C|

as any of its words is as likely as the others, those that the text never has too. All n-grams are
then written out, so that what comes of it is a model like others, and exactly this one.

References:
    Brown, Della Pietra, deSouza, Lai & Mercer (1992), Class-based n-gram models of natural
    language, section 3, with classes that are given and equal shares.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.errors import DataError
from asr.lm.counting import MARKS, text_lines
from asr.lm.ngram import NgramModel
from asr.lm.renormalising import order_rows
from asr.lm.tables import Array
from asr.lm.trie import OrderTable, model_from_tables

MAX_NGRAMS = 1 << 25
"""Written out, of one order: 32 million take some 2 GB while the model is made."""


@dataclass(frozen=True)
class WordClass:
    """Words that stand for each other.

    Attributes:
        name: For people.
        words: At least one; each in one class only.
    """

    name: str
    words: tuple[str, ...]

    @property
    def label(self) -> bytes:
        """What stands for its words while a text is counted: no text has a word with a blank."""
        return f"<class {self.name}>".encode()


def read_classes(path: Path, normalized: Callable[[str], str] = str) -> list[WordClass]:
    """Classes of a file, one a line: its name, a colon, and its words.

    Blank lines and lines that begin with `#` are not looked at.

    Args:
        path: UTF-8, plain or gzip.
        normalized: How transcripts are normalised; applied to the words.

    Raises:
        DataError: The file cannot be read, a line is not as it should be, or a word or a name is
            there twice; with the line.
    """
    classes: list[WordClass] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, text = line.partition(":")
        words = tuple(normalized(text).split())
        if not colon or not name.strip() or not words:
            raise DataError(
                f"{path}, line {number}: expected a name, a colon and words, got {line[:80]!r}",
                hint="write it as `digit: zero one two three`",
            )
        if any(name.strip() == known.name for known in classes):
            raise DataError(f"{path}, line {number}: the class {name.strip()!r} again")
        for word in words:
            if word.encode() in MARKS:
                raise DataError(f"{path}, line {number}: {word} cannot be of a class")
            if word in lines:
                raise DataError(
                    f"{path}, line {number}: the word {word!r} of line {lines[word]} again",
                    hint="a word belongs to one class, and is there once",
                )
            lines[word] = number
        classes.append(WordClass(name.strip(), words))
    if not classes:
        raise DataError(f"{path} holds no class", hint="write one a line: `digit: zero one two`")
    return classes


def classes_within(classes: Sequence[WordClass], words: Collection[str]) -> list[WordClass]:
    """The classes without the words that are not among `words`, and without empty ones."""
    kept = [
        WordClass(one.name, tuple(word for word in one.words if word in words)) for one in classes
    ]
    return [one for one in kept if one.words]


def written_out(model: NgramModel, classes: Sequence[WordClass]) -> NgramModel:
    """A model of words from one whose words are labels of classes, and others.

    Args:
        model: Has the label of each class among its words.
        classes: What the labels stand for.

    Raises:
        DataError: That would be more than `MAX_NGRAMS` n-grams of one order.
    """
    members = {one.label.decode(): one.words for one in classes}
    words = [members.get(word, (word,)) for word in model.words]
    sizes = np.array([len(alike) for alike in words], np.int64)
    first = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    rows_of_orders = order_rows(model)
    repeats_of_orders = [_num_combinations(rows, sizes) for rows in rows_of_orders]
    tables: list[OrderTable] = []
    begin = 1
    for rows, repeats in zip(rows_of_orders, repeats_of_orders, strict=True):
        end = begin + len(rows)
        log_probs = model.tables.log_prob[begin:end] - np.log(sizes[rows[:, -1]])
        backoffs = np.zeros(len(rows), np.float32)
        inner = model.tables.backoff[begin:end]  # none of the highest order
        backoffs[: len(inner)] = inner
        tables.append(
            OrderTable(
                _combinations(rows, repeats, sizes, first),
                np.repeat(log_probs.astype(np.float32), repeats),
                np.repeat(backoffs, repeats),
            )
        )
        begin = end
    return model_from_tables([word.encode() for alike in words for word in alike], tables)


def _num_combinations(rows: Array, sizes: Array) -> Array:
    """(num_rows,) int64, in how many ways words can stand for the labels of each n-gram.

    Raises:
        DataError: That is more than `MAX_NGRAMS` together.
    """
    counts = sizes[rows].astype(np.float64).prod(axis=1)
    if counts.sum() > MAX_NGRAMS:
        raise DataError(
            f"with its classes the language model has {counts.sum():.3g} n-grams of order "
            f"{rows.shape[1]}, more than {MAX_NGRAMS}",
            hint="choose a lower order, prune, or make classes smaller",
        )
    repeats: Array = counts.astype(np.int64)
    return repeats


def _combinations(rows: Array, repeats: Array, sizes: Array, first: Array) -> Array:
    """(sum of repeats, order) int32: each row with every choice of words for its labels."""
    begins = np.cumsum(repeats) - repeats
    left = np.arange(int(repeats.sum())) - np.repeat(begins, repeats)
    source = np.repeat(rows, repeats, axis=0)
    ids = np.empty(source.shape, np.int32)
    for column in range(rows.shape[1] - 1, -1, -1):
        labels = source[:, column]
        ids[:, column] = first[labels] + left % sizes[labels]
        left //= sizes[labels]
    return ids
