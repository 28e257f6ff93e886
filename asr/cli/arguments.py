"""Arguments and options of several verbs, defined once."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="Model file of `asr train`, or a name that `asr models` lists."
    ),
]
"""A model to read; see `asr.shipped.resolve_model`."""

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
"""Where a model computes."""
