"""`asr train`: one experiment from its configuration to a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.errors import require_extra


def train(
    config: Annotated[Path, typer.Argument(help="TOML file; only what differs from the defaults.")],
    run_dir: Annotated[
        Path, typer.Option("--run-dir", help="Directory for everything the run leaves.")
    ],
    set_: Annotated[
        list[str], typer.Option("--set", metavar="A.B=C", help="Override one setting; repeatable.")
    ] = [],  # noqa: B006 - typer reads the default, nothing mutates it
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint of --run-dir.")
    ] = False,
) -> None:
    """Train a recogniser; the model ends up in RUN_DIR/model.safetensors."""
    with require_extra("train", "training"):
        from asr.config import load_options
        from asr.experiment import ExperimentConfig
        from asr.training import train as run_training
        from asr.training.state import STATE_FILE

    options = load_options(ExperimentConfig, config, set_)
    if resume and not (run_dir / STATE_FILE).exists():
        typer.echo(
            f"warning: {run_dir} has no checkpoint to resume from; training starts anew", err=True
        )
    try:
        result = run_training(options, run_dir, resume)
    except KeyboardInterrupt:
        saved = (run_dir / STATE_FILE).exists()
        effect = "goes on from the state saved in" if saved else "starts anew: none is saved in"
        typer.echo(f"interrupted; --resume {effect} {run_dir}", err=True)
        raise
    best = result.validation
    typer.echo(
        f"{result.model_path}: dev WER {100 * best.wer:.2f} % [ {best.errors} / {best.words} ], "
        f"{result.num_parameters:,} parameters, {result.elapsed_s:.0f} s of training"
    )
