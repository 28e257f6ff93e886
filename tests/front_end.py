"""What tests of the front end share: something like speech, and short ways to its features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from asr.features import LogMel, LogMelConfig

SMALL = {"sample_rate_hz": 1000, "window_ms": 32, "hop_ms": 10, "num_mels": 6, "low_hz": 0}
MEAN, STD = torch.linspace(-9, -5, 6), torch.linspace(1, 3, 6)


def voice(num_samples: int, sample_rate_hz: int = 16000, seed: int = 0) -> np.ndarray:
    """Something like speech: gliding harmonics, a slow envelope, some noise; peak below 1."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(num_samples) / sample_rate_hz
    phase = 2 * np.pi * (120 * time_s + 15 * time_s**2)
    harmonics = sum(np.sin(k * phase) / k for k in range(1, 20))
    envelope = 0.55 + 0.45 * np.sin(2 * np.pi * 3 * time_s)
    noise = rng.standard_normal(num_samples)
    return (0.15 * envelope * harmonics + 0.02 * noise).astype(np.float32)


def run(front_end: LogMel, *waveforms: np.ndarray, padding: float = 0.0) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(samples) for samples in waveforms])
    batch = torch.full((len(waveforms), int(lengths.max())), padding)
    for row, samples in zip(batch, waveforms, strict=True):
        row[: len(samples)] = torch.from_numpy(samples)
    features, num_frames = front_end(batch, lengths)
    return features, num_frames


def front_end(**options: object) -> LogMel:
    return LogMel(LogMelConfig.model_validate(options)).eval()
