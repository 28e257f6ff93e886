"""Recipes: a corpus, its settings, and the stages from its files to a word error rate.

`recipes/<corpus>/run.py` names the corpus and calls `main`; everything else is here. The stages are
prepare → check → train → tune → evaluate → report. A stage whose result is there is skipped, so a
recipe that was stopped goes on where it was. A recipe with a language model, built from its own
training transcripts, tunes the beam search on its development set; then both decoders are scored.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from asr.audio import read_audio
from asr.checkpoint import MODEL_KIND, read_documents
from asr.cli import run_command
from asr.cli.transcribe import transcribe
from asr.config import load_options
from asr.corpora import prepare
from asr.decoder_setup import DecodingChoice
from asr.errors import ConfigError, DataError
from asr.experiment import ExperimentConfig
from asr.files import write_text_atomic
from asr.lm.files import write_model
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.manifest import read_manifest, read_manifests
from asr.model_evaluation import evaluate_model
from asr.model_tuning import TuneRequest, tune_model
from asr.plots import plot_alignment, plot_run
from asr.recognizer import DECODING_DOCUMENT, Recognizer
from asr.text import normalize
from asr.training import MODEL_FILE, train
from asr.training.data import check_corpus

Stage = Literal["prepare", "check", "train", "tune", "evaluate", "report"]
STAGES: tuple[Stage, ...] = get_args(Stage)
CORPORA_VARIABLE = "ASR_CORPORA"
NUM_SHOWN = 3
"""Held-out files that the last stage transcribes for the reader to see."""


@dataclass(frozen=True)
class Recipe:
    """What distinguishes one recipe from another.

    Attributes:
        directory: The recipe's folder, with its `config.toml`.
        corpus: Name of the importer, see `asr.corpora`.
        folder: Where the corpus lies below the corpora directory; None when it is made on the spot.
        options: Options of the importer; `--set corpus.name=value` goes over them.
        lm_order: Longest n-grams of a language model of the training transcripts; None for no
            language model and greedy decoding.
    """

    directory: Path
    corpus: str
    folder: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    lm_order: int | None = None


@dataclass(frozen=True)
class _Run:
    recipe: Recipe
    config: ExperimentConfig
    corpus_options: dict[str, Any]
    corpora: Path | None
    data_dir: Path
    run_dir: Path

    @property
    def model_path(self) -> Path:
        return self.run_dir / MODEL_FILE

    def tests(self) -> list[Path]:
        """Test manifests: `test.jsonl`, and parts such as `test-clean.jsonl`."""
        parts = sorted(self.data_dir.glob("test-*.jsonl"))
        return parts or [self.data_dir / "test.jsonl"]

    def ways(self) -> dict[str, DecodingChoice]:
        """How the tests are decoded, by the ending of the names of results: tuned is the rule."""
        as_stored = {"": DecodingChoice()}
        if self.recipe.lm_order is None:
            return as_stored
        return {".greedy": DecodingChoice(decoder="greedy"), **as_stored}


def main(recipe: Recipe) -> None:
    """Run a recipe's command line; the exit status is 0 when every stage asked for succeeded."""

    def command(
        corpora: Annotated[
            Path | None,
            typer.Option(envvar=CORPORA_VARIABLE, help="Directory that holds the corpora."),
        ] = None,
        stage: Annotated[
            str, typer.Option(help="Begin here, doing this stage again: " + ", ".join(STAGES))
        ] = "",
        stop_stage: Annotated[str, typer.Option(help="End after this stage.")] = STAGES[-1],
        set_: Annotated[
            list[str], typer.Option("--set", metavar="A.B=C", help="Override one setting.")
        ] = [],  # noqa: B006 - typer reads the default, nothing mutates it
        run_dir: Annotated[
            Path | None, typer.Option(help="Where the run goes; default: runs/… of the recipe.")
        ] = None,
        data_dir: Annotated[
            Path | None, typer.Option(help="Where manifests go; default: data/… of the recipe.")
        ] = None,
    ) -> None:
        run = _plan(recipe, corpora, set_, (run_dir, data_dir))
        run_stages(run, stage, stop_stage)

    command.__doc__ = f"Prepare {recipe.corpus}, train, tune, evaluate and report."
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    run_command(app)


def _plan(
    recipe: Recipe,
    corpora: Path | None,
    assignments: Sequence[str],
    directories: tuple[Path | None, Path | None],
) -> _Run:
    own = [item for item in assignments if not item.startswith("corpus.")]
    chosen = [item.removeprefix("corpus.") for item in assignments if item.startswith("corpus.")]
    options = recipe.options | dict(item.split("=", 1) for item in chosen)
    variant = ",".join(chosen).replace(os.sep, "_") or "default"
    run_dir = directories[0] or recipe.directory / "runs" / _run_name(variant, own)
    data_dir = directories[1] or recipe.directory / "data" / variant
    manifests = [f"data.{name}={data_dir / name}.jsonl" for name in ("train", "dev")]
    config = load_options(ExperimentConfig, recipe.directory / "config.toml", [*manifests, *own])
    return _Run(recipe, config, options, corpora, data_dir, run_dir)


def _run_name(variant: str, assignments: Sequence[str]) -> str:
    parts = [variant, *assignments]
    return ",".join(part.replace(os.sep, "_") for part in parts)[:120]


