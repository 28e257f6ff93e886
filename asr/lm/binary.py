"""A compact binary of a model: the block that queries walk as it is, mapped into memory.

Layout, little-endian: the header below; the last node of each order; then the vocabulary and the
block of `NgramTables`, each from a multiple of 64 bytes on. Loading reads the block once to make
sure that queries cannot leave it, whoever wrote the file. A file that is changed in place while
it is mapped makes no such promise: replace it, as `write_binary` does.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from asr.errors import ModelFileError
from asr.files import atomic_path
from asr.lm.arpa import MAX_ORDER
from asr.lm.compiled import kernel
from asr.lm.ngram import NgramModel
from asr.lm.tables import (
    BACKOFF,
    EMPTY_SLOT,
    FIRST_CHILD,
    INNER_ITEMS,
    LINK,
    LOG_PROB,
    NUM_INNER,
    NUM_NODES,
    NUM_SLOTS,
    WORD,
    Array,
    NgramTables,
    children_of,
    inner_place,
    int64,
    node_place,
    num_items,
    slots_place,
    tables_of,
    word_of,
)
from asr.lm.untrusted import damage_named, require, require_utf8

MAGIC = b"asrngram"
VERSION = 2
# Magic, version, order, items of the block, bytes of vocabulary.
HEADER = struct.Struct("<8sIIQQ")
ALIGNMENT = 64
ITEM_BYTES = 4
# More than any sum of back-offs that ARPA files may hold. It is of either sign: in a model that is
# not normalised, backing off can give a blank node a probability above 1.
LARGEST = np.float32(1e8)
LARGEST_BITS = LARGEST.view(np.int32)
MAGNITUDE = np.int32(0x7FFFFFFF)
# The header of a block, node 0 and the empty slot that every block has.
LEAST_ITEMS = num_items(1, 1, 1)


def write_binary(model: NgramModel, path: Path) -> None:
    """Write a model for `read_binary`.

    Raises:
        DataError: The file cannot be written.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        for piece in _pieces(model):
            stream.write(piece)
            stream.write(bytes(-stream.tell() % ALIGNMENT))


def model_to_bytes(model: NgramModel) -> bytes:
    """What `write_binary` writes, to be part of another file."""
    return b"".join(piece + bytes(-len(piece) % ALIGNMENT) for piece in _pieces(model))


def model_from_bytes(content: bytes, source: str) -> NgramModel:
    """What `model_to_bytes` gave.

    Args:
        content: Not copied.
        source: What holds them, for errors.

    Raises:
        ModelFileError: The bytes are cut short, of another version or damaged.
    """
    with damage_named(source, "binary"):
        return _parse(content)


def _pieces(model: NgramModel) -> list[bytes]:
    """Header, vocabulary and block, before they are aligned."""
    tables = model.tables
    header = HEADER.pack(
        MAGIC,
        VERSION,
        model.order,
        tables.ints.size,
        len(model.vocabulary),
    )
    header += struct.pack(f"<{model.order}Q", *model.order_ends)
    return [header, model.vocabulary, tables.ints.astype("<i4", copy=False).tobytes()]


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
    hint = (
        "write it again: with `asr lm build` from its text, or with `asr lm prune --threshold 0` "
        "from an ARPA file, which drops nothing"
    )
    with damage_named(str(path), "binary", hint):
        return _parse(content)


def _parse(content: mmap.mmap | bytes) -> NgramModel:
    require(len(content) >= HEADER.size, "it is shorter than its header")
    magic, version, order, size, vocabulary_size = HEADER.unpack_from(content)
    require(magic == MAGIC, "it does not begin as one")
    require(version == VERSION, f"version {version}, this program reads {VERSION}")
    require(1 <= order <= MAX_ORDER, f"order {order}")
    sizes = [HEADER.size + 8 * order, vocabulary_size, ITEM_BYTES * size]
    _, vocabulary_start, block_start, end = accumulate(
        (size + -size % ALIGNMENT for size in sizes), initial=0
    )
    require(len(content) == end, f"{len(content)} bytes, expected {end}")
    order_ends = struct.unpack_from(f"<{order}Q", content, HEADER.size)
    vocabulary = content[vocabulary_start : vocabulary_start + vocabulary_size]
    block = np.frombuffer(content, "<i4", size, block_start)
    require(size > LEAST_ITEMS, "it has no words")
    tables = tables_of(block)
    _check(tables, order_ends, vocabulary)
    return NgramModel(order, tables, order_ends, vocabulary)


