"""Counts of the n-grams of a text of any size: sorted in memory, or in runs on disk and merged.

A text becomes a stream of word ids in which order - 1 `<s>` stand before every sentence, so that
the n-gram ending at any word is a slice. Rows of ids are kept in *suffix order*: by the last word,
then the word before, and so on; the order in which the n-grams that share an ending stand together.

References:
    Heafield, Pouzyrevsky, Clark & Koehn (2013), section 3.
"""

from __future__ import annotations

import codecs
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.errors import DataError, not_utf8_hint
from asr.lm import jsonl_text
from asr.lm.compiled import compiled
from asr.lm.opening import opened
from asr.lm.tables import Array
from asr.progress import bytes_bar, working

UNK_ID, BOS_ID, EOS_ID = 0, 1, 2
MARKS = (b"<unk>", b"<s>", b"</s>")
# Words sorted at once, about 40 bytes each at order 4: some 350 MB.
RUN_WORDS = 1 << 23
BLOCK_BYTES = 1 << 22
MAX_TEXT_LINE_BYTES = 1 << 26
# Rows that a merge holds of all runs together.
MERGE_ROWS = 1 << 20
DIGIT_BITS = 11


@dataclass(frozen=True)
class NgramCounts:
    """Distinct n-grams of the highest order in suffix order.

    Attributes:
        rows: (num_ngrams, order) int32 word ids; shorter histories are filled with `<s>`.
        counts: (num_ngrams,) int64.
        words: The vocabulary by id; `<unk>`, `<s>` and `</s>` first.
    """

    rows: Array
    counts: Array
    words: list[bytes]


class Vocabulary(dict[bytes, int]):
    """Ids of words in order of appearance, or of a given list with `<unk>` for all others.

    Args:
        limit: The list; None for all words.
        labels: What stands for some words; a label has an id, they have none of their own.

    Attributes:
        names: Words and labels by id.
    """

    def __init__(
        self, limit: Sequence[bytes] | None, labels: Mapping[bytes, bytes] | None = None
    ) -> None:
        super().__init__((word, index) for index, word in enumerate(MARKS))
        self.names = list(MARKS)
        self._closed = False
        labels = labels or {}
        ids = {label: self[label] for label in labels.values()}
        self.update((word, ids[label]) for word, label in labels.items())
        for word in limit or ():
            self[word]
        self._closed = limit is not None

    def __missing__(self, word: bytes) -> int:
        if self._closed:
            return UNK_ID
        word.decode("utf-8")
        self[word] = index = len(self.names)
        self.names.append(word)
        return index


@contextmanager
def count_ngrams(
    paths: Sequence[Path],
    order: int,
    limit: Sequence[bytes] | None = None,
    *,
    labels: Mapping[bytes, bytes] | None = None,
    run_words: int = RUN_WORDS,
) -> Iterator[NgramCounts]:
    """Count the n-grams of texts: one sentence a line, words between white space.

    Args:
        paths: UTF-8 texts, plain or gzip, or manifests (`.jsonl`). An empty line is an empty
            sentence.
        order: Length of the n-grams.
        limit: The only words to count under their own names; None for all.
        labels: What some words are counted as, instead of their own names.
        run_words: Words that are sorted in memory; a longer text goes through temporary files,
            which live as long as the context.

    Raises:
        DataError: A text cannot be read, is not UTF-8 or contains `<s>`, `</s>` or `<unk>`; with
            file and line. Or there is no text.
    """
    vocabulary = Vocabulary(limit, labels)
    with tempfile.TemporaryDirectory(prefix="asr-lm-") as directory:
        runs = _Runs(Path(directory), order)
        with bytes_bar("counting n-grams", _num_bytes(paths)) as advance:
            for tokens in _token_runs(paths, vocabulary, run_words, advance):
                runs.add(tokens, len(vocabulary.names))
        with working("merging"):
            rows, counts = runs.merged(len(vocabulary.names))
        if not counts.size:
            raise DataError(f"no text in {', '.join(map(str, paths))}")
        yield NgramCounts(rows, counts, vocabulary.names)


def _num_bytes(paths: Sequence[Path]) -> int | None:
    """Of all files together; None where one is no file, which has no size."""
    try:
        all_files = all(path.is_file() for path in paths)
        return sum(path.stat().st_size for path in paths) if all_files else None
    except OSError:  # whoever reads them says so
        return None


def _token_runs(
    paths: Sequence[Path],
    vocabulary: Vocabulary,
    run_words: int,
    advance: Callable[[int], None],
) -> Iterator[Array]:
    """Word ids in pieces of whole lines, of about `run_words`; every sentence ends in `</s>`."""
    pieces: list[Array] = []
    num_words = 0
    for path in paths:
        for block, first_line in text_blocks(path, advance):
            piece = _ids_of_block(path, block, first_line, vocabulary)
            if pieces and num_words + piece.size > run_words:
                yield np.concatenate(pieces)
                pieces, num_words = [], 0
            pieces.append(piece)
            num_words += piece.size
    if pieces:
        yield np.concatenate(pieces)


