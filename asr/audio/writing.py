"""Write audio files that appear whole or not at all."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile

from asr.audio.waveform import Waveform
from asr.errors import DataError
from asr.files import atomic_path

MAX_CLIPPED = 1.122
"""Samples up to 1 dB over full scale, as resampling makes them, are cut off at it when written."""

_FORMATS = {".wav": "WAV", ".flac": "FLAC"}


def write_audio(path: Path, waveform: Waveform) -> None:
    """Write a waveform as 16 bit WAV or FLAC, by the suffix of `path`.

    Args:
        path: Ends in ``.wav`` or ``.flac``; directories above it are made.
        waveform: Within full scale; see `MAX_CLIPPED`.

    Raises:
        DataError: Another suffix, samples that do not fit 16 bits, or a file that cannot be
            written.
    """
    container = _FORMATS.get(path.suffix.lower())
    if container is None:
        raise DataError(f"cannot write {path}: its name must end in {' or '.join(_FORMATS)}")
    samples = waveform.samples
    peak = float(np.abs(samples).max(initial=0.0))
    if not peak <= MAX_CLIPPED:
        raise DataError(
            f"cannot write {path}: samples reach {peak:g}, expected [-1, 1]",
            hint="scale the waveform down first",
        )
    integers = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    encoded = BytesIO()  # libsndfile would say "System error" of a full disk
    try:
        soundfile.write(encoded, integers, waveform.sample_rate_hz, "PCM_16", format=container)
    except soundfile.LibsndfileError as error:
        raise DataError(f"cannot write {path}: {error.error_string}") from None
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())
