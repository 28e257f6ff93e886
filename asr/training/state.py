"""Where a run stands, as one file: everything needed to go on bit for bit.

Each step draws its random numbers from (seed, step) alone, so no generator state is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asr.checkpoint import TRAINING_KIND, load_state, load_tensors, save_tensors
from asr.errors import ModelFileError
from asr.optim import Plateau, WeightAverage, optimizer_tensors, restore_optimizer

STATE_FILE = "state.safetensors"


@dataclass(frozen=True)
class Validation:
    """One look at the development set."""

    epoch: int
    errors: int
    """Word errors."""
    words: int
    """Reference words."""
    loss: float
    """Loss without the terms that need two views or the weights, nats per target token."""

    @property
    def wer(self) -> float:
        """Word errors over reference words; errors alone when there are no words."""
        return self.errors / max(1, self.words)


@dataclass(frozen=True)
class Position:
    """How far a run has come."""

    step: int = 0
    """Optimiser steps taken."""
    epoch: int = 0
    batch: int = 0
    """Batches of this epoch already taken."""
    elapsed_s: float = 0.0
    """Training time of all parts of the run."""
    last_token_step: int = 0
    """Last step at which any frame preferred a token to the blank."""
    best: tuple[Validation, ...] = ()
    """Best validations whose weights are on disk, best first."""
    since_best: int = 0
    """Validations since the best one."""

    def advanced(self, seconds: float) -> Position:
        """One step and batch further."""
        return replace(
            self, step=self.step + 1, batch=self.batch + 1, elapsed_s=self.elapsed_s + seconds
        )

    def next_epoch(self) -> Position:
        """At the start of the following epoch."""
        return replace(self, epoch=self.epoch + 1, batch=0)


@dataclass
class Learner:
    """The mutable half of a run: weights, optimiser, average and plateau."""

    front_end: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    plateau: Plateau
    average: WeightAverage | None = None


def save_state(
    path: Path, learner: Learner, position: Position, config: Mapping[str, Any], fingerprint: str
) -> None:
    """Write the state of a run, atomically.

    Args:
        path: Where to.
        learner: What has been learnt.
        position: How far the run has come.
        config: Its settings, JSON-able.
        fingerprint: Of its data, as of `data.fingerprint`.

    Raises:
        DataError: The disk is full or not writable; the previous state is left whole.
    """
    tensors = {f"model.{name}": value for name, value in learner.model.state_dict().items()}
    tensors |= {f"features.{k}": value for k, value in learner.front_end.state_dict().items()}
    for name, value in optimizer_tensors(learner.optimizer).items():
        tensors[f"optimizer.{name}"] = value
    if learner.average is not None:
        tensors |= {f"average.{name}": value for name, value in learner.average.tensors.items()}
    documents = {
        "position": asdict(position),
        "plateau": learner.plateau.state(),
        "average_updates": learner.average.num_updates if learner.average else 0,
        "config": dict(config),
        "data": fingerprint,
    }
    save_tensors(path, TRAINING_KIND, tensors, documents)


def restore_state(path: Path, learner: Learner) -> Position:
    """Put a saved state into `learner` and say where it stands.

    Raises:
        ModelFileError: The file is damaged or does not fit the configuration.
    """
    tensors, documents = load_tensors(path, TRAINING_KIND)
    try:
        _restore_learner(path, learner, tensors, documents)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{path} is damaged, or of a model of another shape: {error!r}",
            hint="this run cannot go on: train anew in another directory",
        ) from None
    return _position(path, documents)


def _restore_learner(
    path: Path, learner: Learner, tensors: Mapping[str, Tensor], documents: Mapping[str, Any]
) -> None:
    parts: dict[str, dict[str, Tensor]] = {
        "features": {},
        "model": {},
        "optimizer": {},
        "average": {},
    }
    for key, tensor in tensors.items():
        part, name = key.split(".", 1)
        parts[part][name] = tensor
    load_state(learner.front_end, parts["features"], path)
    load_state(learner.model, parts["model"], path)
    restore_optimizer(learner.optimizer, parts["optimizer"])
    if learner.average is not None:
        for name, value in learner.average.tensors.items():
            value.copy_(parts["average"][name])
        learner.average.num_updates = int(documents["average_updates"])
    learner.plateau.restore(documents["plateau"])


def _position(path: Path, documents: Mapping[str, Any]) -> Position:
    try:
        values = dict(documents["position"])
        values["best"] = tuple(Validation(**best) for best in values["best"])
        return Position(**values)
    except (KeyError, TypeError) as error:
        raise ModelFileError(f"{path} does not say where training stood: {error}") from None
