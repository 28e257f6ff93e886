"""`asr tune`: settings of the beam search from development data, into the model file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from asr.cli.arguments import Device
from asr.cli.decoding_options import DecodingOptions
from asr.errors import ConfigError, require_extra


def tune(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Model file of `asr train`; it is rewritten.")
    ],
    manifests: Annotated[
        list[Path],
        typer.Argument(
            metavar="MANIFEST…", help="Development data, JSONL manifests; never the test set."
        ),
    ],
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="PNG of the error surface.  [default: MODEL with .tuning.png]"
        ),
    ] = None,
    embed: Annotated[
        bool,
        typer.Option(
            "--embed/--no-embed",
            help="Put the language model into the model file, or leave it out.",
        ),
    ] = True,
    time_limit: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="About how long to search; large sets are searched in part then.",
        ),
    ] = 60.0,
    device: Device = "auto",
    decoding: DecodingOptions = DecodingOptions(),  # noqa: B008 - immutable
) -> None:
    """Find language model weight, word bonus and pruning, and store them in MODEL.

    With --set, lm_weight, word_bonus and unknown_score are where the search begins, in place of the
    defaults: of settings that do as well as the best, the nearest to them are stored.

    Later commands decode by what is stored, with confidences calibrated on the same data. Where the
    beam search makes more errors than greedy decoding, greedy stays the default.
    """
    if not 0 < time_limit < math.inf:
        raise ConfigError(f"--time-limit must be a number of seconds above 0, got {time_limit:g}")
    with require_extra("train", "tuning a PyTorch model"):
        from asr.model_tuning import TuneRequest, tune_model

    from asr.shipped import is_shipped, resolve_model

    path = resolve_model(model)
    if is_shipped(path):
        raise ConfigError(
            f"{path.stem} comes with the package and is not rewritten",
            hint=f"tune a copy: asr models {path.stem} --copy-to my.safetensors",
        )
    request = TuneRequest(path, manifests, decoding.choice(), embed, plot, time_limit, device)
    tuning = tune_model(request)
    typer.echo("\n".join(tuning.result.lines()))
    if tuning.picture is not None:
        typer.echo(f"error surface: {tuning.picture}")
    default = f"{tuning.stored.decoder} decoding is its default"
    if tuning.stored.decoder == "beam" and tuning.stored.lm == "elsewhere":
        default += " where --lm names the language model; else it is greedy"
    typer.echo(f"stored in {model}: {default}")
