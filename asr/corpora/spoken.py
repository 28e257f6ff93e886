"""Sentences of a text file, spoken by eSpeak NG: training speech where there is only text.

What it is: every line of `text` in many voices (extra `demo`, GPL-3.0; what it speaks is free of
that licence), in any of its languages and accents, with drawn rate, pitch, intonation, level, and
noise at a drawn SNR. A tenth of the sentences is for development, spoken by voices unheard in
training; see `asr.corpora.synthetic`.

Layout: `audio/<settings>/<split>/<id>.flac` beside the manifests. How an utterance sounds depends
on its sentence, split and number, and on the settings that the folder is named after: neither on
other lines nor on how many utterances there are. What is there already is not spoken again, so a
run that was stopped goes on, and a longer text or more hours add to what there is.

Transcripts are the lines as they stand; eSpeak NG reads numbers and abbreviations in its own way.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from asr.audio import Waveform, probe_audio, resample, write_audio
from asr.config import Strings
from asr.corpora.layout import parse_lines
from asr.corpora.listing import Entry, Importer, Listing
from asr.corpora.splits import SPLITS
from asr.corpora.synthetic import (
    ACCENTS,
    SynthesisOptions,
    draw_voice,
    in_processes,
    place,
    speaker_name,
    split_families,
)
from asr.errors import DataError
from asr.manifest import Problem
from asr.progress import progress_bar
from asr.synthesis import Voice, synthesize

Spelling = Literal["runs", "all", "none"]

_LETTER = r"(?<!\S)[^\W\d_]\.?(?!\S)"
_LETTER_RUN = re.compile(rf"{_LETTER}(?:\s+{_LETTER})*")


class SpokenOptions(SynthesisOptions):
    """What is spoken, how often and by whom.

    Attributes:
        text: UTF-8 file, a sentence a line; a line that occurs n times is spoken n times as often.
        per_sentence: Utterances of each line, by different voices as far as there are.
        hours: In place of `per_sentence`: lines take turns until there is so much training speech.
        dev_fraction: Share of the sentences for development; their audio is as much less.
        test_fraction: Share of the sentences for a test by voices of its own.
        languages: Languages and accents of eSpeak NG; one is drawn for each utterance. As a list or
            with commas between.
        spell: Which single letters are spoken as the names of letters: those beside another one
            (`runs`: "a b c", but not "a cat"), `all`, or those that the language takes for one.
        sample_rate_hz: Of the audio written.
    """

    text: Path
    per_sentence: int = Field(1, ge=1)
    hours: float | None = Field(None, gt=0, allow_inf_nan=False)
    dev_fraction: float = Field(0.1, ge=0, lt=1)
    test_fraction: float = Field(0.0, ge=0, lt=1)
    languages: Strings = Field(ACCENTS, min_length=1)
    spell: Spelling = "runs"
    sample_rate_hz: int = Field(16000, ge=8000, le=48000)

    @model_validator(mode="after")
    def _leave_some_for_training(self) -> SpokenOptions:
        if self.dev_fraction + self.test_fraction >= 1:
            raise ValueError("dev_fraction and test_fraction must leave something to train on")
        return self

    @property
    def folder(self) -> str:
        """Name for the settings that decide how an utterance sounds."""
        names = {"seed", "min_snr_db", "max_snr_db", "languages", "spell", "sample_rate_hz"}
        settings = self.model_dump_json(include=names)
        return hashlib.sha256(settings.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _Job:
    split: str
    sentence: str
    number: int

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sentence.encode()).hexdigest()[:16]

    @property
    def id(self) -> str:
        return f"{self.digest}-{self.number:04d}"


@dataclass(frozen=True)
class _Todo:
    """What to speak of one split: so many passes, or until there is `target_s` of speech."""

    split: str
    sentences: Mapping[str, int]
    num_passes: int
    target_s: float | None

    @property
    def pass_size(self) -> int:
        return sum(self.sentences.values())

    @property
    def num_steps(self) -> int:
        """Of a progress bar: utterances, or seconds."""
        return self.num_passes * self.pass_size if self.target_s is None else int(self.target_s)

    def jobs(self) -> Iterator[_Job]:
        """Each sentence as often as it occurs, then each again; without end for a target."""
        for number in range(self.num_passes) if self.target_s is None else count():
            for sentence, times in self.sentences.items():
                for again in range(times):
                    yield _Job(self.split, sentence, number * times + again)


def find_spoken(source: Path, options: SpokenOptions) -> Listing:
    """Speak what `source`/audio lacks, and list it all.

    Raises:
        ConfigError: eSpeak NG lacks a language.
        DataError: The text cannot be read or has too few sentences, or audio cannot be written.
        MissingExtraError: The extra `demo` is not installed.
    """
    splits: dict[str, list[Entry]] = {}
    left_out: list[Problem] = []
    work = partial(_speak, source / "audio" / options.folder, options)
    for split, sentences in _divide(read_sentences(options.text), options).items():
        splits[split] = []
        todo = _Todo(split, sentences, options.per_sentence, _target_s(split, options))
        for result in _speak_all(work, todo, options.num_workers):
            if isinstance(result, Problem):
                left_out.append(result)
            else:
                splits[split].append(result)
    return Listing(splits, left_out)


def read_sentences(text: Path) -> Counter[str]:
    """Lines of a file that are not blank, and how often each occurs.

    Raises:
        DataError: It cannot be read.
    """
    return Counter(parse_lines(text, str.strip))


def spell_out(text: str, spelling: Spelling) -> str:
    """Text with SSML around the single letters that are to be spoken as names of letters.

    >>> spell_out("enter a b four", "runs")
    'enter <say-as interpret-as="characters">ab</say-as> four'
    >>> spell_out("Q & a cat", "runs")
    'Q &amp; a cat'
    >>> spell_out("a cat", "all")
    '<say-as interpret-as="characters">a</say-as> cat'
    """

    def mark(match: re.Match[str]) -> str:
        letters = re.sub(r"[\s.]", "", match[0])
        if spelling == "none" or (spelling == "runs" and len(letters) < 2):
            return match[0]
        return f'<say-as interpret-as="characters">{letters}</say-as>'

    return _LETTER_RUN.sub(mark, escape(text, quote=False))


def _divide(lines: Mapping[str, int], options: SpokenOptions) -> dict[str, dict[str, int]]:
    """Sentences and how often each occurs, by split, in the order of a hash of them.

    So a share of them looks drawn at random and does not depend on their order in the file.
    """
    ranked = sorted(lines, key=lambda sentence: hashlib.sha256(sentence.encode()).digest())
    splits: dict[str, dict[str, int]] = {}
    start = 0
    for split, fraction in (("dev", options.dev_fraction), ("test", options.test_fraction)):
        num_held = max(1, round(fraction * len(ranked))) if fraction else 0
        held = ranked[start : start + num_held]
        splits[split] = {sentence: lines[sentence] for sentence in held}
        start += num_held
    if start >= len(ranked):
        raise DataError(
            f"{options.text} has {len(ranked)} different sentences: too few to hold some out",
            hint="set dev_fraction and test_fraction to 0, or add sentences",
        )
    splits["train"] = {sentence: lines[sentence] for sentence in ranked[start:]}
    return {split: sentences for split, sentences in splits.items() if sentences}


def _target_s(split: str, options: SpokenOptions) -> float | None:
    if options.hours is None:
        return None
    held_out = options.dev_fraction + options.test_fraction
    shares = {"dev": options.dev_fraction, "test": options.test_fraction}
    return 3600 * options.hours * shares.get(split, 1 - held_out) / (1 - held_out)


def _speak_all(
    work: Callable[[_Job], Entry | Problem], todo: _Todo, num_workers: int
) -> Iterator[Entry | Problem]:
    """Results of as many jobs as it takes."""
    spoken_s, num_silent = 0.0, 0
    jobs = todo.jobs()
    with (
        progress_bar(f"speaking {todo.split}", todo.num_steps) as advance,
        closing(in_processes(work, jobs, num_workers)) as results,
    ):
        for result in results:
            yield result
            if todo.target_s is None:
                advance()
                continue
            num_silent = num_silent + 1 if isinstance(result, Problem) else 0
            before_s = spoken_s
            if isinstance(result, Entry):
                spoken_s += probe_audio(result.audio_path).duration_s
            for _ in range(int(spoken_s) - int(before_s)):
                advance()
            # A whole pass without a sound: there never will be one.
            if spoken_s >= todo.target_s or num_silent >= todo.pass_size:
                return


def _speak(folder: Path, options: SpokenOptions, job: _Job) -> Entry | Problem:
    number = int(job.digest, 16)
    rng = np.random.default_rng((options.seed, SPLITS.index(job.split), number, job.number))
    turn = number + job.number
    voice = draw_voice(split_families()[job.split], turn, options.languages, rng)
    path = folder / job.split / f"{job.id}.flac"
    if not path.exists():
        try:
            speech = _synthesize(job.sentence, voice, options.spell)
        except DataError as error:
            return Problem(job.id, error.message)
        write_audio(path, place(resample(speech, options.sample_rate_hz), options, rng))
    return Entry(job.id, path, job.sentence, speaker=speaker_name(voice))


def _synthesize(sentence: str, voice: Voice, spelling: Spelling) -> Waveform:
    marked = spell_out(sentence, spelling)
    if "<say-as" in marked:
        return synthesize(marked, voice, markup=True)
    return synthesize(sentence, voice)


IMPORTER = Importer(SpokenOptions, find_spoken)
"""Not read but made: the directory to read from is the one where the audio will lie."""
