"""A compact binary of a model: the query arrays as they are, mapped into memory.

Layout, little-endian: the header below; the last node of each order; then the vocabulary and the
arrays of `NgramTables`, each from a multiple of 64 bytes on. Loading reads every array once to make
sure that queries cannot leave them, whoever wrote the file. A file that is changed in place while
it is mapped makes no such promise: replace it, as `write_binary` does.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.errors import ModelFileError
from asr.files import atomic_path
from asr.lm.arpa import MAX_ORDER
from asr.lm.compiled import compiled
from asr.lm.ngram import NgramModel
from asr.lm.tables import Array, NgramTables
from asr.lm.trie import MAX_NODES

MAGIC = b"asrngram"
VERSION = 1
# Magic, version, order, number of nodes, of inner nodes, bytes of vocabulary, id of <unk>.
HEADER = struct.Struct("<8sIIQQQq")
ALIGNMENT = 64
ARRAY_TYPES = ("<i4", "<f4", "<f4", "<i4", "<i4")


def write_binary(model: NgramModel, path: Path) -> None:
    """Write a model for `read_binary`.

    Raises:
        DataError: The file cannot be written.
    """
    tables = model.tables
    header = HEADER.pack(
        MAGIC,
        VERSION,
        model.order,
        tables.word.size,
        tables.backoff.size,
        len(model.vocabulary),
        tables.unk_id,
    )
    header += struct.pack(f"<{model.order}Q", *model.order_ends)
    arrays = zip(tables[:5], ARRAY_TYPES, strict=True)
    pieces = [header, model.vocabulary, *(array.astype(kind).tobytes() for array, kind in arrays)]
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        for piece in pieces:
            stream.write(piece)
            stream.write(bytes(-stream.tell() % ALIGNMENT))


def read_binary(path: Path) -> NgramModel:
    """Map a model that `write_binary` wrote; nothing is copied but the vocabulary.

    Raises:
        ModelFileError: The file cannot be read, is cut short, of another version or damaged.
    """
    try:
        with path.open("rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"cannot read {path}: {error}") from None
    try:
        return _parse(content)
    except _DamagedError as error:
        raise ModelFileError(
            f"{path} is no usable binary language model: {error}",
            hint="write it again with `asr lm build` from its text or ARPA file",
        ) from None


def is_binary(path: Path) -> bool:
    """Whether a file begins as `write_binary` begins it."""
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


class _DamagedError(Exception):
    pass


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise _DamagedError(problem)


def _parse(content: mmap.mmap) -> NgramModel:
    _require(len(content) >= HEADER.size, "it is shorter than its header")
    magic, version, order, num_nodes, num_inner, vocabulary_size, unk_id = HEADER.unpack_from(
        content
    )
    _require(magic == MAGIC, "it does not begin as one")
    _require(version == VERSION, f"version {version}, this program reads {VERSION}")
    _require(1 <= order <= MAX_ORDER, f"order {order}")
    _require(1 <= num_inner < num_nodes <= MAX_NODES, f"{num_nodes} nodes, {num_inner} inner")
    sizes = [
        HEADER.size + 8 * order,
        vocabulary_size,
        *(4 * size for size in (num_nodes, num_nodes, num_inner, num_nodes, num_inner + 1)),
    ]
    starts = np.cumsum([0, *(size + -size % ALIGNMENT for size in sizes)]).tolist()
    _require(len(content) == starts[-1], f"{len(content)} bytes, expected {starts[-1]}")
    order_ends = struct.unpack_from(f"<{order}Q", content, HEADER.size)
    vocabulary = content[starts[1] : starts[1] + vocabulary_size]
    arrays = [
        np.frombuffer(content, kind, size // 4, start)
        for kind, size, start in zip(ARRAY_TYPES, sizes[2:], starts[2:], strict=False)
    ]
    tables = NgramTables(arrays[0], arrays[1], arrays[2], arrays[3], arrays[4], unk_id)
    _check(tables, order_ends, vocabulary)
    return NgramModel(order, tables, order_ends, vocabulary)


def _check(tables: NgramTables, order_ends: Sequence[int], vocabulary: bytes) -> None:
    num_words = vocabulary.count(b"\n") + 1
    try:
        vocabulary.decode("utf-8")
    except UnicodeDecodeError:
        raise _DamagedError("its vocabulary is not UTF-8") from None
    ends = [1, *order_ends]
    _require(ends == sorted(ends), "its orders overlap")
    _require(ends[1] == num_words + 1, f"{num_words} words, but {ends[1] - 1} unigrams")
    _require(ends[-1] == tables.word.size, "its orders do not add up")
    _require(ends[-2] == tables.backoff.size, "its orders do not add up")
    _require(-1 <= tables.unk_id < num_words, f"<unk> is word {tables.unk_id}")
    _require(are_sound(tables, np.array(ends), num_words), "its arrays are damaged")


@compiled
def are_sound(tables: NgramTables, ends: Array, num_words: int) -> bool:
    """Whether queries stay inside the arrays, end, and meet numbers only."""
    sound = tables.first_child[0] == 1 and tables.first_child[1] == num_words + 1
    for depth in range(1, ends.size - 1):
        # The children of one order are the next order.
        sound &= tables.first_child[ends[depth] - 1 + 1] == ends[depth + 1]
    num_inner = tables.backoff.size
    for node in range(num_inner):
        sound &= tables.first_child[node] <= tables.first_child[node + 1]
        sound &= abs(tables.backoff[node]) < np.float32(1e7)
    for node in range(1, tables.word.size):
        sound &= (tables.word[node] >= 0) & (tables.word[node] < num_words)
        sound &= (tables.log_prob[node] <= 0) & (tables.log_prob[node] > np.float32(-1e7))
        sound &= (tables.link[node] >= 0) & (tables.link[node] < node)
        sound &= tables.link[node] < num_inner
    for word in range(num_words):
        sound &= tables.word[word + 1] == word
    return bool(sound)
