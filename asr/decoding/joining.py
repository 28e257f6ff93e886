"""Readings of the pieces of a recording, put together to readings of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from asr.decoding.types import Hypothesis

_NOTHING = Hypothesis((), (), (), 0.0, 0.0, 0.0)


def join_pieces(
    found: Sequence[Sequence[Hypothesis]], first_frames: Sequence[int], frame_s: float
) -> list[Hypothesis]:
    """The best readings of a recording whose pieces were decoded one by one.

    Args:
        found: Of each piece in turn, its hypotheses, best first.
        first_frames: The frame of the recording that each piece begins with.
        frame_s: Seconds of a frame.

    Returns:
        As many as the piece with the most has, or as there are, distinct as words, best first;
        their log-probabilities are the sums of those of the pieces. Of one piece, its own.
    """
    if len(found) == 1:
        return list(found[0])
    num_best = max(map(len, found))
    joined = [_NOTHING]
    for readings, first_frame in zip(found, first_frames, strict=True):
        shifted = [_shift(one, first_frame, frame_s) for one in readings]
        pairs = [_append(*pair) for pair in product(joined, shifted)]
        pairs.sort(key=lambda one: -one.score)
        distinct: dict[str, Hypothesis] = {}
        for one in pairs:
            distinct.setdefault(one.text, one)
        joined = list(distinct.values())[:num_best]
    return joined


def _shift(reading: Hypothesis, first_frame: int, frame_s: float) -> Hypothesis:
    """A reading as of a recording that began so many frames earlier."""
    first_s = first_frame * frame_s
    words = [
        replace(word, start_s=word.start_s + first_s, end_s=word.end_s + first_s)
        for word in reading.words
    ]
    frames = tuple(frame + first_frame for frame in reading.frames)
    return replace(reading, frames=frames, words=tuple(words))


def _append(one: Hypothesis, other: Hypothesis) -> Hypothesis:
    acoustic = one.acoustic_log_prob + other.acoustic_log_prob
    language = one.lm_log_prob + other.lm_log_prob
    return Hypothesis(
        one.tokens + other.tokens,
        one.frames + other.frames,
        one.words + other.words,
        acoustic,
        language,
        acoustic + language,
    )
