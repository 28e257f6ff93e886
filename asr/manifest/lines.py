"""Manifest files: parse and write lines, and say which are wrong and why."""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import islice
from pathlib import Path
from typing import Any

from asr.audio import PcmFormat
from asr.errors import DataError, not_utf8_hint
from asr.files import write_text_atomic
from asr.jsonl import is_utf8, parse_object, shown
from asr.manifest.utterance import Utterance

_MAX_SHOWN = 5

_STRING = "a string"
_NUMBER = "a number"
_INTEGER = "an integer"
# What each key of a line must hold.
_KINDS = {
    "id": _STRING,
    "audio_path": _STRING,
    "duration_s": _NUMBER,
    "text": _STRING,
    "start_s": _NUMBER,
    "speaker": "a string or null",
    "channel": "'mix' or an integer",
    "pcm": "an object",
}
_PCM_KINDS = {"sample_rate_hz": _INTEGER, "encoding": _STRING, "num_channels": _INTEGER}
_DEFAULTS = {
    field.name: field.default for field in fields(Utterance) if field.default is not MISSING
}
_REQUIRED = tuple(name for name in _KINDS if name not in _DEFAULTS)


def read_manifest(path: Path) -> list[Utterance]:
    """Read a manifest.

    Every line is checked before anything is refused; the audio is not looked at, see
    `check_manifest`.

    Args:
        path: JSONL file.

    Returns:
        Its utterances in order, with absolute audio paths.

    Raises:
        DataError: The file cannot be read, is not UTF-8, holds no utterance, or has wrong lines:
            their number, and the first few with line number and reason.
    """
    folder = Path(os.path.abspath(path.parent))  # noqa: PTH100 (resolve would follow links)
    utterances: list[Utterance] = []
    problems: list[str] = []
    first_line: dict[str, int] = {}
    num_lines = 0
    for number, line in enumerate(_read_lines(path), start=1):
        if not line or line.isspace():
            continue
        num_lines += 1
        try:
            utterance = _parse(line, folder)
            earlier = first_line.setdefault(utterance.id, number)
            if earlier != number:
                raise DataError(f"id {utterance.id!r} is that of line {earlier} already")
        except DataError as error:
            problems.append(f"line {number}: {error.message}")
        else:
            utterances.append(utterance)
    if problems:
        raise DataError(
            f"{path}: {len(problems)} of {num_lines} lines cannot be used: {_first(problems)}"
        )
    if not utterances:
        raise DataError(f"{path} holds no utterance")
    return utterances


def read_manifests(paths: Sequence[Path]) -> list[Utterance]:
    """Read several manifests as one set, in the order given.

    Raises:
        DataError: As `read_manifest`; or an id is in two of them.
    """
    place: dict[str, int] = {}
    utterances: list[Utterance] = []
    for index, path in enumerate(paths):
        for utterance in read_manifest(path):
            earlier = place.setdefault(utterance.id, index)
            if earlier != index:
                raise DataError(
                    f"the id {utterance.id!r} is in {paths[earlier]} and in {path}",
                    hint="an id names one utterance of the whole set: rename those of one manifest",
                )
            utterances.append(utterance)
    return utterances


def write_manifest(path: Path, utterances: Iterable[Utterance], *, absolute: bool = False) -> None:
    """Write a manifest that `read_manifest` reads back, whole or not at all.

    Args:
        path: JSONL file; directories above it are made.
        utterances: With unique ids. Audio below the manifest's folder is named relative to it.
        absolute: No audio is. So it is where `path` is a link, as the file has two folders then.

    Raises:
        DataError: An id occurs twice, a text cannot be written as UTF-8, or the file cannot be
            written.
    """
    absolute = absolute or path.is_symlink()
    folder = None if absolute else os.path.abspath(path.parent)  # noqa: PTH100 (keeps links)
    seen: set[str] = set()
    lines = []
    for utterance in utterances:
        if utterance.id in seen:
            raise DataError(f"cannot write {path}: the id {utterance.id!r} occurs twice")
        seen.add(utterance.id)
        line = json.dumps(_to_dict(utterance, folder), ensure_ascii=False)
        if not is_utf8(line):
            raise DataError(f"cannot write {path}: {utterance.id!r} holds half a surrogate pair")
        lines.append(line + "\n")
    write_text_atomic(path, "".join(lines))


