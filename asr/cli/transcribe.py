"""`asr transcribe`: audio files to text."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from asr.cli.arguments import Device
from asr.cli.decoding_options import DecodingOptions
from asr.errors import ConfigError, DataError, require_extra

if TYPE_CHECKING:
    from asr.audio import PcmFormat
    from asr.decoding import Hypothesis

OutputFormat = Literal["text", "jsonl"]

_ESCAPES = str.maketrans({"\t": r"\t", "\n": r"\n", "\r": r"\r", "\\": r"\\"})
if os.sep == "\\":
    del _ESCAPES[ord(os.sep)]


def transcribe(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE…", help="Audio files, directories or globs; - for stdin."),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Model file of `asr train`, or a name that `asr models` lists; "
            "without it, the one marked there.",
        ),
    ] = None,
    output: Annotated[
        OutputFormat, typer.Option("--format", help="jsonl adds word times and confidences.")
    ] = "text",
    n_best: Annotated[
        int | None,
        typer.Option(
            "--n-best",
            metavar="N",
            min=1,
            help="With --format jsonl: up to N hypotheses of each file, of different words; all "
            "but the best as alternatives.",
        ),
    ] = None,
    pcm: Annotated[
        str | None,
        typer.Option(
            metavar="RATE:ENCODING[:CHANNELS]", help="Files are headerless, as 8000:s16le."
        ),
    ] = None,
    channel: Annotated[str, typer.Option(help="mix, or the number of one channel from 0.")] = "mix",
    device: Device = "auto",
    decoding: DecodingOptions = DecodingOptions(),  # noqa: B008 - immutable
) -> None:
    r"""Print what is said: one line a file, after its path and a tab when there are several.

    In the path, a tab, line feed, carriage return and backslash are written \t, \n, \r and \\ (a
    backslash not where it separates folders); --format jsonl has the path as JSON.

    A file that cannot be read, such as a recording in a directory whose format has to be converted
    or stated first, and a directory or glob without audio, is named on standard error, the others
    are done, and the exit status is 1.
    """
    with require_extra("train", "transcribing with a PyTorch model"):
        from asr.recognizer import Recognizer, transcribe_each
    from asr.audio import ReadOptions
    from asr.progress import progress_bar

    if n_best is not None:
        if output != "jsonl":
            raise ConfigError("--n-best needs --format jsonl", hint="text has one line a file")
        if decoding.decoder == "greedy":
            raise ConfigError("--n-best needs a beam search: greedy decoding finds one hypothesis")
    choice = decoding.choice(n_best)
    if output != "jsonl" and "num_best" in choice.settings:
        raise ConfigError("num_best needs --format jsonl", hint="text has one line a file")
    paths, problems = expand(files, headerless=pcm is not None)
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    if not paths:
        raise typer.Exit(1)
    path = model_file(model)
    recognizer = Recognizer.load(path, device, choice)
    options = ReadOptions(
        sample_rate_hz=recognizer.sample_rate_hz,
        channel=parse_channel(channel),
        pcm=parse_pcm(pcm) if pcm is not None else None,
    )
    several = len(paths) + len(problems) > 1
    num_failed = 0
    with stdin_as_file(paths) as sources, progress_bar("transcribing", len(paths)) as bar:
        places = dict(sources)
        listed = [(name, path, options) for name, path in sources]
        for name, result in transcribe_each(recognizer, listed):
            bar()
            with bar.hidden():
                if isinstance(result, DataError):
                    num_failed += 1
                    typer.echo(f"error: {_reason(result, name, places[name])}", err=True)
                elif output == "jsonl":
                    typer.echo(to_json(name, result))
                else:
                    text = result[0].text
                    typer.echo(f"{escaped(name)}\t{text}" if several else text)
    if num_failed:
        typer.echo(f"error: {num_failed} of {len(paths)} files were not transcribed", err=True)
    if num_failed or problems:
        raise typer.Exit(1)


def model_file(model: str | None) -> Path:
    """The file of a model; where none is named the default one, which is then said.

    Raises:
        ModelFileError: There is no such file.
    """
    from asr.shipped import DEFAULT_MODEL, default_model, resolve_model

    if model is not None:
        return resolve_model(model)
    path = default_model()
    typer.echo(f"no --model: using {DEFAULT_MODEL!r}, which comes with the package", err=True)
    return path


def expand(names: Sequence[str], headerless: bool = False) -> tuple[list[str], list[DataError]]:
    """Directories and globs as the files they mean, in sorted order; `-` and files as they are.

    A directory is searched for the usual suffixes; a file named outright may have any.

    Args:
        names: Of the command line.
        headerless: The format of files without a header is stated; those of a directory count.

    Returns:
        The files; and an error for each directory that holds no audio, each recording in one that
        has to be converted first or whose format is not stated, each glob that matches nothing or
        is none, and each name that cannot be looked at.
    """
    paths: list[str] = []
    problems: list[DataError] = []
    for name in names:
        try:
            found, unread = _files(name, headerless)
            paths += found
            problems += unread
        except DataError as error:
            problems.append(error)
        except OSError as error:
            problems.append(DataError(f"cannot read {name}: {error.strerror or error}"))
    return paths, problems


def _files(name: str, headerless: bool) -> tuple[list[str], list[DataError]]:
    """What a name means, and what it means that cannot be read."""
    from asr.audio import UNREAD_SUFFIXES
    from asr.corpora.layout import AUDIO_SUFFIXES, RAW_SUFFIXES, find_audio, without_readable

    if not name:
        raise DataError("the name of a file is empty", hint="for the current directory write .")
    path, unread = Path(name), list[Path]()
    if path.is_dir():
        readable = AUDIO_SUFFIXES | (RAW_SUFFIXES if headerless else frozenset())
        found = find_audio(path, readable)
        others = (UNREAD_SUFFIXES | RAW_SUFFIXES) - readable
        unread = without_readable(find_audio(path, others), found)
    elif name != "-" and not path.exists() and any(mark in name for mark in "*?["):
        found = _matches(name)
    else:
        return [name], []
    if not found and not unread:
        raise DataError(f"no audio file in {name}")
    return [str(one) for one in found], [_unread(one) for one in unread]


def _unread(path: Path) -> DataError:
    from asr.audio import UNREAD_SUFFIXES, conversion

    is_foreign = path.suffix.lower() in UNREAD_SUFFIXES
    cure = f"convert it first, such as with {conversion(path)}"
    return DataError(
        f"cannot read {path}",
        cure if is_foreign else "it has no header: state its format with --pcm RATE:ENCODING",
    )


def _matches(pattern: str) -> list[Path]:
    """What fits, sorted; as of a shell, nothing hidden unless the pattern asks for such."""
    anchor = Path(pattern).anchor
    try:
        found = sorted(Path(anchor or ".").glob(pattern.removeprefix(anchor)))
    except ValueError as error:  # such as `a**b`
        raise DataError(f"cannot look for {pattern!r}: {error}") from None
    wants_hidden = _is_hidden(Path(pattern))
    return [path for path in found if wants_hidden or not _is_hidden(path)]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.parts)


@contextmanager
def stdin_as_file(names: Sequence[str]) -> Iterator[list[tuple[str, Path]]]:
    """(name, path) of each file, standard input copied to a temporary file for the block.

    Raises:
        DataError: Standard input is closed, or cannot be copied.
    """
    if "-" not in names:
        yield [(name, Path(name)) for name in names]
        return
    if sys.stdin is None:
        raise DataError("cannot read standard input: it is closed")
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="asr-"))
            copy = Path(folder) / "stdin"
            with copy.open("wb") as written:
                shutil.copyfileobj(sys.stdin.buffer, written)
        except OSError as error:
            raise DataError(
                f"cannot copy standard input to a file: {error.strerror or error}",
                hint="name the file, or a directory with room in the environment variable TMPDIR",
            ) from None
        yield [(name, copy if name == "-" else Path(name)) for name in names]


def _reason(error: DataError, name: str, path: Path) -> str:
    """An error of a file; of standard input, by that name and not by that of the copy at `path`."""
    return str(error).replace(str(path), "standard input") if name == "-" else str(error)


def parse_channel(text: str) -> Literal["mix"] | int:
    """`mix` or a channel number.

    Raises:
        DataError: It is neither.
    """
    if text == "mix":
        return "mix"
    if text.isdecimal():
        return int(text)
    raise DataError(f"--channel must be mix or a number from 0, got {text!r}")


def parse_pcm(text: str) -> PcmFormat:
    """`RATE:ENCODING[:CHANNELS]` as a `PcmFormat`.

    Raises:
        DataError: It is not of that form, or the encoding is unknown.
    """
    from asr.audio import PcmFormat

    parts = text.split(":")
    if len(parts) not in (2, 3) or not parts[0].isdecimal() or not parts[-1]:
        raise DataError(f"--pcm must be RATE:ENCODING[:CHANNELS], such as 8000:s16le, got {text!r}")
    num_channels = parts[2] if len(parts) == 3 else "1"
    if not num_channels.isdecimal():
        raise DataError(f"--pcm: the number of channels must be a number, got {num_channels!r}")
    return PcmFormat(int(parts[0]), parts[1], int(num_channels))


def escaped(name: str) -> str:
    r"""A file name that is one cell of a line, whatever it holds.

    >>> escaped("a\tb")
    'a\\tb'
    """
    return name.translate(_ESCAPES)


def to_json(name: str, hypotheses: Sequence[Hypothesis]) -> str:
    """One JSON line: id, what is said, and alternatives to it where there are any."""
    best, *others = map(_described, hypotheses)
    values: dict[str, Any] = {"id": name, **best}
    if others:
        values["alternatives"] = others
    # The bytes of a file name that are no text have to be escaped.
    not_text = any("\udc80" <= one <= "\udcff" for one in name)
    return json.dumps(values, ensure_ascii=not_text)


def _described(hypothesis: Hypothesis) -> dict[str, Any]:
    """Text, score (null where it is no number), and words with times in seconds and confidences."""
    words = [
        {
            "text": word.text,
            "start_s": round(word.start_s, 3),
            "end_s": round(word.end_s, 3),
            "confidence": round(word.confidence, 4),
        }
        for word in hypothesis.words
    ]
    # Minus infinity, which JSON has no word for: nothing that the grammar allows was heard.
    score = hypothesis.score if math.isfinite(hypothesis.score) else None
    return {"text": hypothesis.text, "score": score, "words": words}
