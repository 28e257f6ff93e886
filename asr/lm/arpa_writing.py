"""Models as ARPA text, formatted in compiled code: millions of lines a second."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import numpy as np

from asr.files import atomic_path
from asr.lm.arpa import MIN_LOG10
from asr.lm.compiled import compiled, kernel
from asr.lm.ngram import NgramModel
from asr.lm.tables import NUM_INNER, Array, NgramTables, backoff_of, log_prob_of, word_of

BUFFER_BYTES = 1 << 22
# Sign, up to 7 digits, point, 7 digits; MIN_LOG10 has 7.
NUMBER_BYTES = 16
TAB, LINE_FEED, SPACE, MINUS, POINT, ZERO = (ord(character) for character in "\t\n -.0")
DECIMALS = 7
LN_10 = math.log(10.0)


def write_arpa(model: NgramModel, path: Path) -> None:
    """Write a model as ARPA text with log10 values of 7 decimals; gzip where `path` ends in .gz.

    Raises:
        DataError: The file cannot be written.
    """
    with atomic_path(path) as temporary:
        if path.suffix == ".gz":
            with gzip.open(temporary, "wb", compresslevel=6) as packed:
                _write(model, cast("IO[bytes]", packed))
        else:
            with temporary.open("wb") as stream:
                _write(model, stream)


def _write(model: NgramModel, stream: IO[bytes]) -> None:
    counts = [f"ngram {n}={count}\n" for n, count in enumerate(model.num_ngrams, 1)]
    stream.write(("\\data\\\n" + "".join(counts)).encode())
    parents = parents_of(model.tables)
    begin = 1
    for order, end in enumerate(model.order_ends, 1):
        stream.write(f"\n\\{order}-grams:\n".encode())
        for piece in _formatted(model, parents, order, begin, end):
            stream.write(piece)
        begin = end
    stream.write(b"\n\\end\\\n")


def parents_of(tables: NgramTables) -> Array:
    """(num_nodes,) int32 node of each n-gram without its last word; 0 for node 0."""
    inner = np.arange(tables.num_inner, dtype=np.int32)
    return np.concatenate([np.zeros(1, np.int32), np.repeat(inner, np.diff(tables.first_child))])


def _formatted(
    model: NgramModel, parents: Array, order: int, begin: int, end: int
) -> Iterator[memoryview]:
    letters = np.frombuffer(model.vocabulary + b"\n", np.uint8)
    word_ends = np.flatnonzero(letters == LINE_FEED)
    word_starts = np.concatenate([[0], word_ends + 1])
    longest = int(np.diff(word_starts).max())
    line_bytes = 2 * NUMBER_BYTES + 3 + order * (longest + 1)
    num_lines = max(1, BUFFER_BYTES // line_bytes)
    buffer = np.empty(num_lines * line_bytes, np.uint8)
    for first in range(begin, end, num_lines):
        nodes = np.arange(first, min(first + num_lines, end))
        size = format_nodes(model.tables, parents, nodes, letters, word_starts, buffer)
        yield buffer[:size].data


@compiled
def format_nodes(
    tables: NgramTables,
    parents: Array,
    nodes: Array,
    letters: Array,
    word_starts: Array,
    buffer: Array,
) -> int:
    """Write the lines of nodes into the buffer; returns the number of bytes."""
    size = 0
    for node in nodes:
        # Blank nodes of a model that is not normalised can lie outside what files may hold.
        log10 = log_prob_of(tables, node) / LN_10
        size = put_number(buffer, size, min(max(log10, MIN_LOG10), 0.0))
        place = size
        ancestor = node
        while ancestor != 0:
            word = word_of(tables, ancestor)
            size += word_starts[word + 1] - word_starts[word]
            ancestor = parents[ancestor]
        end, ancestor = size, node
        while ancestor != 0:
            word = word_of(tables, ancestor)
            begin = end - (word_starts[word + 1] - word_starts[word])
            buffer[begin] = TAB if begin == place else SPACE
            buffer[begin + 1 : end] = letters[word_starts[word] : word_starts[word + 1] - 1]
            end, ancestor = begin, parents[ancestor]
        if node < tables.ints[NUM_INNER]:
            buffer[size] = TAB
            log10 = backoff_of(tables, node) / LN_10
            size = put_number(buffer, size + 1, min(max(log10, MIN_LOG10), -MIN_LOG10))
        buffer[size] = LINE_FEED
        size += 1
    return size


@kernel
def put_number(buffer: Array, place: int, value: float) -> int:
    """Write a number with up to 7 decimals at a place; returns the place after it."""
    scaled = int(abs(value) * 10**DECIMALS + 0.5)
    if value < 0 and scaled > 0:
        buffer[place] = MINUS
        place += 1
    whole, fraction = scaled // 10**DECIMALS, scaled % 10**DECIMALS
    digits = 1
    while whole >= 10**digits:
        digits += 1
    for index in range(digits - 1, -1, -1):
        buffer[place + index] = ZERO + whole % 10
        whole //= 10
    place += digits
    if fraction == 0:
        return place
    buffer[place] = POINT
    for index in range(DECIMALS, 0, -1):
        buffer[place + index] = ZERO + fraction % 10
        fraction //= 10
    return place + 1 + DECIMALS