def run_stages(run: _Run, stage: str, stop_stage: str) -> None:
    """Run the stages from `stage` (done again) or the first unfinished one, to `stop_stage`.

    Raises:
        ConfigError: A stage is unknown, or they are in the wrong order.
    """
    for name in filter(None, (stage, stop_stage)):
        if name not in STAGES:
            raise ConfigError(f"unknown stage {name!r}", hint=f"stages: {', '.join(STAGES)}")
    first = STAGES.index(stage) if stage else 0
    last = STAGES.index(stop_stage)
    if first > last:
        raise ConfigError(f"--stage {stage} comes after --stop-stage {stop_stage}")
    for name in STAGES[first : last + 1]:
        if name == "tune" and run.recipe.lm_order is None:
            _say("[tune] no language model, nothing to tune")
            continue
        if name != stage and _finished(run, name):
            _say(f"[{name}] done before, skipped")
            continue
        _say(f"[{name}]")
        _WORK[name](run)


def _finished(run: _Run, stage: Stage) -> bool:
    """Whether the results of a stage are there; a report is always made anew."""
    if stage == "prepare":
        return (run.data_dir / "train.jsonl").exists()
    if stage == "report" or not run.model_path.exists():
        return False
    if stage == "tune":
        return DECODING_DOCUMENT in read_documents(run.model_path, MODEL_KIND)
    if stage == "evaluate":
        results = [_result(run, one, way) for one in run.tests() for way in run.ways()]
        # Tuning writes the model file anew.
        since = run.model_path.stat().st_mtime
        return all(path.exists() and path.stat().st_mtime >= since for path in results)
    return True


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _prepare(run: _Run) -> None:
    recipe = run.recipe
    source: Path | None = None
    if recipe.folder is not None:
        if run.corpora is None:
            raise ConfigError(
                f"the recipe needs the corpus {recipe.corpus}, and no directory was named",
                hint=f"--corpora DIR or {CORPORA_VARIABLE}=DIR, with the corpus in DIR/"
                f"{recipe.folder}; data/README.md says where to get it",
            )
        source = run.corpora / recipe.folder
    sets = prepare(recipe.corpus, source, run.data_dir, run.corpus_options)
    for name, utterances in sets.items():
        minutes = sum(one.duration_s for one in utterances) / 60
        _say(f"  {name}: {len(utterances)} utterances, {minutes:.1f} min")


def _check(run: _Run) -> None:
    for line in check_corpus(run.config):
        _say(f"  {line}")


def _train(run: _Run) -> None:
    result = train(run.config, run.run_dir, resume=run.run_dir.exists())
    _say(f"  {result.model_path}: {result.num_parameters:,} parameters, {result.elapsed_s:.0f} s")


def _tune(run: _Run) -> None:
    if run.recipe.lm_order is None:
        raise ConfigError("tuning needs a language model")
    text = run.run_dir / "lm.txt"
    transcripts = read_manifests(run.config.data.train)
    lines = (normalize(one.text, run.config.text) for one in transcripts)
    write_text_atomic(text, "".join(f"{line}\n" for line in lines))
    lm = run.run_dir / "lm.arpa"
    write_model(build_model([text], BuildOptions(order=run.recipe.lm_order)).model, lm)
    device = run.config.training.device
    request = TuneRequest(run.model_path, run.config.data.dev, DecodingChoice(lms=[lm]))
    tuning = tune_model(replace(request, picture=run.run_dir / "tuning.png", device=device))
    for line in tuning.result.lines():
        _say(f"  {line}")


def _result(run: _Run, manifest: Path, way: str) -> Path:
    return run.run_dir / f"{manifest.stem}{way}.result.json"


def _evaluate(run: _Run) -> None:
    recognizer = Recognizer.load(run.model_path, run.config.training.device)
    failed = 0
    for manifest, (way, choice) in itertools.product(run.tests(), run.ways().items()):
        evaluation = evaluate_model(recognizer.with_decoding(choice), manifest)
        evaluation.write(run.run_dir / f"{manifest.stem}{way}.hypotheses.jsonl")
        failed += len(evaluation.failures)
        result = {**evaluation.report.to_dict(), "lines": evaluation.lines()}
        write_text_atomic(_result(run, manifest, way), json.dumps(result, indent=2) + "\n")
    if failed:
        raise DataError(f"{failed} test utterances could not be read; see above")


def _report(run: _Run) -> None:
    """Print the rates, draw the curves, and transcribe a few held-out files as `asr transcribe`."""
    for manifest, way in itertools.product(run.tests(), run.ways()):
        result = json.loads(_result(run, manifest, way).read_text(encoding="utf-8"))
        print(f"{manifest.stem}{way}:")
        print("\n".join(result["lines"]), flush=True)
    curves = plot_run(run.run_dir)
    recognizer = Recognizer.load(run.model_path, run.config.training.device)
    shown = read_manifest(run.tests()[0])[:NUM_SHOWN]
    picture = _draw_alignment(recognizer, run, shown[0].id)
    _say(f"  curves: {curves}\n  an aligned utterance: {picture}")
    print(f"\nasr transcribe --model {run.model_path} …")
    transcribe([str(one.audio_path) for one in shown], run.model_path)


def _draw_alignment(recognizer: Recognizer, run: _Run, utterance_id: str) -> Path:
    utterances = {one.id: one for one in read_manifest(run.tests()[0])}
    one = utterances[utterance_id]
    waveform = read_audio(one.audio_path, one.read_options(recognizer.sample_rate_hz))
    words = recognizer.transcribe(waveform).words
    path = run.run_dir / "alignment.png"
    plot_alignment(
        waveform.samples,
        waveform.sample_rate_hz,
        recognizer.features(waveform),
        [(word.text, word.start_s, word.end_s) for word in words],
        path,
    )
    return path


_WORK: Mapping[Stage, Callable[[_Run], None]] = {
    "prepare": _prepare,
    "check": _check,
    "train": _train,
    "tune": _tune,
    "evaluate": _evaluate,
    "report": _report,
}
