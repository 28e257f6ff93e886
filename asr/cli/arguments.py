"""Arguments and options of several verbs, defined once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from asr.errors import ConfigError

NumberT = TypeVar("NumberT", int, float)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="Model file of `asr train`, or a name that `asr models` lists."
    ),
]
"""A model to read; see `asr.shipped.resolve_model`."""

WritesLike = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="Write words as this model does, a file of `asr train` or a name of `asr models`: "
        "normalise them by its profile.",
    ),
]
"""A model whose way of writing words is taken; see `asr.cli.model_text`."""

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
"""Where a model computes."""


def path_of(option: str) -> Callable[[str], Path]:
    """What reads the path of an option; an empty one, which would mean `.`, is a `ConfigError`."""

    def parse_path(text: str) -> Path:
        if not text:
            raise ConfigError(f"{option} is empty", hint="for the current directory write .")
        return Path(text)

    return parse_path


def parse_numbers(option: str, text: str, kind: Callable[[str], NumberT]) -> list[NumberT]:
    """Numbers separated by commas or blanks.

    Args:
        option: What they were given to, for errors.
        text: The numbers.
        kind: `int` or `float`.

    Raises:
        ConfigError: Something is no such number.
    """
    try:
        return [kind(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ConfigError(f"{option}: cannot read numbers in {text!r}") from None
