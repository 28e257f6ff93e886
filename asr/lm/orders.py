"""Scores of one line: all its n-grams of an order at a time, so that cache misses do not wait.

Lanes (`asr.lm.bulk`) suit texts; of a line each would read most words twice. But an n-gram is found
from its first words alone, whatever history matters later. So all pairs of the line are looked up
together, then all triples that begin with a pair that was found, and so on: each step asks for the
memory of all of them before it uses any. What a query word by word would have found is among them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.lm.bulk import sum_words
from asr.lm.compiled import compiled, kernel, prefetch
from asr.lm.tables import (
    BACKOFF,
    FEW,
    INNER_ITEMS,
    LOG_PROB,
    UNKNOWN_LOG_PROB,
    Array,
    NgramTables,
    children_of,
    compiled_tables_of,
    find_asked,
    inner_place,
    int64,
    known_word,
    node_place,
    slot_of,
    slots_place,
)

# So much memory can be asked for at once without pushing out what was asked for first.
MAX_LINE_WORDS = 128


class Line(NamedTuple):
    """What is known of a line; all int64.

    Fields:
        words: (num_words,) ids; -1 for unknown where the model has no `<unk>`.
        nodes: (order, num_words + 1) the node of the k + 1 words that end with word j - 1 at
            [k, j]; 0 where there is none. At j = 0 is what the line begins with.
        places: (num_words,) the j of the n-grams that are looked for.
        slots: (num_words,) where the search for each begins.
    """

    words: Array
    nodes: Array
    places: Array
    slots: Array


@compiled
def sum_ids(block: Array, start_state: int, order: int, words: Array) -> float:
    """Sum of the natural log-probabilities of a line's words, as `advance` has them one by one.

    Args:
        block: The model's tables.
        start_state: State at the beginning of a sentence: 0, or a unigram.
        order: Of the model.
        words: (num_words,) int64 ids, -1 for unknown.
    """
    if words.size > MAX_LINE_WORDS:
        return sum_words(block, start_state, order - 1, words)
    tables = compiled_tables_of(block)
    size = words.size
    nodes = np.zeros((order, size + 1), np.int64)
    line = Line(np.empty(size, np.int64), nodes, np.empty(size, np.int64), np.empty(size, np.int64))
    num_sought = _begin(tables, int64(start_state), words, line)
    for k in range(1, order):
        _ask_slots(tables, line, k, num_sought)
        _ask_children(tables, line, k, num_sought)
        num_sought = _find_children(tables, line, k, num_sought)
    return _sum(tables, line)


@kernel
def _begin(tables: NgramTables, start_state: int, words: Array, line: Line) -> int:
    """Enter the words' own nodes, and which pairs to look for; returns their number."""
    inner = inner_place(tables, int64(0))
    line.nodes[0, 0] = start_state
    num_sought = 0
    for j in range(1, words.size + 1):
        word = int64(known_word(tables, words[j - 1]))
        prefetch(tables.ints, node_place(word + 1))
        prefetch(tables.ints, inner + INNER_ITEMS * (word + 1))
        line.words[j - 1], line.nodes[0, j] = word, word + 1
        if word >= 0 and line.nodes[0, j - 1] != 0:
            line.places[num_sought] = j
            num_sought += 1
    return num_sought


@kernel
def _ask_slots(tables: NgramTables, line: Line, k: int, num_sought: int) -> None:
    """Ask for where each n-gram is if its history has many children."""
    slots = slots_place(tables)
    for index in range(num_sought):
        j = line.places[index]
        slot = slot_of(tables, line.nodes[k - 1, j - 1], line.words[j - 1])
        prefetch(tables.ints, slots + slot)
        line.slots[index] = slot


@kernel
def _ask_children(tables: NgramTables, line: Line, k: int, num_sought: int) -> None:
    """Ask for the node where each n-gram probably is."""
    slots = slots_place(tables)
    for index in range(num_sought):
        begin, stop = children_of(tables, line.nodes[k - 1, line.places[index] - 1])
        if stop - begin > FEW:
            begin = stop = int64(tables.ints[slots + line.slots[index]])
        prefetch(tables.ints, node_place(begin))
        prefetch(tables.ints, node_place(stop))


@kernel
def _find_children(tables: NgramTables, line: Line, k: int, num_sought: int) -> int:
    """Enter the nodes of the n-grams there are; returns how many longer ones to look for."""
    inner = inner_place(tables, int64(0))
    size, is_last = line.words.size, k + 1 == line.nodes.shape[0]
    num_longer = 0
    for index in range(num_sought):
        j = line.places[index]
        history, word = line.nodes[k - 1, j - 1], line.words[j - 1]
        begin, stop = children_of(tables, history)
        child = int64(find_asked(tables, begin, stop, word, line.slots[index]))
        if child < 0:
            continue
        line.nodes[k, j] = child
        if not is_last:
            prefetch(tables.ints, inner + INNER_ITEMS * child)
            if j < size and line.words[j] >= 0:
                line.places[num_longer] = j + 1
                num_longer += 1
    return num_longer


@kernel
def _sum(tables: NgramTables, line: Line) -> float:
    """The longest n-gram of each word, and the back-offs of the histories that do not go on so."""
    inner = inner_place(tables, int64(0)) + BACKOFF
    order, total = line.nodes.shape[0], 0.0
    for j in range(1, line.words.size + 1):
        k, log_prob = order - 1, 0.0
        while k >= 0 and line.nodes[k, j] == 0:
            k -= 1
            if k >= 0 and line.nodes[k, j - 1] != 0:
                log_prob += tables.floats[inner + INNER_ITEMS * line.nodes[k, j - 1]]
        if k >= 0:
            log_prob += tables.floats[node_place(line.nodes[k, j]) + LOG_PROB]
        else:
            log_prob += UNKNOWN_LOG_PROB
        total += log_prob
    return total
