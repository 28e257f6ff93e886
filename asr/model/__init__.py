"""The acoustic model: log-mel features in, CTC emissions out."""

from asr.model.acoustic import AcousticModel, num_parameters
from asr.model.config import ModelConfig
from asr.model.emissions import Emissions

__all__ = ["AcousticModel", "Emissions", "ModelConfig", "num_parameters"]
