"""Pauses: where long recordings are cut before they are recognised, and where nothing was recorded.

Models hear utterances of some seconds in training, each with a level and a microphone of its own,
and language models begin and end with sentences. So what is said in a minute is recognised better a
phrase at a time.
"""

from __future__ import annotations

import numpy as np

from asr.audio.resampling import resample
from asr.audio.waveform import Waveform

SHORTEST_S, LONGEST_S = 2.0, 10.0
"""Bounds of a piece."""
PAUSE_S = 0.5
"""The level of a place is that of so much around it, so that a stop consonant is no pause."""
STEP_S = 0.01
_GRID_S = 0.5  # places to cut at where the level has no minimum, as in steady noise
_QUIET_PERCENT, _LOUD_PERCENT = 5, 95
_WORTH_A_CUT = 0.2
"""Below this share of the way from the quietest to the loudest, a cut is better than none."""
_FLOOR = 1e-10  # of the power, -100 dB of full scale


def pause_cuts(waveform: Waveform) -> list[float]:
    """Places to cut a recording at, so that pieces last `SHORTEST_S` to `LONGEST_S`.

    Of all ways to do so, the one with the least sum over its cuts of how loud it is there, from 0
    for the quietest to 1 for the loudest, less `_WORTH_A_CUT`: many where there are many pauses,
    few and at the quietest places where nobody takes a breath.

    Args:
        waveform: At least twice as long as `SHORTEST_S`, or it stays whole.

    Returns:
        Seconds, rising, at multiples of `STEP_S`; neither the beginning nor the end.
    """
    loudness = _loudness(waveform)
    places = _places(loudness)
    cost = np.concatenate([[0.0], loudness[places[1:-1]] - _WORTH_A_CUT, [0.0]])
    least = np.full(places.size, np.inf)
    least[0] = 0.0
    before = np.zeros(places.size, np.int64)
    firsts = np.searchsorted(places, places - round(LONGEST_S / STEP_S))
    ends = np.searchsorted(places, places - round(SHORTEST_S / STEP_S), side="right")
    for index in range(1, places.size):
        first, end = firsts[index], ends[index]
        if first < end:
            before[index] = first + int(np.argmin(least[first:end]))
            least[index] = least[before[index]] + cost[index]
    cuts: list[float] = []
    index = int(before[-1])
    while index > 0:
        cuts.append(int(places[index]) * STEP_S)
        index = int(before[index])
    return cuts[::-1]


def cut_at_pauses(
    waveform: Waveform, sample_rate_hz: int, step: int, long_s: float
) -> list[tuple[int, Waveform]]:
    """A long recording in pieces, cut at the multiples of a step next to `pause_cuts`.

    Args:
        waveform: What to cut, of any rate.
        sample_rate_hz: Of the pieces.
        step: Samples of a frame, at that rate.
        long_s: What is no longer stays whole, and as it is.

    Returns:
        Of each piece in turn, the frame that it begins with, and its audio.
    """
    if waveform.duration_s <= long_s:
        return [(0, waveform)]
    waveform = resample(waveform, sample_rate_hz)
    firsts = [0, *(round(cut_s * sample_rate_hz / step) for cut_s in pause_cuts(waveform))]
    parts = np.split(waveform.samples, [step * first for first in firsts[1:]])
    pieces = [Waveform(part, sample_rate_hz) for part in parts]
    return list(zip(firsts, pieces, strict=True))


def _loudness(waveform: Waveform) -> np.ndarray:
    """(num_steps,) from 0, the quietest twentieth, to 1, the loudest, evenly in decibels."""
    step = waveform.sample_rate_hz * STEP_S
    bounds = np.arange(int(len(waveform.samples) / step) + 1) * step
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform.samples, dtype=np.float64))])
    reach = round(PAUSE_S / STEP_S) // 2
    at = energy[bounds.astype(np.int64)]
    first = np.maximum(np.arange(at.size - 1) - reach, 0)
    end = np.minimum(np.arange(at.size - 1) + reach, at.size - 1)
    power = np.maximum(at[end] - at[first], 0) / ((end - first) * step)
    level_db = 10 * np.log10(power + _FLOOR)
    quiet, loud = np.percentile(level_db, [_QUIET_PERCENT, _LOUD_PERCENT])
    loudness: np.ndarray = np.clip((level_db - quiet) / max(loud - quiet, 1e-9), 0, 1)
    return loudness


def _places(loudness: np.ndarray) -> np.ndarray:
    """The beginning, where it is quieter than around and every `_GRID_S`, and the end."""
    inner = loudness[1:-1]
    minima = np.flatnonzero((inner <= loudness[:-2]) & (inner < loudness[2:])) + 1
    grid = np.arange(0, loudness.size, round(_GRID_S / STEP_S))
    places = np.union1d(minima, grid)
    return np.concatenate([places[places < loudness.size], [loudness.size]])


def heard_range(samples: np.ndarray, num_muted: int, step: int) -> slice:
    """From the first to the last sample that is not zero, and up to `num_muted` on either side.

    It begins at a multiple of `step`, as output frames do; without such a sample it is of the
    first `num_muted`.
    """
    recorded = np.flatnonzero(samples)
    if len(recorded) == 0:
        return slice(0, num_muted)
    begin = max(0, int(recorded[0]) - num_muted) // step * step
    return slice(begin, int(recorded[-1]) + 1 + num_muted)
