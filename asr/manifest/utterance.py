"""`Utterance`, one line of a manifest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from asr.audio import Channel, PcmFormat, ReadOptions
from asr.errors import DataError


@dataclass(frozen=True, slots=True)
class Utterance:
    """One transcribed stretch of audio.

    Attributes:
        id: Not empty, without white space; unique in its manifest.
        audio_path: The file.
        duration_s: Length in seconds, above 0.
        text: The transcript as its corpus has it; normalised only where it is used. Empty where
            nothing is said.
        start_s: Where it begins in the file, in seconds.
        speaker: Who speaks, where that is known.
        channel: `"mix"`, or the channel's index from 0.
        pcm: Format of a headerless file.

    Raises:
        DataError: A value is out of range.
    """

    id: str
    audio_path: Path
    duration_s: float
    text: str
    start_s: float = 0.0
    speaker: str | None = None
    channel: Channel = "mix"
    pcm: PcmFormat | None = None

    def __post_init__(self) -> None:
        if self.id.split() != [self.id]:
            raise DataError(f"id must not be empty or hold white space, got {self.id!r}")
        if not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise DataError(f"duration_s must be above 0, got {self.duration_s}")
        if not (math.isfinite(self.start_s) and self.start_s >= 0):
            raise DataError(f"start_s must be 0 or more, got {self.start_s}")
        if self.channel != "mix" and not self.channel >= 0:
            raise DataError(f"channel must be 'mix' or 0 or more, got {self.channel}")

    def read_options(self, sample_rate_hz: int | None = None) -> ReadOptions:
        """What to read of `audio_path` to get exactly this utterance.

        Args:
            sample_rate_hz: Rate to resample to; None for the file's own.
        """
        return ReadOptions(
            start_s=self.start_s,
            duration_s=self.duration_s,
            sample_rate_hz=sample_rate_hz,
            channel=self.channel,
            pcm=self.pcm,
            max_duration_s=max(self.duration_s, ReadOptions.max_duration_s),
        )
