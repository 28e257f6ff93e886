"""`asr evaluate`: recognise a manifest and score it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.arguments import Device, Model
from asr.cli.decoding_options import DecodingOptions
from asr.errors import ConfigError, DataError, require_extra


def evaluate(
    model: Model,
    manifest: Annotated[Path, typer.Argument(help="JSONL manifest with references.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write references, hypotheses and alignments as JSONL."),
    ] = None,
    device: Device = "auto",
    decoding: DecodingOptions = DecodingOptions(),  # noqa: B008 - immutable
) -> None:
    """Word, character and sentence error rate of a model on a manifest.

    Both sides are normalised by the profile that the model was trained with.
    """
    with require_extra("train", "evaluating a PyTorch model"):
        from asr.model_evaluation import evaluate_model
        from asr.recognizer import Recognizer
    from asr.files import check_output
    from asr.shipped import resolve_model

    choice, path = decoding.choice(), resolve_model(model)
    if out is not None:
        check_output(out, [manifest, path, *choice.files()])
    if "num_best" in choice.settings:
        raise ConfigError(
            "num_best does nothing here: the best hypothesis is scored",
            hint="`asr transcribe --format jsonl --n-best N` prints others",
        )
    recognizer = Recognizer.load(path, device, choice)
    evaluation = evaluate_model(recognizer, manifest)
    typer.echo("\n".join(evaluation.lines()))
    if out is not None:
        evaluation.write(out)
    for name, error in evaluation.failures.items():
        typer.echo(f"error: {name}: {error}", err=True)
    if evaluation.failures:
        raise DataError(
            f"{len(evaluation.failures)} utterances could not be read; the rates are of the others"
        )
