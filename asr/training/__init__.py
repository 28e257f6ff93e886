"""Training: from an experiment's configuration to a model file."""

from asr.training.run import MODEL_FILE, TrainingResult, require_same_settings, train

__all__ = ["MODEL_FILE", "TrainingResult", "require_same_settings", "train"]
