"""What recorders do to single words: dull them, gate what is weak, and cut them short.

A word said alone into some device often lacks its first or last consonant: the microphone is dull,
a noise gate or a codec took weak sounds for noise, or a threshold trimmed them off as silence. The
changes are functions of explicit parameters; `draw_recorder` draws the parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import Field

from asr.config import Options

SHELF_DB = (-22.0, 6.0)
"""Bounds of the gain of high frequencies."""

SHELF_CORNER_HZ = (700.0, 2800.0)
"""Bounds of the corner between low and high frequencies."""

GATE_UNDER_DB = (10.0, 28.0)
"""Bounds of a gate's threshold below the loudest sound of a word."""

GATE_LOSS_DB = (8.0, 35.0)
"""Bounds of what a closed gate takes away."""

CUT_UNDER_DB = (13.0, 36.0)
"""Bounds of the threshold below the loudest sound of a word at which it is cut off."""

ONE_PIECE_SHARE = 0.5
"""Share of the recorders that cut which stop at the first silence: of "six" the vowel is left."""

_GATE_SLOPE_DB = 6.0
"""Below its threshold a gate closes over so many decibels."""

_FRAME_S = 0.01
_SHORTEST_S = 0.08
"""No word is cut shorter: the vowel of a fast "six" lasts about as long."""

Recorder = Callable[[np.ndarray], np.ndarray]
"""(num_samples,) float64 of one word to what is left of it, perhaps shorter."""


class RecorderOptions(Options):
    """How many of the joined utterances get what recorders do; all off by default.

    Attributes:
        shelf_share: Share whose high frequencies are lifted or lowered, by `SHELF_DB` above a
            corner within `SHELF_CORNER_HZ`.
        gate_share: Share whose weak sounds are made weaker, by `GATE_LOSS_DB` from `GATE_UNDER_DB`
            on.
        cut_share: Share whose words begin and end where they pass a threshold within
            `CUT_UNDER_DB`; `ONE_PIECE_SHARE` of these keep only what is louder without a break.
    """

    shelf_share: float = Field(0.0, ge=0, le=1)
    gate_share: float = Field(0.0, ge=0, le=1)
    cut_share: float = Field(0.0, ge=0, le=1)


def draw_recorder(options: RecorderOptions, rate_hz: int, rng: np.random.Generator) -> Recorder:
    """One device, for all words of an utterance.

    Args:
        options: How likely each change is. A share of 0 draws nothing, so that whatever `rng` draws
            next is as without it.
        rate_hz: Of the samples that the device records.
        rng: Source of the draws; each parameter is uniform between its bounds.
    """
    shelf = gate = cut = None
    if options.shelf_share and rng.random() < options.shelf_share:
        shelf = (rng.uniform(*SHELF_DB), rng.uniform(*SHELF_CORNER_HZ))
    if options.gate_share and rng.random() < options.gate_share:
        gate = (rng.uniform(*GATE_UNDER_DB), rng.uniform(*GATE_LOSS_DB))
    if options.cut_share and rng.random() < options.cut_share:
        cut = (rng.uniform(*CUT_UNDER_DB), rng.random() < ONE_PIECE_SHARE)

    def record(samples: np.ndarray) -> np.ndarray:
        if shelf is not None:
            samples = high_shelf(samples, *shelf, rate_hz)
        if gate is not None:
            samples = close_gate(samples, *gate, rate_hz)
        return samples if cut is None else cut_short(samples, rate_hz, *cut)

    return record


def high_shelf(samples: np.ndarray, gain_db: float, corner_hz: float, rate_hz: int) -> np.ndarray:
    """First-order filter: no change far below the corner, `gain_db` far above it.

    The response (A s + w) / (s + w) with A the gain, w the corner and s = i tan(pi f / rate) (the
    bilinear transform) is applied to the spectrum, so the filter is periodic at the ends.

    Args:
        samples: (num_samples,), any number.
        gain_db: Of high frequencies.
        corner_hz: Above 0 and below half the rate.
        rate_hz: Of the samples.

    Returns:
        (num_samples,) float64.
    """
    gain = 10 ** (gain_db / 20)
    frequencies = np.arange(len(samples) // 2 + 1) / max(1, len(samples))
    # At half the rate the tangent has a pole, and the response its limit, the gain.
    s = 1j * np.tan(np.pi * np.minimum(frequencies, 0.4999))
    corner = np.tan(np.pi * corner_hz / rate_hz)
    response = (gain * s + corner) / (s + corner)
    filtered: np.ndarray = np.fft.irfft(np.fft.rfft(samples) * response, len(samples))
    return filtered


def close_gate(samples: np.ndarray, under_db: float, loss_db: float, rate_hz: int) -> np.ndarray:
    """Sounds that are weaker than a threshold, weaker still.

    Args:
        samples: (num_samples,); returned as they are where they do not fill 10 ms.
        under_db: Threshold below the loudest 10 ms.
        loss_db: What sounds lose that are 6 dB and more below the threshold.
        rate_hz: Of the samples.

    Returns:
        (num_samples,) float64.
    """
    levels_db = _levels_db(samples, rate_hz)
    if not len(levels_db):
        return samples
    closed = np.clip((levels_db.max() - under_db - levels_db) / _GATE_SLOPE_DB, 0, 1)
    centres = (np.arange(len(closed)) + 0.5) * _FRAME_S * rate_hz
    losses_db = loss_db * np.interp(np.arange(len(samples)), centres, closed)
    gated: np.ndarray = samples * 10 ** (-losses_db / 20)
    return gated


def cut_short(
    samples: np.ndarray, rate_hz: int, under_db: float, one_piece: bool = False
) -> np.ndarray:
    """From the first to the last 10 ms that are not `under_db` weaker than the loudest.

    Args:
        samples: (num_samples,); returned whole where less than 0.08 s would be left.
        rate_hz: Of the samples.
        under_db: Above 0.
        one_piece: Only the 10 ms around the loudest up to the first on either side that are weaker.

    Returns:
        A range of `samples`.
    """
    levels_db = _levels_db(samples, rate_hz)
    if not len(levels_db):
        return samples
    is_loud = levels_db >= levels_db.max() - under_db
    if one_piece:
        loudest = int(np.argmax(levels_db))
        breaks = np.flatnonzero(~is_loud)
        first = int(breaks[breaks < loudest].max(initial=-1)) + 1
        end = int(breaks[breaks > loudest].min(initial=len(is_loud)))
    else:
        loud = np.flatnonzero(is_loud)
        first, end = int(loud[0]), int(loud[-1]) + 1
    frame = round(_FRAME_S * rate_hz)
    kept = samples[first * frame : end * frame]
    return kept if len(kept) >= _SHORTEST_S * rate_hz else samples


def _levels_db(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """(num_frames,) power of each whole 10 ms in dB of full scale, smoothed over its neighbours."""
    frame = round(_FRAME_S * rate_hz)
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    levels_db: np.ndarray = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    if len(levels_db) < 2:
        return levels_db
    padded = np.pad(levels_db, 1, mode="edge")
    smoothed: np.ndarray = np.convolve(padded, [0.25, 0.5, 0.25], "valid")
    return smoothed
