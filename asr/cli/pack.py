"""`asr pack`: a smaller file of a model, to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from asr.cli.arguments import Model
from asr.errors import require_extra


def pack(
    model: Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The model file to write.")
    ],
    weights: Annotated[
        Literal["int8", "float16", "float32"],
        typer.Option(help="How to store them; int8 has a scale for each row of a matrix."),
    ] = "float16",
) -> None:
    """Write a smaller file of MODEL: same settings, vocabulary, decoding and language model.

    The language model's probabilities are rounded to 256 levels an order, and absolute paths in
    the stored configuration are reduced to file names.
    """
    with require_extra("train", "packing a PyTorch model"):
        from asr.model_packing import pack_model
    from asr.files import check_output
    from asr.shipped import resolve_model

    source = resolve_model(model)
    check_output(output, [source])
    packing = pack_model(source, output, weights)
    typer.echo(f"{source}: {packing.num_bytes_before} bytes")
    typer.echo(f"{output}: {packing.num_bytes} bytes")
    if packing.lm_bytes:
        typer.echo(f"language model: {packing.lm_bytes_before} bytes, now {packing.lm_bytes}")
