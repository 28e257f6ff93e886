"""Change the sampling rate."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from asr.audio.waveform import Waveform
from asr.errors import DataError, require_extra

MAX_PHASES = 4000
"""Largest number of filter phases: bounds a filter to 70 MB. Pairs of rates with a finer ratio
take the nearest coarser one, at most 1.25e-4 off (less than the clock error of a cheap recorder);
every common pair is exact, 44,100 → 16,000 needs 160."""


def resample(waveform: Waveform, sample_rate_hz: int) -> Waveform:
    """Band-limited resampling by a Kaiser-windowed sinc, as `librosa`'s ``kaiser_best``.

    Args:
        waveform: At any rate.
        sample_rate_hz: Rate of the result.

    Returns:
        A waveform of ceil(num_samples * new rate / old rate) samples; `waveform` itself where
        the rates are equal.

    Raises:
        DataError: `sample_rate_hz` is not above 0.
        MissingExtraError: torchaudio is not installed.

    References:
        J. O. Smith, Digital Audio Resampling; torchaudio.transforms.Resample.
    """
    if sample_rate_hz <= 0:
        raise DataError(f"sample_rate_hz must be above 0, got {sample_rate_hz}")
    if sample_rate_hz == waveform.sample_rate_hz:
        return waveform
    with require_extra("train", "resampling audio"):
        import torch
    ratio = Fraction(sample_rate_hz, waveform.sample_rate_hz)
    resampler = _resampler(_limited(ratio))
    with torch.inference_mode():
        samples = resampler(torch.from_numpy(waveform.samples)).numpy()
    return Waveform(samples, sample_rate_hz)


def _limited(ratio: Fraction) -> Fraction:
    if ratio <= 1:
        return ratio.limit_denominator(MAX_PHASES)
    return 1 / (1 / ratio).limit_denominator(MAX_PHASES)


@lru_cache(maxsize=8)
def _resampler(ratio: Fraction) -> Callable[[Any], Any]:
    """The filter for one ratio of rates; computing it costs more than a short file takes."""
    with require_extra("train", "resampling audio"):
        from torchaudio.transforms import Resample
    resampler: Callable[[Any], Any] = Resample(
        orig_freq=ratio.denominator,
        new_freq=ratio.numerator,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
    )
    return resampler
