"""Adapt a model to a voice, a microphone, a room, from recordings that nobody has transcribed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from asr.augment import NoiseConfig
from asr.batching import BatchConfig
from asr.checkpoint import MODEL_KIND, load_tensors, save_tensors
from asr.config import Options
from asr.cutting import CutOptions, cut_utterances
from asr.decoder_setup import DecodingChoice
from asr.errors import DataError
from asr.evaluation import WerReport
from asr.experiment import DataConfig, TrainingConfig, ValidationConfig
from asr.manifest import Utterance, write_manifest
from asr.model_evaluation import evaluate_model
from asr.model_packing import WEIGHTS
from asr.optim import OptimConfig
from asr.progress import progress_bar
from asr.recognizer import Recognizer, transcribe_each
from asr.training import train
from asr.training.data import problems_of

GREEDY = DecodingChoice(decoder="greedy")
MAX_BATCH_S = 25.0
"""Some minutes of recordings are to be many steps."""
LONGEST_S = 30.0
"""Longer recordings are cut between words: training would take too much memory for them."""
PIECE_WORDS = 30
"""Words of a piece, at most."""
EMA_DECAY = 0.995
"""Of the moving average of the weights, which warms up: it is of use after few steps."""


class AdaptOptions(Options):
    """How far a model goes towards what it hears in new recordings.

    The defaults were chosen on two speakers of FSDD and eight of AN4; `RESULTS.md` of either
    recipe has the figures.
    """

    rounds: int = Field(default=1, ge=1, le=100)
    """How often recordings are recognised and trained on; each time by the model of the last."""
    epochs: int = Field(default=4, ge=1)
    """Of each round."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1e30)
    """Its peak."""
    share: float = Field(default=0.5, gt=0, le=1)
    """How far each round goes from the weights as they were to those that training ends with. The
    whole way gains most where a model makes many errors, and loses some of what it knows else."""
    seed: int = Field(default=0, ge=0, lt=2**63)


@dataclass(frozen=True)
class AdaptRequest:
    """What to adapt to what.

    Attributes:
        model: Model file; it stays as it is.
        utterances: The recordings; whatever transcripts they have are not looked at.
        target: The model file to write.
        dev: Manifest of other recordings, with transcripts: where the adapted model makes more
            errors in them than the first, it is not written. None for no such test.
        choice: How the recordings are recognised; by default as the file says.
        options: How far to go.
        device: Of all that is computed.
    """

    model: Path
    utterances: Sequence[Utterance]
    target: Path
    dev: Path | None = None
    choice: DecodingChoice = field(default_factory=DecodingChoice)
    options: AdaptOptions = field(default_factory=AdaptOptions)
    device: str = "auto"


@dataclass(frozen=True)
class Adaptation:
    """What adapting came to; counts of recordings are those of the last round."""

    is_written: bool
    """Whether the target was; not where `scores` have more errors after than before."""
    scores: tuple[WerReport, ...]
    """Of the development recordings, before and after; empty without any."""
    num_used: int
    """Recordings, or pieces of long ones, that are trained on."""
    used_s: float
    num_left_out: int
    """Recordings that are not: no word was heard in them, or one that has no tokens."""
    num_changed: int
    """Of those that are used, in how many the adapted model hears other words than the first."""
    failures: Mapping[str, DataError]
    """Why others could not be read, by id."""

    def lines(self) -> list[str]:
        """What people want to know of it."""
        lines = [
            f"adapted to {self.num_used} recordings, {self.used_s:.0f} s; in {self.num_changed} of "
            "them other words are heard now",
        ]
        if self.num_left_out:
            lines.append(f"left out, as no word is heard that the model knows: {self.num_left_out}")
        if self.scores:
            before, after = self.scores
            lines += [f"before: {before.kaldi_line()}", f"after: {after.kaldi_line()}"]
        return lines


def adapt_model(request: AdaptRequest) -> Adaptation:
    """Train a model on what it hears itself (self-training), and write the outcome.

    Each recording is recognised as the model file says, with its language model if it has one, and
    the model then trained on that, as on transcripts, under the augmentation that it was trained
    with (but noise, whose recordings are elsewhere). Errors that are rare among what is heard give
    way; what is heard wrong more often than right gets worse. Vocabulary, statistics of
    features, decoding settings and language model stay.

    Raises:
        ConfigError: A setting or the choice cannot be used.
        DataError: No recording can be read, no word is heard in any, one of the development
            recordings cannot be read, or the target cannot be written.
        ModelFileError: The model file cannot be used.
        TrainingError: As of `asr.training.train`.

    References:
        Scudder (1965); Kahn, Lee & Hannun (2020), Self-training for end-to-end speech recognition.
    """
    before: dict[str, str] = {}
    current, dev = request.model, request.dev
    scores = []
    if dev is not None:  # first, as it may not be readable
        scores.append(_score(Recognizer.load(current, request.device, request.choice), dev))
    with tempfile.TemporaryDirectory(prefix="asr-") as folder:
        for number in range(request.options.rounds):
            recognizer = Recognizer.load(current, request.device, request.choice)
            heard, failures = _hear(recognizer, request.utterances)
            used, num_left_out = _usable(heard, recognizer)
            before = before or {one.id: one.text for one in used}
            trained = _train(request, recognizer, used, Path(folder) / f"round-{number + 1}")
            weights = _between(recognizer, trained, request.options.share)
            current = Path(folder) / f"adapted-{number + 1}.safetensors"
            _write_adapted(request, weights, used, current)
        adapted = Recognizer.load(current, request.device, request.choice)
        after, _ = _hear(adapted, used)
        if dev is not None:
            scores.append(_score(adapted, dev))
        is_worse = dev is not None and scores[1].words.num_errors > scores[0].words.num_errors
        if not is_worse:
            _write_adapted(request, weights, used, request.target)
    return Adaptation(
        is_written=not is_worse,
        scores=tuple(scores),
        num_used=len(used),
        used_s=sum(one.duration_s for one in used),
        num_left_out=num_left_out,
        num_changed=sum(before.get(one.id) != one.text for one in after),
        failures=failures,
    )


