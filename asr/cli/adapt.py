"""`asr adapt`: a model to a voice or a microphone, from recordings without transcripts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.arguments import Device, Model
from asr.cli.decoding_options import DecodingOptions
from asr.cli.transcribe import expand
from asr.errors import DataError, require_extra

if TYPE_CHECKING:
    from asr.manifest import Utterance

ANY_ID = "-"
"""Of a file, before recordings of several sources are numbered."""


def adapt(
    model: Model,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE…",
            help="Audio files, directories or globs; or manifests (*.jsonl), whose transcripts are "
            "not looked at.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The model file to write.")
    ],
    dev: Annotated[
        Path | None,
        typer.Option(
            metavar="MANIFEST",
            help="Other recordings, with transcripts: where the adapted model makes more errors "
            "in them, it is not written.",
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(help="How often to recognise the recordings and train on that.")
    ] = 1,
    epochs: Annotated[int, typer.Option(help="Times through the recordings, each round.")] = 4,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 1e-3,
    share: Annotated[
        float,
        typer.Option(help="How far to go to what training ends with; 1 is the whole way."),
    ] = 0.5,
    seed: Annotated[int, typer.Option(help="Of augmentation and order.")] = 0,
    device: Device = "auto",
    decoding: DecodingOptions = DecodingOptions(),  # noqa: B008 - immutable
) -> None:
    """Train MODEL on what it hears in new recordings itself, and write the outcome.

    It gets better at a voice, a microphone or a room that it recognises for the most part. A
    few minutes do; transcripts are not needed. Vocabulary, language model and decoding settings
    stay. A file that cannot be read is named, the others are used, and the exit status is 1.
    """
    with require_extra("train", "adapting a PyTorch model"):
        from asr.model_adaptation import AdaptOptions, AdaptRequest, adapt_model
    from asr.config import parse_options
    from asr.files import check_output
    from asr.shipped import resolve_model

    path = resolve_model(model)
    given = {"rounds": rounds, "epochs": epochs, "learning_rate": rate, "share": share}
    options = parse_options(AdaptOptions, {**given, "seed": seed}, "the options of adapt")
    choice = decoding.choice()
    recordings, names, problems = _recordings(files)
    read = [path, *map(Path, files), *choice.files(), *(one.audio_path for one in recordings)]
    check_output(output, read if dev is None else [*read, dev])
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    request = AdaptRequest(path, recordings, output, dev, choice, options, device)
    adaptation = adapt_model(request)
    for name, error in adaptation.failures.items():
        typer.echo(f"error: {names[name]}: {error}", err=True)
    typer.echo("\n".join(adaptation.lines()))
    if not adaptation.is_written:
        raise DataError(f"{output} is not written: the model is better as it is")
    typer.echo(f"{output}")
    if problems or adaptation.failures:
        raise DataError("some recordings could not be used; see above")


def _recordings(names: list[str]) -> tuple[list[Utterance], dict[str, str], list[DataError]]:
    """Recordings under ids of their own, what to call each, and why others are none."""
    from asr.audio import probe_audio
    from asr.manifest import Utterance, read_manifest

    listed = [one for name in names if name.endswith(".jsonl") for one in read_manifest(Path(name))]
    found = [(one.id, one) for one in listed]
    paths, problems = expand([name for name in names if not name.endswith(".jsonl")])
    for path in paths:
        try:
            duration_s = probe_audio(Path(path)).duration_s
        except DataError as error:
            problems.append(error)
        else:
            found.append((path, Utterance(ANY_ID, Path(path), duration_s, "")))
    shown = {f"{index:07d}": name for index, (name, _) in enumerate(found)}
    recordings = [replace(one, id=key) for key, (_, one) in zip(shown, found, strict=True)]
    return recordings, shown, problems
