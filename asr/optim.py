"""Optimisation settings, learning-rate schedules and weight averaging."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from asr.config import Options


class OptimConfig(Options):
    """AdamW, its schedule, and what is averaged."""

    learning_rate: float = Field(default=2e-3, gt=0, le=1e30)
    """Peak learning rate."""
    schedule: Literal["one-cycle", "plateau", "constant"] = "one-cycle"
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Part of all steps over which the rate rises linearly to its peak."""
    final_fraction: float = Field(default=0.01, ge=0, le=1)
    """One-cycle: the last step's rate as a part of the peak, reached along a cosine."""
    plateau_factor: float = Field(default=0.5, gt=0, lt=1)
    """Plateau: the rate is multiplied by this when the development WER stops falling."""
    plateau_patience: int = Field(default=3, ge=1)
    """Plateau: validations without a better WER before the rate falls."""
    weight_decay: float = Field(default=1e-2, ge=0, allow_inf_nan=False)
    """Decoupled L2 of AdamW, on weight matrices only (Loshchilov & Hutter 2019)."""
    l1: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Weight of the sum of absolute weight-matrix entries, added to the loss."""
    consistency: float = Field(default=0.0, ge=0, le=10)
    """Weight of the disagreement of two views of each utterance under different SpecAugment masks,
    added to the loss; 0 for one view. A step then computes twice as much (Yao et al. 2024, CR-CTC,
    who take 0.2 and two and a half times as many time masks)."""
    consistency_start: float = Field(default=0.0, ge=0, lt=1)
    """Part of all steps before the first with two views. Views that must agree from the beginning
    agree on the blank first, and some runs are slow to leave it."""
    mmi: float = Field(default=0.0, ge=0, le=1)
    """Share of the loss that asks for the transcript among all others, weighed by a trigram of the
    training transcripts' tokens (`asr.training.denominator`; up to 128 tokens). To fine-tune with:
    decoding with a language model gains, greedy decoding loses, so weights are chosen by the loss
    instead of word errors."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.98, ge=0, lt=1)
    clip_norm: float = Field(default=5.0, gt=0)
    """Gradients are scaled down to this Euclidean norm; `inf` leaves them as they are."""
    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Exponential moving average of the weights, used for validation and the model; 0 for none."""
    average_best: int = Field(default=1, ge=1)
    """Weights of so many best validations are averaged, and kept if better on development data."""


def learning_rate(config: OptimConfig, step: int, total_steps: int) -> float:
    """Learning rate of one step by the schedule, without plateau reductions.

    Linear warm-up to the peak; then a half cosine to `final_fraction` of it (one-cycle, Smith &
    Topin 2018) or constant (plateau and constant).

    Args:
        config: Schedule and peak.
        step: Step about to be taken, from 0.
        total_steps: Steps of the whole run, > step.
    """
    warmup_steps = round(config.warmup_fraction * total_steps)
    if step < warmup_steps:
        return config.learning_rate * (step + 1) / (warmup_steps + 1)
    if config.schedule != "one-cycle":
        return config.learning_rate
    progress = (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * (config.final_fraction + (1 - config.final_fraction) * cosine)


class Plateau:
    """Counts validations without improvement and lowers a factor on the learning rate."""

    def __init__(self, factor: float, patience: int) -> None:
        self._factor = factor
        self._patience = patience
        self.scale = 1.0
        self.best = math.inf
        self.num_bad = 0

    def update(self, error: float) -> None:
        """Take one validation error (any unit, lower is better)."""
        if error < self.best:
            self.best, self.num_bad = error, 0
            return
        self.num_bad += 1
        if self.num_bad >= self._patience:
            self.scale *= self._factor
            self.num_bad = 0

    def state(self) -> dict[str, float]:
        """JSON-able state for `restore`; an infinite best is written as -1."""
        best = -1.0 if math.isinf(self.best) else self.best
        return {"scale": self.scale, "best": best, "num_bad": self.num_bad}

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from `state()`."""
        self.scale = float(state["scale"])
        # Not any negative number: the loss of mutual information can be -5e-7, by rounding.
        self.best = math.inf if state["best"] == -1 else float(state["best"])
        self.num_bad = int(state["num_bad"])


def weight_matrices(module: nn.Module) -> list[nn.Parameter]:
    """Parameters with two or more dimensions: the ones that L1 and L2 apply to."""
    return [parameter for parameter in module.parameters() if parameter.dim() >= 2]


def make_optimizer(module: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW with decay on weight matrices only; biases and norms are left free."""
    others = [parameter for parameter in module.parameters() if parameter.dim() < 2]
    groups = [
        {"params": weight_matrices(module), "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, foreach=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as named tensors: `<parameter index>.<quantity>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value
        for index, quantities in state.items()
        for name, value in quantities.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put `optimizer_tensors` back into an optimiser over the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


class WeightAverage:
    """Exponential moving average of a module's parameters (Polyak averaging).

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, so that early weights are
    forgotten quickly.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self.num_updates = 0
        self.tensors = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module's present weights."""
        decay = min(self._decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.tensors[name].lerp_(value, 1 - decay)
            else:
                self.tensors[name].copy_(value)


def average_tensors(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Element-wise mean of equal-shaped weights, summed in float64; integers from the first."""
    first = states[0]
    averaged = {}
    for name, tensor in first.items():
        if tensor.is_floating_point():
            total = sum_float64(state[name] for state in states)
            averaged[name] = (total / len(states)).to(tensor.dtype)
        else:
            averaged[name] = tensor.clone()
    return averaged


def sum_float64(tensors: Iterable[Tensor]) -> Tensor:
    """Sum of equal-shaped tensors in double precision."""
    return torch.stack([tensor.double() for tensor in tensors]).sum(dim=0)
