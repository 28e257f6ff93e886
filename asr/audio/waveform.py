"""`Waveform`, the mono signal every later stage works on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from asr.errors import DataError

Channel = Literal["mix"] | int
"""`"mix"`, the mean of all channels, or one channel by its index from 0."""

MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 1_000_000
"""Sampling rates outside these bounds are mistakes, or damaged headers, not recordings."""

MAX_ABS_SAMPLE = 64.0
"""What is louder (36 dB over full scale) is integers stored as floats, not samples in [-1, 1]."""


@dataclass(frozen=True, eq=False)
class Waveform:
    """A finite mono signal.

    Attributes:
        samples: (num_samples,) float32, contiguous; other floats are converted. Full scale is
            [-1, 1]. Lossy codecs, float files and resampling may pass full scale a little; the
            values stay as they are, since cutting them off would distort.
        sample_rate_hz: Samples a second, from `MIN_RATE_HZ` to `MAX_RATE_HZ`.

    Raises:
        DataError: `samples` are no floats, have another shape, or are NaN, infinite or far out of
            range; `sample_rate_hz` is no whole number, or out of its bounds.

    >>> Waveform(np.zeros((16000, 2)), 16000)
    Traceback (most recent call last):
    asr.errors.DataError: samples must be (num_samples,), got shape (16000, 2); mix channels down \
with asr.audio.to_mono first
    """

    samples: np.ndarray
    sample_rate_hz: int

    def __post_init__(self) -> None:
        """Refuse what would be heard as something else."""
        _check_samples(self.samples)
        _check_rate(self.sample_rate_hz)
        object.__setattr__(self, "samples", np.ascontiguousarray(self.samples, np.float32))
        object.__setattr__(self, "sample_rate_hz", int(self.sample_rate_hz))

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz


def _check_samples(samples: object) -> None:
    if not isinstance(samples, np.ndarray):
        kind = type(samples).__name__
        hint = "pass samples.numpy()" if kind == "Tensor" else None
        raise DataError(f"samples must be a NumPy array, got {kind}", hint=hint)
    if not np.issubdtype(samples.dtype, np.floating):
        raise DataError(
            f"samples must be floats in [-1, 1], got {samples.dtype}",
            hint="divide integers by their full scale, 32768 for int16",
        )
    if samples.ndim != 1:
        raise DataError(
            f"samples must be (num_samples,), got shape {samples.shape}",
            hint="mix channels down with asr.audio.to_mono first",
        )
    lowest, highest = float(samples.min(initial=0.0)), float(samples.max(initial=0.0))
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        bad = np.flatnonzero(~np.isfinite(samples))
        raise DataError(
            f"{len(bad)} of {len(samples)} samples are NaN or infinite, first sample {bad[0]}"
        )
    if max(-lowest, highest) > MAX_ABS_SAMPLE:
        raise DataError(
            f"samples reach from {lowest:g} to {highest:g}, expected about [-1, 1]",
            hint="divide by the full scale of the integers that were stored as floats",
        )


def _check_rate(sample_rate_hz: int) -> None:
    is_whole = isinstance(sample_rate_hz, int | np.integer) and sample_rate_hz is not True
    if not (is_whole and MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ):
        raise DataError(
            f"sample_rate_hz must be a whole number from {MIN_RATE_HZ} to {MAX_RATE_HZ}, "
            f"got {sample_rate_hz!r}"
        )


def to_mono(samples: np.ndarray, channel: Channel = "mix") -> np.ndarray:
    """One channel, or the mean of all.

    Args:
        samples: (num_samples, num_channels) or, mono already, (num_samples,).
        channel: What to take.

    Returns:
        (num_samples,), of the same type as `samples`.

    Raises:
        DataError: There is no such channel, or `samples` has another shape.
    """
    if samples.ndim == 1:
        samples = samples[:, None]
    if samples.ndim != 2:
        raise DataError(
            f"samples must be (num_samples, num_channels) or (num_samples,), "
            f"got shape {samples.shape}"
        )
    num_channels = samples.shape[1]
    check_channel(channel, num_channels)
    if channel == "mix" and num_channels > 1:
        mixed: np.ndarray = samples.mean(axis=1, dtype=samples.dtype)
        return mixed
    return samples[:, 0 if channel == "mix" else channel]


def check_channel(channel: Channel, num_channels: int) -> None:
    """Refuse a channel that audio of `num_channels` channels does not have.

    Raises:
        DataError: `channel` is neither `"mix"` nor an index below `num_channels`.
    """
    if channel == "mix":
        return
    if isinstance(channel, bool) or not isinstance(channel, int):
        raise DataError(f"channel must be 'mix' or an index from 0, got {channel!r}")
    if not 0 <= channel < num_channels:
        known = "only channel 0" if num_channels == 1 else f"channels 0 to {num_channels - 1}"
        raise DataError(
            f"there is no channel {channel}: the audio has {known}",
            hint="name one of them, or 'mix' for their mean",
        )
