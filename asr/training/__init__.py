"""Training: from an experiment's configuration to a model file."""

from asr.training.run import MODEL_FILE, TrainingResult, train

__all__ = ["MODEL_FILE", "TrainingResult", "train"]
