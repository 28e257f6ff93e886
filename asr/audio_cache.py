"""Decoded audio of a whole manifest: read each time, or kept in one memory-mapped file.

A small set is decoded once into a flat float32 file, so that later epochs cost no decoding; a large
one is read from its files every time. Either way `samples(index)` gives the same numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from asr.audio import read_audio
from asr.errors import DataError
from asr.files import atomic_path
from asr.manifest import Utterance

READING = 2
"""Raised with every change of what reading makes of a file: caches of before are not used."""


@dataclass(frozen=True)
class AudioFiles:
    """Waveforms read from their files at each request."""

    utterances: tuple[Utterance, ...]
    sample_rate_hz: int

    def __len__(self) -> int:
        return len(self.utterances)

    def samples(self, index: int) -> np.ndarray:
        """(num_samples,) float32 in [-1, 1], mono, at `sample_rate_hz`."""
        utterance = self.utterances[index]
        return read_audio(utterance.audio_path, utterance.read_options(self.sample_rate_hz)).samples


@dataclass
class AudioCache:
    """Waveforms from one flat float32 file; opened where it is used, so workers share its pages."""

    path: Path
    offsets: np.ndarray
    """(num_utterances + 1,) int64: utterance i is samples[offsets[i]:offsets[i + 1]]."""
    _flat: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "offsets": self.offsets, "_flat": None}

    def samples(self, index: int) -> np.ndarray:
        """(num_samples,) float32 in [-1, 1], mono; a copy that may be changed."""
        if self._flat is None:
            self._flat = np.memmap(self.path, dtype=np.float32, mode="r")
        return np.array(self._flat[self.offsets[index] : self.offsets[index + 1]])


def cache_audio(
    utterances: Sequence[Utterance],
    sample_rate_hz: int,
    directory: Path,
    advance: Callable[[], None] = lambda: None,
) -> AudioCache:
    """Decode every utterance into `directory`, or reuse what an earlier call left there.

    The file name is a digest of the utterances, the rate, `READING`, and the size and time of every
    audio file, so changed audio or another manifest makes another file.

    Args:
        utterances: What to decode.
        sample_rate_hz: Rate to resample to.
        directory: Where the two files (samples, offsets) go; made when missing.
        advance: Called once an utterance, for a progress bar.

    Raises:
        DataError: Some audio cannot be read (all such are named), or the disk is full.
    """
    path = directory / f"audio-{_digest(utterances, sample_rate_hz)}.f32"
    index_path = path.with_suffix(".json")
    if path.exists() and index_path.exists():
        offsets = np.asarray(json.loads(index_path.read_text(encoding="utf-8")), dtype=np.int64)
        if path.stat().st_size == 4 * int(offsets[-1]):
            return AudioCache(path, offsets)
    source = AudioFiles(tuple(utterances), sample_rate_hz)
    problems: list[str] = []
    lengths: list[int] = []
    with atomic_path(path) as temporary, temporary.open("wb") as flat:
        for index in range(len(source)):
            try:
                samples = source.samples(index)
            except DataError as error:
                problems.append(str(error))
            else:
                flat.write(samples.astype(np.float32).tobytes())
                lengths.append(len(samples))
            advance()
        if problems:
            raise DataError(
                f"{len(problems)} of {len(source)} utterances cannot be read: "
                + "; ".join(problems[:5]),
                hint="mend or remove them from the manifest",
            )
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    with atomic_path(index_path) as temporary:
        temporary.write_text(json.dumps(offsets.tolist()), encoding="utf-8")
    return AudioCache(path, offsets)


def _digest(utterances: Sequence[Utterance], sample_rate_hz: int) -> str:
    digest = hashlib.sha256(f"{READING} {sample_rate_hz}".encode())
    for utterance in utterances:
        stat = utterance.audio_path.stat() if utterance.audio_path.exists() else None
        version = (stat.st_size, stat.st_mtime_ns) if stat else None
        digest.update(repr((utterance, version)).encode())
    return digest.hexdigest()[:16]
