"""The training loop: steps, validations, checkpoints, and the model at the end.

What a step computes depends on the weights and on (seed, step, epoch, batch) alone, so a run that
is killed and resumed ends with the same weights as one that was not, bit for bit on CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from asr.augment import FrequencyWarp, SpecAugment
from asr.batching import Batch, seeded
from asr.checkpoint import load_tensors, save_tensors
from asr.experiment import ExperimentConfig
from asr.model import Emissions
from asr.optim import average_tensors, learning_rate, weight_matrices
from asr.training.contention import watch_threads
from asr.training.data import TrainingSet
from asr.training.diagnosis import (
    CollapseWatch,
    poor_ending,
    require_finite_gradient,
    require_finite_losses,
)
from asr.training.interrupts import StopRequest, stop_requests
from asr.training.losses import consistency_losses
from asr.training.meter import Meter, StepResult
from asr.training.reporting import Reporter
from asr.training.state import STATE_FILE, Learner, Position, Validation, save_state
from asr.training.validation import Validator

WEIGHTS_KIND = "asr-weights"


class Trainer:
    """One run on one device.

    Args:
        config: All settings.
        learner: Weights, optimiser and averages; changed in place.
        training_set: Batches by epoch.
        validator: Scores the development set by the objective that is minimised here.
        run_dir: Checkpoints go here.
        fingerprint: Of the data, as of `data.fingerprint`; who resumes must have the same.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        learner: Learner,
        training_set: TrainingSet,
        validator: Validator,
        run_dir: Path,
        fingerprint: str = "",
    ) -> None:
        self._config = config
        self._learner = learner
        self._fingerprint = fingerprint
        self._data = training_set
        self._validator = validator
        self._run_dir = run_dir
        self._device = next(learner.model.parameters()).device
        self._warp = FrequencyWarp(
            config.augment.warp,
            torch.tensor(config.features.centres_hz),
            config.features.sample_rate_hz,
        ).to(self._device)
        self._spec_augment = SpecAugment(config.augment.spec)
        self._precision = config.training.precision
        if self._precision == "auto":
            self._precision = "bfloat16" if self._device.type == "cuda" else "float32"
        self._thread_watch = watch_threads(learner.model, config.features.num_mels)
        self.total_steps = config.training.epochs * training_set.sampler.epoch_batches
        self._unlogged: list[StepResult] = []  # an epoch may be shorter than `log_every`

    def run(self, position: Position, reporter: Reporter) -> Position:
        """Train from `position` to the end, or to where patience ends.

        Returns:
            Where training stopped; its `best` names the weights kept on disk.

        Raises:
            TrainingError: A loss or gradient is not finite.
            KeyboardInterrupt: Ctrl-C or SIGTERM came; the state was saved after the step under way.
        """
        watch = CollapseWatch(self._config.training.collapse_steps)
        watch.last_token_step = position.last_token_step
        with stop_requests() as stop:
            while position.epoch < self._config.training.epochs and not self._patience_over(
                position
            ):
                position = self._epoch(position, reporter, watch, stop)
                if self._validation_due(position.epoch):
                    position = self._validate(position, reporter)
                position = position.next_epoch()
                self._save(position)
        log_every = self._config.training.log_every
        enough_steps = self._data.sampler.epoch_batches + log_every
        ending = watch.ending(position.step, enough_steps) if position.step >= log_every else None
        if ending is None and position.best:
            from_scratch = self._config.training.start_from is None
            ending = poor_ending(position.step, position.best[0].wer, from_scratch)
        if ending is not None:
            reporter.say(ending)
        return position

    def _patience_over(self, position: Position) -> bool:
        patience = self._config.training.patience
        return patience > 0 and position.since_best >= patience

    def _validation_due(self, epoch: int) -> bool:
        training = self._config.training
        return (epoch + 1) % training.validate_every == 0 or epoch + 1 == training.epochs

    def _epoch(
        self, position: Position, reporter: Reporter, watch: CollapseWatch, stop: StopRequest
    ) -> Position:
        epochs, total = self._config.training.epochs, self._data.sampler.epoch_batches
        reporter.begin_epoch(position.epoch, epochs, position.batch, total)
        if self._thread_watch is not None and (notice := self._thread_watch.notice()):
            reporter.say(notice)
        meter = Meter()
        batches = self._data.epoch(position.epoch, position.batch)
        for batch in meter.timed(batches):
            rate = self.rate(position.step)
            result = self.step(batch, position.step, rate)
            position = position.advanced(meter.add(batch, self._config.features.sample_rate_hz))
            self._unlogged.append(result)
            if position.step % self._config.training.log_every == 0:
                position = self._log(position, meter, rate, reporter, watch)
            reporter.advance(meter.status)
            if stop.requested:
                self._save(position)
                raise KeyboardInterrupt
            if position.step % self._config.training.checkpoint_every == 0:
                self._save(position)
        return position

    def rate(self, step: int) -> float:
        """Learning rate of a step, plateau reductions included."""
        rate = learning_rate(self._config.optim, step, self.total_steps)
        return rate * self._learner.plateau.scale

    def step(self, batch: Batch, step: int, rate: float) -> StepResult:
        """One optimiser step.

        Raises:
            TrainingError: A loss or the gradient is not finite; the weights are left as they were.
        """
        learner, optim = self._learner, self._config.optim
        learner.model.train()
        learner.front_end.train()
        # Dropout draws from PyTorch's global generator; seeding it by step makes the step a pure
        # function of its number.
        torch.manual_seed(seeded(self._config.training.seed, step, 1).initial_seed())
        emissions, batch = self._forward(batch.to(self._device), step)
        losses = self._validator.objective.losses(emissions, batch)
        require_finite_losses(losses, batch.ids, step)
        num_tokens = batch.num_tokens
        loss = losses.sum() / num_tokens
        objective = loss
        if self._two_views(step):
            # The views share the utterance: half the tokens, as one CTC loss is half the two.
            disagreement = consistency_losses(emissions).sum() / (num_tokens / 2)
            objective = objective + optim.consistency * disagreement
        if optim.l1 > 0:
            norms = [matrix.abs().sum() for matrix in weight_matrices(learner.model)]
            objective = objective + optim.l1 * torch.stack(norms).sum()
        learner.optimizer.zero_grad(set_to_none=True)
        objective.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(learner.model.parameters(), optim.clip_norm)
        require_finite_gradient(norm, batch.ids, step)
        for group in learner.optimizer.param_groups:
            group["lr"] = rate
        learner.optimizer.step()
        if learner.average is not None:
            learner.average.update(learner.model)
        return StepResult(
            loss=loss.detach(),
            emitted_token=_emitted_token(emissions),
            frames_per_token=float(emissions.lengths.sum() / num_tokens),
        )

    def _two_views(self, step: int) -> bool:
        optim = self._config.optim
        return optim.consistency > 0 and step >= optim.consistency_start * self.total_steps

    def _forward(self, batch: Batch, step: int) -> tuple[Emissions, Batch]:
        """Emissions of a batch, and the batch they are of: twice over for two views of it."""
        generator = torch.Generator(self._device)
        generator.manual_seed(seeded(self._config.training.seed, step, 2).initial_seed())
        features, lengths = self._learner.front_end(batch.samples, batch.sample_lengths, generator)
        if self._two_views(step):
            features, lengths = features.repeat(2, 1, 1), lengths.repeat(2)
            batch = batch.repeated(2)
        features = self._warp(features, generator)
        features = self._spec_augment(features, lengths, generator)
        autocast = (
            torch.autocast(self._device.type, dtype=torch.bfloat16)
            if self._precision == "bfloat16"
            else nullcontext()
        )
        with autocast:
            emissions = self._learner.model(features, lengths)
        return emissions, batch

    def _log(
        self,
        position: Position,
        meter: Meter,
        rate: float,
        reporter: Reporter,
        watch: CollapseWatch,
    ) -> Position:
        losses = torch.stack([result.loss for result in self._unlogged])
        emitted = bool(torch.stack([result.emitted_token for result in self._unlogged]).any())
        loss, frames_per_token = float(losses.mean()), self._unlogged[-1].frames_per_token
        values = {
            "epoch": position.epoch,
            "time_s": round(position.elapsed_s, 3),
            "train_loss": loss,
            "learning_rate": rate,
            "audio_s_per_s": round(meter.audio_s / max(meter.total_s, 1e-9), 1),
            "data_wait": round(meter.wait_s / max(meter.total_s, 1e-9), 4),
        }
        reporter.metrics(position.step, values)
        meter.show(loss, rate)
        if watch.update(position.step, emitted):
            reporter.say(watch.explanation(position.step, loss, rate, frames_per_token))
            reporter.metrics(position.step, {"blank_collapse": position.step})
        self._unlogged.clear()
        return replace(position, last_token_step=watch.last_token_step)

    def _validate(self, position: Position, reporter: Reporter) -> Position:
        learner = self._learner
        with averaged_weights(learner):
            validation, samples = self._validator.validate(position.epoch)
            best = sorted((*position.best, validation), key=self._rank)
            kept = best[: max(self._config.training.keep_best, self._config.optim.average_best)]
            if validation in kept:
                path = weights_path(self._run_dir, validation.epoch)
                save_tensors(path, WEIGHTS_KIND, learner.model.state_dict(), {})
        improved = best[0] is validation
        if self._config.optim.schedule == "plateau":
            learner.plateau.update(self._rank(validation)[0])
        values = {
            "epoch": position.epoch,
            "time_s": round(position.elapsed_s, 3),
            "dev_loss": validation.loss,
            "dev_wer": validation.wer,
            "dev_errors": validation.errors,
            "dev_words": validation.words,
        }
        reporter.metrics(position.step, values)
        reporter.samples(position.step, samples.texts, samples.features)
        reporter.say(
            f"epoch {position.epoch + 1}: dev WER {100 * validation.wer:.2f} % "
            f"[{validation.errors} / {validation.words}], loss {validation.loss:.3f}"
            + (", best so far" if improved else "")
        )
        since_best = 0 if improved else position.since_best + 1
        return replace(position, best=tuple(kept), since_best=since_best)

    def _rank(self, validation: Validation) -> tuple[float, float]:
        """Smaller is better: word errors, then loss; the other way round with `optim.mmi`, since
        greedy decoding does without what the transcripts were weighed with."""
        rank = (validation.wer, validation.loss)
        return rank[::-1] if self._config.optim.mmi > 0 else rank

    def _save(self, position: Position) -> None:
        config = self._config.model_dump(mode="json")
        path = self._run_dir / STATE_FILE
        save_state(path, self._learner, position, config, self._fingerprint)
        kept = {weights_path(self._run_dir, best.epoch) for best in position.best}
        for path in (self._run_dir / "weights").glob("epoch-*.safetensors"):
            if path not in kept:
                path.unlink()

    def finish(self, position: Position, reporter: Reporter) -> Validation:
        """Leave the better of the best weights and the mean of the best few in the model.

        Returns:
            The development score of what was chosen.
        """
        states = [
            load_tensors(weights_path(self._run_dir, best.epoch), WEIGHTS_KIND)[0]
            for best in position.best
        ]
        chosen = position.best[0]
        self._learner.model.load_state_dict(states[0])
        num_averaged = min(self._config.optim.average_best, len(states))
        if num_averaged > 1:
            self._learner.model.load_state_dict(average_tensors(states[:num_averaged]))
            averaged, _ = self._validator.validate(chosen.epoch)
            reporter.say(
                f"mean of the {num_averaged} best: dev WER {100 * averaged.wer:.2f} %, "
                f"best alone {100 * chosen.wer:.2f} %"
            )
            if self._rank(averaged) <= self._rank(chosen):
                return averaged
            self._learner.model.load_state_dict(states[0])
        return chosen


def weights_path(run_dir: Path, epoch: int) -> Path:
    """Where the weights validated after `epoch` (from 0) are kept while among the best."""
    return run_dir / "weights" / f"epoch-{epoch + 1:04d}.safetensors"


@torch.no_grad()
def _emitted_token(emissions: Emissions) -> Tensor:
    preferred = emissions.log_probs.argmax(dim=-1) != 0
    frames = torch.arange(preferred.shape[1], device=preferred.device)
    valid = frames[None] < emissions.lengths.to(preferred.device)[:, None]
    return (preferred & valid).any()


@contextmanager
def averaged_weights(learner: Learner) -> Iterator[None]:
    """Put the moving average into the model for the block, where there is one."""
    if learner.average is None:
        yield
        return
    own = {name: value.clone() for name, value in learner.model.state_dict().items()}
    learner.model.load_state_dict(learner.average.tensors)
    try:
        yield
    finally:
        learner.model.load_state_dict(own)
