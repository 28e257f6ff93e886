"""Free Spoken Digit Dataset: isolated English digits; 6 speakers, 50 recordings of each digit.

3,000 recordings, 22 minutes, 8 kHz, cut close to the word.

Licence: CC BY-SA 4.0.

Address: https://github.com/Jakobovski/free-spoken-digit-dataset (also on Zenodo, by version; no
checksum is known here with certainty).

Layout: `recordings/7_jackson_32.wav` is digit 7 by jackson, his 32nd.

Splits are by speaker: `--test-speaker` and `--dev-speaker`, by default the last and the one before
it in the alphabet, so that naming each speaker in turn leaves one out six times.
`--dev-speaker none` leaves nobody for development: five train.
(The data set's own test set, numbers 0 to 4 of every speaker, shares speakers with training.)

`--connected N` also makes N utterances of each speaker by joining one to seven of that speaker's
recordings with pauses between, as connected digits are spoken; they go to `connected-…/` below
`--out`, and each split then has two parts, such as `test-isolated` and `test-connected`.
`--set varied=N` makes N more of each training speaker, with drawn levels and noise
(`asr.corpora.joined`), and with `--set cut_share=0.8` and the like as other recorders would have
recorded them (`asr.corpora.recorders`): the part `train-varied`.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from pydantic import Field

from asr.corpora.joined import (
    MAX_PIECES,
    JoinPlan,
    join,
    join_speakers,
    join_varied,
    recorder_names,
)
from asr.corpora.layout import find_audio
from asr.corpora.listing import Entry, Importer, Listing, Splits
from asr.corpora.recorders import RecorderOptions
from asr.errors import ConfigError, DataError
from asr.manifest import Problem

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

NOBODY = "none"
"""In place of a development speaker."""

_NAME = re.compile(r"(\d)_(.+)_(\d+)")


class FsddOptions(RecorderOptions):
    """Whom to hold out, and how many connected utterances to make.

    The shares of `RecorderOptions` are for those that `varied` asks for.

    Attributes:
        test_speaker: Speaker to test on; None for the last in the alphabet.
        dev_speaker: Speaker for development; None for the one before the test speaker in the
            alphabet (the last, where that is the first), `NOBODY` to train on all the others.
        connected: Connected utterances to make of each speaker.
        varied: Further ones of each training speaker, with drawn levels and noise.
        seed: Of all that is drawn for them.
    """

    test_speaker: str | None = None
    dev_speaker: str | None = None
    connected: int = Field(default=0, ge=0)
    varied: int = Field(default=0, ge=0)
    seed: int = Field(default=0, ge=0)


def find_fsdd(source: Path, options: FsddOptions) -> Listing:
    """All recordings, split by speaker.

    Raises:
        DataError: There are fewer than three speakers.
        ConfigError: A speaker that was named is not there, or was named twice.
    """
    files = find_audio(source, frozenset({".wav"}))
    named = [(path, _NAME.fullmatch(path.stem)) for path in files]
    left_out = [
        Problem(path.stem, f"{path}: its name is not <digit>_<speaker>_<number>.wav")
        for path, match in named
        if match is None
    ]
    entries = [
        Entry(path.stem, path, WORDS[int(match[1])], speaker=match[2])
        for path, match in named
        if match is not None
    ]
    test, dev = _held_out(source, sorted({str(entry.speaker) for entry in entries}), options)
    part = "-isolated" if options.connected or options.varied else ""
    splits: dict[str, list[Entry]] = {name + part: [] for name in ("train", "dev", "test")}
    for entry in entries:
        split = {test: "test", dev: "dev"}.get(str(entry.speaker), "train")
        splits[split + part].append(entry)
    return Listing(splits, left_out)


def add_joined(splits: Splits, out: Path, options: FsddOptions) -> Splits:
    """The splits, with joined utterances of each speaker beside the isolated ones.

    Args:
        splits: Measured isolated recordings.
        out: Directory below which the joined audio is written.
        options: How many, and the seed.

    Raises:
        DataError: Audio cannot be read or written.
    """
    varied = partial(join_varied, recorders=options)
    seed = f"seed{options.seed}"
    parts: Splits = {}
    for kind, count, joiner, names in (
        ("connected", options.connected, join, []),
        ("varied", options.varied, varied, recorder_names(options)),
    ):
        folder = out / "-".join((kind, str(count), seed, *names))
        plan = JoinPlan(count, MAX_PIECES, folder, kind, joiner, options.seed)
        for split in ("train",) if kind == "varied" else ("train", "dev", "test"):
            isolated = splits.get(f"{split}-isolated", [])
            if count and isolated:
                parts[f"{split}-{kind}"] = join_speakers(isolated, plan)
    return splits | parts


def _held_out(source: Path, speakers: list[str], options: FsddOptions) -> tuple[str, str]:
    if len(speakers) < 3:
        plural = "" if len(speakers) == 1 else "s"
        raise DataError(
            f"{source} is not the Free Spoken Digit Dataset: it holds recordings of "
            f"{len(speakers)} speaker{plural}, at least 3 are needed",
            hint="--source is the folder with recordings/ in it",
        )
    for option in ("test_speaker", "dev_speaker"):
        speaker = getattr(options, option)
        if option == "dev_speaker" and speaker == NOBODY:
            continue
        if speaker is not None and speaker not in speakers:
            raise ConfigError(f"{option}: no speaker {speaker!r}", f"known: {', '.join(speakers)}")
    test = options.test_speaker or next(s for s in reversed(speakers) if s != options.dev_speaker)
    dev = options.dev_speaker or speakers[speakers.index(test) - 1]
    if test == dev:
        raise ConfigError(f"test_speaker and dev_speaker are both {test!r}; name two")
    return test, dev


IMPORTER = Importer(FsddOptions, find_fsdd, add_joined)
