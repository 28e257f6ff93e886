"""What the importers of anybody's recordings share: options, given splits, audio formats."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import Field, field_validator

from asr.audio import PcmFormat
from asr.corpora.layout import RAW_SUFFIXES, as_on_disk
from asr.corpora.listing import Entry, Listing
from asr.corpora.splits import SPLIT_NAMES, SplitOptions, complete_splits
from asr.errors import DataError
from asr.manifest import Problem

log = logging.getLogger(__name__)


class GenericOptions(SplitOptions):
    """Options of every importer that reads a stranger's recordings.

    Attributes:
        raw: Format of `.raw` and `.pcm` files, which have no header: `s16le:8000` is the encoding
            and the sampling rate in Hz; `s16le:8000:2` has two channels.
        channel: The channel to take of audio with several, from 0; None for their mean.
    """

    raw: str | None = None
    channel: int | None = Field(default=None, ge=0)

    @field_validator("raw")
    @classmethod
    def _is_a_format(cls, value: str | None) -> str | None:
        if value is not None:
            parse_raw_format(value)
        return value


def parse_raw_format(text: str) -> PcmFormat:
    """The format of headerless audio, from how the command line writes it.

    >>> parse_raw_format("s16be:16000")
    PcmFormat(sample_rate_hz=16000, encoding='s16be', num_channels=1)

    Raises:
        ValueError: It is not `ENCODING:RATE` or `ENCODING:RATE:CHANNELS`.
    """
    encoding, *numbers = text.split(":")
    if len(numbers) not in (1, 2) or not all(number.isdecimal() for number in numbers):
        raise ValueError("expected ENCODING:RATE or ENCODING:RATE:CHANNELS, such as s16le:16000")
    try:
        return PcmFormat(int(numbers[0]), encoding, *map(int, numbers[1:]))
    except DataError as error:
        raise ValueError(error.message) from None


def found(
    given: Mapping[str, Sequence[Entry]], left_out: Sequence[Problem], options: GenericOptions
) -> Listing:
    """The listing of `given` splits, completed as `options` ask.

    Empty transcripts are kept, for recordings without words, and counted in a warning.

    Raises:
        DataError: `train` cannot be divided; see `complete_splits`.
    """
    _count_wordless(given)
    splits = complete_splits(given, options)
    audible = {
        name: [_with_format(entry, options) for entry in entries]
        for name, entries in splits.items()
    }
    speakers_shared = options.split_by not in (None, "speaker")
    return Listing(audible, left_out, speakers_shared)


def _count_wordless(given: Mapping[str, Sequence[Entry]]) -> None:
    entries = [entry for split in given.values() for entry in split]
    wordless = sorted(entry.id for entry in entries if not entry.text.strip())
    if wordless:
        log.warning(
            "warning: %d of %d transcripts %s empty (first: %r): kept, as recordings without words",
            len(wordless),
            len(entries),
            "is" if len(wordless) == 1 else "are",
            wordless[0],
        )


def given_places(source: Path, is_place: Callable[[Path], bool]) -> dict[str, Path]:
    """The folder of each split, or `source` itself as `train`, to be divided.

    Raises:
        DataError: Neither `source` nor a folder in it named as a split is what is looked for.
    """
    if is_place(source):
        return {"train": source}
    inner = sorted(source.iterdir()) if source.is_dir() else []
    places = _by_split(source, [place for place in inner if place.is_dir() and is_place(place)])
    if not places:
        raise DataError(
            f"{source} does not have the layout expected",
            hint="--source is such a directory, or one with train, dev and test in it",
        )
    return places


def given_files(
    source: Path, suffixes: Sequence[str], endings: Sequence[str] = ()
) -> dict[str, Path]:
    """The file of each split, or a single file as `train`, to be divided.

    Args:
        source: A file, or a folder with one file or with one for each split.
        suffixes: Of the files to look for, in lower case.
        endings: What may follow a split's name in a file name, such as `_manifest`.

    Raises:
        DataError: There is no such file, or several and none is named as a split.
    """
    if source.is_file():
        return {"train": source}
    inner = sorted(source.iterdir()) if source.is_dir() else []
    files = [path for path in inner if path.suffix.lower() in suffixes]
    places = _by_split(source, files, endings)
    if places:
        return places
    if len(files) == 1:
        return {"train": files[0]}
    names = ", ".join(path.name for path in files[:5]) or "none"
    kinds = " or ".join(suffixes)
    raise DataError(
        f"{source}: expected one {kinds} file, or train, dev and test; found {names}",
        hint="name the file itself: --source FILE",
    )


def _by_split(source: Path, paths: Sequence[Path], endings: Sequence[str] = ()) -> dict[str, Path]:
    places: dict[str, Path] = {}
    for path in paths:
        stem = path.name if path.is_dir() else path.stem
        for ending in endings:
            stem = stem.removesuffix(ending)
        split = SPLIT_NAMES.get(stem.lower())
        if split is None:
            continue
        if split in places:
            raise DataError(f"{source} has {split} twice: {places[split].name} and {path.name}")
        places[split] = path
    return places


def _with_format(entry: Entry, options: GenericOptions) -> Entry:
    is_raw = options.raw is not None and entry.audio_path.suffix.lower() in RAW_SUFFIXES
    return dataclasses.replace(
        entry,
        audio_path=as_on_disk(entry.audio_path),
        channel="mix" if options.channel is None else options.channel,
        pcm=parse_raw_format(options.raw) if is_raw and options.raw else None,
    )
