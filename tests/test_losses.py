"""The training objective: CTC, mutual information and the consistency of two views."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tones import config_of, wer_after
from torch import Tensor

from asr.batching import Batch
from asr.checkpoint import MODEL_KIND, load_tensors
from asr.model import Emissions
from asr.training import loop, train
from asr.training.loop import WEIGHTS_KIND, Trainer, weights_path
from asr.training.losses import consistency_losses
from asr.training.meter import StepResult
from asr.training.state import Validation
from asr.training.validation import Samples, Validator


def random_log_probs(batch: int, frames: int, vocab: int, seed: int) -> Tensor:
    logits = torch.randn(batch, frames, vocab, generator=torch.Generator().manual_seed(seed))
    return logits.log_softmax(dim=2)


def slow_consistency(first: Tensor, second: Tensor) -> float:
    """Half of KL(second || first) + KL(first || second), frame by frame and token by token."""
    total = 0.0
    for row, other in zip(first.exp().tolist(), second.exp().tolist(), strict=True):
        for p, q in zip(row, other, strict=True):
            total += q * math.log(q / p) + p * math.log(p / q)
    return total / 2


def test_consistency_is_the_symmetric_divergence_within_each_length() -> None:
    log_probs = random_log_probs(6, 9, 5, seed=1)
    lengths = torch.tensor([9, 4, 1, 9, 4, 1])
    garbage = log_probs.clone()
    for row, length in enumerate(lengths.tolist()):
        garbage[row, length:] = math.inf if row < 3 else -1e30
    found = consistency_losses(Emissions(garbage, lengths))
    expected = [
        slow_consistency(log_probs[row, :length], log_probs[row + 3, :length])
        for row, length in enumerate([9, 4, 1])
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_equal_views_agree() -> None:
    log_probs = random_log_probs(2, 7, 4, seed=2)
    found = consistency_losses(Emissions(log_probs.repeat(2, 1, 1), torch.tensor([7, 5, 7, 5])))
    assert found.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_each_view_is_drawn_to_the_other_as_it_stands() -> None:
    """The gradient in logits is half of softmax minus target, for either view."""
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(3)).requires_grad_()
    log_probs = logits.log_softmax(dim=2)
    consistency_losses(Emissions(log_probs, torch.tensor([3, 3]))).sum().backward()
    probabilities = logits.detach().softmax(dim=2)
    assert logits.grad is not None
    assert torch.allclose(logits.grad, 0.5 * (probabilities - probabilities.flip(0)), atol=1e-6)


def test_a_batch_repeated_holds_the_utterances_again_in_order() -> None:
    batch = Batch(
        ids=("a", "b"),
        samples=torch.tensor([[1.0, 2.0], [3.0, 0.0]]),
        sample_lengths=torch.tensor([2, 1]),
        targets=torch.tensor([[5, 6], [7, 0]]),
        target_lengths=torch.tensor([2, 1]),
    ).repeated(2)
    assert batch.ids == ("a", "b", "a", "b")
    assert batch.samples.tolist() == [[1, 2], [3, 0], [1, 2], [3, 0]]
    assert batch.sample_lengths.tolist() == [2, 1, 2, 1]
    assert batch.targets.tolist() == [[5, 6], [7, 0], [5, 6], [7, 0]]
    assert batch.target_lengths.tolist() == [2, 1, 2, 1]


def test_training_with_two_views_learns(tones: dict[str, Any], tmp_path: Path) -> None:
    optim = {**tones["optim"], "consistency": 0.2}
    augment = {"spec": {"num_frequency_masks": 1, "max_frequency_mels": 4}}
    assert wer_after({**tones, "optim": optim, "augment": augment}, tmp_path) < 0.2


def weights_after(values: dict[str, Any], run_dir: Path, **optim: float) -> Tensor:
    training = {**values["training"], "epochs": 2}
    changed = {**values, "optim": {**values["optim"], **optim}, "training": training}
    train(config_of(changed), run_dir)
    return load_tensors(run_dir / "model.safetensors", MODEL_KIND)[0]["model.head.weight"]


def test_two_views_begin_at_their_share_of_the_steps(tones: dict[str, Any], tmp_path: Path) -> None:
    """With fewer than a thousand steps, 0.999 of them is never reached."""
    values = {**tones, "augment": {"spec": {"num_frequency_masks": 1, "max_frequency_mels": 4}}}
    plain = weights_after(values, tmp_path / "plain")
    never = weights_after(values, tmp_path / "never", consistency=0.2, consistency_start=0.999)
    half = weights_after(values, tmp_path / "half", consistency=0.2, consistency_start=0.5)
    always = weights_after(values, tmp_path / "always", consistency=0.2)
    assert torch.equal(plain, never)
    assert not torch.equal(plain, half)
    assert not torch.equal(half, always)


def test_two_views_count_as_the_utterance_they_are_of(
    tones: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is minimised: CTC a token of both views, and their disagreement a token of one."""
    objectives: list[float] = []
    views: list[Emissions] = []
    steps: list[tuple[Batch, float]] = []
    backward, step = Tensor.backward, Trainer.step

    def noted_backward(self: Tensor) -> None:
        objectives.append(float(self.detach()))
        backward(self)

    def noted_losses(emissions: Emissions) -> Tensor:
        views.append(Emissions(emissions.log_probs.detach(), emissions.lengths))
        return consistency_losses(emissions)

    def noted_step(self: Trainer, batch: Batch, number: int, rate: float) -> StepResult:
        result = step(self, batch, number, rate)
        steps.append((batch, float(result.loss)))
        return result

    monkeypatch.setattr(Tensor, "backward", noted_backward)
    monkeypatch.setattr(loop, "consistency_losses", noted_losses)
    monkeypatch.setattr(Trainer, "step", noted_step)
    augment = {"spec": {"num_frequency_masks": 1, "max_frequency_mels": 4}}
    values = {**tones, "augment": augment, "training": {**tones["training"], "epochs": 1}}
    values["optim"] = {**tones["optim"], "consistency": 0.2}
    train(config_of(values), tmp_path)
    for objective, emissions, (batch, loss) in zip(objectives, views, steps, strict=True):
        size = len(batch.ids)
        log_probs, lengths = emissions.log_probs, emissions.lengths.tolist()
        disagreement = sum(
            slow_consistency(log_probs[row, : lengths[row]], log_probs[size + row, : lengths[row]])
            for row in range(size)
        )
        num_tokens = sum(batch.target_lengths.tolist())
        assert objective - loss == pytest.approx(0.2 * disagreement / num_tokens, rel=1e-2)
    assert len(steps) > 3


