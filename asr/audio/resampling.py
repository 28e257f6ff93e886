"""Change the sampling rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

import numpy as np

from asr.audio.waveform import Waveform
from asr.errors import DataError, require_extra

MAX_PHASES = 4000
"""Largest number of filter phases: bounds a filter to 70 MB. Pairs of rates with a finer ratio
take the nearest coarser one, at most 1.25e-4 off (about the clock error of a cheap recorder);
every common pair is exact: 44,100 → 16,000 needs 160."""

_MIN_OUTPUTS = 32


def resample(waveform: Waveform, sample_rate_hz: int) -> Waveform:
    """Band-limited resampling by a Kaiser-windowed sinc, as `librosa`'s ``kaiser_best``.

    Args:
        waveform: At any rate.
        sample_rate_hz: Rate of the result.

    Returns:
        ceil(num_samples * new rate / old rate) samples (but see `MAX_PHASES`); `waveform` itself
        where the rates are equal.

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
    ratio = _coarse(Fraction(sample_rate_hz, waveform.sample_rate_hz))
    if ratio == 1:
        return Waveform(waveform.samples, sample_rate_hz)
    return Waveform(_resampler(ratio)(waveform.samples), sample_rate_hz)


def num_resampled(num_samples: int, old_rate_hz: int, new_rate_hz: int) -> int:
    """How many samples `resample` makes of so many.

    Examples:
        >>> num_resampled(1001, 48_000, 16_000)
        334
    """
    return math.ceil(num_samples * _coarse(Fraction(new_rate_hz, old_rate_hz)))


def _coarse(ratio: Fraction) -> Fraction:
    if ratio <= 1:
        return ratio.limit_denominator(MAX_PHASES)
    return 1 / (1 / ratio).limit_denominator(MAX_PHASES)


@lru_cache(maxsize=8)
def _resampler(ratio: Fraction) -> Callable[[np.ndarray], np.ndarray]:
    """Resampling by one ratio; making its filter costs more than using it on a short file.

    torchaudio makes the filter, (num_phases, 1, num_taps), which gives `num_phases` samples for
    every `ratio.denominator` of input. With few phases (one for 48,000 → 16,000) a convolution is
    six times slower than with many, so the filter is repeated, each copy further along the input.
    """
    with require_extra("train", "resampling audio"):
        import torch
        from torchaudio.transforms import Resample
    design = Resample(
        ratio.denominator,
        ratio.numerator,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
    )
    num_phases, _, num_taps = design.kernel.shape
    copies = math.ceil(_MIN_OUTPUTS / num_phases)
    stride = copies * ratio.denominator
    filters = torch.zeros(copies, num_phases, 1, num_taps + stride - ratio.denominator)
    for copy in range(copies):
        first = copy * ratio.denominator
        filters[copy, :, :, first : first + num_taps] = design.kernel
    filters = filters.flatten(0, 1)

    def apply(samples: np.ndarray) -> np.ndarray:
        num_samples = math.ceil(len(samples) * ratio)
        with torch.inference_mode():
            # A copy, since torch warns of read-only arrays.
            padded = torch.nn.functional.pad(
                torch.from_numpy(samples.astype(np.float32)), (design.width, design.width + stride)
            )
            outputs = torch.nn.functional.conv1d(padded[None, None], filters, stride=stride)
            resampled: np.ndarray = outputs[0].T.reshape(-1)[:num_samples].numpy()
            return resampled

    return apply
