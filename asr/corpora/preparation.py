"""From a corpus's listing to manifests: measure the audio, check the splits, write."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any

from asr.audio import AudioInfo, PcmFormat, ReadOptions, check_channel, probe_audio, sample_range
from asr.config import parse_options
from asr.corpora import load_importer
from asr.corpora.listing import Entry, Importer, Listing, Splits
from asr.corpora.splits import SPLITS, check_disjoint, main_split
from asr.errors import ConfigError, DataError
from asr.files import atomic_path, check_output, write_text_atomic
from asr.jsonl import is_utf8, parse_object
from asr.manifest import Problem, Utterance, write_manifest
from asr.progress import progress_bar

log = logging.getLogger(__name__)

_RECORD = ".asr-parts.json"
"""In the directory of the manifests: the parts that were written, with a digest of each, so that a
later run removes those, and no other file that is called like one."""


def prepare_corpus(
    corpus: str,
    source: Path,
    out: Path,
    options: Mapping[str, Any],
    on_left_out: Callable[[Problem], None] | None,
) -> Splits:
    """See `asr.corpora.prepare`."""
    importer = load_importer(corpus)
    _check_option_names(corpus, importer, options)
    settings = parse_options(importer.options, options, f"the options of {corpus}")
    _check_target(importer, source, out)
    listing = importer.find(source.absolute(), settings)
    check_disjoint(listing.splits, listing.speakers_shared)
    splits, left_out = measure(listing)
    _report(left_out, splits, source, on_left_out)
    _warn_of_empty(listing, splits)
    if importer.derive is not None:
        splits = importer.derive(splits, out.absolute(), settings)
        check_disjoint(splits, listing.speakers_shared)
    manifests = _with_parts(splits)
    _write(out, manifests)
    return manifests


def measure(listing: Listing) -> tuple[Splits, list[Problem]]:
    """Read every audio header.

    Returns:
        Utterances by split, sorted by id, without empty splits; and all that cannot be used,
        those of the listing included, sorted by id.
    """
    # A long recording's header is read once, not once for each of its utterances.
    probe = lru_cache(maxsize=4096)(_probe)
    splits: Splits = {}
    left_out = list(listing.left_out)
    total = sum(len(entries) for entries in listing.splits.values())
    with progress_bar("reading audio headers", total) as advance:
        for name, entries in listing.splits.items():
            measured: list[Utterance] = []
            for entry in sorted(entries, key=lambda entry: entry.id):
                result = _measured(entry, probe(entry.audio_path, entry.pcm))
                if isinstance(result, Problem):
                    left_out.append(result)
                else:
                    measured.append(result)
                advance()
            if measured:
                splits[name] = measured
    return splits, sorted(left_out, key=lambda one: one.utterance_id)


def _probe(path: Path, pcm: PcmFormat | None) -> AudioInfo | str:
    try:
        return probe_audio(path, pcm)
    except DataError as error:
        return str(error)


def _measured(entry: Entry, info: AudioInfo | str) -> Utterance | Problem:
    if not is_utf8(str(entry.audio_path)):
        return Problem(entry.id, "a name in its path is not UTF-8; rename it")
    if isinstance(info, str):
        return Problem(entry.id, info)
    try:
        check_channel(entry.channel, info.num_channels)
        start, stop = sample_range(info, ReadOptions(entry.start_s, entry.duration_s))
        rest_s = (stop - start) / info.sample_rate_hz
        return Utterance(
            id=entry.id,
            audio_path=entry.audio_path,
            duration_s=rest_s if entry.duration_s is None else min(entry.duration_s, rest_s),
            text=entry.text,
            start_s=entry.start_s,
            speaker=entry.speaker,
            channel=entry.channel,
            pcm=entry.pcm,
        )
    except DataError as error:
        return Problem(entry.id, f"{entry.audio_path}: {error}")


def _check_option_names(corpus: str, importer: Importer[Any], options: Mapping[str, Any]) -> None:
    known = importer.options.model_fields
    for name in options:
        if name not in known:
            raise ConfigError(
                f"the option {name} does not apply to {corpus}",
                hint=f"it has {', '.join(known)}; each may be given as --set NAME=VALUE"
                if known
                else "it has no options of its own",
            )


def _check_target(importer: Importer[Any], source: Path, out: Path) -> None:
    """Refuse to write where the corpus's own files would be replaced, or taken for ours."""
    if importer.reads_jsonl and out.is_dir() and source.is_dir() and out.samefile(source):
        raise DataError(
            f"{out} is read, and the manifests to write would stand among those that it holds",
            hint=f"write to another directory, such as --out {out / 'asr'}",
        )
    for name in SPLITS:
        path = _manifest(out, name)
        check_output(path, [source])
        if path.is_file() and not _is_manifest(path):
            raise DataError(
                f"{path} would be overwritten, and is no manifest of this program",
                hint="write to another directory, or move it away",
            )


