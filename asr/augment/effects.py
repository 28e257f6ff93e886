"""Changes of one waveform as functions of explicit parameters; nothing here draws a choice."""

from __future__ import annotations

import io
import math
from functools import lru_cache

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchaudio.transforms import Resample

from asr.audio import Waveform, resample
from asr.augment.config import SPEED_STEP

TELEPHONE_RATE_HZ = 8000
TELEPHONE_BAND_HZ = (300.0, 3400.0)
"""Band of an analogue telephone line (ITU-T G.712)."""

_STOP_BAND_DB = 60.0
_TRANSITION_HZ = 200.0


def band_pass(samples: Tensor, sample_rate_hz: int, low_hz: float, high_hz: float) -> Tensor:
    """Keep a band of frequencies, by a Kaiser-windowed sinc of no delay.

    The response is 0.5 (-6 dB) at both edges. 100 Hz inside them it is within 0.002 of 1, and
    100 Hz outside under 0.002 (-54 dB).

    Args:
        samples: (num_samples,) float32.
        sample_rate_hz: Its rate.
        low_hz: Lower edge; at 0 everything below `high_hz` stays.
        high_hz: Upper edge; at half the rate or more, everything above `low_hz` stays.

    Returns:
        (num_samples,) float32; silence is assumed before and after.

    References:
        Kaiser (1974), Nonrecursive digital filter design using the I0-sinh window function.
    """
    kernel = _band_kernel(sample_rate_hz, low_hz, high_hz)
    length = len(samples) + len(kernel) - 1
    fft_size = 1 << (length - 1).bit_length()
    spectrum = torch.fft.rfft(samples, fft_size) * torch.fft.rfft(kernel, fft_size)
    half = len(kernel) // 2
    passed: Tensor = torch.fft.irfft(spectrum, fft_size)[half : half + len(samples)]
    return passed


def mu_law(samples: Tensor) -> Tensor:
    """Through the 8 bit codes of digital telephony and back; beyond full scale it clips.

    Args:
        samples: (num_samples,) float32, full scale is [-1, 1].

    Returns:
        (num_samples,) float32, each one of the 255 levels of the code, 32124 / 32768 the greatest.

    References:
        ITU-T G.711 (1988), the µ-law; libsndfile does the coding.
    """
    levels = (samples.numpy() * 32768).round().clip(-32768, 32767).astype(np.int16)
    coded = io.BytesIO()
    soundfile.write(coded, levels, TELEPHONE_RATE_HZ, "ULAW", format="AU")
    coded.seek(0)
    decoded, _ = soundfile.read(coded, dtype="float32")
    return torch.from_numpy(decoded)


def telephone(samples: Tensor, sample_rate_hz: int) -> Tensor:
    """As a telephone line passes it: the band from 300 to 3400 Hz, µ-law codes 8000 times a second.

    Args:
        samples: (num_samples,) float32 in [-1, 1].
        sample_rate_hz: Its rate, 8000 or more.

    Returns:
        (num_samples,) float32 at the same rate.
    """
    passed = band_pass(samples, sample_rate_hz, *TELEPHONE_BAND_HZ)
    sent = resample(Waveform(passed.numpy(), sample_rate_hz), TELEPHONE_RATE_HZ).samples
    heard = Waveform(mu_law(torch.from_numpy(sent)).numpy(), TELEPHONE_RATE_HZ)
    return torch.from_numpy(resample(heard, sample_rate_hz).samples)[: len(samples)]


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


def surround(samples: Tensor, noise: Tensor, num_before: int, ratio_db: float) -> Tensor:
    """Put faint noise before and after.

    Args:
        samples: (num_samples,) float32.
        noise: (num_around,) float32 white noise of power 1.
        num_before: Its samples that come before; the others come after.
        ratio_db: Mean power of `samples` over that of the noise around them.

    Returns:
        (num_around + num_samples,) float32.
    """
    power = energy(samples) / max(1, len(samples))
    quiet = noise * (math.sqrt(power) * _amplitude(-ratio_db))
    return torch.cat([quiet[:num_before], samples, quiet[num_before:]])


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


@lru_cache(maxsize=64)
def _band_kernel(sample_rate_hz: int, low_hz: float, high_hz: float) -> Tensor:
    """(num_taps,) float32, odd and symmetric."""
    # Kaiser's formulas for the number of taps and the shape of the window.
    transition = 2 * math.pi * _TRANSITION_HZ / sample_rate_hz
    half = math.ceil((_STOP_BAND_DB - 7.95) / (2.285 * transition) / 2)
    beta = 0.1102 * (_STOP_BAND_DB - 8.7)
    times_s = torch.arange(-half, half + 1, dtype=torch.float64) / sample_rate_hz
    high_hz = min(high_hz, sample_rate_hz / 2)
    ideal = 2 * high_hz * torch.sinc(2 * high_hz * times_s)
    ideal -= 2 * low_hz * torch.sinc(2 * low_hz * times_s)
    window = torch.kaiser_window(2 * half + 1, periodic=False, beta=beta, dtype=torch.float64)
    return (ideal * window / sample_rate_hz).float()
