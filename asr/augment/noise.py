"""A directory of noise recordings that lends excerpts of any length."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr.audio import ReadOptions, probe_audio, read_audio
from asr.augment.config import NoiseFiles
from asr.augment.seeds import draw_uniform
from asr.errors import DataError

SUFFIXES = frozenset(
    [".aif", ".aiff", ".au", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".sph", ".wav", ".w64"]
)
"""File names taken for noise; anything else in the directory, and what is hidden, is left alone."""

_PLACES = {"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}


class NoiseLibrary:
    """Excerpts of the audio files below a directory, resampled, mixed to mono, cached.

    The files are listed once, sorted by path, so that a draw means the same file everywhere.
    Decoded files stay in memory, the least recently used leaving first. What is cached never
    changes an excerpt, and is not pickled: each worker process fills its own.

    Args:
        directory: Searched at any depth for files named as in `SUFFIXES`.
        max_cached_s: Bound of the cache; longer files are read in part, whenever drawn.
        files: Which of them; see `NoiseConfig`.

    Raises:
        DataError: The directory is missing, or holds no audio file, or none but the other half.
    """

    def __init__(self, directory: Path, max_cached_s: float, files: NoiseFiles = "all") -> None:
        if not directory.is_dir():
            raise DataError(f"noise directory {directory} is missing or not a directory")
        found = (path for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES)
        self.paths = tuple(
            path
            for path in sorted(found)
            if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(directory).parts)
        )
        if not self.paths:
            raise DataError(
                f"noise directory {directory} holds no audio file",
                hint=f"looked at any depth for {' '.join(sorted(SUFFIXES))}",
            )
        self.paths = self.paths[_PLACES[files]]
        if not self.paths:
            raise DataError(f"noise directory {directory} holds no file at {files} places")
        self.max_cached_s = max_cached_s
        self._cache: OrderedDict[tuple[Path, int], np.ndarray] = OrderedDict()
        self._durations_s: dict[Path, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": OrderedDict()}

    @property
    def cached_s(self) -> float:
        """Seconds of audio held in memory."""
        return sum(len(samples) / rate for (_, rate), samples in self._cache.items())

    def excerpt(self, num_samples: int, sample_rate_hz: int, generator: torch.Generator) -> Tensor:
        """A random piece of a random file, repeated from its start where the file is too short.

        Args:
            num_samples: Length wanted.
            sample_rate_hz: Rate wanted; files of another rate are resampled.
            generator: Draws the file, then the place in it.

        Returns:
            (num_samples,) float32.

        Raises:
            DataError: The drawn file cannot be read, or is empty.
        """
        path = self.paths[int(torch.randint(len(self.paths), (), generator=generator))]
        place = draw_uniform(generator, 0, 1)
        if self._duration_s(path) > self.max_cached_s:
            piece = self._read_piece(path, num_samples, sample_rate_hz, place)
            return _cut(piece, num_samples, place)
        return _cut(self._read_whole(path, sample_rate_hz), num_samples, place)

    def _duration_s(self, path: Path) -> float:
        if path not in self._durations_s:
            self._durations_s[path] = probe_audio(path).duration_s
        return self._durations_s[path]

    def _read_piece(
        self, path: Path, num_samples: int, sample_rate_hz: int, place: float
    ) -> np.ndarray:
        spare_s = max(0.0, self._duration_s(path) - num_samples / sample_rate_hz)
        options = ReadOptions(
            start_s=place * spare_s,
            duration_s=min(self._duration_s(path), num_samples / sample_rate_hz),
            sample_rate_hz=sample_rate_hz,
        )
        return read_audio(path, options).samples

    def _read_whole(self, path: Path, sample_rate_hz: int) -> np.ndarray:
        key = (path, sample_rate_hz)
        if key not in self._cache:
            options = ReadOptions(sample_rate_hz=sample_rate_hz)
            self._cache[key] = read_audio(path, options).samples
        self._cache.move_to_end(key)
        samples = self._cache[key]
        while self.cached_s > self.max_cached_s:
            self._cache.popitem(last=False)
        return samples


def _cut(noise: np.ndarray, num_samples: int, place: float) -> Tensor:
    """(num_samples,) from the place (0 … 1) of a longer recording, or around a shorter one."""
    if len(noise) >= num_samples:
        start = int(place * (len(noise) - num_samples + 1))
        return torch.from_numpy(noise[start : start + num_samples].copy())
    positions = (int(place * len(noise)) + np.arange(num_samples)) % len(noise)
    return torch.from_numpy(noise[positions])
