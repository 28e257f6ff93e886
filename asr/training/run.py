"""One training run in its directory: fresh or resumed, from manifests to `model.safetensors`."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from asr.batching import Batch
from asr.checkpoint import TRAINING_KIND, read_documents
from asr.config import parse_options
from asr.errors import ConfigError, DataError, ModelFileError, TrainingError
from asr.experiment import ExperimentConfig, build_front_end, build_model
from asr.files import write_text_atomic
from asr.model import AcousticModel
from asr.normalizing import estimate_statistics
from asr.optim import Plateau, WeightAverage, make_optimizer
from asr.recognizer import ModelParts, choose_device, save_model
from asr.threads import cpu_threads
from asr.tokens import Tokenizer
from asr.training.data import (
    Corpus,
    TrainingSet,
    fingerprint,
    fit_tokenizer,
    load_corpus,
    make_training_set,
    num_wordless,
    open_audio,
    plain_batches,
    require_usable,
)
from asr.training.denominator import fit_trigram
from asr.training.determinism import deterministic_algorithms
from asr.training.loading import workers_watched
from asr.training.loop import Trainer
from asr.training.losses import Objective
from asr.training.notices import notices
from asr.training.reporting import Reporter
from asr.training.state import STATE_FILE, Learner, Position, Validation, restore_state
from asr.training.validation import Validator
from asr.training.warm_start import adopt_settings, start_from

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
LOCK_FILE = "lock"
_CHECKPOINT_FACTOR = 12
"""Bytes a run may need for each byte of weights: state (weights, two moments, average) twice while
it is replaced, the best few, the model."""
_WITHOUT_EFFECT = ("batching.num_workers", "training.num_threads")
"""A run may go on with others: where workers fail, without them, and with one thread where there
are no processors for more. It ends with the same weights, for other threads but for rounding."""
_MEMORY_FACTOR = 4
"""Bytes in memory for each byte of weights, at the least: weight, gradient, two moments."""


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run leaves."""

    model_path: Path
    validation: Validation
    """Development score of the weights in the model file."""
    num_parameters: int
    elapsed_s: float
    """Training time of all parts of the run, validations excluded."""


def train(
    config: ExperimentConfig,
    run_dir: Path | str,
    resume: bool = False,
    tokenizer: Tokenizer | None = None,
) -> TrainingResult:
    """Train one model, or go on with a run that was stopped.

    Args:
        config: All settings, with both manifests named.
        run_dir: Gets `config.json`, `metrics.jsonl`, `tensorboard/`, `state.safetensors`,
            `weights/`, `cache/` and, at the end, `model.safetensors`.
        resume: Go on from the last checkpoint of `run_dir`; a run killed before its first
            checkpoint starts anew.
        tokenizer: Vocabulary of the model; None for that of the training transcripts.

    Raises:
        ConfigError: The directory holds another run, or resuming with other settings or data, or
            another process trains in it; or an argument is of another kind.
        DataError: A manifest, its audio or transcripts cannot be used; the disk is full.
        ModelFileError: The checkpoint of `run_dir` is damaged.
        TrainingError: A loss is not finite, a worker was ended, or there is too little memory or
            disk space.
        KeyboardInterrupt: Stopped by Ctrl-C or SIGTERM; the run can be resumed.
    """
    if not isinstance(config, ExperimentConfig):
        raise ConfigError(
            f"config must be an ExperimentConfig, got {type(config).__name__}",
            hint="make one of values: ExperimentConfig(**values)",
        )
    if not isinstance(run_dir, Path | str):
        raise ConfigError(f"run_dir must be a directory, got {type(run_dir).__name__}")
    run_dir = Path(run_dir)
    config = adopt_settings(config)
    _check_run_dir(config, run_dir, resume)
    device = choose_device(config.training.device)
    is_deterministic = config.training.deterministic
    algorithms = deterministic_algorithms(device) if is_deterministic else nullcontext()
    with _alone_in(run_dir), cpu_threads(config.training.num_threads), algorithms:
        return _Run(config, run_dir, device, tokenizer).train()


