"""Scores of texts: many places of a text at a time, so that cache misses do not wait in line.

In a large model nearly every step of a query misses the cache, and within a text each query waits
for the state that the one before it found. But a state depends on the last order - 1 words only. So
a text is cut into *lanes* that begin order - 1 words early, from no history, and stay silent until
they have caught up. Lanes take each step together: all ask for the memory they need, then all use
it, as in the batched look-ups of main-memory databases (Chen, Ailamaki, Gibbons & Mowry 2007,
"Improving hash join performance through prefetching", group prefetching).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.lm.compiled import compiled, kernel, prefetch
from asr.lm.tables import (
    BACKOFF,
    EMPTY_SLOT,
    FEW,
    FIRST_CHILD,
    INNER_ITEMS,
    LINK,
    LOG_PROB,
    NUM_INNER,
    UNKNOWN_LOG_PROB,
    Array,
    NgramTables,
    advance,
    compiled_tables_of,
    find_asked,
    inner_place,
    int64,
    known_word,
    node_place,
    slot_of,
    slots_place,
)

SENTENCE_BREAK = -2
# More lanes than the memory can serve at a time bring nothing: 16 to 128 are equally fast.
MAX_LANES = 32
# Shorter lanes would spend too much on the words they read twice.
MIN_LANE_WORDS = 4
# A model of up to 1 MiB stays in the cache: there is no wait to hide.
SMALL_ITEMS = 1 << 18


class Lanes(NamedTuple):
    """What each lane is doing; all (num_lanes,), int64 but for `total`.

    Fields:
        first: The first place of the text it scores; those before only tell it the history.
        end: The place after its last.
        place: Where it is.
        state: The history it is asking.
        word: The word it is looking for.
        slot: Where the search for the word's node begins, if the history has many children.
        begin, stop: The history's children.
        child: The word's node; -1 where there is none.
        total: Sum of the back-offs on the way.
    """

    first: Array
    end: Array
    place: Array
    state: Array
    word: Array
    slot: Array
    begin: Array
    stop: Array
    child: Array
    total: Array


@compiled
def score_words(
    block: Array,
    start_state: int,
    overlap: int,
    words: Array,
    log_probs: Array,
    small_items: int = SMALL_ITEMS,
) -> None:
    """Fill the natural log-probability of every word of a text; equal to `advance` one by one.

    Args:
        block: The model's tables.
        start_state: State at the beginning of a sentence.
        overlap: Order of the model - 1.
        words: (num_words,) int64 ids; `SENTENCE_BREAK` scores 0, and a sentence begins after it.
        log_probs: (num_words,) float64, to be filled.
        small_items: Up to this size of the block lanes are not worth their work.
    """
    tables = compiled_tables_of(block)
    if block.size <= small_items:
        _score_in_turn(tables, start_state, words, log_probs)
        return
    num_live = min(MAX_LANES, max(1, words.size // MIN_LANE_WORDS))
    lanes = _start_lanes(num_live, words.size, start_state, overlap)
    num_live = _drop_finished(lanes, num_live)
    while num_live > 0:
        _ask_histories(tables, words, lanes, num_live)
        _ask_children(tables, lanes, num_live)
        _find_children(tables, lanes, num_live)
        _take_steps(tables, start_state, lanes, num_live, log_probs)
        num_live = _drop_finished(lanes, num_live)


@compiled
def sum_words(block: Array, start_state: int, overlap: int, words: Array) -> float:
    """The sum of what `score_words` fills in."""
    log_probs = np.empty(words.size)
    score_words(block, start_state, overlap, words, log_probs)
    total = 0.0
    for log_prob in log_probs:
        total += log_prob
    return total


@kernel
def _score_in_turn(tables: NgramTables, start_state: int, words: Array, log_probs: Array) -> None:
    state = int64(start_state)
    for place in range(words.size):
        if words[place] == SENTENCE_BREAK:
            log_probs[place], state = 0.0, int64(start_state)
        else:
            log_probs[place], state = advance(tables, state, words[place])


@compiled
def _start_lanes(num_lanes: int, num_words: int, start_state: int, overlap: int) -> Lanes:
    numbers = np.zeros((9, num_lanes), np.int64)
    lanes = Lanes(
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
        numbers[4],
        numbers[5],
        numbers[6],
        numbers[7],
        numbers[8],
        np.zeros(num_lanes),
    )
    for index in range(num_lanes):
        lanes.first[index] = num_words * index // num_lanes
        lanes.end[index] = num_words * (index + 1) // num_lanes
        lanes.place[index] = max(0, lanes.first[index] - overlap)
        lanes.state[index] = start_state if lanes.place[index] == 0 else 0
    return lanes


@kernel
def _drop_finished(lanes: Lanes, num_live: int) -> int:
    """Move the lanes that are not at their end to the front; returns how many there are."""
    num_left = 0
    for index in range(num_live):
        if lanes.place[index] < lanes.end[index]:
            if index != num_left:
                lanes.first[num_left] = lanes.first[index]
                lanes.end[num_left] = lanes.end[index]
                lanes.place[num_left] = lanes.place[index]
                lanes.state[num_left] = lanes.state[index]
                lanes.total[num_left] = lanes.total[index]
            num_left += 1
    return num_left


@kernel
def _ask_histories(tables: NgramTables, words: Array, lanes: Lanes, num_live: int) -> None:
    """Ask for what each history knows of itself, and for the slot of the next word."""
    inner, slots = inner_place(tables, int64(0)), slots_place(tables)
    for index in range(num_live):
        word, state = int64(words[lanes.place[index]]), lanes.state[index]
        if word != SENTENCE_BREAK:
            word = known_word(tables, word)
        slot = slot_of(tables, state, word)
        prefetch(tables.ints, inner + INNER_ITEMS * state + BACKOFF)
        prefetch(tables.ints, slots + slot)
        lanes.word[index], lanes.slot[index] = word, slot


@kernel
def _ask_children(tables: NgramTables, lanes: Lanes, num_live: int) -> None:
    """Look up the children of each history, and ask for the node where the word probably is."""
    inner, slots = inner_place(tables, int64(0)) + FIRST_CHILD, slots_place(tables)
    for index in range(num_live):
        place = inner + INNER_ITEMS * lanes.state[index]
        begin = int64(tables.ints[place])
        stop = int64(tables.ints[place + INNER_ITEMS])
        lanes.begin[index], lanes.stop[index] = begin, stop
        if lanes.state[index] == 0:
            begin = stop = lanes.word[index] + 1
        elif stop - begin > FEW:
            begin = stop = int64(tables.ints[slots + lanes.slot[index]])
        prefetch(tables.ints, node_place(begin))
        prefetch(tables.ints, node_place(stop))


@kernel
def _find_children(tables: NgramTables, lanes: Lanes, num_live: int) -> None:
    """Find each word's node, and ask for what it knows as a history."""
    inner, num_inner = inner_place(tables, int64(0)) + BACKOFF, int64(tables.ints[NUM_INNER])
    for index in range(num_live):
        begin, stop, word = lanes.begin[index], lanes.stop[index], lanes.word[index]
        child = int64(EMPTY_SLOT)
        if lanes.state[index] == 0:
            child = word + 1 if word >= 0 else child
        else:
            child = int64(find_asked(tables, begin, stop, word, lanes.slot[index]))
        lanes.child[index] = child
        if 0 <= child < num_inner:
            prefetch(tables.ints, inner + INNER_ITEMS * child)


