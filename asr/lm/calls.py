"""Queries from Python, a word or a line a call: what a call costs beside what it computes.

numba asks every argument for its type at every call, and takes a tuple apart: 0.3 to 2 µs, where a
query of a small model takes 0.05. The types here never change, so `direct` has that done once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from asr.lm.bulk import SMALL_ITEMS, sum_words
from asr.lm.compiled import called, compiled, kernel, prefetch
from asr.lm.tables import (
    UNK_ID,
    Array,
    NgramTables,
    advance,
    compiled_tables_of,
    inner_place,
    int64,
    known_word,
    node_place,
    slot_of,
    slots_place,
)
from asr.lm.word_index import WordIndex, find_word, hash_word, is_space

# Items of a setup before the word index.
START_STATE, ORDER, END_ID, SMALL, NUM_STARTS, NUM_SLOTS, SETUP_HEADER = range(7)
LETTERS_PER_ITEM = 8


def direct(function: Callable[..., Any], *examples: object) -> Callable[..., Any]:
    """A compiled function for arguments of the types of these, which it does not check.

    Numbers are converted; any other argument must be of its example's type, and arrays of its
    number of dimensions and layout too.
    """
    entry: Callable[..., Any] = function.compile(tuple(map(numba.typeof, examples)))  # type: ignore[attr-defined]
    return entry


@called
def advance_in(block: Array, state: int, word: int) -> tuple[float, int]:
    """`advance` in the tables of a block; asks early for memory, as every miss is waited for."""
    tables = NgramTables(block, block.view(np.float32), int64(block[UNK_ID]))
    state = int64(state)
    _ask(tables, state, int64(known_word(tables, word)))
    log_prob, after = advance(tables, state, word)
    # The next query's first steps: they arrive while Python gets there.
    prefetch(tables.ints, inner_place(tables, after))
    prefetch(tables.ints, node_place(after))
    return log_prob, after


@kernel
def _ask(tables: NgramTables, state: int, word: int) -> None:
    """Ask at once for where a word may be after a history and after none."""
    prefetch(tables.ints, slots_place(tables) + slot_of(tables, state, word))
    prefetch(tables.ints, node_place(word + 1))
    prefetch(tables.ints, inner_place(tables, word + 1))


def line_setup(
    index: WordIndex, start_state: int, order: int, end_id: int, small_items: int = SMALL_ITEMS
) -> Array:
    """What `sum_line` needs beside the tables, in one array, as each costs a call some time.

    Args:
        index: The vocabulary.
        start_state: State at the beginning of a sentence.
        order: Of the model.
        end_id: Id of `</s>`, or -1.
        small_items: As of `score_words`.

    Returns:
        (num_items,) int64: these numbers, the sizes of the index's arrays, and the arrays.
    """
    letters = np.zeros(-(-index.letters.size // LETTERS_PER_ITEM) * LETTERS_PER_ITEM, np.uint8)
    letters[: index.letters.size] = index.letters
    sizes = [small_items, index.starts.size, index.slots.size]
    header = [start_state, order, end_id, *sizes]
    return np.concatenate([header, index.starts, index.slots, letters.view(np.int64)])


@compiled
def _index_of(setup: Array) -> WordIndex:
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
    index = _index_of(setup)
    start_state, end_id = int64(setup[START_STATE]), int64(setup[END_ID])
    if block.size <= setup[SMALL]:
        return _sum_in_turn(compiled_tables_of(block), index, line, start_state, end_id)
    ids = np.empty((len(line) + 1) // 2 + 1, np.int64)
    num_ids = _find_ids(index, line, end_id, ids)
    return sum_words(block, start_state, setup[ORDER] - 1, ids[:num_ids])


@kernel
def _next_id(index: WordIndex, line: Any, place: int) -> tuple[int, int]:
    """The place after the next word of a line, and the word's id; -1 as place at the end."""
    while place < len(line) and is_space(line[place]):
        place += 1
    if place == len(line):
        return int64(-1), int64(-1)
    end, mixed = hash_word(line, place)
    return end, find_word(index, line, place, end, mixed)


@kernel
def _sum_in_turn(
    tables: NgramTables, index: WordIndex, line: bytes, state: int, end_id: int
) -> float:
    """A word after the other: where the model stays in the cache, that is all there is to do."""
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
def _find_ids(index: WordIndex, line: bytes, end_id: int, ids: Array) -> int:
    """Write the ids of a line's words, and its end's if it has one; returns their number."""
    num_ids = 0
    place, word = _next_id(index, line, int64(0))
    while place >= 0:
        ids[num_ids] = word
        num_ids += 1
        place, word = _next_id(index, line, place)
    if end_id >= 0:
        ids[num_ids] = end_id
        num_ids += 1
    return num_ids
