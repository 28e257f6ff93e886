"""Queries from Python, a word or a line a call: what a call costs beside what it computes.

numba asks every argument for its type at every call: 0.3 to 2 µs, where a query of a small model
takes 0.05. The types here never change, so `compiled.direct` has that done once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from asr.lm.compiled import called, compiled, kernel, prefetch
from asr.lm.orders import sum_ids
from asr.lm.tables import (
    UNK_ID,
    Array,
    NgramTables,
    advance,
    inner_place,
    int64,
    known_word,
    node_place,
    slot_of,
    slots_place,
)
from asr.lm.word_index import (
    WordIndex,
    find_word,
    first_slot,
    hash_word,
    id_in_slot,
    is_space,
)

# Items of a setup before the word index.
START_STATE, ORDER, END_ID, NUM_STARTS, NUM_SLOTS, SETUP_HEADER = range(6)
LETTERS_PER_ITEM = 8


@called
def advance_in(block: Array, state: int, word: int) -> tuple[float, int]:
    """`advance` in the tables of a block; asks early for memory, as every miss is waited for."""
    tables = _tables_of(block)
    state = int64(state)
    _ask(tables, state, int64(known_word(tables, word)))
    log_prob, after = advance(tables, state, word)
    # The next query's first steps: they arrive while Python gets there.
    prefetch(tables.ints, inner_place(tables, after))
    prefetch(tables.ints, node_place(after))
    return log_prob, after


@kernel
def _tables_of(block: Array) -> NgramTables:
    """The tables in a block; for kernels: they do not keep its memory."""
    return NgramTables(block, block.view(np.float32), int64(block[UNK_ID]))


@kernel
def _ask(tables: NgramTables, state: int, word: int) -> None:
    """Ask at once for where a word may be after a history and after none."""
    prefetch(tables.ints, slots_place(tables) + slot_of(tables, state, word))
    prefetch(tables.ints, node_place(word + 1))
    prefetch(tables.ints, inner_place(tables, word + 1))


def line_setup(index: WordIndex, start_state: int, order: int, end_id: int) -> Array:
    """What `sum_line` needs beside the tables, in one array, as each costs a call some time.

    Args:
        index: The vocabulary.
        start_state: State at the beginning of a sentence.
        order: Of the model.
        end_id: Id of `</s>`, or -1.

    Returns:
        (num_items,) int64: these numbers, the sizes of the index's arrays, and the arrays.
    """
    letters = np.zeros(-(-index.letters.size // LETTERS_PER_ITEM) * LETTERS_PER_ITEM, np.uint8)
    letters[: index.letters.size] = index.letters
    header = [start_state, order, end_id, index.starts.size, index.slots.size]
    return np.concatenate([header, index.starts, index.slots, letters.view(np.int64)])


@kernel
def _index_of(setup: Array) -> WordIndex:
    """The word index in a setup; for kernels: its arrays do not keep the setup's memory."""
    slots = SETUP_HEADER + setup[NUM_STARTS]
    letters = slots + setup[NUM_SLOTS]
    return WordIndex(
        setup[letters:].view(np.uint8), setup[SETUP_HEADER:slots], setup[slots:letters]
    )


@compiled
def sum_line(block: Array, setup: Array, line: bytes) -> float:
    """Sum of the natural log-probabilities of a line's words, and its end's if it has one.

    Args:
        block: The model's tables.
        setup: From `line_setup`.
        line: UTF-8; a line feed is white space like others.
    """
    ids = np.empty((3, (len(line) + 1) // 2 + 1), np.int64)
    num_ids = _find_ids(setup, line, ids[0], ids[1], ids[2])
    return sum_ids(block, int64(setup[START_STATE]), int64(setup[ORDER]), ids[0, :num_ids])


@called
def sum_line_in_turn(block: Array, setup: Array, line: bytes) -> float:
    """As `sum_line`, a word after the other.

    Where the model stays in the cache, that is all there is to do, and half the time.
    """
    tables, index = _tables_of(block), _index_of(setup)
    state, end_id = int64(setup[START_STATE]), int64(setup[END_ID])
    total = 0.0
    place, word = _next_id(index, line, int64(0))
    while place >= 0:
        log_prob, state = advance(tables, state, word)
        total += log_prob
        place, word = _next_id(index, line, place)
    if end_id >= 0:
        total += advance(tables, state, end_id)[0]
    return total


@kernel
def _next_id(index: WordIndex, line: Any, place: int) -> tuple[int, int]:
    """The place after the next word of a line, and the word's id; -1 as place at the end."""
    place = int64(_skip_spaces(line, place))
    if place == len(line):
        return int64(-1), int64(-1)
    end, mixed = hash_word(line, place)
    return end, find_word(index, line, place, end, mixed)


@kernel
def _find_ids(setup: Array, line: Any, ids: Array, ends: Array, hashes: Array) -> int:
    """Write the ids of a line's words, and its end's if it has one; returns their number.

    Before it waits for any, it asks for the memory of all; `ends` and `hashes` are its own.
    """
    index, end_id = _index_of(setup), int64(setup[END_ID])
    num_ids, place = 0, int64(_skip_spaces(line, int64(0)))
    while place < len(line):
        ids[num_ids] = place
        end, mixed = hash_word(line, place)
        prefetch(index.slots, first_slot(index, mixed))
        ends[num_ids], hashes[num_ids] = end, mixed
        place = int64(_skip_spaces(line, int64(end)))
        num_ids += 1
    for number in range(num_ids):
        prefetch(index.starts, id_in_slot(index, first_slot(index, np.uint64(hashes[number]))))
    for number in range(num_ids):
        mixed = np.uint64(hashes[number])
        ids[number] = find_word(index, line, ids[number], ends[number], mixed)
    if end_id >= 0:
        ids[num_ids] = end_id
        num_ids += 1
    return num_ids


@kernel
def _skip_spaces(line: Any, place: int) -> int:
    """The first place from this on that is no white space, or the line's end."""
    while place < len(line) and is_space(line[place]):
        place += 1
    return place
