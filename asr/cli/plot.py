"""`asr plot`: a picture of a training run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plot(
    run: Annotated[Path, typer.Argument(help="Run directory of `asr train`.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PNG to write.  [default: RUN/curves.png]")
    ] = None,
) -> None:
    """Draw loss, word error rate and learning rate of a run, finished or not."""
    from asr.plots import plot_run

    typer.echo(plot_run(run, out))
