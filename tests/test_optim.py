"""Schedules against their formulas, averages against plain sums, optimiser state round trips."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.optim import (
    OptimConfig,
    Plateau,
    WeightAverage,
    average_tensors,
    learning_rate,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
)


@given(
    st.integers(2, 500), st.floats(0.0, 0.9), st.sampled_from(["one-cycle", "plateau", "constant"])
)
def test_rates_stay_between_zero_and_the_peak(total: int, warmup: float, schedule: str) -> None:
    config = OptimConfig(learning_rate=0.5, warmup_fraction=warmup, schedule=schedule)
    for step in range(total):
        assert 0 < learning_rate(config, step, total) <= 0.5


def test_one_cycle_rises_linearly_and_falls_along_a_cosine() -> None:
    config = OptimConfig(learning_rate=1.0, warmup_fraction=0.1, final_fraction=0.0)
    rates = [learning_rate(config, step, 101) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0, abs=1e-12)


def test_without_warmup_the_first_rate_is_the_peak() -> None:
    config = OptimConfig(learning_rate=1.0, warmup_fraction=0.0)
    assert learning_rate(config, 0, 10) == 1.0


def test_plateau_falls_after_patience() -> None:
    plateau = Plateau(factor=0.5, patience=2)
    scales = []
    for error in [1.0, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8]:
        plateau.update(error)
        scales.append(plateau.scale)
    assert scales == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_plateau_state_travels_through_json() -> None:
    fresh, used, rounded = Plateau(0.5, 2), Plateau(0.5, 2), Plateau(0.5, 2)
    used.update(0.9)
    used.update(1.0)
    rounded.update(-5e-7)  # mutual information is 0 at the least, but for rounding
    for plateau in (fresh, used, rounded):
        copy = Plateau(0.5, 2)
        copy.restore(json.loads(json.dumps(plateau.state())))
        assert vars(copy) == vars(plateau)
    assert math.isinf(fresh.best)


def test_decay_applies_to_matrices_only() -> None:
    module = torch.nn.LSTM(3, 4)
    optimizer = make_optimizer(module, OptimConfig(weight_decay=0.3))
    decays = {
        parameter.dim(): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert decays == {2: 0.3, 1: 0.0}


def train_steps(module: torch.nn.Linear, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        (module(torch.full((1, 3), float(step))).sum() ** 2).backward()
        optimizer.step()


def test_a_restored_optimizer_goes_on_exactly() -> None:
    torch.manual_seed(0)
    whole = torch.nn.Linear(3, 2)
    torch.manual_seed(0)
    first = torch.nn.Linear(3, 2)
    train_steps(whole, make_optimizer(whole, OptimConfig()), range(6))

    optimizer = make_optimizer(first, OptimConfig())
    train_steps(first, optimizer, range(3))
    second = torch.nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    resumed = make_optimizer(second, OptimConfig())
    restore_optimizer(
        resumed, {name: value.clone() for name, value in optimizer_tensors(optimizer).items()}
    )
    train_steps(second, resumed, range(3, 6))
    assert torch.equal(whole.weight, second.weight)
    assert torch.equal(whole.bias, second.bias)


def test_an_infinite_norm_leaves_gradients_as_they_are() -> None:
    weights = torch.nn.Parameter(torch.zeros(2))
    weights.grad = torch.tensor([3e3, -4e3])
    norm = torch.nn.utils.clip_grad_norm_([weights], OptimConfig(clip_norm=math.inf).clip_norm)
    assert (float(norm), weights.grad.tolist()) == (5e3, [3e3, -4e3])


def test_weight_average_follows_its_formula() -> None:
    module = torch.nn.Linear(1, 1, bias=False)
    values = [1.0, 2.0, 5.0, -3.0]
    with torch.no_grad():
        module.weight.fill_(0.0)
        average = WeightAverage(module, decay=0.3)
        expected = 0.0
        for updates, value in enumerate(values):
            module.weight.fill_(value)
            average.update(module)
            decay = min(0.3, (1 + updates) / (10 + updates))
            expected = decay * expected + (1 - decay) * value
    assert average.tensors["weight"].item() == pytest.approx(expected, rel=1e-6)
    assert module.weight.item() == -3.0


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=6))
def test_average_is_the_mean(values: list[float]) -> None:
    states = [{"w": torch.tensor([value, 1.0]), "n": torch.tensor(7)} for value in values]
    averaged = average_tensors(states)
    assert averaged["w"][0].item() == pytest.approx(sum(values) / len(values), abs=1e-4)
    assert averaged["w"][1].item() == 1.0
    assert averaged["n"].item() == 7