def _is_manifest(path: Path) -> bool:
    """Whether the first line is one of a manifest, or there is nothing to lose."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            first = lines.readline()
        return not first or {"id", "audio_path"} <= parse_object(first).keys()
    except (OSError, ValueError):
        return False


def _report(
    left_out: list[Problem],
    splits: Splits,
    source: Path,
    on_left_out: Callable[[Problem], None] | None,
) -> None:
    if left_out and on_left_out is None:
        num = "1 utterance" if len(left_out) == 1 else f"{len(left_out)} utterances"
        raise _unusable(left_out, f"{num} of {source} cannot be used")
    if on_left_out is not None:
        for one in left_out:
            on_left_out(one)
    if not splits and left_out:
        raise _unusable(left_out, f"no utterance of {source} can be used")
    if not splits:
        raise DataError(f"{source} holds no utterances")


def _warn_of_empty(listing: Listing, splits: Splits) -> None:
    """Splits are drawn before any audio is read, so that damage moves no utterance to another."""
    for name, entries in listing.splits.items():
        if entries and name not in splits:
            utterances = "its utterance" if len(entries) == 1 else f"all {len(entries)} utterances"
            log.warning("warning: %s is empty: %s of it left out", name, utterances)


def _unusable(left_out: list[Problem], what: str) -> DataError:
    return DataError(f"{what}; first: {left_out[0].utterance_id}: {left_out[0].reason}")


def _with_parts(splits: Splits) -> Splits:
    """Main splits, each with the utterances of its parts, then the parts."""
    whole: Splits = {
        main: sorted(
            (one for name in splits if main_split(name) == main for one in splits[name]),
            key=lambda one: one.id,
        )
        for main in SPLITS
    }
    parts = {name: splits[name] for name in sorted(splits) if name not in SPLITS}
    return {name: found for name, found in whole.items() if found} | parts


def _write(out: Path, manifests: Splits) -> None:
    """All manifests or none; `atomic_path` renames them when the last is written."""
    with ExitStack() as stack:
        for name, utterances in manifests.items():
            path = _manifest(out, name)
            temporary = stack.enter_context(atomic_path(path))
            write_manifest(temporary, utterances, absolute=path.is_symlink())
    for name in (*SPLITS, *_recorded_parts(out)):
        if name not in manifests and _manifest(out, name).exists():
            log.warning("%s is removed: it is not of this run", _manifest(out, name))
            _manifest(out, name).unlink()
    _record_parts(out, [name for name in manifests if name not in SPLITS])


def _recorded_parts(out: Path) -> list[str]:
    """Parts that are as an earlier run wrote them."""
    try:
        digests = parse_object((out / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [
        name
        for name, digest in digests.items()
        if Path(name).name == name  # nothing in another directory
        and _manifest(out, name).is_file()
        and _digest(_manifest(out, name)) == digest
    ]


def _record_parts(out: Path, names: list[str]) -> None:
    if names:
        digests = {name: _digest(_manifest(out, name)) for name in names}
        write_text_atomic(out / _RECORD, json.dumps(digests, indent=1) + "\n")
    else:
        (out / _RECORD).unlink(missing_ok=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _manifest(out: Path, name: str) -> Path:
    return out / f"{name}.jsonl"