class _Run:
    """Everything one run needs, built in order."""

    def __init__(
        self,
        config: ExperimentConfig,
        run_dir: Path,
        device: torch.device,
        tokenizer: Tokenizer | None,
    ) -> None:
        self._config = config
        self._run_dir = run_dir
        self._started = time.perf_counter()
        corpus = load_corpus(config)
        self.tokenizer = fit_tokenizer(config, corpus) if tokenizer is None else tokenizer
        with torch.device("meta"):  # no memory before it is known to be enough
            weight_bytes = 4 * _num_parameters(build_model(config, len(self.tokenizer.vocab)))
        _check_memory(weight_bytes, device)
        _check_disk(run_dir, weight_bytes)
        torch.manual_seed(config.training.seed)
        self.front_end = build_front_end(config).to(device)
        self.model = build_model(config, len(self.tokenizer.vocab)).to(device)
        self._device = device
        models = (self.front_end, self.model)
        for name, utterances in (("train", corpus.train), ("dev", corpus.dev)):
            require_usable(name, utterances, config, self.tokenizer, models)
        cache_dir = run_dir / "cache"
        train_audio = open_audio(corpus.train, config, cache_dir)
        dev_audio = open_audio(corpus.dev, config, cache_dir)
        self._training_set = make_training_set(
            corpus.train, train_audio, config, self.tokenizer, models
        )
        objective = self._objective(self._training_set)
        self._validator = Validator(
            config, corpus.dev, dev_audio, self.tokenizer, models, objective
        )
        self._corpus = corpus
        self._train_audio = train_audio

    def _objective(self, training_set: TrainingSet) -> Objective:
        mmi = self._config.optim.mmi
        if mmi == 0:
            return Objective()
        trigram = fit_trigram(training_set.dataset.targets, len(self.tokenizer.vocab))
        return Objective(mmi, trigram.to(self._device))

    def train(self) -> TrainingResult:
        config, position = self._config, Position()
        state_path = self._run_dir / STATE_FILE
        fresh = not state_path.exists()
        if fresh:
            self._start()
        learner = self._learner()
        data = fingerprint(self._corpus, self.tokenizer)
        if not fresh:
            _require_same_data(state_path, data)
            position = restore_state(state_path, learner)
        trainer = Trainer(config, learner, self._training_set, self._validator, self._run_dir, data)
        with Reporter(self._run_dir, position.step) as reporter:
            reporter.say(self._greeting(position))
            for notice in notices(self._corpus, config) if fresh else ():
                reporter.say(f"note: {notice}")
            with workers_watched():
                position = trainer.run(position, reporter)
            validation = trainer.finish(position, reporter)
        model_path = self._run_dir / MODEL_FILE
        summary = _summary(position, validation, self._corpus)
        parts = ModelParts(self.front_end.state_dict(), self.model.state_dict(), summary)
        save_model(model_path, config, self.tokenizer, parts)
        return TrainingResult(
            model_path, validation, _num_parameters(self.model), position.elapsed_s
        )

    def _learner(self) -> Learner:
        optim = self._config.optim
        average = WeightAverage(self.model, optim.ema_decay) if optim.ema_decay > 0 else None
        plateau = Plateau(optim.plateau_factor, optim.plateau_patience)
        optimizer = make_optimizer(self.model, optim)
        return Learner(self.front_end, self.model, optimizer, plateau, average)

    def _start(self) -> None:
        """What a fresh run begins with, beside random weights; the directory is its own then."""
        path = self._config.training.start_from
        if path is not None:
            start_from(path, self._config, self.tokenizer, self.front_end, self.model)
        if self._config.features.needs_statistics and not self.front_end.has_statistics:
            self._fit_statistics()
        values = self._config.model_dump(mode="json")
        write_text_atomic(self._run_dir / CONFIG_FILE, json.dumps(values, indent=2) + "\n")

    def _fit_statistics(self) -> None:
        utterances = self._corpus.train
        no_targets: list[tuple[int, ...]] = [()] * len(utterances)
        batches = plain_batches(utterances, self._train_audio, no_targets, self._config.batching)
        within = self._config.features.normalization == "utterance"
        statistics = estimate_statistics(self._raw_features(batches), within)
        self.front_end.set_statistics(*statistics)

    def _raw_features(self, batches: Iterator[Batch]) -> Iterator[Tensor]:
        """(num_frames, num_mels) of each utterance before normalisation."""
        self.front_end.eval()
        for batch in batches:
            samples = batch.samples.to(self._device)
            yield from self.front_end.counted_energies(samples, batch.sample_lengths)

    def _greeting(self, position: Position) -> str:
        hours = sum(utterance.duration_s for utterance in self._corpus.train) / 3600
        wordless = num_wordless(self._corpus.train)
        without = f", {wordless} of them without words" if wordless else ""
        source = self._config.training.start_from
        start = "from scratch" if source is None else f"starting from {source}"
        start = f"resumed at step {position.step}" if position.step else start
        return (
            f"training on {len(self._corpus.train)} utterances ({hours:.2f} h{without}), "
            f"{len(self.tokenizer.vocab)} tokens, {_num_parameters(self.model):,} parameters, "
            f"{self._device}, {start}"
        )


