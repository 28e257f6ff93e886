"""LJ Speech: one woman reads passages of seven non-fiction books; 13,100 clips, 24 hours.

Licence: public domain (texts and recordings).

Address: https://keithito.com/LJ-Speech-Dataset/ (`LJSpeech-1.1.tar.bz2`; the author publishes no
checksum that is known here with certainty).

Layout, below `LJSpeech-1.1/`:

    metadata.csv          LJ001-0001|Printing, in 1439|Printing, in fourteen thirty-nine
    wavs/LJ001-0001.wav   22.05 kHz

A line is `id|transcript|the same with numbers and units written out`, with no quoting. One
speaker: the splits are by a hash of the id. There is no official split.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from asr.config import Options
from asr.corpora.layout import corpus_root, parse_lines
from asr.corpora.listing import Entry, Importer, Listing
from asr.corpora.splits import SplitOptions, complete_splits


class LjSpeechOptions(Options):
    """What to hold out, and which transcript to take.

    Attributes:
        dev_fraction: Share of the clips for development.
        test_fraction: Share of the clips for test.
        expanded: Take the third column, where numbers, ordinals and units are written out as
            they are spoken, not the second.
    """

    dev_fraction: float = Field(default=0.05, ge=0, lt=0.5)
    test_fraction: float = Field(default=0.05, ge=0, lt=0.5)
    expanded: bool = False


def find_ljspeech(source: Path, options: LjSpeechOptions) -> Listing:
    """All clips, divided by a hash of their ids.

    Raises:
        DataError: `metadata.csv` is missing or has malformed lines.
    """
    root = corpus_root(source, "LJSpeech-1.1", "metadata.csv", "LJ Speech")
    column = 2 if options.expanded else 1

    def parse(line: str) -> Entry:
        cells = line.split("|")
        if len(cells) != 3 or not cells[0]:
            raise ValueError(f"expected `id|transcript|expanded transcript`, got {line[:60]!r}")
        return Entry(cells[0], root / "wavs" / f"{cells[0]}.wav", cells[column], speaker="LJ")

    splits = SplitOptions(
        dev_fraction=options.dev_fraction,
        test_fraction=options.test_fraction,
        split_by="utterance",
    )
    entries = parse_lines(root / "metadata.csv", parse)
    return Listing(complete_splits({"train": entries}, splits), speakers_shared=True)


IMPORTER = Importer(LjSpeechOptions, find_ljspeech)