def text_blocks(
    path: Path, advance: Callable[[int], None] = lambda num_bytes: None
) -> Iterator[tuple[bytes, int]]:
    """A text in blocks of whole lines, each with the number of its first line.

    A byte-order mark at the beginning, which some editors write, is left out. Of a manifest the
    transcripts are the lines.

    Args:
        path: Plain or gzip; `.jsonl` for a manifest.
        advance: Told how many bytes of the file were read, for those who wait.

    Raises:
        DataError: The file cannot be read or unpacked, a line is longer than 64 MiB, or one of a
            manifest is none.
    """
    if not path.name.endswith(jsonl_text.SUFFIXES):
        yield from _written_blocks(path, advance)
        return
    for block, first_line in _written_blocks(path, advance):
        try:
            yield from jsonl_text.transcript_blocks(path, block, first_line)
        except UnicodeDecodeError:
            raise _not_utf8(path, block, first_line) from None


def _written_blocks(path: Path, advance: Callable[[int], None]) -> Iterator[tuple[bytes, int]]:
    """A file in blocks of whole lines."""
    rest, line_number, num_bytes = b"", 1, 0
    with opened(path) as source:
        stream = source.unpacked()
        while block := stream.read(BLOCK_BYTES):
            advance(source.num_bytes - num_bytes)
            num_bytes = source.num_bytes
            if not rest and line_number == 1:
                block = block.removeprefix(codecs.BOM_UTF8)
            whole, newline, rest_of_block = block.rpartition(b"\n")
            if newline:
                whole = rest + whole + newline
                yield whole, line_number
                line_number += whole.count(b"\n")
                rest = b""
            rest += rest_of_block
            if len(rest) > MAX_TEXT_LINE_BYTES:
                raise DataError(f"{path}, line {line_number}: longer than 64 MiB")
    if rest:
        yield rest + b"\n", line_number


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a text, plain or gzip, without their line feeds.

    Raises:
        DataError: As `text_blocks`, or a line is not UTF-8.
    """
    for block, first_line in text_blocks(path):
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError:
            raise _not_utf8(path, block, first_line) from None
        yield from text.removesuffix("\n").split("\n")


def _ids_of_block(path: Path, block: bytes, first_line: int, vocabulary: Vocabulary) -> Array:
    refuse_marks(path, block, first_line)
    tokens = block.replace(b"\n", b" </s> ").split()
    try:
        return np.fromiter(map(vocabulary.__getitem__, tokens), np.int32, len(tokens))
    except UnicodeDecodeError:
        raise _not_utf8(path, block, first_line) from None


def refuse_marks(path: Path, block: bytes, first_line: int) -> None:
    """Refuse a text that holds the words a model keeps for itself.

    Raises:
        DataError: It does; with the number of the line.
    """
    if not any(mark in block for mark in MARKS):
        return
    for number, line in enumerate(block.split(b"\n"), first_line):
        for mark in MARKS:
            if mark in line.split():
                raise DataError(
                    f"{path}, line {number}: contains {mark.decode()}",
                    hint="sentence marks and the unknown word are added by the builder",
                )


def _not_utf8(path: Path, block: bytes, first_line: int) -> DataError:
    for number, line in enumerate(block.split(b"\n"), first_line):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return DataError(f"{path}, line {number}: not UTF-8", hint=not_utf8_hint(block))
    return DataError(f"{path} is not UTF-8")


class _Runs:
    """Sorted runs: the first stays in memory until a second comes; then all are on disk."""

    def __init__(self, directory: Path, order: int) -> None:
        self._directory = directory
        self._order = order
        self._in_memory: tuple[Array, Array] | None = None
        self._num_on_disk = 0

    def add(self, tokens: Array, num_words: int) -> None:
        """Sort and count one piece of text."""
        self._spill()
        stream, positions = pad_sentences(tokens, self._order)
        self._in_memory = sorted_counts(
            stream, positions, np.empty(0, np.int64), self._order, num_words
        )

    def merged(self, num_words: int) -> tuple[Array, Array]:
        """All runs as one: (num_ngrams, order) rows and (num_ngrams,) counts."""
        if not self._num_on_disk:
            empty = np.empty((0, self._order), np.int32), np.empty(0, np.int64)
            return self._in_memory or empty
        self._spill()
        rows_path, counts_path = self._directory / "rows", self._directory / "counts"
        with rows_path.open("wb") as rows_file, counts_path.open("wb") as counts_file:
            for rows, counts in self._merge(num_words):
                rows_file.write(rows.data)
                counts_file.write(counts.data)
        rows = np.memmap(rows_path, np.int32, "r").reshape(-1, self._order)
        return rows, np.memmap(counts_path, np.int64, "r")

    def _spill(self) -> None:
        if self._in_memory is None:
            return
        for name, array in zip(("rows", "counts"), self._in_memory, strict=True):
            np.save(self._directory / f"{name}{self._num_on_disk}.npy", array)
        self._num_on_disk += 1
        self._in_memory = None

    def _merge(self, num_words: int) -> Iterator[tuple[Array, Array]]:
        runs = [
            tuple(
                np.load(self._directory / f"{name}{index}.npy", mmap_mode="r")
                for name in ("rows", "counts")
            )
            for index in range(self._num_on_disk)
        ]
        starts, block = [0] * len(runs), max(1, MERGE_ROWS // len(runs))
        while active := [i for i, (rows, _) in enumerate(runs) if starts[i] < len(rows)]:
            heads = {i: np.array(runs[i][0][starts[i] : starts[i] + block]) for i in active}
            bound = min((head[-1] for head in heads.values()), key=lambda row: tuple(row[::-1]))
            takes = {i: num_up_to(head, bound) for i, head in heads.items()}
            rows = np.concatenate([heads[i][: takes[i]] for i in active])
            counts = np.concatenate([runs[i][1][starts[i] : starts[i] + takes[i]] for i in active])
            for i in active:
                starts[i] += takes[i]
            last_words = np.arange(self._order - 1, rows.size, self._order, dtype=np.int32)
            yield sorted_counts(rows.ravel(), last_words, counts, self._order, num_words)


@compiled
def num_up_to(rows: Array, bound: Array) -> int:
    """Number of rows, which are in suffix order, that are not after `bound`."""
    low, high = 0, rows.shape[0]
    while low < high:
        middle = (low + high) >> 1
        column = rows.shape[1] - 1
        while column > 0 and rows[middle, column] == bound[column]:
            column -= 1
        if rows[middle, column] <= bound[column]:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def pad_sentences(tokens: Array, order: int) -> tuple[Array, Array]:
    """Put order - 1 `<s>` before every sentence; also the (num_words,) places of the words."""
    num_sentences = 0
    for token in tokens:
        num_sentences += token == EOS_ID
    stream = np.empty(tokens.size + num_sentences * (order - 1), np.int32)
    positions = np.empty(tokens.size, np.int32)
    place, at_start = 0, True
    for index in range(tokens.size):
        if at_start:
            stream[place : place + order - 1] = BOS_ID
            place += order - 1
        stream[place] = tokens[index]
        positions[index] = place
        place += 1
        at_start = tokens[index] == EOS_ID
    return stream, positions


@compiled
def sort_positions(stream: Array, positions: Array, order: int, num_words: int) -> Array:
    """Sort places by the n-grams that end there, in suffix order: least significant digit first."""
    num_buckets = 1 << DIGIT_BITS
    mask = num_buckets - 1
    source, target = positions, np.empty_like(positions)
    starts = np.empty(num_buckets + 1, np.int64)
    for offset in range(order - 1, -1, -1):
        shift = 0
        while shift == 0 or (num_words - 1) >> shift:
            starts[:] = 0
            for place in source:
                starts[((stream[place - offset] >> shift) & mask) + 1] += 1
            for bucket in range(num_buckets):
                starts[bucket + 1] += starts[bucket]
            for place in source:
                bucket = (stream[place - offset] >> shift) & mask
                target[starts[bucket]] = place
                starts[bucket] += 1
            source, target = target, source
            shift += DIGIT_BITS
    return source


@compiled
def same_ngram(stream: Array, first: int, second: int, order: int) -> bool:
    """Whether the n-grams ending at two places are equal."""
    offset = 0
    while offset < order and stream[first - offset] == stream[second - offset]:
        offset += 1
    return offset == order


@compiled
def sorted_counts(
    stream: Array, positions: Array, weights: Array, order: int, num_words: int
) -> tuple[Array, Array]:
    """Distinct n-grams in suffix order and how often each occurs.

    Args:
        stream: (num_places,) int32 ids.
        positions: (num_ngrams,) int32 places where n-grams end; used as scratch.
        weights: (num_ngrams,) int64 count of each, the n-gram ending at place p being number
            p // order; or empty, when each counts 1.
        order: Length of the n-grams.
        num_words: Size of the vocabulary.

    Returns:
        (num_distinct, order) int32 rows, (num_distinct,) int64 counts.
    """
    places = sort_positions(stream, positions, order, num_words)
    num_distinct = 0
    for index in range(places.size):
        same = index > 0 and same_ngram(stream, places[index - 1], places[index], order)
        num_distinct += not same
    rows = np.empty((num_distinct, order), np.int32)
    counts = np.zeros(num_distinct, np.int64)
    row = -1
    for index in range(places.size):
        place = places[index]
        if index == 0 or not same_ngram(stream, places[index - 1], place, order):
            row += 1
            rows[row] = stream[place - order + 1 : place + 1]
        counts[row] += weights[place // order] if weights.size else 1
    return rows, counts
