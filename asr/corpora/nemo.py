"""NeMo manifests: a JSON object a line, as NVIDIA NeMo and many corpora's scripts write them.

Layout of a line (everything but `audio_filepath` and `text` is optional):

    {"audio_filepath": "audio/a.wav", "offset": 1.5, "duration": 2.35, "text": "the words",
     "speaker": "anna"}

Seconds; without `duration`, to the end of the file. `speaker_id` is a speaker too; other keys are
ignored. `--source` is a manifest (`.json` or `.jsonl`), or a folder with `train.json`, `dev.json`,
`test.json` (`train_manifest.json` and the like too). Relative paths start at `--audio-root`, or
else at the manifest's folder. An utterance's id is the place of its audio file, and its offset in
milliseconds where the file holds several.

See https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from asr.corpora.generic import GenericOptions, found, given_files
from asr.corpora.layout import parse_lines, path_id
from asr.corpora.listing import Entry, Importer, Listing
from asr.jsonl import parse_object, shown

SUFFIXES = (".json", ".jsonl")


class NemoOptions(GenericOptions):
    """Splitting, audio format, and where relative paths start.

    Attributes:
        audio_root: Where relative paths in the manifest start.
    """

    audio_root: Path | None = None


class Line(NamedTuple):
    """What a manifest line says."""

    audio_path: Path
    text: str
    speaker: str | None
    start_s: float
    duration_s: float | None


def find_nemo(source: Path, options: NemoOptions) -> Listing:
    """One manifest, or one for each split.

    Raises:
        DataError: No manifest, or malformed lines.
    """
    lines: dict[str, list[Line]] = {}
    for split, path in given_files(source, SUFFIXES, endings=("_manifest",)).items():
        root = options.audio_root.absolute() if options.audio_root else path.parent
        lines[split] = parse_lines(path, partial(_parse, root))
    root = options.audio_root.absolute() if options.audio_root else _folder(source)
    everything = [line for split in lines.values() for line in split]
    id_root = _common_root([line.audio_path for line in everything], root)
    num_uses = Counter(line.audio_path for line in everything)
    given = {
        split: [_entry(line, id_root, num_uses) for line in of_split]
        for split, of_split in lines.items()
    }
    return found(given, (), options)


def _parse(root: Path, line: str) -> Line:
    value = parse_object(line)
    for key in ("audio_filepath", "text"):
        if not isinstance(value.get(key), str):
            raise ValueError(f"`{key}` must be a string, got {value.get(key)!r}")
    if not value["audio_filepath"]:
        raise ValueError("`audio_filepath` is empty")
    speaker = value.get("speaker", value.get("speaker_id"))
    duration_s = _seconds(value, "duration")
    if duration_s == 0:
        raise ValueError("`duration` must be above 0, got 0")
    return Line(
        audio_path=root / value["audio_filepath"],
        text=value["text"],
        speaker=None if speaker is None else str(speaker),
        start_s=_seconds(value, "offset") or 0.0,
        duration_s=duration_s,
    )


def _seconds(value: Mapping[str, Any], key: str) -> float | None:
    number = value.get(key)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"`{key}` must be a number of seconds, got {number!r}")
    # Not `isfinite`, which fails with an integer beyond the range of floats.
    if not 0 <= number <= sys.float_info.max:
        raise ValueError(f"`{key}` must be 0 or more seconds, got {shown(number)}")
    return float(number)


def _folder(source: Path) -> Path:
    return source.parent if source.is_file() else source


def _common_root(paths: Sequence[Path], root: Path) -> Path:
    """`root` where all audio is below it; else the deepest folder that holds all of it."""
    if all(path.is_relative_to(root) for path in paths):
        return root
    return Path(os.path.commonpath([path.parent for path in paths]))


def _entry(line: Line, root: Path, num_uses: Mapping[Path, int]) -> Entry:
    utterance_id = path_id(line.audio_path, root)
    if num_uses[line.audio_path] > 1:
        utterance_id += f"-{round(line.start_s * 1000):07d}"
    return Entry(
        utterance_id, line.audio_path, line.text, line.speaker, line.start_s, line.duration_s
    )


IMPORTER = Importer(NemoOptions, find_nemo, reads_jsonl=True)
