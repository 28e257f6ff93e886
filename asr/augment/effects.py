"""Changes of one waveform as functions of explicit parameters; nothing here draws a choice."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torchaudio.transforms import Resample

from asr.augment.config import SPEED_STEP


def change_speed(samples: Tensor, factor: float) -> Tensor:
    """Play faster (`factor` above 1) or slower: pitch and tempo change together.

    Args:
        samples: (num_samples,) float32.
        factor: From 0.5 to 2, a multiple of 0.01.

    Returns:
        (ceil(num_samples / factor),) float32.
    """
    percent = round(factor / SPEED_STEP)
    if percent == 100:
        return samples
    changed: Tensor = _resampler(percent)(samples)
    return changed


def apply_gain(samples: Tensor, gain_db: float) -> Tensor:
    """Scale by 10 ** (gain_db / 20)."""
    return samples * _amplitude(gain_db)


def mix_noise(samples: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    """Add noise scaled so that energy(samples) / energy(scaled noise) is `snr_db`.

    Args:
        samples: (num_samples,) float32.
        noise: (num_samples,) float32 at the same rate.
        snr_db: Ratio over the whole utterance, pauses included.

    Returns:
        (num_samples,) float32; the samples unchanged where either side is silent, for the ratio
        is not defined there.
    """
    speech_energy, noise_energy = energy(samples), energy(noise)
    if speech_energy == 0 or noise_energy == 0:
        return samples
    scale = math.sqrt(speech_energy / noise_energy) * _amplitude(-snr_db)
    return samples + noise * scale


def room_response(tail: Tensor, rt60_samples: float, drr_db: float) -> Tensor:
    """Impulse response of a simple room: 1 at time 0, then noise that decays exponentially.

    Args:
        tail: (num_samples - 1,) float32 white noise, the shape of the reverberation.
        rt60_samples: Samples in which the tail decays by 60 dB.
        drr_db: Energy of the direct sound over that of the tail.

    Returns:
        (num_samples,) float32.
    """
    times = torch.arange(1, len(tail) + 1, dtype=torch.float64)
    decayed = tail * 10.0 ** (-3 * times / rt60_samples)
    scale = _amplitude(-drr_db) / decayed.square().sum().sqrt()
    return torch.cat([torch.ones(1), (decayed * scale).float()])


def convolve(samples: Tensor, response: Tensor) -> Tensor:
    """Convolution by FFT, cut to the length of `samples`, at the energy of `samples`.

    Args:
        samples: (num_samples,) float32.
        response: (num_response_samples,) float32; its first value applies at time 0.

    Returns:
        (num_samples,) float32, of the energy of `samples`.
    """
    length = len(samples) + len(response) - 1
    fft_size = 1 << (length - 1).bit_length()
    spectrum = torch.fft.rfft(samples, fft_size) * torch.fft.rfft(response, fft_size)
    result: Tensor = torch.fft.irfft(spectrum, fft_size)[: len(samples)]
    result_energy = energy(result)
    if result_energy == 0:
        return samples
    return result * math.sqrt(energy(samples) / result_energy)


def limit_peak(samples: Tensor) -> Tensor:
    """Scale the whole waveform down to a peak of 1 where it is above 1; never clip."""
    if len(samples) == 0 or float(peak := samples.abs().max()) <= 1:
        return samples
    return samples / peak


def energy(samples: Tensor) -> float:
    """Sum of the squares, accumulated in float64."""
    return float(samples.double().square().sum())


def _amplitude(level_db: float) -> float:
    return math.pow(10, level_db / 20)


@lru_cache(maxsize=64)
def _resampler(percent: int) -> Resample:
    # Only the ratio matters: 110 samples become 100, whatever the rate. The kernel is kept.
    return Resample(orig_freq=percent, new_freq=100)
