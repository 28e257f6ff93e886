"""What is said of training that goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tones import config_of

from asr.batching import Batch
from asr.errors import TrainingError
from asr.training import train
from asr.training.diagnosis import (
    CollapseWatch,
    poor_ending,
    require_finite_gradient,
    require_finite_losses,
)
from asr.training.loop import Trainer
from asr.training.meter import StepResult


def test_a_loss_that_is_not_finite_names_the_utterances() -> None:
    losses = torch.tensor([1.0, float("nan"), 2.0, float("inf")])
    with pytest.raises(TrainingError, match=r"step 7 .* 2 of 4 utterances: b \(nan\), d \(inf\)"):
        require_finite_losses(losses, ["a", "b", "c", "d"], 7)
    require_finite_losses(losses[:1], ["a"], 7)


def test_a_gradient_that_is_not_finite_names_the_batch() -> None:
    with pytest.raises(TrainingError, match=r"gradient at step 3 .* a, b"):
        require_finite_gradient(torch.tensor(float("inf")), ["a", "b"], 3)


def test_diverging_training_stops_and_says_so(tones: dict[str, Any], tmp_path: Path) -> None:
    values = {**tones, "optim": {"learning_rate": 1e30, "clip_norm": 1e30, "weight_decay": 0.0}}
    with pytest.raises(TrainingError, match="not finite"):
        train(config_of(values), tmp_path)


def test_collapse_is_noticed_after_patience_and_told_once_each() -> None:
    watch = CollapseWatch(patience_steps=100)
    told = [step for step in range(10, 501, 10) if watch.update(step, emitted_token=step <= 50)]
    assert told == [150, 250, 350, 450]


def test_a_model_that_emits_tokens_is_left_alone() -> None:
    watch = CollapseWatch(patience_steps=100)
    assert not any(watch.update(step, emitted_token=True) for step in range(0, 1000, 10))


@pytest.mark.parametrize(
    ("frames_per_token", "advice"),
    [(1.5, "lower model.subsampling"), (40.0, "raise model.subsampling")],
)
def test_the_explanation_fits_the_numbers(frames_per_token: float, advice: str) -> None:
    text = CollapseWatch(10).explanation(30, 3.2, 1e-3, frames_per_token)
    assert advice in text
    assert "for 30 steps" in text


def test_a_collapse_is_explained_during_training(
    tones: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A crushing L1 penalty leaves the biases alone to explain the data: all blank."""
    training = {**tones["training"], "collapse_steps": 20, "log_every": 2}
    optim = {"learning_rate": 2e-2, "l1": 10.0}
    values = {**tones, "optim": optim, "training": training, "augment": {}}
    train(config_of(values), tmp_path)
    output = capsys.readouterr().err
    assert "blank collapse: for" in output
    assert "the run ended with nothing but blanks, for the last " in output


def test_steps_of_short_epochs_are_all_looked_at(
    tones: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Epochs of 3 steps, a line every 10: tokens come in steps that are in no line's epoch."""

    def step(_: Trainer, batch: Batch, number: int, rate: float) -> StepResult:
        return StepResult(torch.tensor(float(number)), torch.tensor(number % 10 == 3), 5.0)

    monkeypatch.setattr(Trainer, "step", step)
    batching = {**tones["batching"], "max_batch_s": 20.0}
    training = {**tones["training"], "epochs": 10, "collapse_steps": 20, "log_every": 10}
    train(config_of({**tones, "batching": batching, "training": training}), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["train_loss"] for line in lines if "train_loss" in line}
    assert len(losses) >= 2
    assert all(loss == pytest.approx(last - 5.5) for last, loss in losses.items())
    assert "blank" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("last_token_step", "num_steps", "is_told"),
    [(0, 30, True), (0, 300, True), (40, 300, True), (250, 300, False), (30, 30, False)],
)
def test_a_run_that_ends_in_blanks_is_told_so(
    last_token_step: int, num_steps: int, is_told: bool
) -> None:
    watch = CollapseWatch(patience_steps=2000)
    watch.update(last_token_step, emitted_token=True)
    text = watch.ending(num_steps, enough_steps=60)
    assert (text is not None) == is_told
    if text is not None:
        assert f"the last {num_steps - last_token_step} of its {num_steps} steps" in text


def test_a_run_that_learns_next_to_nothing_is_told_so(
    tones: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {**tones, "optim": {"learning_rate": 1e-9}, "augment": {}}
    values["training"] = {**tones["training"], "epochs": 1, "log_every": 2}
    train(config_of(values), tmp_path)
    assert "% of the development words wrong after" in capsys.readouterr().err


@pytest.mark.parametrize("from_scratch", [True, False])
def test_a_poor_ending_says_what_to_try(from_scratch: bool) -> None:
    text = poor_ending(120, 1.0, from_scratch)
    assert text is not None and "100 % of the development words wrong after 120 steps" in text
    assert ("training.start_from=en" in text) == from_scratch
    assert poor_ending(120, 0.6, from_scratch) is None
