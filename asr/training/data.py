"""From manifests to batches: checks, tokens, cached audio and feature statistics."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from asr.audio import num_resampled
from asr.audio_cache import AudioCache, AudioFiles, cache_audio
from asr.augment import WaveformAugment
from asr.batching import (
    Augment,
    Batch,
    BatchConfig,
    EpochSampler,
    Example,
    ExampleDataset,
    collate,
    plan_batches,
)
from asr.errors import AsrError, ConfigError, DataError
from asr.experiment import (
    ExperimentConfig,
    build_front_end,
    build_model,
    num_output_frames,
)
from asr.features import LogMel
from asr.manifest import Problem, Utterance, check_manifest, read_manifest, read_manifests
from asr.model import AcousticModel
from asr.progress import progress_bar
from asr.text import normalize
from asr.tokens import Tokenizer, build_tokenizer
from asr.training.loading import make_loader, read_batches
from asr.training.warm_start import adopted_phones

_OTHER_WORDS = (
    "words without pronunciation: name a dictionary that has them, as `asr pronounce` writes it, "
    "with tokens.pronunciations, or learn letters with tokens.kind=char"
)
"""The cure for a model of phones, whose dictionary may be that of `training.start_from`."""


@dataclass(frozen=True)
class Corpus:
    """Training and development utterances of one run."""

    train: tuple[Utterance, ...]
    dev: tuple[Utterance, ...]


def load_corpus(config: ExperimentConfig) -> Corpus:
    """Read the manifests of the configuration.

    Raises:
        ConfigError: A manifest is not named.
        DataError: A manifest cannot be read or is empty, or two of a set share an id.
    """
    sets = []
    for name, paths in (("train", config.data.train), ("dev", config.data.dev)):
        if not paths:
            raise ConfigError(
                f"no {name} manifest given", hint=f"--set data.{name}=PATH, or [data] {name} = …"
            )
        sets.append(tuple(read_manifests(paths)))
    return Corpus(*sets)


def fit_tokenizer(config: ExperimentConfig, corpus: Corpus) -> Tokenizer:
    """The vocabulary of the training transcripts, or of the dictionary.

    Raises:
        ConfigError, DataError, ModelFileError: As `build_tokenizer` and `warm_start`.
    """
    adopted = adopted_phones(config)
    if adopted is not None:
        return adopted
    texts = (normalize(utterance.text, config.text) for utterance in corpus.train)
    return build_tokenizer(config.tokens, texts, lambda word: normalize(word, config.text))


def fingerprint(corpus: Corpus, tokenizer: Tokenizer) -> str:
    """Digest of what a run learns from: utterances and tokens, but not where the audio lies."""
    digest = hashlib.sha256(repr(tokenizer.to_dict()).encode())
    for utterances in (corpus.train, corpus.dev):
        digest.update(str(len(utterances)).encode())
        for utterance in utterances:
            digest.update(repr(replace(utterance, audio_path=Path())).encode())
    return digest.hexdigest()


def problems_of(
    utterances: Sequence[Utterance],
    config: ExperimentConfig,
    tokenizer: Tokenizer,
    models: tuple[LogMel, AcousticModel],
) -> list[Problem]:
    """Why utterances cannot be trained on; arguments as of `require_usable`."""
    return check_manifest(
        utterances,
        tokenizer=tokenizer,
        text=config.text,
        num_frames=lambda num_samples, own_rate_hz: num_output_frames(
            *models, num_resampled(num_samples, own_rate_hz, config.features.sample_rate_hz)
        ),
    )


def require_usable(
    name: str,
    utterances: Sequence[Utterance],
    config: ExperimentConfig,
    tokenizer: Tokenizer,
    models: tuple[LogMel, AcousticModel],
) -> None:
    """Refuse a set with missing audio, unknown letters, or transcripts too long for CTC.

    Utterances without words are welcome, as long as there are others, and they last one frame.

    Args:
        name: Of the set, for the message.
        utterances: The set.
        config: Settings of the run.
        tokenizer: Of the training transcripts.
        models: The front end and the model, which say how many frames a transcript has.

    Raises:
        DataError: Naming the first utterances and counting all.
    """
    problems = problems_of(utterances, config, tokenizer, models)
    if problems:
        named = "; ".join(f"{problem.utterance_id}: {problem.reason}" for problem in problems[:5])
        cures = ["mend or remove those lines", "too short for CTC: lower model.subsampling"]
        if tokenizer.words is not None:
            cures.append(_OTHER_WORDS)
        letters = config.text.model_copy(update={"profile": "letters"})
        bare = config.model_copy(update={"text": letters})
        if len(problems_of(utterances, bare, tokenizer, models)) < len(problems):
            cures.insert(0, "text.profile=letters leaves punctuation out, which may be all")
        plural = "problem" if len(problems) == 1 else "problems"
        raise DataError(
            f"{len(problems)} {plural} in {len(utterances)} utterances of {name}: {named}",
            hint="; ".join(cures),
        )
    if num_wordless(utterances) == len(utterances):
        raise DataError(
            f"all {len(utterances)} utterances of {name} have an empty transcript",
            hint="add what is said to the manifest; a few without words may stand beside them",
        )


def num_wordless(utterances: Iterable[Utterance]) -> int:
    """How many have an empty transcript: sounds that a model shall be silent about."""
    return sum(not utterance.text.strip() for utterance in utterances)


def check_corpus(config: ExperimentConfig) -> list[str]:
    """Check the manifests against the configuration without reading any audio.

    Returns:
        A line for each set: utterances, duration, words, tokens in the vocabulary; then one for
        each of its manifests where they are several.

    Raises:
        DataError: Something in a manifest cannot be trained on.
    """
    corpus = load_corpus(config)
    tokenizer = fit_tokenizer(config, corpus)
    models = (build_front_end(config), build_model(config, len(tokenizer.vocab)))
    lines = []
    sets = (("train", corpus.train, config.data.train), ("dev", corpus.dev, config.data.dev))
    for name, utterances, paths in sets:
        require_usable(name, utterances, config, tokenizer, models)
        lines.append(
            f"{name}: {_summary(utterances, config)}, {len(tokenizer.vocab)} tokens: all usable"
        )
        if len(paths) > 1:
            lines += [f"  {path}: {_summary(read_manifest(path), config)}" for path in paths]
    return lines


def _summary(utterances: Sequence[Utterance], config: ExperimentConfig) -> str:
    minutes = sum(one.duration_s for one in utterances) / 60
    duration = f"{minutes:.1f} min" if minutes < 60 else f"{minutes / 60:.2f} h"
    words = sum(len(normalize(one.text, config.text).split()) for one in utterances)
    wordless = num_wordless(utterances)
    without = f" ({wordless} of them without words)" if wordless else ""
    return f"{len(utterances)} utterances{without}, {duration}, {words} words"


def open_audio(
    utterances: Sequence[Utterance], config: ExperimentConfig, cache_dir: Path
) -> AudioCache | AudioFiles:
    """Audio of a set: cached when it is small enough, else read from its files every time."""
    hours = sum(utterance.duration_s for utterance in utterances) / 3600
    rate = config.features.sample_rate_hz
    if hours > config.batching.cache_max_h:
        return AudioFiles(tuple(utterances), rate)
    with progress_bar("decoding audio", len(utterances)) as advance:
        return cache_audio(utterances, rate, cache_dir, advance)


@dataclass(frozen=True)
class TrainingSet:
    """The loader of training batches and the sampler that decides their order."""

    dataset: ExampleDataset
    loader: DataLoader[Batch | AsrError]
    sampler: EpochSampler

    def epoch(self, epoch: int, first_batch: int) -> Iterator[Batch]:
        """Batches of one epoch, from `first_batch` on."""
        self.sampler.start(epoch, first_batch)
        return read_batches(self.loader)


def make_training_set(
    utterances: Sequence[Utterance],
    audio: AudioCache | AudioFiles,
    config: ExperimentConfig,
    tokenizer: Tokenizer,
    models: tuple[LogMel, AcousticModel],
) -> TrainingSet:
    """Batches of `utterances`, augmented as the configuration says."""
    augment: Augment | None = None
    if config.augment.changes_waveform:
        augment = WaveformAugment(config.augment)
    dataset = ExampleDataset(
        ids=tuple(utterance.id for utterance in utterances),
        audio=audio,
        targets=encode_all(utterances, config, tokenizer),
        sample_rate_hz=config.features.sample_rate_hz,
        num_output_frames=_frame_counter(*models),
        augment=augment,
        seed=config.training.seed,
    )
    durations_s = [utterance.duration_s for utterance in utterances]
    sampler = EpochSampler(durations_s, config.batching, config.training.seed)
    pin = torch.cuda.is_available()
    return TrainingSet(dataset, make_loader(dataset, sampler, config.batching, pin), sampler)


def _frame_counter(front_end: LogMel, model: AcousticModel) -> Callable[[int], int]:
    return partial(num_output_frames, front_end, model)


def encode_all(
    utterances: Sequence[Utterance], config: ExperimentConfig, tokenizer: Tokenizer
) -> tuple[tuple[int, ...], ...]:
    """Token ids of every transcript, normalised by the configured profile."""
    return tuple(
        tuple(tokenizer.encode(normalize(utterance.text, config.text))) for utterance in utterances
    )


def plain_batches(
    utterances: Sequence[Utterance],
    audio: AudioCache | AudioFiles,
    targets: Sequence[tuple[int, ...]],
    config: BatchConfig,
) -> Iterator[Batch]:
    """Batches without augmentation, from short to long."""
    durations_s = [utterance.duration_s for utterance in utterances]
    for indices in plan_batches(durations_s, config):
        yield collate([Example(utterances[i].id, audio.samples(i), targets[i]) for i in indices])
