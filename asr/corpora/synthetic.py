"""What corpora spoken by eSpeak NG share: voices by split, the room around them, many processes.

A voice is a variant of eSpeak NG (another vocal tract: formants, voicing, pitch) in a language or
accent. Variants that share their formants or their name form a family, and a family is in one
split only: development and test speakers are voices unheard in training.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, islice
from typing import TypeVar

import numpy as np
from pydantic import Field, model_validator

from asr.audio import Waveform
from asr.config import Options
from asr.synthesis import Voice

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

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
_JOBS_AHEAD = 256
"""Jobs given to the processes at a time: the most that is wasted when no more are wanted."""


class SynthesisOptions(Options):
    """How speech is drawn, and how hard to hear it is.

    Attributes:
        seed: Of everything drawn. Which voice is in which split does not depend on it.
        min_snr_db: Loudest noise, as speech power over noise power.
        max_snr_db: Softest noise.
        num_workers: Processes; 0 for one a core, at most 4.
    """

    seed: int = Field(1, ge=0)
    min_snr_db: float = Field(8.0, ge=-20, le=100)
    max_snr_db: float = Field(35.0, ge=-20, le=100)
    num_workers: int = Field(0, ge=0, le=64)

    @model_validator(mode="after")
    def _check_snr(self) -> SynthesisOptions:
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


def draw_voice(
    families: Sequence[Sequence[str]],
    turn: int,
    languages: Sequence[str],
    rng: np.random.Generator,
) -> Voice:
    """A voice with drawn accent, rate, pitch, intonation and pauses.

    Args:
        families: Families take turns, so that few utterances hear all of them equally often.
        turn: Whose turn it is; any number from 0.
        languages: As eSpeak NG names them; one is drawn.
        rng: Source of the draws.
    """
    family = families[turn % len(families)]
    return Voice(
        language=str(rng.choice(languages)),
        variant=str(rng.choice(family)),
        rate_wpm=int(rng.integers(100, 201)),
        pitch=int(rng.integers(30, 71)),
        pitch_range=int(rng.integers(20, 91)),
        word_gap=int(rng.choice([0, 0, 0, 5, 10])),
    )


def speaker_name(voice: Voice) -> str:
    """Language and variant as one word, for manifests."""
    return f"{voice.language}+{voice.variant}".replace(" ", "_")


def place(speech: Waveform, options: SynthesisOptions, rng: np.random.Generator) -> Waveform:
    """Silence around the speech, noise under all of it, and a level for the whole.

    Args:
        speech: Without silence around it.
        options: Range of the noise; a fifth of the utterances have hum of the mains in it.
        rng: Source of the draws.

    Returns:
        At the rate of `speech`, with 0.05 to 0.4 s before and after it, and a peak from -26 to
        -1 dB of full scale.
    """
    rate_hz = speech.sample_rate_hz
    lead, tail = (rng.uniform(0.05, 0.4, 2) * rate_hz).astype(int)
    clean = np.pad(_unit_power(speech.samples.astype(np.float64)), (lead, tail))
    noise = coloured_noise(len(clean), rng.uniform(0.0, 2.0), rng)
    if rng.random() < 0.2:
        noise = _unit_power(noise + mains_hum(len(clean), rate_hz, rng))
    snr_db = rng.uniform(options.min_snr_db, options.max_snr_db)
    samples = clean + 10 ** (-snr_db / 20) * noise
    peak_db = rng.uniform(-26.0, -1.0)
    samples *= 10 ** (peak_db / 20) / np.abs(samples).max()
    return Waveform(samples.astype(np.float32), rate_hz)


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


def mains_hum(num_samples: int, sample_rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Hum at 50 or 60 Hz with six overtones, of drawn strength and phase.

    Args:
        num_samples: Length; at least 1.
        sample_rate_hz: Its rate, above 840 Hz.
        rng: Source of the draws.

    Returns:
        (num_samples,) float64 of mean power 1.
    """
    time_s = np.arange(num_samples) / sample_rate_hz
    harmonics = rng.choice([50.0, 60.0]) * np.arange(1, 8)
    levels = rng.random(7) / np.arange(1, 8)
    phases = rng.uniform(0, 2 * np.pi, 7)
    waves = np.sin(2 * np.pi * harmonics[:, None] * time_s + phases[:, None])
    return _unit_power(levels @ waves)


def in_processes(
    work: Callable[[JobT], ResultT], jobs: Iterable[JobT], num_workers: int
) -> Generator[ResultT, None, None]:
    """Results of jobs in their order; a consumer that stops early wastes a few jobs at most.

    Args:
        work: Can be pickled; one job to its result.
        jobs: Any number, even without end; drawn from as results are taken.
        num_workers: Processes; 0 for one a core, at most 4. A few jobs are done in this one.
    """
    waiting = iter(jobs)
    num_workers = num_workers or min(4, os.cpu_count() or 1)
    first = list(islice(waiting, _MIN_PARALLEL_JOBS))
    waiting = chain(first, waiting)
    if num_workers == 1 or len(first) < _MIN_PARALLEL_JOBS:
        yield from map(work, waiting)
        return
    # Forking a process whose torch has started threads may hang; a fresh one can not.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, _start_worker) as pool:
        while block := list(islice(waiting, _JOBS_AHEAD)):
            yield from pool.map(work, block, chunksize=16)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    try:
        import torch
    except ModuleNotFoundError:
        return  # an error here would break the pool; a job that needs torch says what is missing
    torch.set_num_threads(1)  # or every process would start as many threads as there are cores


def _unit_power(samples: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = samples / max(float(np.sqrt(np.mean(samples**2))), 1e-12)
    return scaled