def _num_parameters(model: AcousticModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _summary(position: Position, validation: Validation, corpus: Corpus) -> dict[str, Any]:
    return {
        "epochs": position.epoch,
        "steps": position.step,
        "elapsed_s": round(position.elapsed_s, 1),
        "train_utterances": len(corpus.train),
        "train_h": round(sum(utterance.duration_s for utterance in corpus.train) / 3600, 3),
        "dev_errors": validation.errors,
        "dev_words": validation.words,
    }


def _check_run_dir(config: ExperimentConfig, run_dir: Path, resume: bool) -> None:
    """Refuse to mix two runs.

    What a run was started with is what its state says: `config.json` is for people to read.
    """
    path, state_path = run_dir / CONFIG_FILE, run_dir / STATE_FILE
    if not path.exists() and not state_path.exists():
        return
    if not resume:
        raise ConfigError(
            f"{run_dir} already holds a run", hint="--resume to go on with it, or name another"
        )
    if not state_path.exists():
        return
    try:
        stored = read_documents(state_path, TRAINING_KIND).get("config")
    except ModelFileError as error:
        anew = "this run cannot go on: train anew in another directory"
        raise ModelFileError(error.message, hint=anew) from None
    cure = "resume with the settings it was started with, or name another directory"
    require_same_settings(run_dir, stored, config, cure, _WITHOUT_EFFECT)


def require_same_settings(
    run_dir: Path,
    stored: Any,
    config: ExperimentConfig,
    cure: str,
    ignored: Collection[str] = (),
) -> None:
    """Refuse settings other than those of a run, naming the first that differ.

    What an earlier release did not know has its default. Of a path that is no longer there, as
    where a folder was moved, only the name of its file counts.

    Args:
        run_dir: Of the run, for the message.
        stored: What one of its files says its settings are.
        config: What is asked for, with what it adopts of a model.
        cure: What to do about it.
        ignored: Sections and settings that may differ.

    Raises:
        ConfigError: They differ.
    """
    with suppress(ConfigError):  # settings that this release does not know are named below
        stored = parse_options(ExperimentConfig, stored, str(run_dir)).model_dump(mode="json")
    different = sorted(
        f"{name} ({old!r} then, {new!r} now)"
        for name, old, new in _differences(stored, config.model_dump(mode="json"))
        if not any(name == one or name.startswith(f"{one}.") for one in ignored)
    )
    if different:
        named = ", ".join(different[:6])
        raise ConfigError(f"{run_dir} was started with other settings: {named}", hint=cure)


def _require_same_data(state_path: Path, data: str) -> None:
    """Refuse to go on with other utterances, or tokens of another meaning.

    A state of an earlier release does not say, and is gone on with.
    """
    if read_documents(state_path, TRAINING_KIND).get("data", data) != data:
        raise ConfigError(
            f"{state_path.parent} was started with other utterances or transcripts",
            hint="resume with the manifests it was started with, or name another directory",
        )


def _differences(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inner = f"{name}.{key}" if name else key
            yield from _differences(old.get(key), new.get(key), inner)
    elif not _is_same(old, new):
        yield name, old, new


def _is_same(old: Any, new: Any) -> bool:
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_is_same, old, new))
    if old != new and isinstance(old, str) and isinstance(new, str):
        then, now = Path(old), Path(new)
        return then.is_absolute() and then.name == now.name and not os.access(then, os.F_OK)
    return bool(old == new)


def _check_memory(weight_bytes: int, device: torch.device) -> None:
    """Refuse what the whole memory could not hold: there the system ends a process unasked."""
    if device.type != "cpu" or "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", ()):
        return
    needed = _MEMORY_FACTOR * weight_bytes
    present = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if present < needed:
        raise TrainingError(
            f"this machine has {present / 1e9:.1f} GB of memory, "
            f"the weights alone need {needed / 1e9:.1f} GB in training",
            hint="make the model smaller: model.units, model.num_layers",
        )


def _check_disk(run_dir: Path, weight_bytes: int) -> None:
    needed, free = _CHECKPOINT_FACTOR * weight_bytes, shutil.disk_usage(run_dir).free
    if free < needed:
        raise TrainingError(
            f"{run_dir} has {free / 1e6:.0f} MB free, checkpoints may need {needed / 1e6:.0f} MB",
            hint="free some space, or choose --run-dir on another disk",
        )


@contextmanager
def _alone_in(run_dir: Path) -> Iterator[None]:
    """Hold the directory's lock, which the system takes back however a process ends."""
    lock = FileLock(run_dir / LOCK_FILE)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(
            f"another process trains in {run_dir}", hint="wait for it, or name another directory"
        ) from None
    except OSError as error:
        raise DataError(f"cannot write to {run_dir}: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()
