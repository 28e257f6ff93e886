"""Augmentation of training data: waveforms in the data workers, features on the model's device."""

from asr.augment.config import (
    AugmentConfig,
    GainConfig,
    NoiseConfig,
    ReverbConfig,
    SpecAugmentConfig,
    SpeedConfig,
    TelephoneConfig,
)
from asr.augment.spectrum import SpecAugment
from asr.augment.waveform import WaveformAugment

__all__ = [
    "AugmentConfig",
    "GainConfig",
    "NoiseConfig",
    "ReverbConfig",
    "SpecAugment",
    "SpecAugmentConfig",
    "SpeedConfig",
    "TelephoneConfig",
    "WaveformAugment",
]
