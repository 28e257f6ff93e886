"""Connected English digits, spoken by eSpeak NG: a corpus that needs no download.

What it is: one to seven digits an utterance ("four zero nine"), made on the spot by the voices of
the wheel `espeakng-loader` (extra `demo`, GPL-3.0; what it speaks is free of that licence), in
eight accents, with drawn rate, pitch, intonation, pauses, level, and noise at a drawn SNR.
Layout: `audio/<split>/<id>.wav`, 16 bit, beside the manifests.

Development and test speakers are voices unheard in training, in the same eight accents; see
`asr.corpora.synthetic`. With `foreign_share`, voices of other languages say English digits with the
sounds of their own, as strangers to English do.
Every utterance is a function of (seed, split, index), so sizes and the number of processes do not
change what an index sounds like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import Field

from asr.audio import Waveform, resample, write_audio
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
from asr.progress import progress_bar
from asr.synthesis import Voice, synthesize

SAMPLE_RATE_HZ = 16000
"""Of the audio written."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
"""The vocabulary; digit n is word n."""

OH = "oh"
"""What zero is called too, where `oh_share` asks for it."""

# English digits, zero to nine and "oh", spelled so that eSpeak NG says them in the language's own
# sounds: th as s, t or f, w as v or u, final consonants hardened, vowels added, and so on.
_FOREIGN_SPELLINGS = """
cs: zírou uan tú sri fór fajv siks seven ejt najn ou
de: siero wann tuh ßrih fohr feif ßicks ßewen eeit nein oh
el: ζίρο ουάν του θρι φορ φάιβ σιξ σέβεν έιτ νάιν όου
es: sirou uan tu tri for faiv six seven eit nain ou
fi: siirou uan tuu trii foor faiv siks seven eit nain ou
fr-fr: ziro ouane tou sri faure faïve sixe sèveune éïte naïne eau
hi: ज़ीरो वन टू थ्री फोर फाइव सिक्स सेवन एट नाइन ओ
hu: ziró van tú szrí for fájv sziksz szeven éjt nájn ó
id: ziro wan tu tri for faif siks seven eit nain ou
it: ziro uan tu tri for faiv six seven eit nain ou
ja: ゼロ ワン ツー スリー フォー ファイブ シックス セブン エイト ナイン オー
ko: 제로 원 투 쓰리 포 파이브 식스 세븐 에이트 나인 오
nl: ziero wan toe trie foor faif siks seven eet nain oo
pl: ziro łan tu fri for fajw syks sewen ejt najn oł
pt-br: zirou uã tu tri fór faive síquis séven êit nain ou
ro: zirou uan tu tri for faiv sics seven eit nain ou
ru: зиро уан ту сри фор файв сикс сэвэн эйт найн оу
sv: siro oann to tri får fajv sicks sevven ejt najn å
ta: ஜீரோ ஒன் டூ த்ரீ ஃபோர் ஃபைவ் சிக்ஸ் செவன் எய்ட் நைன் ஓ
tr: ziro van tu tri for fayv siks sevın eyt nayn o
"""

FOREIGN: Mapping[str, Mapping[str, str]] = {
    language: dict(zip((*DIGITS, OH), spellings.split(), strict=True))
    for language, _, spellings in (
        line.partition(":") for line in _FOREIGN_SPELLINGS.strip().splitlines()
    )
}
"""Languages whose speakers say English digits, and how each word is spelled for them."""

# 1 to 7 words in equal shares; any 150 utterances in a row from index 0 have exactly 600 words.
_WORD_COUNTS = (4, 1, 7, 2, 6, 3, 5)


class DigitsConfig(SynthesisOptions):
    """How many digits, and how hard to hear.

    Attributes:
        num_train: Training utterances, 4 words and about 2.4 s each on average.
        num_dev: Development utterances.
        num_test: Test utterances; 150 have 600 words.
        foreign_share: Share of the utterances with a foreign accent, one of `FOREIGN`.
        oh_share: Share of the zeros that are called "oh".
        max_words: No utterance has more words; 1 for digits said alone, to be joined.
    """

    num_train: int = Field(2000, ge=1)
    num_dev: int = Field(75, ge=1)
    num_test: int = Field(150, ge=1)
    foreign_share: float = Field(0.0, ge=0, le=1)
    oh_share: float = Field(0.0, ge=0, le=1)
    max_words: int = Field(max(_WORD_COUNTS), ge=1)


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
        for split, entry in in_processes(
            partial(_write, source, options), jobs, options.num_workers
        ):
            splits[split].append(entry)
            advance()
    return Listing(splits)


IMPORTER = Importer(options=DigitsConfig, find=find)
"""Not read but made: the directory to read from is the one where the audio will lie."""


def speak_digits(split: str, index: int, config: DigitsConfig) -> tuple[str, Voice, Waveform]:
    """One utterance: its words, who speaks, and what is heard.

    Args:
        split: One of `SPLITS`.
        index: Number of the utterance in its split, from 0.
        config: Seed and range of the noise.
    """
    rng = np.random.default_rng((config.seed, SPLITS.index(split), index))
    count = min(_WORD_COUNTS[index % len(_WORD_COUNTS)], config.max_words)
    words = [DIGITS[digit] for digit in rng.integers(len(DIGITS), size=count)]
    voice = draw_voice(split_families()[split], index, ACCENTS, rng)
    pause_share = rng.choice([0.0, 0.0, 0.2, 0.5])
    gaps = [", " if rng.random() < pause_share else " " for _ in words[1:]]
    # Drawn apart from the rest: a share of 0 leaves every utterance as it was without the option.
    choices = np.random.default_rng((config.seed, SPLITS.index(split), index, 1))
    words = [
        OH if word == DIGITS[0] and choices.random() < config.oh_share else word for word in words
    ]
    if choices.random() < config.foreign_share:
        voice = replace(voice, language=str(choices.choice(list(FOREIGN))))
    spellings = FOREIGN.get(voice.language, {})
    parts = [spellings.get(word, word) + gap for word, gap in zip(words, [*gaps, ""], strict=True)]
    speech = resample(synthesize("".join(parts), voice), SAMPLE_RATE_HZ)
    return " ".join(words), voice, place(speech, config, rng)


def _write(source: Path, config: DigitsConfig, job: tuple[str, int]) -> tuple[str, Entry]:
    split, index = job
    text, voice, waveform = speak_digits(split, index, config)
    path = source / "audio" / split / f"{split}-{index:05d}.wav"
    write_audio(path, waveform)
    return split, Entry(path.stem, path, text, speaker=speaker_name(voice))
