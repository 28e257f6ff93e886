"""Connected English digits, spoken by eSpeak NG: a corpus that needs no download.

What it is: one to seven digits an utterance ("four zero nine"), made on the spot by the voices of
the wheel `espeakng-loader` (extra `demo`, GPL-3.0; what it speaks is free of that licence), in
eight accents, with drawn rate, pitch, intonation, pauses, level, and noise at a drawn SNR.
Layout: `audio/<split>/<id>.wav`, 16 bit, beside the manifests.

Development and test speakers are voices unheard in training. A voice is a variant of eSpeak NG
(another vocal tract: formants, voicing, pitch); variants that share their formants or their name
form a family, and a family is in one split only. Each split's accents are the same eight.
Every utterance is a function of (seed, split, index), so sizes and the number of processes do not
change what an index sounds like.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field, model_validator

from asr.audio import Waveform, resample, write_audio
from asr.config import Options
from asr.corpora.listing import Entry, Importer, Listing
from asr.errors import require_extra
from asr.progress import progress_bar
from asr.synthesis import Voice, synthesize

SAMPLE_RATE_HZ = 16000
"""Of the audio written."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""The vocabulary; digit n is word n."""

ACCENTS = (
    "en-us",
    "en-us-nyc",
    "en-gb",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
)
"""Accents of every voice, as eSpeak NG names them."""

# Every variant of the wheel 0.2.4 but those that no human could be: robots (Demonic, UniRobot,
# anikaRobot, robosoft…, RicishayMax…: echoes of seconds), whispers (whisper, whisperf, caleb), and
# vocal tracts out of range (first or second formant not within 0.7 to 1.4 of the plain voice:
# Alicia, kaukovalta, travis, zac). `fast` differs in rate only, which is drawn anyway. Variants
# with the same formants 0 to 5, or the same name apart from digits and case, form a family.
_VARIANTS = """
f1, f2, f3, f4, f5, m1, m2, m3, m4, m5, m6, m7, m8, Alex, Andrea, Andy/AnxiousAndy, Annie, Denis,
Diogo/Henrique/Hugo/michel/miguel, Gene/Gene2, Jacky, Lee, Marco, Mario, Michael, Mike/mike2,
Mr serious, Nguyen, Reed, Storm, Tweaky, adam, anika, announcer, antonio, aunty, belinda, benjamin,
boris, croak, david, ed, edward/edward2, grandma,
grandpa/john/klatt/klatt2/klatt3/klatt4/klatt5/klatt6, gustave, ian, iven/iven2/iven3/iven4,
linda, marcelo, max, norbert, pablo, paul, pedro, quincy, rob, robert, sandro, shelby,
steph/steph2/steph3, victor
"""

FAMILIES = tuple(tuple(family.strip().split("/")) for family in _VARIANTS.split(","))
"""Variants by family."""

NUM_HELD_OUT: Mapping[str, int] = {"test": 12, "dev": 8}
"""Families held out of training; the rest trains."""

# A new process takes about 2 s to import what it needs, as long as 200 utterances take to make.
_MIN_PARALLEL_JOBS = 500

# 1 to 7 words in equal shares; any 150 utterances in a row from index 0 have exactly 600 words.
_WORD_COUNTS = (4, 1, 7, 2, 6, 3, 5)


class DigitsConfig(Options):
    """How many digits, and how hard to hear.

    Attributes:
        num_train: Training utterances, 4 words and about 2.4 s each on average.
        num_dev: Development utterances.
        num_test: Test utterances; 150 have 600 words.
        seed: Of everything drawn. Which voice is in which split does not depend on it.
        min_snr_db: Loudest noise, as speech power over noise power.
        max_snr_db: Softest noise.
        num_workers: Processes; 0 for one a core, at most 4.
    """

    num_train: int = Field(2000, ge=1)
    num_dev: int = Field(75, ge=1)
    num_test: int = Field(150, ge=1)
    seed: int = Field(1, ge=0)
    min_snr_db: float = Field(8.0, ge=-20, le=100)
    max_snr_db: float = Field(35.0, ge=-20, le=100)
    num_workers: int = Field(0, ge=0, le=64)

    @model_validator(mode="after")
    def _check_snr(self) -> DigitsConfig:
        if self.min_snr_db > self.max_snr_db:
            raise ValueError("min_snr_db must be at most max_snr_db")
        return self


def split_families() -> dict[str, list[tuple[str, ...]]]:
    """Families of variants by split: ranked by a hash of their names, never by how they sound."""
    ranked = sorted(FAMILIES, key=lambda family: hashlib.sha256(family[0].encode()).digest())
    splits: dict[str, list[tuple[str, ...]]] = {}
    start = 0
    for split, count in NUM_HELD_OUT.items():
        splits[split] = ranked[start : start + count]
        start += count
    splits["train"] = ranked[start:]
    return splits


def find(source: Path, options: DigitsConfig) -> Listing:
    """Make the corpus: speak, write `source`/audio, and list what was written.

    Raises:
        ConfigError: The installed eSpeak NG lacks one of the voices.
        DataError: The audio cannot be written.
        MissingExtraError: The extra `demo` is not installed.
    """
    sizes = {"train": options.num_train, "dev": options.num_dev, "test": options.num_test}
    jobs = [(split, index) for split, size in sizes.items() for index in range(size)]
    splits: dict[str, list[Entry]] = {split: [] for split in sizes}
    with progress_bar("speaking digits", len(jobs)) as advance:
        for split, entry in _in_processes(partial(_write, source, options), jobs, options):
            splits[split].append(entry)
            advance()
    return Listing(splits)


