"""Transcripts in the formats that scoring meets: plain text, Kaldi, JSON lines, sclite trn.

Every reader gives `{utterance_id: text}` in file order, with the text as it stands in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from asr.errors import DataError, not_utf8_hint
from asr.jsonl import is_utf8, parse_object

Format = Literal["text", "kaldi", "jsonl", "trn"]
Side = Literal["reference", "hypothesis"]
_SUFFIXES: Mapping[str, Format] = {".jsonl": "jsonl", ".trn": "trn"}
_SHOWN_PROBLEMS = 5


def format_of(path: Path) -> Format:
    """Tell the format of a file by its suffix: `.jsonl` or `.trn`.

    Plain text and Kaldi files look alike (is the first word an utterance id?), so those two are
    never told from suffix or content.

    Raises:
        DataError: The suffix does not say.
    """
    if path.suffix not in _SUFFIXES:
        raise DataError(
            f"cannot tell the format of {path}: only the suffixes .jsonl and .trn say it",
            hint="name it: --format text (line by line) or --format kaldi (`id words` lines)",
        )
    return _SUFFIXES[path.suffix]


def read_transcripts(path: Path, file_format: Format, side: Side | None = None) -> dict[str, str]:
    """Read all transcripts of a file.

    * `text`: one utterance a line, an empty line being an empty utterance; ids are line numbers
      counted from 1.
    * `kaldi`: `id words …`; an id alone is an empty utterance.
    * `jsonl`: objects with string fields `id` and `text`, such as this project's manifests;
      other fields are ignored. With a side, lines may have its field instead of `text`, as the
      rows of `WerReport.write_utterances` do.
    * `trn`: `words … (id)`. Alternations (`{ a / b }`) and words that may be missing (`(uh)`) are
      refused, not scored as words.

    Blank lines are skipped in all formats but `text`.

    Args:
        path: UTF-8 file, with or without byte-order mark.
        file_format: One of the four.
        side: Which text is wanted of rows that hold both.

    Raises:
        DataError: The file cannot be read, an id comes twice, or lines do not fit the format; the
            message names the first lines and says how many there are.
    """
    lines = _read_lines(path)
    if file_format == "text":
        return {str(number): line for number, line in enumerate(lines, start=1)}
    if file_format == "jsonl":
        return _read_identified(path, lines, partial(_parse_json, side=side))
    return _read_identified(path, lines, _PARSERS[file_format])


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read transcripts {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start})", hint=not_utf8_hint(error.object)
        ) from None
    # Not `splitlines`: it also breaks at U+2028, U+0085 and others, which may stand inside a text.
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _read_identified(
    path: Path, lines: list[str], parse: Callable[[str], tuple[str, str]]
) -> dict[str, str]:
    texts: dict[str, str] = {}
    first_line: dict[str, int] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            utterance_id, text = parse(line)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        if utterance_id in texts:
            earlier = first_line[utterance_id]
            problems.append(f"line {number}: id {utterance_id!r} is already on line {earlier}")
            continue
        texts[utterance_id] = text
        first_line[utterance_id] = number
    if problems:
        raise DataError(_describe(path, problems))
    return texts


def _describe(path: Path, problems: list[str]) -> str:
    shown = "; ".join(problems[:_SHOWN_PROBLEMS])
    more = len(problems) - _SHOWN_PROBLEMS
    lines = "1 line is" if len(problems) == 1 else f"{len(problems)} lines are"
    return f"{path}: {lines} wrong: {shown}" + (f"; and {more} more" if more > 0 else "")


def _parse_kaldi(line: str) -> tuple[str, str]:
    utterance_id, *text = line.split(maxsplit=1)
    return utterance_id, text[0].rstrip() if text else ""


def _parse_trn(line: str) -> tuple[str, str]:
    text, parenthesis, rest = line.rstrip().rpartition("(")
    utterance_id = rest[:-1].strip()
    if not parenthesis or not rest.endswith(")") or not utterance_id:
        raise ValueError("does not end in `(id)`")
    words = text.split()
    if any(word.startswith("{") for word in words):
        raise ValueError("alternations `{ a / b }` are not supported; keep one spelling")
    optional = next((word for word in words if word[0] + word[-1] == "()"), None)
    if optional is not None:
        raise ValueError(
            f"words that may be missing, such as {optional!r}, are not supported; "
            "keep the word without parentheses, or leave it out"
        )
    return utterance_id, text.strip()


def _parse_json(line: str, side: Side | None) -> tuple[str, str]:
    row = parse_object(line)
    field = side if side in row and "text" not in row else "text"
    for name in ("id", field):
        if name not in row:
            raise ValueError(f"`{name}` is missing")
        if not isinstance(row[name], str):
            raise ValueError(f"`{name}` must be a string, got {row[name]!r}")
        if not is_utf8(row[name]):
            raise ValueError(f"`{name}` holds half a surrogate pair: {row[name]!r}")
    return row["id"], row[field]


_PARSERS: Mapping[Format, Callable[[str], tuple[str, str]]] = {
    "kaldi": _parse_kaldi,
    "trn": _parse_trn,
}