@pytest.mark.parametrize(("mmi", "chosen"), [(0.0, 0), (0.8, 1)])
def test_mutual_information_takes_the_weights_with_the_least_loss(
    tones: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mmi: float,
    chosen: int,
) -> None:
    """Where CTC alone takes those with the fewest errors."""
    scores = [(1, 3.0), (5, 1.0), (3, 2.0)]
    validate = Validator.validate

    def scored(self: Validator, epoch: int) -> tuple[Validation, Samples]:
        errors, loss = scores[epoch]
        return Validation(epoch, errors, words=10, loss=loss), validate(self, epoch)[1]

    monkeypatch.setattr(Validator, "validate", scored)
    values = {**tones, "optim": {**tones["optim"], "mmi": mmi, "average_best": 1}}
    values["training"] = {**tones["training"], "epochs": 3, "keep_best": 3}
    result = train(config_of(values), tmp_path)
    assert (result.validation.errors, result.validation.loss) == scores[chosen]
    kept = load_tensors(weights_path(tmp_path, chosen), WEIGHTS_KIND)[0]
    model = load_tensors(result.model_path, MODEL_KIND)[0]
    assert torch.equal(model["model.head.weight"], kept["head.weight"])


def test_training_for_mutual_information_learns(tones: dict[str, Any], tmp_path: Path) -> None:
    """From the weights of CTC it goes on."""
    train(config_of(tones), tmp_path / "ctc")
    training = {**tones["training"], "start_from": tmp_path / "ctc" / "model.safetensors"}
    optim = {**tones["optim"], "mmi": 0.8}
    assert wer_after({**tones, "optim": optim, "training": training}, tmp_path / "mmi") < 0.2
