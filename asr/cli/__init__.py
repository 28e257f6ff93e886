"""The `asr` command: one file per group of verbs; heavy packages load only when a verb runs."""

from __future__ import annotations

import sys

import typer

from asr import __version__
from asr.cli.adapt import adapt
from asr.cli.cut import cut
from asr.cli.decoding_options import takes_decoding_options
from asr.cli.evaluate import evaluate
from asr.cli.lm import lm_app
from asr.cli.models import models
from asr.cli.pack import pack
from asr.cli.plot import plot
from asr.cli.prepare import prepare
from asr.cli.pronounce import pronounce
from asr.cli.score import score
from asr.cli.standard_output import checked_output
from asr.cli.train import train
from asr.cli.transcribe import transcribe
from asr.cli.tune import tune
from asr.errors import AsrError

app = typer.Typer(
    name="asr",
    help="Train, decode, score and ship compact CTC speech recognisers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _verb in (prepare, cut, pronounce, train, score, plot, models, pack):
    app.command()(_verb)
for _decoding_verb in (transcribe, evaluate, tune, adapt):
    app.command()(takes_decoding_options(_decoding_verb))
app.add_typer(lm_app, name="lm")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"asr {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> None:
    """The `asr` command."""
    run_command(app)


def run_command(command: typer.Typer) -> None:
    """Run a command line; bad data or settings end with `error: …`, `hint: …` and exit 1.

    So does standard output that cannot be written to. Typer itself turns Ctrl-C into exit status
    130 and a closed output pipe into 1.
    """
    try:
        with checked_output():
            command()
    except AsrError as error:
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint is not None:
            sys.stderr.write(f"hint: {error.hint}\n")
        sys.exit(1)
