"""The plain lines of an ARPA file in compiled code; whatever is not plain is left to the reader.

A line is plain when its numbers are decimal digits with a sign and a point at most, all its words
are known and it has as many fields as its order asks for. Written models have no other lines but
a few; the reader's own code, which explains what is wrong, sees those one by one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.lm.compiled import kernel
from asr.lm.tables import Array, int64
from asr.lm.word_index import LINE_FEED, WordIndex, find_word, hash_word, is_space, skip_spaces

MINUS, PLUS, POINT, ZERO, NINE = 45, 43, 46, 48, 57
# Integers of 15 digits, and 10**15, are exact in float64; so their quotient is correctly rounded.
MAX_DIGITS = 15
NOT_PLAIN = np.nan


class NgramLines(NamedTuple):
    """Room for the n-grams of one order.

    Fields:
        ids: (num_lines, order) int32.
        log_probs: (num_lines,) float32, log10.
        backoffs: (num_lines,) float32, log10; 0 where there is none.
        lines: (num_lines,) int64, lines between the first place given and each.
    """

    ids: Array
    log_probs: Array
    backoffs: Array
    lines: Array


def room_for(num_lines: int, order: int) -> NgramLines:
    """Uninitialised arrays."""
    return NgramLines(
        np.empty((num_lines, order), np.int32),
        np.empty(num_lines, np.float32),
        np.empty(num_lines, np.float32),
        np.empty(num_lines, np.int64),
    )


@kernel
def parse_lines(
    index: WordIndex,
    text: Array,
    place: int,
    least_log10: float,
    max_line_bytes: int,
    room: NgramLines,
) -> tuple[int, int, int]:
    """Read plain lines, and skip blank ones, until one is not plain or the room is full.

    Args:
        index: The vocabulary.
        text: (num_bytes,) uint8, whole lines.
        place: Where to begin, at the beginning of a line.
        least_log10: Smallest log10 that is plain; back-offs may be as large as they may be small.
        max_line_bytes: Length, without its line feed, of the longest line that is plain or blank.
        room: To be filled.

    Returns:
        The number of n-grams, of lines, and the beginning of the line after them.
    """
    num_ngrams, num_lines, place = int64(0), int64(0), int64(place)
    while place < text.size:
        after_spaces = int64(skip_spaces(text, place))
        if text[after_spaces] == LINE_FEED:
            if after_spaces - place > max_line_bytes:
                break
            place = after_spaces + 1
            num_lines += 1
            continue
        if num_ngrams == room.lines.size:
            break
        end = int64(parse_line(index, text, after_spaces, least_log10, room, num_ngrams))
        if end < 0 or end - 1 - place > max_line_bytes:
            break
        room.lines[num_ngrams] = num_lines
        place = end
        num_ngrams += 1
        num_lines += 1
    return num_ngrams, num_lines, place


@kernel
def parse_line(
    index: WordIndex, text: Array, place: int, least_log10: float, room: NgramLines, row: int
) -> int:
    """Read one line into a row; returns the beginning of the next, or -1 for a line not plain."""
    place, log_prob = parse_number(text, place)
    if not least_log10 <= log_prob <= 0:
        return -1
    for column in range(room.ids.shape[1]):
        begin = int64(skip_spaces(text, place))
        place, mixed = hash_word(text, begin)
        word = find_word(index, text, begin, place, mixed) if place > begin else int64(-1)
        if word < 0:
            return -1
        room.ids[row, column] = word
    place = int64(skip_spaces(text, place))
    backoff = 0.0
    if text[place] != LINE_FEED:
        place, backoff = parse_number(text, place)
        place = int64(skip_spaces(text, place))
        if not least_log10 <= backoff <= -least_log10 or text[place] != LINE_FEED:
            return -1
    room.log_probs[row] = log_prob
    room.backoffs[row] = backoff
    return place + 1


@kernel
def parse_number(text: Array, place: int) -> tuple[int, float]:
    """The end of a plain number that begins at a place, and the number; NaN where none does."""
    is_negative = text[place] == MINUS
    if is_negative or text[place] == PLUS:
        place += 1
    digits, num_digits, num_decimals = int64(0), 0, 0
    has_point = False
    while ZERO <= text[place] <= NINE or (text[place] == POINT and not has_point):
        if text[place] == POINT:
            has_point = True
        else:
            digits = 10 * digits + (int64(text[place]) - ZERO)
            num_digits += 1
            num_decimals += has_point
            if num_digits > MAX_DIGITS:
                return place, NOT_PLAIN
        place += 1
    if num_digits == 0 or not is_space(text[place]):
        return place, NOT_PLAIN
    number = digits / 10.0**num_decimals
    return place, -number if is_negative else number
