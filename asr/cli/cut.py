"""`asr cut`: utterances into pieces between words, by forced alignment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.arguments import Device, Model
from asr.errors import DataError, require_extra


def cut(
    model: Model,
    manifest: Annotated[Path, typer.Argument(help="JSONL manifest with true transcripts.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="JSONL manifest of the pieces.")],
    words: Annotated[
        str, typer.Option(metavar="A,B,…", help="Keep only stretches of these words.")
    ] = "",
    max_words: Annotated[
        int | None, typer.Option(help="Pieces of one to so many words, drawn.")
    ] = None,
    copies: Annotated[int, typer.Option(help="How often each utterance is cut.")] = 1,
    min_score: Annotated[
        float, typer.Option(help="Drop a piece with a word less sure than this, 0 to 1.")
    ] = 0.3,
    seed: Annotated[int, typer.Option(help="Of the drawn lengths.")] = 0,
    device: Device = "auto",
) -> None:
    """Make training data of pieces: of few words in a row, or of certain words only.

    MODEL must know the letters of the transcripts, which are written as it normalises them. The
    audio stays where it is.
    """
    with require_extra("train", "cutting with a PyTorch model"):
        from asr.cutting import CutOptions, cut_utterances
        from asr.decoder_setup import DecodingChoice
        from asr.manifest import read_manifest, write_manifest
        from asr.recognizer import Recognizer
    from asr.config import parse_options
    from asr.files import check_output
    from asr.shipped import resolve_model

    path = resolve_model(model)
    check_output(out, [manifest, path])
    given = {"max_words": max_words, "copies": copies, "min_score": min_score, "seed": seed}
    options = parse_options(CutOptions, {**given, "words": words}, "the options of cut")
    recognizer = Recognizer.load(path, device, DecodingChoice(decoder="greedy"))
    cutting = cut_utterances(recognizer, read_manifest(manifest), options)
    for name, error in cutting.failures.items():
        typer.echo(f"error: {name}: {error}", err=True)
    if not cutting.pieces:
        raise DataError(f"no piece of {manifest} is left; {cutting.num_unsure} were unsure")
    write_manifest(out, cutting.pieces)
    minutes = sum(piece.duration_s for piece in cutting.pieces) / 60
    typer.echo(f"{out}  {len(cutting.pieces)} pieces  {minutes:.1f} min")
    typer.echo(f"dropped as unsure: {cutting.num_unsure}")
    if cutting.failures:
        raise DataError(f"{len(cutting.failures)} utterances could not be cut; see above")
