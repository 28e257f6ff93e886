"""Reading what corpora are laid out in: text tables, lines, folders of audio."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from asr.errors import DataError, not_utf8_hint

T = TypeVar("T")
U = TypeVar("U")

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".sph"}
    | {".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64"}
)
"""Of files that state their own format; compare in lower case."""

RAW_SUFFIXES = frozenset({".raw", ".pcm"})
"""Of files without a header, whose format must be told."""

NOT_IN_NAMES = r"[^\w.-]"
"""Characters that neither an id nor the name of a file that is written should hold."""

SHOWN_LINES = 5
"""Malformed lines quoted in one message; the rest is counted."""


def read_text(path: Path) -> str:
    """A UTF-8 text file, with or without byte-order mark.

    Raises:
        DataError: It is missing, a directory, unreadable, or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 (byte {error.start})",
            hint=not_utf8_hint(error.object),
        ) from None


def parse_lines(path: Path, parse: Callable[[str], T]) -> list[T]:
    """Apply `parse` to each line that is not blank.

    Lines end at a line feed only: transcripts may hold U+2028 and its like.

    Args:
        path: UTF-8 text.
        parse: Takes a line without its end; raises ValueError with the reason where it is
            malformed.

    Raises:
        DataError: The file cannot be read, or lines are malformed: their numbers and reasons.
    """
    numbered = enumerate(read_text(path).split("\n"), start=1)
    return _parse_all(path, ((n, line.rstrip("\r")) for n, line in numbered if line.strip()), parse)


def parse_named(path: Path, parse: Callable[[str], tuple[str, T]]) -> dict[str, T]:
    """Apply `parse` to each line; it gives a name, which may not occur twice, and a value.

    Raises:
        DataError: As `parse_lines`, or a name occurs twice: its line number.
    """
    named: dict[str, T] = {}

    def add(line: str) -> None:
        name, value = parse(line)
        if name in named:
            raise ValueError(f"{name!r} occurs a second time")
        named[name] = value

    parse_lines(path, add)
    return named


def read_pairs(path: Path) -> dict[str, str]:
    """A table of `name value…` lines, as Kaldi keeps them; the value may be empty.

    Raises:
        DataError: The file cannot be read, or a name occurs twice.
    """

    def pair(line: str) -> tuple[str, str]:
        name, *value = line.split(maxsplit=1)
        return name, value[0].rstrip() if value else ""

    return parse_named(path, pair)


def read_rows(
    path: Path, delimiter: str, quoted: bool
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """A table with a header line.

    Args:
        path: UTF-8 text.
        delimiter: One character between cells.
        quoted: Cells may stand in double quotes and then hold delimiters and line ends
            (RFC 4180). False: a double quote is a character like any other.

    Returns:
        Column names, and the rows, each with its line number and its cells by column name.

    Raises:
        DataError: Unreadable, no header, a column name twice, a quoted cell without end, or rows
            with another number of cells than the header: their line numbers.
    """
    # Without newline translation `StringIO` ends lines where RFC 4180 does, not at U+2028.
    lines = io.StringIO(read_text(path), newline="")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
    try:
        numbered = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}") from None
    if not numbered:
        raise DataError(f"{path} is empty; expected a header line with column names")
    header = numbered[0][1]
    if len(set(header)) < len(header):
        raise DataError(f"{path} has a column name twice: {', '.join(header)}")

    def named(row: tuple[int, list[str]]) -> tuple[int, dict[str, str]]:
        if len(row[1]) != len(header):
            raise ValueError(f"{len(row[1])} cells where the header has {len(header)}")
        return row[0], dict(zip(header, row[1], strict=True))

    return header, _parse_all(path, ((row[0], row) for row in numbered[1:]), named)


def find_audio(folder: Path, suffixes: frozenset[str] = AUDIO_SUFFIXES) -> list[Path]:
    """Files of audio, or of other suffixes, anywhere below `folder`, sorted.

    A folder called `a.wav` is none. Hidden ones, and those in hidden folders, are left away: macOS
    leaves `._a.wav`.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not os.path.isdir(path)  # noqa: PTH112 (False where it may not be looked at)
    )


def without_readable(paths: Iterable[Path], audio: Iterable[Path]) -> list[Path]:
    """Files of `paths` that have none of `audio` of their name beside them."""
    stems = {path.with_suffix("") for path in audio}
    return [path for path in paths if path.is_file() and path.with_suffix("") not in stems]


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC); macOS and some archives write letter and accent."""
    return unicodedata.normalize("NFC", name)


def as_on_disk(path: Path) -> Path:
    """The file that a corpus names; where there is none, one whose name only looks the same.

    That is, its name or all of its path is in another Unicode normal form.
    """
    if str(path).isascii() or os.path.exists(path):  # noqa: PTH110 (False for an impossible name)
        return path
    for form in ("NFC", "NFD"):
        name = path.with_name(unicodedata.normalize(form, path.name))
        for other in (name, Path(unicodedata.normalize(form, str(path)))):
            if os.path.exists(other):  # noqa: PTH110
                return other
    return path


def path_id(path: Path, root: Path) -> str:
    """An utterance id from a file's place below `root`.

    >>> path_id(Path("/data/anna/take 1.wav"), Path("/data"))
    'anna-take_1'
    """
    relative = path.relative_to(root).with_suffix("")
    return "_".join("-".join(relative.parts).split())


def corpus_root(source: Path, inner: str, marker: str, corpus: str) -> Path:
    """`source`, or the folder `inner` that the official archive makes in it.

    Args:
        source: What the user named.
        inner: The archive's top folder.
        marker: A file or folder that the corpus has at its root.
        corpus: What to call it in the message.

    Raises:
        DataError: Neither holds `marker`.
    """
    for root in (source, source / inner):
        if (root / marker).exists():
            return root
    raise DataError(
        f"{source} is not {corpus}: neither it nor {source / inner} holds {marker}",
        hint="--source is the folder that the unpacked archive makes",
    )


def refuse_lines(path: Path, bad: Sequence[tuple[int, str]]) -> None:
    """Stop if any line is malformed.

    Args:
        path: The file they are of.
        bad: Line numbers and reasons.

    Raises:
        DataError: `bad` is not empty; the first few are quoted, the rest counted.
    """
    if bad:
        shown = "; ".join(f"line {number}: {reason}" for number, reason in bad[:SHOWN_LINES])
        rest = len(bad) - SHOWN_LINES
        more = f"; and {rest} more line{'' if rest == 1 else 's'}" if rest > 0 else ""
        raise DataError(f"{path}: {shown}{more}")


def _parse_all(path: Path, numbered: Iterable[tuple[int, U]], parse: Callable[[U], T]) -> list[T]:
    values: list[T] = []
    bad: list[tuple[int, str]] = []
    for number, line in numbered:
        try:
            values.append(parse(line))
        except ValueError as error:
            bad.append((number, str(error)))
    refuse_lines(path, bad)
    return values
