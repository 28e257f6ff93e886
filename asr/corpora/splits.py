"""Splits that do not depend on file order, machine or Python version, and never overlap."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field, model_validator

from asr.config import Options
from asr.corpora.listing import Entry
from asr.errors import ConfigError, DataError

SPLITS = ("train", "dev", "test")
SPLIT_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
"""How files, folders and table cells may call a split, and what it is called here."""

SplitBy = Literal["speaker", "recording", "utterance"]


class DevOptions(Options):
    """For a corpus with an official test set and no development set.

    Attributes:
        dev_fraction: Share of the training utterances to hold out for development.
    """

    dev_fraction: float = Field(default=0.1, ge=0, lt=1)


class SplitOptions(DevOptions):
    """For a corpus that may come without splits.

    Attributes:
        dev_fraction: Share of the utterances for development, where no `dev` is given.
        test_fraction: Share of the utterances for test, where no `test` is given.
        split_by: What stays together: a speaker, a recording (all utterances of one audio file)
            or only the utterance. None: the speaker where all are known, the recording where
            none is. With `utterance` or `recording`, splits may share speakers.
    """

    test_fraction: float = Field(default=0.1, ge=0, lt=1)
    split_by: SplitBy | None = None

    @model_validator(mode="after")
    def _leave_some_for_training(self) -> SplitOptions:
        if self.dev_fraction + self.test_fraction >= 1:
            raise ValueError("dev_fraction and test_fraction must leave something to train on")
        return self


def complete_splits(
    given: Mapping[str, Sequence[Entry]], options: SplitOptions
) -> dict[str, list[Entry]]:
    """Hold out of `train` what is not given: first `test`, then `dev`.

    Without a `train` nothing is held out: a test set on its own stays one.

    Raises:
        ConfigError: Speakers are to stay together, and none is known.
        DataError: Some speakers are known and some not, or there are too few groups to divide.
    """
    splits = {name: list(entries) for name, entries in given.items() if entries}
    fractions = {"test": options.test_fraction, "dev": options.dev_fraction}
    missing = [name for name in fractions if name not in splits and fractions[name] > 0]
    if not splits.get("train") or not missing:
        return splits
    total = len(splits["train"])
    by = options.split_by or _unit(splits["train"])
    if by == "speaker" and _unit(splits["train"]) != "speaker":
        raise ConfigError(
            "splits by speaker are not possible: no speaker is known",
            hint="name them (of a folder: --speaker-folders), or use --split-by recording",
        )
    num_groups = len(_groups(splits["train"], by))
    for name in missing:
        if name != missing[0] and len(_groups(splits["train"], by)) < 2:
            raise _none_left(missing[0], name, total, num_groups, by)
        target = fractions[name] * total
        splits["train"], splits[name] = hold_out(splits["train"], target, by)
    return splits


def _none_left(first: str, second: str, total: int, num_groups: int, by: SplitBy) -> DataError:
    of = "" if by == "utterance" else f" of {num_groups} {by}s"
    other = "use --split-by utterance, or " if 2 < total > num_groups else ""
    return DataError(
        f"cannot hold {first} and {second} out of {total} utterances{of}: after {first}, one {by} "
        "is left, and train needs it",
        hint=f"{other}set --dev-fraction or --test-fraction to 0",
    )


def hold_out(
    entries: Sequence[Entry], target: float, by: SplitBy
) -> tuple[list[Entry], list[Entry]]:
    """Take whole groups, in the order of a hash of their names, until about `target` entries.

    A group is taken when that brings the number nearer to `target`, so groups of the size of n
    entries give `target` ± n/2 or nearer. At least one group is taken and one is left. SHA-256
    orders the groups: the choice looks random and is the same everywhere, for ever.

    Args:
        entries: What to divide.
        target: How many entries to hold out; above 0.
        by: What stays together.

    Returns:
        Those that stay and those held out, each in the order of `entries`.

    Raises:
        DataError: There is only one group.
    """
    groups = _groups(entries, by)
    if len(groups) < 2:
        other = "use --split-by utterance where the corpus has it, or " if len(entries) > 1 else ""
        raise DataError(
            f"cannot hold {max(target, 1):.0f} of {len(entries)} out: all are of one {by}",
            hint=f"{other}set --dev-fraction and --test-fraction to 0",
        )
    order = sorted(groups, key=_shuffled)
    held: set[str] = set()
    num_held = 0
    for name in order:
        if len(held) < len(groups) - 1 and num_held + len(groups[name]) / 2 <= target:
            held.add(name)
            num_held += len(groups[name])
    if not held:
        held.add(min(order, key=lambda name: len(groups[name])))
    chosen = {entry.id for name in held for entry in groups[name]}
    return (
        [entry for entry in entries if entry.id not in chosen],
        [entry for entry in entries if entry.id in chosen],
    )


class Spoken(Protocol):
    """Anything with an id, audio and, perhaps, a speaker: an `Entry` or an `Utterance`."""

    @property
    def id(self) -> str:
        """Unique in the corpus."""

    @property
    def speaker(self) -> str | None:
        """None where unknown."""

    @property
    def audio_path(self) -> Path:
        """Where it is heard."""


def check_disjoint(splits: Mapping[str, Sequence[Spoken]], speakers_shared: bool) -> None:
    """Refuse an id that occurs twice, and a speaker in two of `train`, `dev` and `test`.

    Args:
        splits: By split or part of one; `test-clean` and `test-other` may share speakers.
        speakers_shared: Speakers may be in several splits.

    Raises:
        DataError: They overlap.
    """
    first: dict[str, tuple[str, Path]] = {}
    for name, spoken in splits.items():
        for one in spoken:
            place = (name, one.audio_path)
            if first.setdefault(one.id, place) is not place:
                raise _twice(one.id, first[one.id], place)
    if speakers_shared:
        return
    home: dict[str, str] = {}
    shared: set[str] = set()
    for name, spoken in splits.items():
        for speaker in {one.speaker for one in spoken if one.speaker is not None}:
            if home.setdefault(speaker, main_split(name)) != main_split(name):
                shared.add(speaker)
    if shared:
        raise DataError(
            f"splits share {_count(shared, 'speaker')}, which makes the error rate look better "
            f"than it is",
            hint="divide them anew, or accept it with --split-by utterance where the corpus has it",
        )


def main_split(name: str) -> str:
    """The split that a part belongs to.

    >>> main_split("test-clean")
    'test'
    """
    return name.split("-", 1)[0]


def _unit(entries: Sequence[Entry]) -> SplitBy:
    unknown = [entry.id for entry in entries if entry.speaker is None]
    if not unknown:
        return "speaker"
    if len(unknown) == len(entries):
        return "recording"
    raise DataError(
        f"{_count(unknown, 'utterance')} of {len(entries)} without a speaker, so splits by "
        f"speaker are not possible",
        hint="name every speaker, or use --split-by recording",
    )


def _groups(entries: Sequence[Entry], by: SplitBy) -> dict[str, list[Entry]]:
    if by == "recording":
        # Named by its first id, not its path: a corpus splits the same wherever it lies.
        names: dict[str, str] = {}
        for entry in sorted(entries, key=lambda entry: entry.id):
            names.setdefault(str(entry.audio_path), entry.id)
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if by == "speaker" and entry.speaker is not None:
            groups[entry.speaker].append(entry)
        elif by == "recording":
            groups[names[str(entry.audio_path)]].append(entry)
        else:
            groups[entry.id].append(entry)
    return groups


def _shuffled(name: str) -> str:
    # Bytes of file names that are not UTF-8 too: whoever reads the files reports those.
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()


def _twice(utterance_id: str, first: tuple[str, Path], second: tuple[str, Path]) -> DataError:
    where = f"twice in {first[0]}" if first[0] == second[0] else f"in {first[0]} and in {second[0]}"
    paths = sorted({str(first[1]), str(second[1])})
    named = f"utterance id {utterance_id!r} is {where} ({' and '.join(paths)})"
    if len(paths) < 2:
        return DataError(f"{named}; ids must be unique")
    return DataError(f"{named}; ids must be unique", hint="rename or remove one of the two files")


def _count(names: Iterable[str], what: str) -> str:
    listed = sorted(names)
    plural = "" if len(listed) == 1 else "s"
    return f"{len(listed)} {what}{plural} (first: {listed[0]!r})"
