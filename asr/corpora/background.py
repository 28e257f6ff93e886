"""Sounds without words, and quiet: what a recogniser should answer with nothing.

What it is: pieces of the recordings below `--source` in which nobody speaks, such as rain, traffic
or an office, and beside them quiet that is made: noise of drawn colour and level, some of it with
hum of the mains, down to the flicker of a single bit. Every transcript is empty. A model that was
trained on words alone hears words in everything; these, beside its speech, teach it not to. For a
model of a few words, speech of others is background too: `--source` is then a manifest, and of its
utterances those count that have none of the words of a text, `--set without=WORDS`.

Layout: any audio files, at any depth, or a manifest. Sorted by path, or by id, and counted from 0,
those at odd places are for the test and the others for training, as `augment.noise.files` divides
them. The quiet goes to `quiet/<seed>-<rate>/` below `--out`; of the recordings, ranges are listed
and nothing is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import Field, model_validator

from asr.audio import Waveform, write_audio
from asr.config import Options
from asr.corpora.layout import NOT_IN_NAMES, find_audio, path_id, read_text
from asr.corpora.listing import Entry, Importer, Listing, Splits
from asr.corpora.splits import SPLITS, hold_out
from asr.corpora.synthetic import coloured_noise, mains_hum
from asr.errors import ConfigError, DataError
from asr.manifest import Utterance, read_manifest
from asr.progress import progress_bar
from asr.text import plain_words

QUIET_DB = (-95.0, -35.0)
"""Levels of the quiet, of full scale: the lowest is less than a bit of 16."""


class BackgroundOptions(Options):
    """How much is made of the recordings.

    Attributes:
        num_train: Utterances for training; the recordings take turns.
        num_dev: Utterances for development.
        num_test: Utterances for the test.
        dev_fraction: Share of the training recordings that are for development instead.
        quiet_share: Share of the utterances that are quiet.
        min_s: Shortest utterance; a shorter recording is taken whole.
        max_s: Longest utterance.
        seed: Of everything drawn.
        sample_rate_hz: Of the quiet.
        without: Of a manifest: a text with all the words that may not be said, in any case.
    """

    num_train: int = Field(300, ge=1)
    num_dev: int = Field(30, ge=0)
    num_test: int = Field(100, ge=0)
    dev_fraction: float = Field(0.1, ge=0, lt=1)
    quiet_share: float = Field(0.4, ge=0, le=1)
    min_s: float = Field(1.0, gt=0, le=60)
    max_s: float = Field(6.0, gt=0, le=60)
    seed: int = Field(0, ge=0)
    sample_rate_hz: int = Field(16000, ge=8000, le=48000)
    without: Path | None = None

    @model_validator(mode="after")
    def _check_lengths(self) -> BackgroundOptions:
        if self.min_s > self.max_s:
            raise ValueError("min_s must be at most max_s")
        return self

    def num_utterances(self, split: str) -> int:
        """How many a split gets."""
        return {"train": self.num_train, "dev": self.num_dev, "test": self.num_test}[split]


def find_background(source: Path, options: BackgroundOptions) -> Listing:
    """The recordings, divided; one alone is for training.

    Raises:
        ConfigError: A manifest without words that may not be said, or a folder with such.
        DataError: No such folder or manifest, or nothing in it that counts.
    """
    is_manifest = source.suffix == ".jsonl"
    if is_manifest != (options.without is not None):
        raise ConfigError(
            "`without` is for a manifest, which needs it: a text with the words to be recognised",
            hint="--source MANIFEST --set without=WORDS, or --source FOLDER alone",
        )
    entries = _other_speech(source, options) if is_manifest else _sounds(source)
    train, test = entries[::2], entries[1::2]
    dev: list[Entry] = []
    if options.num_dev and options.dev_fraction and len(train) > 1:
        train, dev = hold_out(train, options.dev_fraction * len(train), "utterance")
    splits = {"train": train, "dev": dev, "test": test if options.num_test else []}
    return Listing({name: found for name, found in splits.items() if found})


def _sounds(folder: Path) -> list[Entry]:
    files = find_audio(folder) if folder.is_dir() else []
    if not files:
        raise DataError(
            f"{folder} holds no audio", hint="--source is a folder of sounds without words"
        )
    return [Entry(path_id(path, folder), path, "") for path in files]


def _other_speech(manifest: Path, options: BackgroundOptions) -> list[Entry]:
    """Utterances without the words of the options, sorted by id."""
    words = set() if options.without is None else set(plain_words(read_text(options.without)))
    found = [one for one in read_manifest(manifest) if words.isdisjoint(plain_words(one.text))]
    if not found:
        raise DataError(
            f"every utterance of {manifest} has a word of {options.without}",
            hint="name fewer words, or another manifest",
        )
    return [
        Entry(one.id, one.audio_path, "", None, one.start_s, one.duration_s, one.channel, one.pcm)
        for one in sorted(found, key=lambda one: one.id)
    ]


def cut_pieces(recordings: Splits, out: Path, options: BackgroundOptions) -> Splits:
    """Utterances of each split, with ids that begin as `out` is called; quiet is written.

    Raises:
        DataError: Audio cannot be written.
    """
    folder = out / "quiet" / f"{options.seed}-{options.sample_rate_hz}"
    sizes = {split: options.num_utterances(split) for split in recordings}
    pieces: Splits = {}
    with progress_bar("cutting", sum(sizes.values())) as advance:
        for split, own in recordings.items():
            pieces[split] = []
            for utterance in _split_pieces(split, own, folder, options):
                pieces[split].append(utterance)
                advance()
    return pieces


def _split_pieces(
    split: str, recordings: Sequence[Utterance], folder: Path, options: BackgroundOptions
) -> Iterator[Utterance]:
    for number in range(options.num_utterances(split)):
        rng = np.random.default_rng((options.seed, SPLITS.index(split), number))
        place = f"{split}-{number:05d}"
        name = f"{re.sub(NOT_IN_NAMES, '_', folder.parents[1].name)}-{place}"
        duration_s = float(rng.uniform(options.min_s, options.max_s))
        if rng.random() < options.quiet_share:
            path = folder / f"{place}.flac"
            waveform = draw_quiet(duration_s, options.sample_rate_hz, rng)
            write_audio(path, waveform)
            yield Utterance(name, path, waveform.duration_s, "")
        else:
            whole = recordings[number % len(recordings)]
            duration_s = min(duration_s, whole.duration_s)
            start_s = whole.start_s + float(rng.uniform(0, whole.duration_s - duration_s))
            yield replace(whole, id=name, duration_s=duration_s, start_s=start_s)


def draw_quiet(duration_s: float, sample_rate_hz: int, rng: np.random.Generator) -> Waveform:
    """Noise of drawn colour, from white to brown, and level, within `QUIET_DB`.

    A quarter has hum of the mains in it.

    Args:
        duration_s: Above 0.
        sample_rate_hz: Of what is returned.
        rng: Source of the draws.
    """
    num_samples = max(1, round(duration_s * sample_rate_hz))
    samples = coloured_noise(num_samples, rng.uniform(0.0, 2.0), rng)
    if rng.random() < 0.25:
        hum = mains_hum(num_samples, sample_rate_hz, rng)
        samples = (samples + rng.uniform(0.3, 3.0) * hum) / 2
    samples *= 10 ** (rng.uniform(*QUIET_DB) / 20)
    return Waveform(samples.astype(np.float32), sample_rate_hz)


IMPORTER = Importer(BackgroundOptions, find_background, cut_pieces)