def _score(recognizer: Recognizer, manifest: Path) -> WerReport:
    evaluation = evaluate_model(recognizer, manifest)
    for name, error in evaluation.failures.items():
        raise DataError(f"{manifest}: {name}: {error.message}", hint=error.hint)
    return evaluation.report


def _hear(
    recognizer: Recognizer, utterances: Sequence[Utterance]
) -> tuple[list[Utterance], dict[str, DataError]]:
    """Utterances with what is heard in them as transcripts, and why others cannot be read."""
    rate = recognizer.sample_rate_hz
    sources = [(one.id, one.audio_path, one.read_options(rate)) for one in utterances]
    heard, failures = [], {}
    with progress_bar("recognising", len(sources)) as advance:
        results = transcribe_each(recognizer, sources)
        for utterance, (name, result) in zip(utterances, results, strict=True):
            advance()
            if isinstance(result, DataError):
                failures[name] = result
            else:
                heard.append(replace(utterance, text=result[0].text))
    if not heard:
        first = next(iter(failures.values()), "there is none")
        raise DataError(f"no recording to adapt to can be read: {first}")
    return heard, failures


def _usable(heard: Sequence[Utterance], recognizer: Recognizer) -> tuple[list[Utterance], int]:
    """What can be trained on, long recordings in pieces; and how many recordings cannot.

    An open vocabulary of phones writes what no dictionary has between slashes, for one.
    """
    worded = [one for one in heard if one.text]
    models = (recognizer.front_end, recognizer.model)
    problems = problems_of(worded, recognizer.config, recognizer.tokenizer, models)
    unusable = {problem.utterance_id for problem in problems}
    whole = [one for one in worded if one.id not in unusable]
    used = [one for one in whole if one.duration_s <= LONGEST_S]
    num_used = len(used)
    if num_used < len(whole):
        long = [one for one in whole if one.duration_s > LONGEST_S]
        cutting = cut_utterances(recognizer, long, CutOptions(max_words=PIECE_WORDS, min_score=0))
        used += [piece for piece in cutting.pieces if piece.duration_s <= LONGEST_S]
        num_used += len(long) - len(cutting.failures)
    if not used:
        raise DataError(
            f"in none of {len(heard)} recordings a word is heard that could be trained on",
            hint="adapting needs recordings that the model recognises for the most part; for "
            "others write transcripts, and train with training.start_from",
        )
    return used, len(heard) - num_used


def _train(
    request: AdaptRequest, recognizer: Recognizer, used: Sequence[Utterance], folder: Path
) -> Recognizer:
    """The model of a training run in `folder` on what was heard."""
    manifest = folder / "heard.jsonl"
    write_manifest(manifest, used, absolute=True)
    config, options = recognizer.config, request.options
    config = config.model_copy(
        update={
            "data": DataConfig(train=(manifest,), dev=(manifest,)),
            "augment": config.augment.model_copy(update={"noise": NoiseConfig()}),
            "batching": BatchConfig(
                max_batch_s=min(MAX_BATCH_S, config.batching.max_batch_s), num_workers=0
            ),
            "optim": OptimConfig(
                learning_rate=options.learning_rate,
                warmup_fraction=0.05,
                consistency=config.optim.consistency,
                ema_decay=EMA_DECAY,
            ),
            "validation": ValidationConfig(),
            "training": TrainingConfig(
                epochs=options.epochs,
                start_from=recognizer.source.path,
                seed=options.seed,
                device=request.device,
                num_threads=1,  # as long, and the same result, whatever else the computer does
                precision=config.training.precision,
                validate_every=options.epochs,
            ),
        }
    )
    trained = train(config, folder / "run", tokenizer=recognizer.tokenizer)
    return Recognizer.load(trained.model_path, request.device, GREEDY)


def _between(old: Recognizer, new: Recognizer, share: float) -> dict[str, Tensor]:
    """Weights as a model file names them, `share` of the way from one model to another.

    References:
        Wortsman et al. (2022), Robust fine-tuning of zero-shot models.
    """
    known, learnt = old.model.state_dict(), new.model.state_dict()
    return {f"{WEIGHTS}{name}": torch.lerp(known[name], learnt[name], share) for name in known}


def _write_adapted(
    request: AdaptRequest, weights: Mapping[str, Tensor], used: Sequence[Utterance], target: Path
) -> None:
    """The first model's file with other weights."""
    tensors, documents = load_tensors(request.model, MODEL_KIND)
    others = {name: value for name, value in tensors.items() if not name.startswith(WEIGHTS)}
    adapted = {
        "from": request.model.name,
        "recordings": len(used),
        "recordings_s": round(sum(one.duration_s for one in used), 1),
        **request.options.model_dump(mode="json"),
    }
    training = {**documents.get("training", {}), "adapted": adapted}
    save_tensors(target, MODEL_KIND, {**others, **weights}, {**documents, "training": training})
