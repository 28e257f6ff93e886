"""Any table with a header line: `.csv` (comma, cells may be quoted) or `.tsv` (tab, no quoting).

Columns by default, each renamed with `--column`, as `--column text=sentence`:

    audio        path of the audio file (needed)
    text         transcript (needed)
    id           utterance id (otherwise from the path)
    speaker      who speaks
    start_s      where the utterance starts in the file
    duration_s   how long it is (otherwise to the end of the file)
    split        train, dev (or val, valid, validation) or test

`--source` is a table, or a folder with one, or with `train.csv`, `dev.csv` and `test.csv`.
`--delimiter` sets another character between cells. Relative paths start at `--audio-root`, or else
at the table's folder.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, field_validator

from asr.corpora.generic import GenericOptions, found, given_files
from asr.corpora.layout import path_id, read_rows, refuse_lines
from asr.corpora.listing import Entry, Importer, Listing
from asr.corpora.splits import SPLIT_NAMES
from asr.errors import DataError

FIELDS = ("audio", "text", "id", "speaker", "start_s", "duration_s", "split")
NEEDED_FIELDS = ("audio", "text")
SUFFIXES = (".csv", ".tsv")


class CsvOptions(GenericOptions):
    """Which columns hold what, splitting, and audio format.

    Attributes:
        column: The table's name for a field of `FIELDS`, where it differs from the field's.
        delimiter: The character between cells; None for the suffix's, comma or tab.
        audio_root: Where relative paths start.
    """

    column: Mapping[str, str] = Field(default_factory=dict)
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    audio_root: Path | None = None

    @field_validator("column")
    @classmethod
    def _are_fields(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for field in value:
            if field not in FIELDS:
                raise ValueError(f"unknown field {field!r}; fields are {', '.join(FIELDS)}")
        return value


def find_csv(source: Path, options: CsvOptions) -> Listing:
    """One table, with or without a column of splits, or one for each split.

    Raises:
        DataError: No table, a column is missing, or malformed rows.
    """
    given: dict[str, list[Entry]] = defaultdict(list)
    for split, path in given_files(source, SUFFIXES).items():
        for row_split, entry in _read_table(path, split, options):
            given[row_split].append(entry)
    return found(given, (), options)


def _read_table(path: Path, split: str, options: CsvOptions) -> list[tuple[str, Entry]]:
    is_tsv = path.suffix.lower() == ".tsv"
    delimiter = options.delimiter or ("\t" if is_tsv else ",")
    columns, rows = read_rows(path, delimiter, quoted=not is_tsv)
    names = _column_names(path, columns, options.column)
    audio_root = options.audio_root.absolute() if options.audio_root else path.parent
    entries: list[tuple[str, Entry]] = []
    bad: list[tuple[int, str]] = []
    for number, row in rows:
        cells = {field: row[name].strip() for field, name in names.items()}
        try:
            entries.append((_split(cells, split), _entry(cells, audio_root)))
        except ValueError as error:
            bad.append((number, str(error)))
    refuse_lines(path, bad)
    return entries


def _column_names(path: Path, columns: Sequence[str], renamed: Mapping[str, str]) -> dict[str, str]:
    """The table's column for each field it has."""
    names = {field: renamed.get(field, field) for field in FIELDS}
    for field, name in names.items():
        if name not in columns and (field in NEEDED_FIELDS or field in renamed):
            other_column = f"say which column is the {field}: --column {field}=NAME"
            one_column = "say which character stands between its cells: --delimiter CHAR"
            raise DataError(
                f"{path} has no column {name!r}; it has {', '.join(columns)}",
                hint=one_column if len(columns) == 1 else other_column,
            )
    return {field: name for field, name in names.items() if name in columns}


def _split(cells: Mapping[str, str], split: str) -> str:
    name = cells.get("split", split)
    if name.lower() not in SPLIT_NAMES:
        raise ValueError(f"split must be one of {', '.join(SPLIT_NAMES)}, got {name!r}")
    return SPLIT_NAMES[name.lower()]


def _entry(cells: Mapping[str, str], audio_root: Path) -> Entry:
    if not cells["audio"]:
        raise ValueError("no audio path")
    path = audio_root / cells["audio"]
    start_s = _seconds(cells, "start_s")
    return Entry(
        id=cells.get("id") or _id(path, audio_root, start_s),
        audio_path=path,
        text=cells["text"],
        speaker=cells.get("speaker") or None,
        start_s=start_s or 0.0,
        duration_s=_seconds(cells, "duration_s"),
    )


def _id(path: Path, audio_root: Path, start_s: float | None) -> str:
    stem = path_id(path, audio_root) if path.is_relative_to(audio_root) else path.stem
    return stem if start_s is None else f"{stem}-{round(start_s * 1000):07d}"


def _seconds(cells: Mapping[str, str], field: str) -> float | None:
    text = cells.get(field)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{field} must be 0 or more seconds, got {text!r}")
    return number


IMPORTER = Importer(CsvOptions, find_csv)
