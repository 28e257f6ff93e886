"""`asr prepare`: from a corpus, or a stranger's recordings, to manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from asr.cli.arguments import path_of
from asr.corpora import CORPORA
from asr.errors import ConfigError

_GENERIC = "kaldi, nemo, csv, folder"


# One parameter an option is how typer declares a command line; each goes on by its name.
def prepare(
    corpus: Annotated[str, typer.Argument(help=f"One of {', '.join(CORPORA)}.")],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", parser=path_of("--out"), help="Where the manifests go."),
    ],
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path_of("--source"),
            help="Where the corpus lies (not for digits and spoken: they are made).",
        ),
    ] = None,
    dev_fraction: Annotated[
        float | None, typer.Option(help="Share held out for development where no dev is given.")
    ] = None,
    test_fraction: Annotated[
        float | None, typer.Option(help="Share held out for test where no test is given.")
    ] = None,
    split_by: Annotated[
        str | None,
        typer.Option(
            help="What stays together: speaker, recording or utterance; by default the speaker "
            f"where all are known, else the recording [{_GENERIC}, commonvoice]."
        ),
    ] = None,
    test_speaker: Annotated[str | None, typer.Option(help="Speaker to test on [fsdd].")] = None,
    dev_speaker: Annotated[str | None, typer.Option(help="Speaker for development [fsdd].")] = None,
    connected: Annotated[
        int | None, typer.Option(help="Connected utterances to join of each speaker [fsdd].")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of what is drawn [fsdd, digits, spoken, joined, background]."),
    ] = None,
    download: Annotated[
        list[str] | None,
        typer.Option(metavar="SUBSET", help="Fetch it to --source first [librispeech]; repeat."),
    ] = None,
    subset: Annotated[
        list[str] | None,
        typer.Option(metavar="SUBSET", help="Prepare only this one [librispeech]; repeat."),
    ] = None,
    expanded: Annotated[
        bool, typer.Option("--expanded", help="Transcripts with numbers written out [ljspeech].")
    ] = False,
    validated: Annotated[
        bool, typer.Option("--validated", help="Divide validated.tsv [commonvoice].")
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=NAME", help="The table's name for a field [csv]; repeat."),
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(metavar="CHAR", help="Character between cells [csv].")
    ] = None,
    audio_root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path_of("--audio-root"),
            help="Where relative paths start [kaldi, nemo, csv].",
        ),
    ] = None,
    transcripts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_of("--transcripts"),
            help="One file with all transcripts [folder].",
        ),
    ] = None,
    speaker_folders: Annotated[
        bool, typer.Option("--speaker-folders", help="Each speaker has a folder [folder].")
    ] = False,
    raw: Annotated[
        str | None,
        typer.Option(
            metavar="ENCODING:RATE", help=f"Format of .raw files, as s16le:8000 [{_GENERIC}]."
        ),
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help=f"Channel to take, from 0; default: the mix [{_GENERIC}].")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any option of the corpus by its name."),
    ] = None,
) -> None:
    """Write train.jsonl, dev.jsonl and test.jsonl for a corpus, in place of any that DIR has.

    Parts that an earlier run wrote there, such as test-connected.jsonl, are removed where this run
    does not write them, unless they were changed since.

    Options that name corpora in brackets apply to those only. An utterance whose transcript is
    missing, or whose audio is missing or has a damaged header, is named on standard error and left
    out; the exit status is then 1. Samples are not read before training, which names all that it
    cannot use. Where each corpus comes from: data/README.md.
    """
    given = {
        name: value
        for name, value in locals().items()
        if name not in ("corpus", "source", "out", "column", "set_")
        and not (value is None or value is False or value == [])
    }
    options = _options(given, column or (), set_ or ())
    num_left_out = _prepare(corpus, source, out, options)
    if num_left_out:
        plural = "utterance" if num_left_out == 1 else "utterances"
        typer.echo(f"error: {num_left_out} {plural} left out", err=True)
        raise typer.Exit(1)


def _prepare(corpus: str, source: Path | None, out: Path, options: Mapping[str, Any]) -> int:
    """Prepare and print what was written; returns how many utterances were left out."""
    from asr import corpora
    from asr.manifest import Problem

    num_left_out = 0

    def report(one: Problem) -> None:
        nonlocal num_left_out
        num_left_out += 1
        typer.echo(f"left out: {one.utterance_id}: {one.reason}", err=True)

    manifests = corpora.prepare(corpus, source, out, options, report)
    width = max(len(str(out / f"{name}.jsonl")) for name in manifests)
    for name, utterances in manifests.items():
        path = f"{out / f'{name}.jsonl'!s:{width}}"
        minutes = sum(one.duration_s for one in utterances) / 60
        length = f"{minutes:6.1f} min" if minutes < 100 else f"{minutes / 60:6.1f} h"
        speakers = len({one.speaker for one in utterances} - {None})
        named = f"  {speakers} speaker{'' if speakers == 1 else 's'}" if speakers else ""
        what = "utterance " if len(utterances) == 1 else "utterances"
        typer.echo(f"{path}  {len(utterances):6} {what}  {length}{named}")
    return num_left_out


def _options(
    given: Mapping[str, Any], columns: Sequence[str], assignments: Sequence[str]
) -> dict[str, Any]:
    """The corpus's options by name, from flags and assignments."""
    options = dict(given)
    if columns:
        options["column"] = dict(_assignment("--column", column) for column in columns)
    for assignment in assignments:
        name, value = _assignment("--set", assignment)
        if name in options:
            raise ConfigError(f"{name} is given twice, by its flag and by --set")
        options[name] = value
    return options


def _assignment(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name.strip() and value):
        raise ConfigError(f"cannot read {option} {text!r}", hint=f"write {option} NAME=VALUE")
    return name.strip(), value
