"""Kaldi data directories, as every Kaldi, ESPnet or WeNet recipe makes them.

Layout of one directory:

    text      utt1 THE WORDS
    wav.scp   utt1 audio/utt1.wav         (or recording1 audio/recording1.wav, with segments)
    utt2spk   utt1 speaker1               (optional)
    segments  utt1 recording1 0.00 2.35   (optional; seconds; an end of -1 is the file's end)

`--source` is one such directory, or holds `train/`, `dev/`, `test/` (`val`, `valid` and
`validation` are `dev` too); what is not given is held out of `train`, by speaker. Relative paths
in `wav.scp` start at `--audio-root`, or else at the directory itself.

Only files are read: a command (`sph2pipe … |`) is never run, and an archive offset
(`raw.ark:123`) is refused.

See https://kaldi-asr.org/doc/data_prep.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from asr.corpora.generic import GenericOptions, found, given_places
from asr.corpora.layout import parse_named, read_pairs
from asr.corpora.listing import Entry, Importer, Listing
from asr.errors import DataError
from asr.manifest import Problem


class KaldiOptions(GenericOptions):
    """Splitting, audio format, and where relative paths start.

    Attributes:
        audio_root: Where relative paths in `wav.scp` start.
    """

    audio_root: Path | None = None


class Segment(NamedTuple):
    """An utterance's place in a recording; `duration_s` None runs to its end."""

    recording: str
    start_s: float
    duration_s: float | None


def find_kaldi(source: Path, options: KaldiOptions) -> Listing:
    """One data directory, or one for each split.

    Raises:
        DataError: No data directory, malformed lines, or a `wav.scp` with commands.
    """
    places = given_places(source, lambda place: (place / "wav.scp").exists())
    given: dict[str, list[Entry]] = {}
    left_out: list[Problem] = []
    for split, folder in places.items():
        audio_root = options.audio_root.absolute() if options.audio_root else folder
        given[split], unusable = read_data_directory(folder, audio_root)
        left_out += unusable
    return found(given, left_out, options)


def read_data_directory(folder: Path, audio_root: Path) -> tuple[list[Entry], list[Problem]]:
    """Entries of one data directory, and utterances without transcript or recording.

    Args:
        folder: Holds `text` and `wav.scp`.
        audio_root: Where relative paths in `wav.scp` start.

    Raises:
        DataError: A file is missing, has malformed lines, or names a command.
    """
    texts = read_pairs(folder / "text")
    audio = _read_scp(folder / "wav.scp", audio_root)
    segments = _read_segments(folder, audio)
    speakers = _read_speakers(folder)
    left_out = [Problem(name, "it has no line in text") for name in segments if name not in texts]
    entries = []
    for name, text in texts.items():
        segment = segments.get(name)
        if segment is None:
            left_out.append(Problem(name, "it is in text, but not in wav.scp or segments"))
            continue
        if segment.recording not in audio:
            left_out.append(Problem(name, f"its recording {segment.recording} is not in wav.scp"))
            continue
        path = audio[segment.recording]
        speaker = speakers.get(name)
        entries.append(Entry(name, path, text, speaker, segment.start_s, segment.duration_s))
    return entries, left_out


def _read_scp(path: Path, audio_root: Path) -> dict[str, Path]:
    audio = {}
    for name, value in read_pairs(path).items():
        if value.endswith("|") or value.startswith("|"):
            raise DataError(
                f"{path}: {name} is a command ({value!r}), and commands are never run",
                hint="run it once, keep its output as a file and name that",
            )
        head, colon, offset = value.rpartition(":")
        if colon and head and offset.isdigit():
            raise DataError(
                f"{path}: {name} is a place in an archive ({value!r}), not a file",
                hint="write the archive's recordings to files of their own with wav-copy",
            )
        if not value:
            raise DataError(f"{path}: {name} has no path")
        audio[name] = audio_root / value
    return audio


def _read_segments(folder: Path, audio: Mapping[str, Path]) -> dict[str, Segment]:
    path = folder / "segments"
    if not path.exists():
        return {name: Segment(name, 0.0, None) for name in audio}
    return parse_named(path, _segment)


def _segment(line: str) -> tuple[str, Segment]:
    cells = line.split()
    if len(cells) != 4:
        raise ValueError(f"expected `utterance recording start end`, got {line.strip()!r}")
    try:
        start_s, end_s = float(cells[2]), float(cells[3])
    except ValueError:
        raise ValueError(f"times must be numbers, got {cells[2]!r} and {cells[3]!r}") from None
    if end_s == -1:
        return cells[0], Segment(cells[1], start_s, None)
    if not 0 <= start_s < end_s:
        raise ValueError(f"expected 0 <= start < end, got {start_s:g} and {end_s:g}")
    return cells[0], Segment(cells[1], start_s, end_s - start_s)


def _read_speakers(folder: Path) -> dict[str, str]:
    path = folder / "utt2spk"
    if not path.exists():
        return {}
    return parse_named(path, _speaker)


def _speaker(line: str) -> tuple[str, str]:
    cells = line.split()
    if len(cells) != 2:
        raise ValueError(f"expected `utterance speaker`, got {line.strip()!r}")
    return cells[0], cells[1]


IMPORTER = Importer(KaldiOptions, find_kaldi)
