"""Free Spoken Digit Dataset: isolated English digits; 6 speakers, 50 recordings of each digit.

3,000 recordings, 22 minutes, 8 kHz, cut close to the word.

Licence: CC BY-SA 4.0.

Address: https://github.com/Jakobovski/free-spoken-digit-dataset (also on Zenodo, by version; no
checksum is known here with certainty).

Layout: `recordings/7_jackson_32.wav` is digit 7 by jackson, his 32nd.

Splits are by speaker: `--test-speaker` and `--dev-speaker`, by default the last and the one before
it in the alphabet, so that naming each speaker in turn leaves one out six times.
(The data set's own test set, numbers 0 to 4 of every speaker, shares speakers with training.)

`--connected N` also makes N utterances of each speaker by joining one to seven of that speaker's
recordings with pauses between, as connected digits are spoken; they go to `connected-…/` below
`--out`, and each split then has two parts, such as `test-isolated` and `test-connected`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from asr.audio import Waveform, read_audio, write_audio
from asr.config import Options
from asr.corpora.layout import find_audio
from asr.corpora.listing import Entry, Importer, Listing, Splits
from asr.errors import ConfigError, DataError
from asr.manifest import Problem, Utterance
from asr.progress import progress_bar

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

MAX_DIGITS = 7
"""Digits of a connected utterance at most, as in TIDIGITS (Leonard, 1984)."""

PAUSE_S = (0.05, 0.4)
"""Bounds of the pause between digits: from run together to hesitating."""

EDGE_S = 0.1
"""Pause before the first and after the last digit."""

PAUSE_RMS = 1e-3
"""Level of the noise in pauses, 60 dB below full scale: no microphone gives digital silence."""

_NAME = re.compile(r"(\d)_(.+)_(\d+)")


class FsddOptions(Options):
    """Whom to hold out, and how many connected utterances to make.

    Attributes:
        test_speaker: Speaker to test on; None for the last in the alphabet.
        dev_speaker: Speaker for development; None for the one before the test speaker in the
            alphabet (the last, where that is the first).
        connected: Connected utterances to make of each speaker.
        seed: Of all that is drawn for them.
    """

    test_speaker: str | None = None
    dev_speaker: str | None = None
    connected: int = Field(default=0, ge=0)
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
    part = "-isolated" if options.connected else ""
    splits: dict[str, list[Entry]] = {name + part: [] for name in ("train", "dev", "test")}
    for entry in entries:
        split = {test: "test", dev: "dev"}.get(str(entry.speaker), "train")
        splits[split + part].append(entry)
    return Listing(splits, left_out)


def add_connected(splits: Splits, out: Path, options: FsddOptions) -> Splits:
    """The splits, with connected utterances of each speaker beside the isolated ones.

    Args:
        splits: Measured isolated recordings.
        out: Directory below which the joined audio is written.
        options: How many, and the seed.

    Raises:
        DataError: Audio cannot be read or written.
    """
    if not options.connected:
        return splits
    folder = out / f"connected-{options.connected}-seed{options.seed}"
    everyone = {
        str(one.speaker): name.removesuffix("-isolated") for name in splits for one in splits[name]
    }
    connected: Splits = {f"{split}-connected": [] for split in everyone.values()}
    with progress_bar("joining digits", options.connected * len(everyone)) as advance:
        for speaker, split in sorted(everyone.items()):
            recordings = [one for one in splits[f"{split}-isolated"] if one.speaker == speaker]
            for utterance in _join_speaker(speaker, recordings, folder, options):
                connected[f"{split}-connected"].append(utterance)
                advance()
    return splits | connected


def join(digits: Sequence[Waveform], generator: np.random.Generator) -> Waveform:
    """Recordings one after the other, with drawn pauses of faint noise around them.

    Args:
        digits: At least one; all of one sampling rate.
        generator: Pauses and their noise are drawn from it.

    Returns:
        `EDGE_S`, the first recording, a pause within `PAUSE_S`, the second, …, `EDGE_S`.

    Raises:
        DataError: Sampling rates differ.
    """
    rates = sorted({digit.sample_rate_hz for digit in digits})
    if len(rates) > 1:
        raise DataError(f"recordings to be joined have sampling rates {rates}; expected one")

    def pause(duration_s: float) -> np.ndarray:
        return generator.normal(0.0, PAUSE_RMS, round(duration_s * rates[0])).astype(np.float32)

    pieces = [pause(EDGE_S)]
    for digit in digits:
        pieces += [digit.samples, pause(generator.uniform(*PAUSE_S))]
    pieces[-1] = pause(EDGE_S)
    return Waveform(np.concatenate(pieces), rates[0])


def _join_speaker(
    speaker: str, recordings: Sequence[Utterance], folder: Path, options: FsddOptions
) -> Iterator[Utterance]:
    # Seeded by the name too: a speaker's utterances do not depend on who else is there.
    generator = np.random.default_rng([options.seed, *speaker.encode()])
    draw = _deal(len(recordings), generator)
    waveforms = [read_audio(one.audio_path) for one in recordings]
    for number in range(options.connected):
        chosen = [next(draw) for _ in range(generator.integers(1, MAX_DIGITS + 1))]
        waveform = join([waveforms[index] for index in chosen], generator)
        utterance_id = f"connected_{speaker}_{number:04d}"
        path = folder / f"{utterance_id}.flac"
        write_audio(path, waveform)
        text = " ".join(recordings[index].text for index in chosen)
        yield Utterance(utterance_id, path, waveform.duration_s, text, speaker=speaker)


def _deal(num_cards: int, generator: np.random.Generator) -> Iterator[int]:
    """Indices as from a deck that is shuffled whenever it is used up: each equally often."""
    while True:
        yield from (int(card) for card in generator.permutation(num_cards))


def _held_out(source: Path, speakers: list[str], options: FsddOptions) -> tuple[str, str]:
    if len(speakers) < 3:
        raise DataError(
            f"{source} is not the Free Spoken Digit Dataset: it holds recordings of "
            f"{len(speakers)} speakers, at least 3 are needed",
            hint="--source is the folder with recordings/ in it",
        )
    for option in ("test_speaker", "dev_speaker"):
        speaker = getattr(options, option)
        if speaker is not None and speaker not in speakers:
            raise ConfigError(f"{option}: no speaker {speaker!r}", f"known: {', '.join(speakers)}")
    test = options.test_speaker or next(s for s in reversed(speakers) if s != options.dev_speaker)
    dev = options.dev_speaker or speakers[speakers.index(test) - 1]
    if test == dev:
        raise ConfigError(f"test_speaker and dev_speaker are both {test!r}; name two")
    return test, dev


IMPORTER = Importer(FsddOptions, find_fsdd, add_connected)
