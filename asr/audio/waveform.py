"""`Waveform`, the mono signal every later stage works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from asr.errors import DataError

Channel = Literal["mix"] | int
"""`"mix"`, the mean of all channels, or one channel by its index from 0."""


@dataclass(frozen=True, eq=False)
class Waveform:
    """A finite mono signal.

    Attributes:
        samples: (num_samples,) float32; full scale is [-1, 1]. Lossy codecs, float files and
            resampling may pass full scale a little; the values stay as they are, since cutting
            them off would distort.
        sample_rate_hz: Samples a second.
    """

    samples: np.ndarray
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz


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
