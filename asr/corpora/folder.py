"""A folder of recordings, with what is said beside each or in one file.

Layout, either

    anna/take1.wav, anna/take1.txt    each transcript in a text file of the same stem

or one file (`--transcripts FILE`, or `transcripts.txt` or `transcripts.tsv` in the folder) of lines

    take1.wav<TAB or space>what is said

where a name is the audio file's path below the folder, with or without its suffix, or just its own
name where that is unique. With a tab in the line, the name may hold spaces. An accented letter may
be one character or two, in the file as in a name.

A recording without a transcript is named as a problem, and so is a transcript without a recording
that can be read: `b.txt` alone, or beside a `b.m4a` that has to be converted first. So are two
recordings of one name, `c.wav` and `c.flac`, of which neither is taken. A text file without a
recording is taken for a transcript, except if it is called as documents are (`README.txt`;
`DOCUMENT_NAMES`), or if recordings are in folders below its own and none is beside it.

Audio may lie at any depth. With `train/`, `dev/`, `test/` in the folder those are the splits. With
`--speaker-folders`, the first folder below (of the split) names the speaker; otherwise speakers are
unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.audio import UNREAD_SUFFIXES, conversion
from asr.corpora.generic import GenericOptions, found
from asr.corpora.layout import (
    AUDIO_SUFFIXES,
    RAW_SUFFIXES,
    composed,
    find_audio,
    parse_named,
    path_id,
    read_text,
    without_readable,
)
from asr.corpora.listing import Entry, Importer, Listing
from asr.corpora.splits import SPLIT_NAMES
from asr.errors import DataError
from asr.manifest import Problem

TRANSCRIPT_FILES = ("transcripts.txt", "transcripts.tsv")

DOCUMENT_NAMES = frozenset(
    {"readme", "license", "licence", "copying", "copyright", "notice", "authors", "about"}
    | {"changelog", "changes", "notes", "info", "metadata", "transcripts", "speakers"}
)
"""Stems of text files that are no transcripts where no recording is called so; in lower case."""


class FolderOptions(GenericOptions):
    """Where transcripts are, who speaks, splitting, and audio format.

    Attributes:
        transcripts: One file with all transcripts; None for `transcripts.txt` or
            `transcripts.tsv` in the folder, or else a text file beside each recording.
        speaker_folders: The first folder names the speaker.
    """

    transcripts: Path | None = None
    speaker_folders: bool = False


def find_folder(source: Path, options: FolderOptions) -> Listing:
    """All audio below a folder that has a transcript.

    Raises:
        DataError: No such folder, no audio, or a transcript file with malformed lines.
    """
    if not source.is_dir():
        raise DataError(f"{source} is not a folder", hint="--source is the folder with the audio")
    files = _find_files(source, options)
    if not files.audio:
        raise _no_audio(source, files)
    texts, left_out = _transcripts(source, files, options)
    left_out += _unread(source, files)
    splits = _split_folders(source)
    given: dict[str, list[Entry]] = defaultdict(list)
    paths = _by_id(source, [path for path in files.audio if path in texts])
    for utterance_id, (path, *others) in paths.items():
        if others:
            reason = f"{path} and {others[0]} would both have this id: rename or remove one"
            left_out.append(Problem(utterance_id, reason))
            continue
        split, top = _split_of(path, source, splits)
        speaker = _speaker(path, top) if options.speaker_folders else None
        given[split].append(Entry(utterance_id, path, texts[path], speaker))
    return found(given, left_out, options)


@dataclass(frozen=True)
class _Files:
    """What lies below a folder; hidden files are not looked at.

    Attributes:
        audio: Recordings that may be readable.
        unread: Recordings that certainly are not, and have no readable one of their name beside
            them.
        texts: Text files by their path without suffix.
    """

    audio: Sequence[Path]
    unread: Sequence[Path]
    texts: Mapping[Path, Path]


def _find_files(source: Path, options: FolderOptions) -> _Files:
    read, unread = AUDIO_SUFFIXES, UNREAD_SUFFIXES
    if options.raw:
        read |= RAW_SUFFIXES
    else:
        unread |= RAW_SUFFIXES
    found = find_audio(source, read | unread | {".txt"})
    audio = [path for path in found if path.suffix.lower() in read]
    others = [path for path in found if path.suffix.lower() in unread]
    return _Files(
        audio,
        without_readable(others, audio),
        {p.with_suffix(""): p for p in found if p.suffix.lower() == ".txt" and p.is_file()},
    )


def _no_audio(source: Path, files: _Files) -> DataError:
    foreign = [path for path in files.unread if path.suffix.lower() in UNREAD_SUFFIXES]
    if not foreign:
        hint = "for .raw and .pcm files say --raw ENCODING:RATE"
        return DataError(f"{source} holds no audio", hint=hint)
    suffixes = ", ".join(sorted({path.suffix.lower() for path in foreign}))
    return DataError(
        f"{source} holds no audio that can be read: {suffixes} files only",
        hint=f"convert them first, such as with {conversion(foreign[0])}",
    )


def _unread(source: Path, files: _Files) -> list[Problem]:
    problems: list[Problem] = []
    for path in files.unread:
        if path.suffix.lower() in RAW_SUFFIXES:
            reason = f"{path} has no header: say --raw ENCODING:RATE"
        else:
            reason = f"{path} cannot be read: convert it first, such as with {conversion(path)}"
        problems.append(Problem(path_id(path, source), reason))
    return problems


def _transcripts(
    source: Path, files: _Files, options: FolderOptions
) -> tuple[dict[Path, str], list[Problem]]:
    """Transcript by audio file, and the files and lines without their counterpart."""
    listed = options.transcripts
    if listed is None:
        listed = next((source / n for n in TRANSCRIPT_FILES if (source / n).is_file()), None)
    if listed is not None:
        return _listed_transcripts(source, files, listed)
    texts: dict[Path, str] = {}
    left_out = _without_recording(source, files)
    alike = {_stem(path): path for path in files.texts.values()}
    for path in files.audio:
        beside = files.texts.get(path.with_suffix("")) or alike.get(_stem(path))
        if beside is None:
            missing = path.with_suffix(".txt")
            left_out.append(Problem(path_id(path, source), f"there is no {missing}"))
            continue
        try:
            texts[path] = read_text(beside).strip()
        except DataError as error:
            left_out.append(Problem(path_id(path, source), str(error)))
    return texts, left_out


def _without_recording(source: Path, files: _Files) -> list[Problem]:
    """Transcripts alone; one beside a recording that is not read is no problem of its own."""
    recordings = [*files.audio, *files.unread]
    stems = set(map(_stem, recordings))
    beside = {path.parent for path in recordings}
    above = {folder for path in beside for folder in path.parents} - beside
    return [
        Problem(path_id(path, source), f"{path} has no recording of its name beside it")
        for path in files.texts.values()
        if _stem(path) not in stems
        and path.stem.lower() not in DOCUMENT_NAMES
        and path.parent not in above
    ]


def _listed_transcripts(
    source: Path, files: _Files, listed: Path
) -> tuple[dict[Path, str], list[Problem]]:
    named = parse_named(listed, _name_and_text)
    places, unread = _names(source, files.audio), _names(source, files.unread)
    texts: dict[Path, str] = {}
    left_out: list[Problem] = []
    for written, text in named.items():
        name = composed(written)
        paths = [*places.get(name, ()), *unread.get(name, ())]
        if not paths:
            left_out.append(Problem(name, f"{listed} has it, but there is no such audio file"))
        elif len(paths) > 1:
            left_out.append(Problem(name, f"{listed}: could be {paths[0]} or {paths[1]}"))
        elif name in unread:
            continue  # the recording is a problem already
        elif paths[0] in texts:
            left_out.append(Problem(name, f"{listed} has {paths[0]} under another name already"))
        else:
            texts[paths[0]] = text
    missing = [path for path in files.audio if path not in texts]
    left_out += [Problem(path_id(p, source), f"{listed} has no line for it") for p in missing]
    return texts, left_out


def _stem(path: Path) -> str:
    return composed(str(path.with_suffix("")))


def _name_and_text(line: str) -> tuple[str, str]:
    name, separator, text = line.partition("\t")
    if not separator:
        name, separator, text = line.strip().partition(" ")
    if not separator or not name.strip():
        raise ValueError(f"expected `name<TAB or space>text`, got {line.strip()[:60]!r}")
    return name.strip(), text.strip()


def _names(source: Path, files: Sequence[Path]) -> Mapping[str, list[Path]]:
    """All that a transcript file may call each audio file."""
    names: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        relative = path.relative_to(source)
        called = {relative.as_posix(), relative.with_suffix("").as_posix(), path.name, path.stem}
        for name in set(map(composed, called)):
            names[name].append(path)
    return names


def _by_id(source: Path, files: Sequence[Path]) -> Mapping[str, list[Path]]:
    """Recordings by id: `a.wav` and `a.flac` have one, and so have `a b.wav` and `a_b.wav`."""
    paths: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        paths[path_id(path, source)].append(path)
    return paths


def _split_folders(source: Path) -> dict[Path, str]:
    folders: dict[Path, str] = {}
    for folder in sorted(source.iterdir()):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split is not None and folder.is_dir():
            folders[folder] = split
    return folders if "train" in folders.values() or "test" in folders.values() else {}


def _split_of(path: Path, source: Path, folders: Mapping[Path, str]) -> tuple[str, Path]:
    """The split of a file, and the folder that its speakers' folders are in."""
    if not folders:
        return "train", source
    top = source / path.relative_to(source).parts[0]
    if top not in folders:
        raise DataError(
            f"{path} is outside of {', '.join(folder.name for folder in folders)}",
            hint="move it into one of them, or name that folder alone as --source",
        )
    return folders[top], top


def _speaker(path: Path, top: Path) -> str:
    relative = path.relative_to(top)
    if len(relative.parts) < 2:
        raise DataError(
            f"{path} is in no speaker's folder",
            hint="give each speaker a folder, or leave --speaker-folders away",
        )
    return relative.parts[0]


IMPORTER = Importer(FolderOptions, find_folder)
