"""How much of the trainer's time is the model: the whole trainer against the bare model step.

Both run over the same batches with the same weights, in turns. The bare step is forward, CTC loss,
backward, clipping and the optimiser, on features already on the device; the trainer adds reading,
augmentation, log-mel features, SpecAugment, checks, logging and the moving average.

    python tools/bench_training.py MANIFEST [--config recipes/an4/letters.toml] [--device cpu]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from asr.batching import Batch
from asr.config import load_options
from asr.experiment import ExperimentConfig, build_front_end, build_model
from asr.manifest import read_manifest
from asr.optim import Plateau, WeightAverage, make_optimizer
from asr.recognizer import choose_device
from asr.training.data import Corpus, fit_tokenizer, make_training_set, open_audio
from asr.training.loop import Trainer
from asr.training.losses import ctc_losses
from asr.training.state import Learner


def synchronize(device: torch.device) -> None:
    """Wait for the device's queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class BareStep:
    """Forward, loss, backward and update on ready features."""

    def __init__(self, learner: Learner, config: ExperimentConfig, device: torch.device) -> None:
        self._learner = learner
        self._config = config
        self._device = device

    def __call__(self, batch: Batch, features: torch.Tensor, lengths: torch.Tensor) -> None:
        """One update from (batch, max_frames, num_mels) features."""
        learner = self._learner
        learner.model.train()
        bfloat16 = self._device.type == "cuda" and self._config.training.precision != "float32"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=bfloat16):
            emissions = learner.model(features, lengths)
        loss = ctc_losses(emissions, batch).sum() / batch.target_lengths.sum()
        learner.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_norm = self._config.optim.clip_norm
        torch.nn.utils.clip_grad_norm_(learner.model.parameters(), clip_norm)
        learner.optimizer.step()


def main(
    manifest: Annotated[Path, typer.Argument(help="JSONL manifest to train on.")],
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    repeats: Annotated[int, typer.Option(help="Times each is measured, in turns.")] = 3,
    max_batches: Annotated[int, typer.Option(help="Batches of the epoch to use.")] = 40,
) -> None:
    """Print audio-seconds per second of both, and their ratio."""
    options = load_options(ExperimentConfig, config, [f"data.train={manifest}"])
    where = choose_device(device)
    utterances = tuple(read_manifest(manifest))
    tokenizer = fit_tokenizer(options, Corpus(utterances, utterances))
    front_end = build_front_end(options).to(where)
    model = build_model(options, len(tokenizer.vocab)).to(where)
    optim = options.optim
    average = WeightAverage(model, optim.ema_decay) if optim.ema_decay > 0 else None
    plateau = Plateau(optim.plateau_factor, optim.plateau_patience)
    learner = Learner(front_end, model, make_optimizer(model, optim), plateau, average)
    with tempfile.TemporaryDirectory() as directory:
        audio = open_audio(utterances, options, Path(directory))
        data = make_training_set(utterances, audio, options, tokenizer, (front_end, model))
        trainer = Trainer(options, learner, data, None, Path(directory))
        bare = BareStep(learner, options, where)
        ready = []
        for _, batch in zip(range(max_batches), data.epoch(0, 0), strict=False):
            on_device = batch.to(where)
            ready.append((on_device, *front_end(on_device.samples, on_device.sample_lengths)))
        audio_s = sum(float(b.sample_lengths.sum()) for b, _, _ in ready)
        audio_s /= options.features.sample_rate_hz
        rates: dict[str, list[float]] = {"bare model step": [], "whole trainer": []}
        for repeat in range(repeats + 1):
            start = time.perf_counter()
            for batch, features, lengths in ready:
                bare(batch, features, lengths)
            synchronize(where)
            middle = time.perf_counter()
            batches = data.epoch(0, 0)
            for step, batch in zip(range(max_batches), batches, strict=False):
                trainer.step(batch, step, trainer.rate(step))
            synchronize(where)
            if repeat:  # the first round warms up
                rates["bare model step"].append(audio_s / (middle - start))
                rates["whole trainer"].append(audio_s / (time.perf_counter() - middle))
    print(
        f"{len(ready)} batches, {audio_s:.0f} s of audio, {where}, "
        f"{torch.get_num_threads()} threads, best of {repeats}"
    )
    for name, values in rates.items():
        spread = " ".join(f"{value:.0f}" for value in values)
        print(f"{name:>16}: {max(values):8.1f} audio-s/s   (all: {spread})")
    print(f"{'ratio':>16}: {max(rates['whole trainer']) / max(rates['bare model step']):8.3f}")


if __name__ == "__main__":
    typer.run(main)
