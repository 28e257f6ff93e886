"""Tune the decoder of a model file on a manifest, and store what was found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.audio import Waveform
from asr.decoder_setup import (
    DecodingChoice,
    Development,
    StoredDecoding,
    beam_setup,
)
from asr.decoding import LogProbs
from asr.errors import ConfigError, DataError
from asr.lm.binary import model_to_bytes
from asr.manifest import Utterance, read_manifests, require_readable
from asr.plots import check_picture, plot_surface
from asr.progress import progress_bar
from asr.recognizer import Recognizer, read_groups, store_decoding
from asr.text import normalize
from asr.tuning import NUM_TRIALS, PRUNING, DevelopmentSet, TuningResult, tune

TIME_LIMIT_S = 60.0
SURFACE_SUFFIX = ".tuning.png"


@dataclass(frozen=True)
class TuneRequest:
    """What to tune, and where the outcome goes.

    Attributes:
        model: Model file; settings that it holds are replaced.
        manifests: Development data, never the test set.
        choice: Language model and lexicon to tune for, and settings. `lm_weight`, `word_bonus` and
            `unknown_score` are where the search begins: of what does as well as the best, the
            nearest to them is taken. An open vocabulary may be closed; the rest stays as it is.
        embed: Whether the model file takes in the language model.
        picture: PNG of the error surface; None for the model file's name with `.tuning.png`, where
            there is a language model.
        time_limit_s: About how long to search, after the acoustic model has run.
        device: Of the acoustic model.
    """

    model: Path
    manifests: Sequence[Path]
    choice: DecodingChoice
    embed: bool = True
    picture: Path | None = None
    time_limit_s: float = TIME_LIMIT_S
    device: str = "auto"


@dataclass(frozen=True)
class ModelTuning:
    """What was found, what was stored, and the picture if there is one."""

    result: TuningResult
    stored: StoredDecoding
    picture: Path | None


def tune_model(request: TuneRequest) -> ModelTuning:
    """Find settings, draw the error surface, and store them in the model file.

    Raises:
        ConfigError: The choice names what cannot be tuned, or contradicts itself.
        DataError: A manifest or its audio cannot be read, a file does not fit the model, or the
            picture cannot be written.
        ModelFileError: The model file cannot be used.
    """
    choice = request.choice
    for_one_run = {
        "--decoder greedy": choice.decoder == "greedy",
        "--hotwords": choice.hotwords,
        "--hotword": choice.phrases,
        "--grammar": choice.grammar,
        "--pronunciations": choice.pronunciations,
        "num_best": "num_best" in choice.settings,
    }
    for option, value in for_one_run.items():
        if value:
            raise ConfigError(
                f"{option} is not tuned: it belongs to single runs",
                hint="leave it out here, and give it to `asr transcribe` or `asr evaluate`",
            )
    for name in (*PRUNING, "calibration"):
        if name in choice.settings:
            raise ConfigError(f"{name} is what tuning finds", hint="leave it out here")
    if request.picture is not None:
        check_picture(request.picture, (request.model, *request.manifests, *choice.files()))
    recognizer = Recognizer.load(request.model, request.device, DecodingChoice(decoder="greedy"))
    utterances = read_manifests(request.manifests)
    require_readable(utterances)
    setup = beam_setup(recognizer.source.without_settings(), choice)
    if request.picture is not None and setup.knowledge.lm is None:
        raise ConfigError(
            f"nothing to draw in {request.picture}: the error surface is over the weights of a "
            "language model",
            hint="give --lm FILE, or leave --plot out",
        )
    data = DevelopmentSet(
        recognizer.tokenizer,
        recognizer.frame_s,
        emissions_of(recognizer, utterances),
        [normalize(one.text, recognizer.config.text) for one in utterances],
    )
    config = setup.config
    if recognizer.tokenizer.words is not None and "vocabulary" not in choice.settings:
        # A word that no dictionary has is written as its phones, which helps nobody.
        config = config.model_copy(update={"vocabulary": "closed"})
    with progress_bar("tuning", NUM_TRIALS) as advance:
        result = tune(data, setup.knowledge, config, request.time_limit_s, advance)
    stored = _stored(request, result)
    embedded = result.knowledge.lm if stored.lm == "embedded" else None
    picture = _draw(request, result)  # first: where it fails, the model stays as it was
    store_decoding(request.model, stored, None if embedded is None else model_to_bytes(embedded))
    return ModelTuning(result, stored, picture)


def emissions_of(recognizer: Recognizer, utterances: Sequence[Utterance]) -> list[LogProbs]:
    """Log-probabilities of every utterance.

    Raises:
        DataError: The audio of one cannot be read, by its id.
    """
    rate = recognizer.sample_rate_hz
    sources = [(one.id, one.audio_path, one.read_options(rate)) for one in utterances]
    emissions: list[LogProbs] = []
    with progress_bar("recognising", len(sources)) as advance:
        for group in read_groups(recognizer, sources):
            waveforms: list[Waveform] = []
            for name, read in group:
                if isinstance(read, DataError):
                    raise DataError(f"{name}: {read.message}", hint=read.hint)
                waveforms.append(read)
            emissions += recognizer.emissions_many(waveforms)
            for _ in waveforms:
                advance()
    return emissions


def _draw(request: TuneRequest, result: TuningResult) -> Path | None:
    """The picture of the error surface, where there is one."""
    surface = result.surface
    if surface is None:
        return None
    picture = request.picture or request.model.with_suffix(SURFACE_SUFFIX)
    plot_surface(surface.wers, surface.lm_weights, surface.word_bonuses, surface.chosen, picture)
    return picture


def _stored(request: TuneRequest, result: TuningResult) -> StoredDecoding:
    knowledge = result.knowledge
    lexicon = None if knowledge.lexicon is None else tuple(knowledge.lexicon)
    return StoredDecoding(
        decoder=result.decoder,
        beam=result.config,
        lm="none" if knowledge.lm is None else "embedded" if request.embed else "elsewhere",
        lexicon=lexicon,
        development=Development(
            manifest=_shown(request.manifests),
            utterances=len(result.greedy.utterances),
            words=result.greedy.words.num_references,
            greedy_errors=result.greedy.words.num_errors,
            errors=min(result.greedy.words.num_errors, result.beam.words.num_errors),
        ),
    )


def _shown(manifests: Sequence[Path]) -> str:
    """Names for people: each corpus has its `dev.jsonl`, so several need their folders too."""
    if len(manifests) == 1:
        return manifests[0].name
    return ", ".join(f"{path.parent.name}/{path.name}" for path in manifests)