@kernel
def _take_steps(
    tables: NgramTables, start_state: int, lanes: Lanes, num_live: int, log_probs: Array
) -> None:
    """Back off, or score the word and go on to the next."""
    inner, num_inner = inner_place(tables, int64(0)), int64(tables.ints[NUM_INNER])
    for index in range(num_live):
        word, state, child = lanes.word[index], lanes.state[index], lanes.child[index]
        log_prob = 0.0
        if word == SENTENCE_BREAK:
            lanes.state[index] = start_state
        elif child >= 0:
            log_prob = lanes.total[index] + tables.floats[node_place(child) + LOG_PROB]
            place = inner + INNER_ITEMS * child
            lanes.state[index] = (
                child
                if child < num_inner
                and (
                    tables.ints[place + FIRST_CHILD]
                    < tables.ints[place + INNER_ITEMS + FIRST_CHILD]
                    or tables.floats[place + BACKOFF] != 0.0
                )
                else tables.ints[node_place(child) + LINK]
            )
        elif state != 0:
            lanes.total[index] += tables.floats[inner + INNER_ITEMS * state + BACKOFF]
            lanes.state[index] = tables.ints[node_place(state) + LINK]
            continue
        else:
            log_prob = lanes.total[index] + UNKNOWN_LOG_PROB
        if lanes.place[index] >= lanes.first[index]:
            log_probs[lanes.place[index]] = log_prob
        lanes.place[index] += 1
        lanes.total[index] = 0.0
