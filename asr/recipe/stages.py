"""The stages of a recipe, each from the results of those before it."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from asr.audio import read_audio
from asr.checkpoint import MODEL_KIND, read_documents
from asr.cli.transcribe import transcribe
from asr.corpora import prepare
from asr.decoder_setup import DecodingChoice
from asr.errors import ConfigError, DataError, ModelFileError
from asr.experiment import ExperimentConfig
from asr.files import write_text_atomic
from asr.lm.binary import model_to_bytes
from asr.lm.files import write_model
from asr.manifest import Utterance, read_manifest, read_manifests
from asr.model_evaluation import evaluate_model
from asr.model_tuning import TuneRequest, tune_model
from asr.plots import plot_alignment, plot_run
from asr.pronouncing import pronounce_words, ranked_words, read_bases, write_dictionary
from asr.prose import write_sentences
from asr.recipe.description import Recipe, Source
from asr.recipe.language_model import (
    LmOptions,
    LmTexts,
    mix_language_model,
    vocabulary_of,
    words_of,
)
from asr.recognizer import DECODING_DOCUMENT, Recognizer, store_decoding
from asr.text import TextConfig, normalize
from asr.tokens.dictionary import read_dictionary
from asr.training import MODEL_FILE, require_same_settings, train
from asr.training.data import check_corpus
from asr.training.warm_start import ADOPTED, adopt_settings

Stage = Literal["prepare", "pronounce", "check", "train", "tune", "evaluate", "report"]
STAGES: tuple[Stage, ...] = get_args(Stage)
CORPORA_VARIABLE = "ASR_CORPORA"
DICTIONARY_FILE = "pronunciations.txt"
SPEED_SETTINGS = ("training.device", "training.num_threads", "batching.num_workers")
"""Another machine may evaluate a model with others than trained it."""
NUM_SHOWN = 3
"""Held-out files that the last stage transcribes for the reader to see."""


@dataclass(frozen=True)
class RecipeRun:
    """A recipe with everything that its command line decided.

    Attributes:
        recipe: What it is made of.
        config: Settings of the training run; `data` names the manifests.
        lm: The language model to build, if any.
        corpus_options: Options of each importer by corpus.
        corpora: Directory that holds the corpora.
        data_dir: Directory of the manifests.
        run_dir: Directory of the model and of all results.
        tuned: Model of a finished run whose settings of the beam search are taken, where no
            development data are left to find any on; see `with_development_data`.
    """

    recipe: Recipe
    config: ExperimentConfig
    lm: LmOptions | None
    corpus_options: Mapping[str, Mapping[str, Any]]
    corpora: Path | None
    data_dir: Path
    run_dir: Path
    tuned: Path | None = None

    @property
    def dictionary(self) -> Path | None:
        """The dictionary of a recipe of phones, if the recipe makes it."""
        made = self.data_dir / DICTIONARY_FILE
        return made if self.config.tokens.pronunciations == made else None

    @property
    def model_path(self) -> Path:
        """The model file of the run."""
        return self.run_dir / MODEL_FILE

    def sources(self) -> list[tuple[Source, Path]]:
        """The corpora, each with the directory of its manifests."""
        return list(zip(self.recipe.sources, self.recipe.places(self.data_dir), strict=True))

    def below_corpora(self, name: str, what: str) -> Path:
        """A file or folder in the directory of the corpora.

        Raises:
            ConfigError: The directory was not named.
        """
        if self.corpora is None:
            raise ConfigError(
                f"the recipe needs {what}, and no directory was named",
                hint=f"--corpora DIR or {CORPORA_VARIABLE}=DIR, with it in DIR/{name}; "
                "data/README.md says where to get it",
            )
        return self.corpora / name

    def tests(self) -> dict[str, Path]:
        """Test manifests by the name of their results: each corpus' `test`, or its parts.

        Parts are such as `test-clean`; with several corpora the name begins with the corpus.

        Raises:
            DataError: There is none.
        """
        found: dict[str, Path] = {}
        for source, place in self.sources():
            parts = sorted(place.glob("test-*.jsonl")) or sorted(place.glob("test.jsonl"))
            prefix = f"{source.corpus}-" if len(self.recipe.sources) > 1 else ""
            found |= {f"{prefix}{path.stem}": path for path in parts}
        if not found:
            raise DataError(f"no corpus has a test set in {self.data_dir}")
        return found

    def ways(self) -> dict[str, DecodingChoice]:
        """How the tests are decoded, by the ending of the names of results: tuned is the rule."""
        as_stored = {"": DecodingChoice()}
        if self.lm is None:
            return as_stored
        return {".greedy": DecodingChoice(decoder="greedy"), **as_stored}


def with_development_data(run: RecipeRun) -> RecipeRun:
    """The run after `run`, in a directory beside its own: the development data train too.

    What they were held out for is settled then: it decodes with the settings that `run` found, and
    a language model of all transcripts.

    Raises:
        ConfigError: The recipe mixes texts for its language model: development data choose shares.
    """
    if run.lm is not None and (len(run.recipe.sources) > 1 or run.lm.prose):
        raise ConfigError(
            "the shares of several texts in the language model are found on development data, so "
            "these cannot be trained on as well",
            hint="leave --all-data out",
        )
    data = run.config.data
    data = data.model_copy(update={"train": (*data.train, *data.dev)})
    return replace(
        run,
        config=run.config.model_copy(update={"data": data}),
        run_dir=run.run_dir.with_name(f"{run.run_dir.name},all-data"),
        tuned=run.model_path,
    )


def run_stages(run: RecipeRun, stage: str, stop_stage: str) -> None:
    """Run the stages from `stage` (done again) or the first unfinished one, to `stop_stage`.

    Raises:
        ConfigError: A stage is unknown, or they are in the wrong order, or the directory holds a
            model of other settings.
    """
    for name in filter(None, (stage, stop_stage)):
        if name not in STAGES:
            raise ConfigError(f"unknown stage {name!r}", hint=f"stages: {', '.join(STAGES)}")
    first = STAGES.index(stage) if stage else 0
    last = STAGES.index(stop_stage)
    if first > last:
        raise ConfigError(f"--stage {stage} comes after --stop-stage {stop_stage}")
    if last >= STAGES.index("train"):
        _refuse_other_settings(run)
        _require_tuned(run)
    for name in STAGES[first : last + 1]:
        if reason := _needless(run, name):
            _say(f"[{name}] {reason}")
            continue
        if name != stage and _finished(run, name):
            _say(f"[{name}] done before, skipped")
            continue
        _say(f"[{name}]")
        _WORK[name](run)


def _refuse_other_settings(run: RecipeRun) -> None:
    """Leave a model alone whose results would pass for those of the settings asked for."""
    if not run.model_path.exists():
        return
    config, ignored = run.config, set(SPEED_SETTINGS)
    try:
        config = adopt_settings(config)
    except ModelFileError:  # the model that training started from is gone, and not needed any more
        ignored.update(ADOPTED)
    stored = read_documents(run.model_path, MODEL_KIND).get("config")
    cure = "name another --run-dir, or remove it"
    require_same_settings(run.run_dir, stored, config, cure, ignored)


def _require_tuned(run: RecipeRun) -> None:
    """Refuse to train for long without the settings to decode with."""
    if run.tuned is None or run.lm is None:
        return
    known = read_documents(run.tuned, MODEL_KIND) if run.tuned.exists() else {}
    if DECODING_DOCUMENT not in known:
        raise ConfigError(
            f"there is no tuned model {run.tuned}, whose settings --all-data takes",
            hint="run the same command without --all-data first",
        )


def _needless(run: RecipeRun, stage: Stage) -> str:
    """Why a recipe has no use for a stage; empty where it has."""
    if stage == "tune" and run.lm is None:
        return "no language model, nothing to tune"
    if stage == "pronounce" and run.dictionary is None:
        return "no dictionary to make"
    return ""


def _finished(run: RecipeRun, stage: Stage) -> bool:
    """Whether the results of a stage are there; a report is always made anew."""
    if stage == "prepare":
        return all((place / "train.jsonl").exists() for _, place in run.sources())
    if stage == "pronounce":
        return _has_all_words(run)
    if stage == "report" or not run.model_path.exists():
        return False
    if stage == "tune":
        return DECODING_DOCUMENT in read_documents(run.model_path, MODEL_KIND)
    if stage == "evaluate":
        results = [_result(run, test, way) for test in run.tests() for way in run.ways()]
        # Tuning writes the model file anew.
        since = run.model_path.stat().st_mtime
        return all(path.exists() and path.stat().st_mtime >= since for path in results)
    return True


def _has_all_words(run: RecipeRun) -> bool:
    """Whether the dictionary is there, with every word that is to be learnt.

    Those of the language model's other texts are not looked at: it would take as long as making it.
    """
    if run.dictionary is None or not run.dictionary.exists():
        return False
    known = read_dictionary(run.dictionary).keys()
    return all(
        known >= set(normalize(one.text, run.config.text).split())
        for manifest in (*run.config.data.train, *run.config.data.dev)
        for one in read_manifest(manifest)
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _prepare(run: RecipeRun) -> None:
    for source, place in run.sources():
        corpus = source.corpus
        folder = None
        if source.folder is not None:
            folder = run.below_corpora(source.folder, f"the corpus {corpus}")
        for name, utterances in prepare(corpus, folder, place, run.corpus_options[corpus]).items():
            minutes = sum(one.duration_s for one in utterances) / 60
            _say(f"  {corpus} {name}: {len(utterances)} utterances, {minutes:.1f} min")


def _pronounce(run: RecipeRun) -> None:
    """Write the dictionary: words of the transcripts, and those of the language model's texts.

    eSpeak NG pronounces them, but for those in a file of the same name in the recipe's folder.
    """
    if run.dictionary is None:
        raise ConfigError("only a recipe whose tokens are phones has words pronounced")
    options, text = run.lm or LmOptions(), run.config.text
    texts = _lm_texts(run, options, run.data_dir / "lm")
    files = [*texts.transcripts, *texts.prose, texts.dev]
    kept = set(vocabulary_of(texts, options.vocabulary)) | set(words_of(texts.dev))
    words = [word for word in ranked_words(files, text) if word in kept]
    own = run.recipe.directory / DICTIONARY_FILE
    found = pronounce_words(
        words, run.recipe.language, read_bases([own], text) if own.exists() else {}
    )
    write_dictionary(run.dictionary, found.dictionary)
    _say(f"  {run.dictionary}: {len(found.dictionary)} words")
    for word, reason in found.left_out.items():
        _say(f"  left out {word!r}: {reason}")


def _check(run: RecipeRun) -> None:
    for line in check_corpus(run.config):
        _say(f"  {line}")


def _train(run: RecipeRun) -> None:
    result = train(run.config, run.run_dir, resume=run.run_dir.exists())
    _say(f"  {result.model_path}: {result.num_parameters:,} parameters, {result.elapsed_s:.0f} s")


def _tune(run: RecipeRun) -> None:
    if run.lm is None:
        raise ConfigError("tuning needs a language model")
    mixed = mix_language_model(_lm_texts(run, run.lm, run.run_dir / "lm"), run.lm)
    _say(f"  {mixed.summary()}")
    lm = run.run_dir / "lm.arpa"
    write_model(mixed.model, lm)
    if run.tuned is not None:
        stored = Recognizer.load(run.tuned, "cpu").source.stored
        assert stored is not None  # `_require_tuned`
        lm_data = model_to_bytes(mixed.model) if stored.lm == "embedded" else None
        store_decoding(run.model_path, stored, lm_data)
        _say(f"  settings of {run.tuned}")
        return
    request = TuneRequest(
        run.model_path,
        run.config.data.dev,
        DecodingChoice(lms=[lm]),
        picture=run.run_dir / "tuning.png",
        device=run.config.training.device,
    )
    for line in tune_model(request).result.lines():
        _say(f"  {line}")


def _lm_texts(run: RecipeRun, options: LmOptions, directory: Path) -> LmTexts:
    """Write what the language model is made of, and what it is made for, as normalised lines."""
    text = run.config.text
    transcripts: list[Path] = []
    manifests = run.config.data.train
    for group in [manifests] if run.tuned is not None else [(one,) for one in manifests]:
        transcripts.append(directory / f"{len(transcripts)}-{group[0].parent.name}.txt")
        _write_transcripts(transcripts[-1], read_manifests(group), text)
    prose: list[Path] = []
    for name in options.prose:
        source = run.below_corpora(name, "the text of the language model")
        prose.append(directory / f"{len(transcripts) + len(prose)}-{source.name.split('.')[0]}.txt")
        write_sentences(source, prose[-1], text)
    dev = directory / "dev.txt"
    _write_transcripts(dev, read_manifests(run.config.data.dev), text)
    return LmTexts(transcripts, prose, dev)


def _write_transcripts(target: Path, utterances: Iterable[Utterance], text: TextConfig) -> None:
    lines = (normalize(one.text, text) for one in utterances)
    write_text_atomic(target, "".join(f"{line}\n" for line in lines))


def _result(run: RecipeRun, test: str, way: str) -> Path:
    return run.run_dir / f"{test}{way}.result.json"


def _evaluate(run: RecipeRun) -> None:
    recognizer = Recognizer.load(run.model_path, run.config.training.device)
    failed = 0
    tests = run.tests().items()
    for (test, manifest), (way, choice) in itertools.product(tests, run.ways().items()):
        evaluation = evaluate_model(recognizer.with_decoding(choice), manifest)
        evaluation.write(run.run_dir / f"{test}{way}.hypotheses.jsonl")
        failed += len(evaluation.failures)
        result = {**evaluation.report.to_dict(), "lines": evaluation.lines()}
        write_text_atomic(_result(run, test, way), json.dumps(result, indent=2) + "\n")
    if failed:
        raise DataError(f"{failed} test utterances could not be read; see above")


def _report(run: RecipeRun) -> None:
    """Print the rates, draw the curves, and transcribe a few held-out files as `asr transcribe`."""
    for test, way in itertools.product(run.tests(), run.ways()):
        result = json.loads(_result(run, test, way).read_text(encoding="utf-8"))
        print(f"{test}{way}:")
        print("\n".join(result["lines"]), flush=True)
    curves = plot_run(run.run_dir)
    recognizer = Recognizer.load(run.model_path, run.config.training.device)
    shown = read_manifest(next(iter(run.tests().values())))[:NUM_SHOWN]
    picture = _draw_alignment(recognizer, shown[0], run.run_dir / "alignment.png")
    _say(f"  curves: {curves}\n  an aligned utterance: {picture}")
    print(f"\nasr transcribe --model {run.model_path} …")
    transcribe([str(one.audio_path) for one in shown], str(run.model_path))


def _draw_alignment(recognizer: Recognizer, one: Utterance, path: Path) -> Path:
    waveform = read_audio(one.audio_path, one.read_options(recognizer.sample_rate_hz))
    words = recognizer.transcribe(waveform).words
    plot_alignment(
        waveform.samples,
        waveform.sample_rate_hz,
        recognizer.features(waveform),
        [(word.text, word.start_s, word.end_s) for word in words],
        path,
    )
    return path


_WORK: Mapping[Stage, Callable[[RecipeRun], None]] = {
    "prepare": _prepare,
    "pronounce": _pronounce,
    "check": _check,
    "train": _train,
    "tune": _tune,
    "evaluate": _evaluate,
    "report": _report,
}
