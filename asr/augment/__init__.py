"""Augmentation of training data: waveforms in the data workers, features on the model's device."""

from asr.augment.config import (
    AugmentConfig,
    GainConfig,
    NoiseConfig,
    ReverbConfig,
    SpecAugmentConfig,
    SpeedConfig,
    TelephoneConfig,
    WarpConfig,
)
from asr.augment.spectrum import SpecAugment
from asr.augment.warping import FrequencyWarp
from asr.augment.waveform import WaveformAugment

__all__ = [
    "AugmentConfig",
    "FrequencyWarp",
    "GainConfig",
    "NoiseConfig",
    "ReverbConfig",
    "SpecAugment",
    "SpecAugmentConfig",
    "SpeedConfig",
    "TelephoneConfig",
    "WarpConfig",
    "WaveformAugment",
]
