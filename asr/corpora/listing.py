"""What an importer finds in a corpus's files, before any audio was looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from asr.audio import Channel, PcmFormat
from asr.config import Options
from asr.manifest import Problem, Utterance

OptionsT = TypeVar("OptionsT", bound=Options)
Splits = dict[str, list[Utterance]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One utterance as its corpus lists it.

    Attributes:
        id: Unique in the corpus.
        audio_path: Its audio file.
        text: Transcript exactly as the corpus has it.
        speaker: None where the corpus does not say.
        start_s: Where the utterance starts in its file.
        duration_s: None for "to the end of the file".
        channel: The channel to take, or `"mix"`.
        pcm: Format of a file without header.
    """

    id: str
    audio_path: Path
    text: str
    speaker: str | None = None
    start_s: float = 0.0
    duration_s: float | None = None
    channel: Channel = "mix"
    pcm: PcmFormat | None = None


@dataclass(frozen=True)
class Listing:
    """All that a corpus lists.

    Attributes:
        splits: Entries by split: `train`, `dev`, `test`, or a part of one such as `test-clean`,
            which gets a manifest of its own besides its share of `test`.
        left_out: Utterances that the layout alone shows to be unusable.
        speakers_shared: The same speaker may be in several splits, known and accepted.
    """

    splits: Mapping[str, Sequence[Entry]]
    left_out: Sequence[Problem] = ()
    speakers_shared: bool = False


@dataclass(frozen=True)
class Importer(Generic[OptionsT]):
    """How one corpus becomes a listing.

    Attributes:
        options: The corpus's own options.
        find: Reads the layout below a directory (or of a file, where the corpus is one).
        derive: Makes further utterances from the measured ones, writing audio below the output
            directory; returns all splits.
        reads_jsonl: `find` takes `.jsonl` files of a directory for the corpus's own, so that the
            manifests have to go elsewhere.
    """

    options: type[OptionsT]
    find: Callable[[Path, OptionsT], Listing]
    derive: Callable[[Splits, Path, OptionsT], Splits] | None = None
    reads_jsonl: bool = False