def _read_lines(path: Path) -> list[str]:
    try:
        # Not splitlines: U+2028 and its like are legal inside a JSON string.
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        number = error.object[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} is not UTF-8 text, first in line {number}", hint=not_utf8_hint(error.object)
        ) from None
    except OSError as error:
        raise DataError(
            f"cannot read manifest {path}: {error.strerror}",
            hint="name a JSONL file, such as the train.jsonl that `asr prepare` writes",
        ) from None


def _first(problems: Sequence[str]) -> str:
    shown = "; ".join(islice(problems, _MAX_SHOWN))
    more = len(problems) - _MAX_SHOWN
    return f"{shown}; and {more} more" if more > 0 else shown


def _parse(line: str, folder: Path) -> Utterance:
    try:
        values = parse_object(line)
    except ValueError as error:
        raise DataError(str(error)) from None
    _check_keys(values, _KINDS, _REQUIRED)
    for key in ("id", "text", "audio_path", "speaker"):
        if values.get(key) is not None and not is_utf8(values[key]):
            raise DataError(f"`{key}` holds half a surrogate pair: {values[key]!r}")
    if not values["audio_path"] or "\0" in values["audio_path"]:
        raise DataError(f"`audio_path` must name a file, got {values['audio_path']!r}")
    values["audio_path"] = folder / values["audio_path"]
    for key in ("duration_s", "start_s"):
        if key in values:
            values[key] = _to_float(values[key])
    if "pcm" in values:
        _check_keys(values["pcm"], _PCM_KINDS, ("sample_rate_hz",), inside="pcm.")
        values["pcm"] = PcmFormat(**values["pcm"])
    return Utterance(**values)


def _check_keys(
    values: Mapping[str, Any], kinds: Mapping[str, str], required: Sequence[str], inside: str = ""
) -> None:
    for key, value in values.items():
        kind = kinds.get(key)
        if kind is None:
            near = difflib.get_close_matches(key, kinds, n=1, cutoff=0.5)
            known = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(kinds)}"
            raise DataError(f"unknown key `{inside}{key}`; {known}")
        if not _fits(value, kind):
            raise DataError(f"`{inside}{key}` must be {kind}, got {shown(value)}")
    for key in required:
        if key not in values:
            raise DataError(f"`{inside}{key}` is missing")


def _fits(value: Any, kind: str) -> bool:
    if isinstance(value, str):
        return kind in (_STRING, _KINDS["speaker"]) or (
            kind == _KINDS["channel"] and value == "mix"
        )
    if isinstance(value, int) and not isinstance(value, bool):
        return kind in (_INTEGER, _NUMBER, _KINDS["channel"])
    if isinstance(value, float):
        return kind == _NUMBER
    if isinstance(value, dict):
        return kind == _KINDS["pcm"]
    return value is None and kind == _KINDS["speaker"]


def _to_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _to_dict(utterance: Utterance, folder: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in _KINDS:
        value = getattr(utterance, name)
        if name not in _DEFAULTS or value != _DEFAULTS[name]:
            values[name] = value
    values["audio_path"] = _relative(utterance.audio_path, folder)
    if utterance.pcm is not None:
        values["pcm"] = {name: getattr(utterance.pcm, name) for name in _PCM_KINDS}
    return values


def _relative(audio_path: Path, folder: str | None) -> str:
    absolute = Path(os.path.abspath(audio_path))  # noqa: PTH100 (resolve would follow links)
    if folder is not None and absolute.is_relative_to(folder):
        return absolute.relative_to(folder).as_posix()
    return absolute.as_posix()
