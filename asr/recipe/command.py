"""The command line of a recipe: which stages, which settings, and where things go."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from asr.cli import run_command
from asr.config import load_options
from asr.errors import ConfigError
from asr.experiment import ExperimentConfig
from asr.recipe.description import Recipe
from asr.recipe.language_model import LmOptions
from asr.recipe.stages import (
    CORPORA_VARIABLE,
    DICTIONARY_FILE,
    STAGES,
    RecipeRun,
    run_stages,
    with_development_data,
)

CONFIG_FILE = "config.toml"
MAX_NAME_BYTES = 120
"""Of a directory; file systems take 255 at most."""


@dataclass(frozen=True)
class Settings:
    """A file of settings, and assignments that go over it."""

    path: Path
    assignments: Sequence[str]

    def below(self, section: str) -> list[str]:
        """Assignments to a section that is not the training run's, without its name."""
        return [item.removeprefix(section) for item in self.assignments if item.startswith(section)]


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
        config: Annotated[
            Path, typer.Option(metavar="FILE", help="Settings, a file of the recipe's folder.")
        ] = Path(CONFIG_FILE),
        run_dir: Annotated[
            Path | None,
            typer.Option(help="Where a run of these settings goes; default: runs/… of the recipe."),
        ] = None,
        data_dir: Annotated[
            Path | None, typer.Option(help="Where manifests go; default: data/… of the recipe.")
        ] = None,
        all_data: Annotated[
            bool,
            typer.Option(
                "--all-data",
                help="After a run without it: train on the development data too, and decode with "
                "the settings found on them, in a directory beside that run's.",
            ),
        ] = False,
    ) -> None:
        run = _plan(recipe, corpora, Settings(recipe.directory / config, set_), (run_dir, data_dir))
        run_stages(with_development_data(run) if all_data else run, stage, stop_stage)

    names = ", ".join(source.corpus for source in recipe.sources)
    command.__doc__ = f"Prepare {names}, train, tune, evaluate and report."
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    run_command(app)


def _plan(
    recipe: Recipe,
    corpora: Path | None,
    settings: Settings,
    directories: tuple[Path | None, Path | None],
) -> RecipeRun:
    of_corpus, of_lm = settings.below("corpus."), settings.below("lm.")
    own = [item for item in settings.assignments if not item.startswith(("corpus.", "lm."))]
    variant = ",".join(of_corpus).replace(os.sep, "_") or "default"
    other_file = [] if settings.path == recipe.directory / CONFIG_FILE else [settings.path.stem]
    changed = [variant, *other_file, *own, *(f"lm.{item}" for item in of_lm)]
    run_name = _short(",".join(changed).replace(os.sep, "_"))
    data_dir = directories[1] or recipe.directory / "data" / _short(variant)
    manifests = [
        f"data.{name}={_toml([str(path / f'{name}.jsonl') for path in recipe.places(data_dir)])}"
        for name in ("train", "dev")
    ]
    return RecipeRun(
        recipe,
        _with_dictionary(load_options(ExperimentConfig, settings.path, own, manifests), data_dir),
        _lm_options(recipe, of_lm),
        _corpus_options(recipe, of_corpus),
        corpora,
        data_dir,
        directories[0] or recipe.directory / "runs" / run_name,
    )


def _short(name: str) -> str:
    """A name that a directory may have; a cut one ends in a digest of the whole."""
    whole = os.fsencode(name)
    if len(whole) <= MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(whole).hexdigest()[:8]
    return f"{whole[: MAX_NAME_BYTES - 9].decode(errors='ignore')}-{digest}"


def _with_dictionary(config: ExperimentConfig, data_dir: Path) -> ExperimentConfig:
    """Where phones have no dictionary, neither by name nor in a model, the recipe makes one."""
    tokens, has_model = config.tokens, config.training.start_from is not None
    if tokens.kind != "phone" or tokens.pronunciations is not None or has_model:
        return config
    made = tokens.model_copy(update={"pronunciations": data_dir / DICTIONARY_FILE})
    return config.model_copy(update={"tokens": made})


def _toml(value: object) -> str:
    """A string, number or list as TOML writes it, which for these is as JSON does."""
    return json.dumps(value, ensure_ascii=False)


def _lm_options(recipe: Recipe, assignments: Sequence[str]) -> LmOptions | None:
    if recipe.lm is None and not assignments:
        return None
    base = {} if recipe.lm is None else recipe.lm.model_dump(mode="json", exclude_none=True)
    own = [f"{name}={_toml(value)}" for name, value in base.items()]
    return load_options(LmOptions, None, [*own, *assignments])


def _corpus_options(recipe: Recipe, assignments: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Options of each importer, those of the command line over the recipe's."""
    options = {source.corpus: dict(source.options) for source in recipe.sources}
    for item in assignments:
        name, equals, value = item.partition("=")
        corpus, dot, option = name.partition(".")
        if not dot and len(options) == 1:
            corpus, option = next(iter(options)), name
        if not equals or not option or corpus not in options:
            raise ConfigError(
                f"cannot tell which corpus `corpus.{item}` is for",
                hint=f"write corpus.NAME.option=value; this recipe has {', '.join(options)}",
            )
        options[corpus][option] = value
    return options