IMPORTER = Importer(options=DigitsConfig, find=find)
"""Not read but made: the directory to read from is the one where the audio will lie."""


def speak_digits(split: str, index: int, config: DigitsConfig) -> tuple[str, Voice, Waveform]:
    """One utterance: its words, who speaks, and what is heard.

    Args:
        split: `train`, `dev` or `test`.
        index: Number of the utterance in its split, from 0.
        config: Seed and range of the noise.
    """
    rng = np.random.default_rng((config.seed, ("train", "dev", "test").index(split), index))
    count = _WORD_COUNTS[index % len(_WORD_COUNTS)]
    words = [DIGITS[digit] for digit in rng.integers(len(DIGITS), size=count)]
    voice = _draw_voice(split, index, rng)
    pause_share = rng.choice([0.0, 0.0, 0.2, 0.5])
    spoken = words[0]
    for word in words[1:]:
        spoken += (", " if rng.random() < pause_share else " ") + word
    speech = resample(synthesize(spoken, voice), SAMPLE_RATE_HZ)
    return " ".join(words), voice, _place(speech, config, rng)


def coloured_noise(num_samples: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise whose power falls as frequency to the power of `-exponent`.

    Args:
        num_samples: Length; at least 1.
        exponent: 0 is white, 1 pink, 2 brown.
        rng: Source of the draws.

    Returns:
        (num_samples,) float64 of mean power 1.
    """
    # FFT lengths with large prime factors are slow: draw a power of two and cut.
    length = 1 << (num_samples - 1).bit_length()
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** (-exponent / 2)
    noise: np.ndarray = np.fft.irfft(spectrum, length)[:num_samples]
    return _unit_power(noise)


def mains_hum(num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Hum at 50 or 60 Hz with six harmonics of drawn strength and phase.

    Returns:
        (num_samples,) float64 of mean power 1, at `SAMPLE_RATE_HZ`.
    """
    time_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    harmonics = rng.choice([50.0, 60.0]) * np.arange(1, 8)
    levels = rng.random(7) / np.arange(1, 8)
    phases = rng.uniform(0, 2 * np.pi, 7)
    waves = np.sin(2 * np.pi * harmonics[:, None] * time_s + phases[:, None])
    return _unit_power(levels @ waves)


def _write(source: Path, config: DigitsConfig, job: tuple[str, int]) -> tuple[str, Entry]:
    split, index = job
    text, voice, waveform = speak_digits(split, index, config)
    path = source / "audio" / split / f"{split}-{index:05d}.wav"
    write_audio(path, waveform)
    speaker = f"{voice.language}+{voice.variant}".replace(" ", "_")
    return split, Entry(id=path.stem, audio_path=path, text=text, speaker=speaker)


def _in_processes(
    write: Callable[[tuple[str, int]], tuple[str, Entry]],
    jobs: Sequence[tuple[str, int]],
    config: DigitsConfig,
) -> Iterator[tuple[str, Entry]]:
    num_workers = config.num_workers or min(4, os.cpu_count() or 1)
    if num_workers == 1 or len(jobs) < _MIN_PARALLEL_JOBS:
        yield from map(write, jobs)
        return
    # Forking a process whose torch has started threads may hang; a fresh one can not.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, _start_worker) as pool:
        yield from pool.map(write, jobs, chunksize=16)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    with require_extra("train", "resampling audio"):
        import torch
    torch.set_num_threads(1)  # or every process would start as many threads as there are cores


def _draw_voice(split: str, index: int, rng: np.random.Generator) -> Voice:
    families = split_families()[split]
    # Families take turns, so that small test sets hear all of them equally often.
    family = families[index % len(families)]
    return Voice(
        language=str(rng.choice(ACCENTS)),
        variant=str(rng.choice(family)),
        rate_wpm=int(rng.integers(100, 201)),
        pitch=int(rng.integers(30, 71)),
        pitch_range=int(rng.integers(20, 91)),
        word_gap=int(rng.choice([0, 0, 0, 5, 10])),
    )


def _place(speech: Waveform, config: DigitsConfig, rng: np.random.Generator) -> Waveform:
    """Silence around the speech, noise under all of it, and a level for the whole."""
    lead, tail = (rng.uniform(0.05, 0.4, 2) * SAMPLE_RATE_HZ).astype(int)
    clean = np.pad(_unit_power(speech.samples.astype(np.float64)), (lead, tail))
    noise = coloured_noise(len(clean), rng.uniform(0.0, 2.0), rng)
    if rng.random() < 0.2:
        noise = _unit_power(noise + mains_hum(len(clean), rng))
    snr_db = rng.uniform(config.min_snr_db, config.max_snr_db)
    samples = clean + 10 ** (-snr_db / 20) * noise
    peak_db = rng.uniform(-26.0, -1.0)
    samples *= 10 ** (peak_db / 20) / np.abs(samples).max()
    return Waveform(samples.astype(np.float32), SAMPLE_RATE_HZ)


def _unit_power(samples: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = samples / max(float(np.sqrt(np.mean(samples**2))), 1e-12)
    return scaled