def _check(tables: NgramTables, order_ends: Sequence[int], vocabulary: bytes) -> None:
    num_words = vocabulary.count(b"\n") + 1
    require_utf8(vocabulary)
    ends = [1, *order_ends]
    require(ends == sorted(ends), "its orders overlap")
    require(ends[1] == num_words + 1, f"{num_words} words, but {ends[1] - 1} unigrams")
    sizes = [int(size) for size in tables.ints[[NUM_NODES, NUM_INNER, NUM_SLOTS]]]
    require(sizes[:2] == [ends[-1], ends[-2]], "its orders do not add up")
    require(sizes[2] > 0 and tables.ints.size == num_items(*sizes), "its block is cut short")
    require(-1 <= tables.unk_id < num_words, f"<unk> is word {tables.unk_id}")
    require(are_sound(tables, np.array(ends), num_words), "its arrays are damaged")


@kernel
def are_sound(tables: NgramTables, ends: Array, num_words: int) -> bool:
    """Whether queries stay inside the block, end, and meet numbers only."""
    num_nodes, num_inner = int64(tables.ints[NUM_NODES]), int64(tables.ints[NUM_INNER])
    first, end_of_words = children_of(tables, int64(0))
    sound: Any = first == 1 and end_of_words == num_words + 1
    for depth in range(1, ends.size - 1):
        # The children of one order are the next order.
        sound &= children_of(tables, ends[depth] - 1)[1] == ends[depth + 1]
    for word in range(num_words):
        sound &= word_of(tables, word + 1) == word
    inner_block = tables.ints[inner_place(tables, int64(0)) : slots_place(tables)]
    sound &= _are_nodes_sound(tables.ints, num_nodes, num_inner, num_words)
    sound &= _are_inner_sound(inner_block, num_inner)
    return bool(sound and _are_slots_sound(tables.ints[slots_place(tables) :], num_nodes))


# These loops see every item, so they are written for LLVM to take many at a time: in 32 bits,
# from the beginning of a slice. A number is small enough if its bits without the sign are: those
# of infinity and NaN are not.


@kernel
def _are_nodes_sound(block: Array, num_nodes: int, num_inner: int, num_words: int) -> bool:
    sound: Any = True
    end_of_words, end_of_inner = np.int32(num_words), np.int32(num_inner)
    for node in range(1, num_nodes):
        place = node_place(node)
        word, link = block[place + WORD], block[place + LINK]
        sound &= (word >= 0) & (word < end_of_words)
        sound &= (block[place + LOG_PROB] & MAGNITUDE) < LARGEST_BITS
        sound &= (link >= 0) & (link < np.int32(node)) & (link < end_of_inner)
    return bool(sound)


@kernel
def _are_inner_sound(block: Array, num_inner: int) -> bool:
    sound: Any = True
    for node in range(num_inner):
        place = INNER_ITEMS * node
        sound &= block[place + FIRST_CHILD] <= block[place + INNER_ITEMS + FIRST_CHILD]
        sound &= (block[place + BACKOFF] & MAGNITUDE) < LARGEST_BITS
    return bool(sound)


@kernel
def _are_slots_sound(slots: Array, num_nodes: int) -> bool:
    sound: Any = True
    has_empty: Any = False
    end = np.int32(num_nodes)
    for place in range(slots.size):
        child = slots[place]
        has_empty |= child == EMPTY_SLOT
        sound &= (child >= EMPTY_SLOT) & (child < end)
    # An empty slot ends a search.
    return bool(sound and has_empty)
