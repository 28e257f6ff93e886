"""Tiny corpora for tests: short noises and the text files beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio import probe_audio
from asr.errors import DataError

RATE_HZ = 8000


def noise(duration_s: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    """(num_samples,) int16, the same every time."""
    generator = np.random.default_rng(1)
    return generator.integers(-3000, 3000, round(duration_s * rate_hz)).astype(np.int16)


def write_audio_file(
    path: Path, duration_s: float = 0.5, rate_hz: int = RATE_HZ, num_channels: int = 1
) -> Path:
    """An audio file of the format that its suffix says; `.raw` is 16 bit, big-endian."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = noise(duration_s, rate_hz)
    if path.suffix == ".raw":
        path.write_bytes(samples.astype(">i2").tobytes())
        return path
    formats = {".sph": ("NIST", "PCM_16"), ".ogg": ("OGG", "OPUS")}
    container, subtype = formats.get(path.suffix.lower(), (None, None))
    columns = np.stack([samples] * num_channels, axis=1)
    soundfile.write(path, columns, rate_hz, subtype=subtype, format=container)
    return path


def write_lines(path: Path, *lines: str) -> Path:
    """A UTF-8 text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")
    return path


def damage(path: Path) -> Path:
    """Make an audio file unreadable, and be sure that it is."""
    path.write_bytes(b"no audio at all\n" * 20)
    with pytest.raises(DataError):
        probe_audio(path)
    return path
