"""Words of a text to ids in compiled code: a hash table over the bytes of a vocabulary.

With hundreds of thousands of words, a Python dictionary costs more than the query that follows: it
makes a string of every word and misses the cache for slot, entry and string.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.lm.compiled import compiled, kernel
from asr.lm.tables import Array, int64

LINE_FEED = 10
# ASCII white space as bytes.split() has it: tab to carriage return, and space.
SPACE, FIRST_SPACE, LAST_SPACE = 32, 9, 13
SLOTS_PER_WORD = 2
EMPTY = -1
UNKNOWN = -1
# FNV-1a of 64 bits (Fowler, Noll & Vo).
FNV_BASIS, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
# An odd number near 2**64 / golden ratio. FNV's prime has few bits: with it for the last round too,
# words that differ in their last letter are neighbours, and all 26 letters began at one slot.
SPREAD = np.uint64(0x9E3779B97F4A7C15)
HALF_BITS = np.uint64(32)
ID_MASK = 0xFFFFFFFF
LOWER_HALF = np.uint64(ID_MASK)
# One less than half, so that it and an id make a positive number.
UPPER_BITS = np.uint64(33)


class WordIndex(NamedTuple):
    """A vocabulary, usable inside compiled functions.

    Fields:
        letters: (num_bytes,) uint8, the words by id, each followed by a line feed.
        starts: (num_words + 1,) int64, where each begins.
        slots: (num_slots,) int64; upper half of a word's hash, and its id in the lower half; or -1.
    """

    letters: Array
    starts: Array
    slots: Array


def index_words(vocabulary: bytes) -> WordIndex:
    """Index distinct words that are joined with line feeds; word w is line w."""
    letters = np.frombuffer(vocabulary + b"\n", np.uint8)
    starts = np.concatenate([[0], np.flatnonzero(letters == LINE_FEED) + 1])
    slots = np.full(SLOTS_PER_WORD * (starts.size - 1) + 1, EMPTY, np.int64)
    index = WordIndex(letters, starts, slots)
    fill_words(index)
    return index


@kernel
def is_space(letter: int) -> bool:
    """Whether a byte separates words."""
    return letter <= SPACE and (letter == SPACE or FIRST_SPACE <= letter <= LAST_SPACE)


@kernel
def hash_word(text: Array, place: int) -> tuple[int, np.uint64]:
    """The end of the word that begins at a place of a text, and its 64-bit hash.

    The text is (num_bytes,) uint8, or `bytes`.
    """
    mixed = FNV_BASIS
    while place < len(text) and not is_space(text[place]):
        mixed = (mixed ^ np.uint64(text[place])) * FNV_PRIME
        place += 1
    mixed = (mixed ^ (mixed >> HALF_BITS)) * SPREAD
    return place, mixed ^ (mixed >> HALF_BITS)


@kernel
def first_slot(index: WordIndex, mixed: np.uint64) -> int:
    """The slot at which the search for a word begins: the hash's lower half as a fraction of 1."""
    lower = mixed & LOWER_HALF
    slot: int = int64((lower * np.uint64(index.slots.size)) >> HALF_BITS)
    return slot


@kernel
def id_in_slot(index: WordIndex, slot: int) -> int:
    """The word in a slot that is not empty."""
    word: int = int64(index.slots[slot] & ID_MASK)
    return word


@kernel
def fill_words(index: WordIndex) -> None:
    """Enter every word."""
    num_slots = index.slots.size
    for word in range(index.starts.size - 1):
        mixed = hash_word(index.letters, index.starts[word])[1]
        slot = first_slot(index, mixed)
        while index.slots[slot] != EMPTY:
            slot = slot + 1 if slot + 1 < num_slots else 0
        index.slots[slot] = (int64(mixed >> UPPER_BITS) << 32) | word


@kernel
def find_word(index: WordIndex, text: Array, begin: int, end: int, mixed: np.uint64) -> int:
    """Id of the word at begin … end - 1 of a text, of a hash; `UNKNOWN` where it has none."""
    num_slots = index.slots.size
    upper = int64(mixed >> UPPER_BITS)
    slot = first_slot(index, mixed)
    while index.slots[slot] != EMPTY:
        if index.slots[slot] >> 32 == upper:
            word: int = id_in_slot(index, slot)
            if is_same(index, word, text, begin, end):
                return word
        slot = slot + 1 if slot + 1 < num_slots else 0
    return UNKNOWN


@kernel
def is_same(index: WordIndex, word: int, text: Array, begin: int, end: int) -> bool:
    """Whether a word is that at begin … end - 1 of a text."""
    start = index.starts[word]
    if index.starts[word + 1] - 1 - start != end - begin:
        return False
    for offset in range(end - begin):
        if index.letters[start + offset] != text[begin + offset]:
            return False
    return True


@kernel
def skip_spaces(text: Array, place: int) -> int:
    """The first place that is no white space; line feeds are, and so is the end."""
    while place < text.size and is_space(text[place]) and text[place] != LINE_FEED:
        place += 1
    return place


@kernel
def encode(index: WordIndex, text: Array, end_id: int, break_id: int, ids: Array) -> int:
    """Write the ids of a text's words.

    Args:
        index: The vocabulary.
        text: (num_bytes,) uint8, one sentence a line.
        end_id: What stands for a line's end, before `break_id`; nothing does if it is negative.
        break_id: What stands between lines.
        ids: int64, to be filled; as many as bytes are enough for all that a line feed becomes two.

    Returns:
        The number of ids.
    """
    num_ids, place = 0, int64(0)
    while True:
        place = int64(skip_spaces(text, place))
        if place == text.size:
            return num_ids
        if text[place] == LINE_FEED:
            place += 1
            if end_id >= 0:
                ids[num_ids] = end_id
                num_ids += 1
            ids[num_ids] = break_id
            num_ids += 1
        else:
            begin = place
            place, mixed = hash_word(text, begin)
            ids[num_ids] = find_word(index, text, begin, place, mixed)
            num_ids += 1


@compiled
def encode_text(index: WordIndex, text: Array, end_id: int, break_id: int) -> Array:
    """(num_ids,) int64, what `encode` writes."""
    num_breaks = 0
    for letter in text:
        num_breaks += letter == LINE_FEED
    # Words have a byte each, and a separator but for the last.
    ids = np.empty((text.size + 1) // 2 + 2 * num_breaks + 1, np.int64)
    num_ids = encode(index, text, end_id, break_id, ids)
    return ids[:num_ids].copy()
