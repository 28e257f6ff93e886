"""`asr models`: the models that come with the package."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.errors import ConfigError, DataError

if TYPE_CHECKING:
    from asr.shipped import ShippedModel


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Print the card of this one.")
    ] = None,
    copy_to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Copy the model file of NAME, to tune it, say."),
    ] = None,
) -> None:
    """List the models that come with the package, or print the card of one.

    Their names stand for their files wherever a command wants a model.
    """
    from asr.shipped import shipped_model, shipped_models

    if name is not None:
        model = shipped_model(name)
        if copy_to is None:
            typer.echo(model.card.rstrip("\n"))
        else:
            _copy(model, copy_to)
    elif copy_to is not None:
        raise ConfigError("--copy-to does not say which model", hint="name it: asr models NAME")
    elif found := shipped_models():
        typer.echo("\n".join(_lines(found)))
    else:
        typer.echo("no models come with this package", err=True)


def _lines(models: tuple[ShippedModel, ...]) -> list[str]:
    """Aligned columns, and the measured results of each below it."""
    from asr.shipped import DEFAULT_MODEL

    width = max(len(model.name) for model in models)
    lines: list[str] = []
    for model in models:
        mark = "*" if model.name == DEFAULT_MODEL else " "
        size, rate = f"{model.num_bytes / 1e6:.1f} MB", f"{model.sample_rate_hz / 1000:g} kHz"
        lines.append(f"{mark} {model.name:{width}}  {size}  {rate}  {model.summary}")
        indent = " " * (width + 4)
        lines.append(f"{indent}decoding: {model.decoding}")
        lines += [
            f"{indent}{one.test_set}: WER {one.wer:.2f} % ({one.errors} / {one.words})"
            for one in model.results
        ]
    return [*lines, "* is what `asr transcribe` takes where no model is named"]


def _copy(model: ShippedModel, target: Path) -> None:
    from asr.files import atomic_path

    if target.exists():
        raise DataError(f"{target} exists already", hint="copy to another name, or remove it")
    with atomic_path(target) as temporary:
        shutil.copyfile(model.path, temporary)
    typer.echo(f"{model.name} copied to {target}", err=True)
