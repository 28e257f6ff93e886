"""How words are pronounced, by dictionaries that people have and by eSpeak NG for all others.

A recogniser whose tokens are phones carries a dictionary, the words that it can write. Here it is
made from texts: the words in them, by how often they occur, each with its phones. American English
as eSpeak NG says it has some sixty phones with all that stand in for each other, of which a small
corpus does not teach the rarer; merged, forty are left. Other languages keep eSpeak NG's phones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.errors import DataError
from asr.files import write_text_atomic
from asr.lm.counting import MARKS, text_lines
from asr.lm.files import read_model
from asr.manifest import read_manifest
from asr.progress import progress_bar
from asr.synthesis import pronounce
from asr.text import TextConfig, normalize
from asr.tokens import Pronunciation
from asr.tokens.dictionary import LEXICON_COMMENTS, read_dictionary, without_variant

MERGED_LANGUAGE = "en-us"
"""Other accents of English write other vowels, which this table would mix up."""

_MERGED = {
    **{"ɔːɹ": "ɔ ɹ", "ɑːɹ": "ɑ ɹ", "ɛɹ": "ɛ ɹ", "ɪɹ": "ɪ ɹ", "ʊɹ": "ʊ ɹ"},
    **{"əl": "ə l", "n̩": "ə n", "aɪɚ": "aɪ ɚ", "aɪə": "aɪ ə"},
    **{"iː": "i", "uː": "u", "ɔː": "ɔ", "ɑː": "ɑ", "ɜː": "ɚ", "iə": "ɪ"},
    **{"ɾ": "t", "ʔ": "t", "ɐ": "ə", "ᵻ": "ɪ", "r": "ɹ"},
    **{phone: phone for phone in ("eɪ", "aɪ", "oʊ", "aʊ", "ɔɪ", "tʃ", "dʒ")},
}
"""Of any other phone the first character counts: `ɑ̃` of a loan is `ɑ`."""

MAX_WORD_CHARACTERS, MAX_WORD_PHONES = 60, 130
"""eSpeak NG says the first 132 phones of a word and leaves out the rest."""

MANIFEST_SUFFIX = ".jsonl"
MODEL_SUFFIXES = (".arpa", ".arpa.gz", ".bin")

_WORDS_A_CALL = 2000
_SAMPLE_WORDS = 1000
_SHOWN_PHONES = 8
_ENOUGH_PHONES = 10
"""Of fewer, that none is in common need not mean two sets of phones."""


@dataclass(frozen=True)
class Pronounced:
    """Pronunciations of some words.

    Attributes:
        dictionary: Those of each word, in the order of the words; at least one.
        left_out: Why a word has none.
        foreign_phones: Phones of the given dictionaries that eSpeak NG does not use, sorted; empty
            where all words come from one or the other.
    """

    dictionary: dict[str, tuple[Pronunciation, ...]]
    left_out: dict[str, str]
    foreign_phones: tuple[str, ...]


def ranked_words(sources: Sequence[Path], text: TextConfig) -> list[str]:
    """The words of texts, manifests and language models, the most frequent first.

    Words that occur equally often are in the order of the probability that a language model among
    the sources gives them, then in that of their characters.

    Args:
        sources: Manifests (`.jsonl`), language models (`.arpa`, `.arpa.gz`, `.bin`), and texts or
            word lists, plain or gzip. A model's words count nothing.
        text: How transcripts are normalised; all words are.

    Raises:
        DataError: A source cannot be read, or there is no word in any.
        ModelFileError: A binary language model is damaged.
    """
    counts: Counter[str] = Counter()
    log_probs: dict[str, float] = {}
    with progress_bar("reading", len(sources)) as advance:
        for source in sources:
            if source.name.endswith(MODEL_SUFFIXES):
                log_probs |= _unigrams(source)
            else:
                counts.update(_count(source))
            advance()
    number: Counter[str] = Counter()
    log_prob: dict[str, float] = {}
    # Normalisation looks at one word at a time, so the distinct ones do.
    for written in counts.keys() | log_probs.keys():
        for word in normalize(written, text).split():
            number[word] += counts[written]
            best = log_prob.get(word, -math.inf)
            log_prob[word] = max(best, log_probs.get(written, -math.inf))
    if not number:
        raise DataError(f"no word in {', '.join(map(str, sources))}")
    return sorted(number, key=lambda word: (-number[word], -log_prob[word], word))


def _unigrams(path: Path) -> dict[str, float]:
    """Natural log-probability of each word of a language model."""
    model = read_model(path)
    values = model.tables.log_prob[1 : len(model.words) + 1]  # of the nodes that are one word
    found = dict(zip(model.words, map(float, values), strict=True))
    marks = {mark.decode() for mark in MARKS}
    return {
        word: value
        for index, (word, value) in enumerate(found.items())
        if index != model.unk_id and word not in marks
    }


def _count(path: Path) -> Counter[str]:
    """How often each word of a manifest or text occurs, as it is written there."""
    counts: Counter[str] = Counter()
    if path.suffix == MANIFEST_SUFFIX:
        for utterance in read_manifest(path):
            counts.update(utterance.text.split())
        return counts
    for line in text_lines(path):
        counts.update(line.split())
    if "\\data\\" in counts:
        raise DataError(
            f"{path} is a language model, not a text", hint="give it a name in .arpa or .arpa.gz"
        )
    return counts


def read_bases(paths: Sequence[Path], text: TextConfig) -> dict[str, tuple[Pronunciation, ...]]:
    """Dictionaries as one: of each word the pronunciations in the first that has it.

    Args:
        paths: See `read_dictionary`.
        text: How transcripts are normalised. What it makes nothing or several words of can be in
            no transcript, and is not looked at.

    Raises:
        DataError: As `read_dictionary`.
    """
    bases: dict[str, tuple[Pronunciation, ...]] = {}
    for path in paths:
        own: dict[str, dict[Pronunciation, None]] = {}
        for written, ways in read_dictionary(path).items():
            word = normalize(written, text)
            if len(word.split()) == 1:
                own.setdefault(word, {}).update(dict.fromkeys(ways))
        bases = {word: tuple(ways) for word, ways in own.items()} | bases
    return bases


def pronounce_words(
    words: Sequence[str],
    language: str,
    bases: Mapping[str, tuple[Pronunciation, ...]],
) -> Pronounced:
    """Pronounce each word as the dictionary has it, or as eSpeak NG says it alone.

    eSpeak NG is not needed where the dictionary has all words.

    Args:
        words: Distinct, normalised.
        language: One of `asr.synthesis.list_languages()`.
        bases: A dictionary, see `read_bases`; it may be empty.

    Raises:
        ConfigError: The language is unknown.
        DataError: Some words are in the dictionary and some not, and its phones and eSpeak NG's
            have nothing in common.
        MissingExtraError: The extra `demo` is not installed.
    """
    left_out = {word: reason for word in words if (reason := _refusal(word))}
    missing = [word for word in words if word not in bases and word not in left_out]
    foreign: tuple[str, ...] = ()
    said = _say(missing, language)
    if bases and said:
        foreign = _foreign_phones(bases, said, language)
    dictionary: dict[str, tuple[Pronunciation, ...]] = {}
    for word in words:
        if word in left_out:
            continue
        if word in bases:
            dictionary[word] = bases[word]
        elif not said[word]:
            left_out[word] = "eSpeak NG has no pronunciation of it"
        elif len(said[word]) > MAX_WORD_PHONES or len(word) > MAX_WORD_CHARACTERS:
            left_out[word] = "it is so long that eSpeak NG would cut it off"
        else:
            dictionary[word] = (said[word],)
    return Pronounced(dictionary, left_out, foreign)


def merge_phones(phones: Iterable[str]) -> Pronunciation:
    """Phones of American English as eSpeak NG has them, in forty.

    Vowels before r and syllabic consonants become two phones; flaps and glottal stops are t, weak
    vowels their plain relatives, and lengths are dropped.

    Examples:
        >>> " ".join(merge_phones(["f", "aɪɚ", "w", "ɔː", "ɾ", "ɚ", "z"]))
        'f aɪ ɚ w ɔ t ɚ z'
    """
    return tuple(one for phone in phones for one in _MERGED.get(phone, phone[:1]).split())


def write_dictionary(path: Path, dictionary: Mapping[str, Sequence[Pronunciation]]) -> None:
    """Write a dictionary, a line for each pronunciation, that `read_dictionary` reads.

    Raises:
        DataError: The file cannot be written.
    """
    lines = [f"{word}\t{' '.join(way)}\n" for word, ways in dictionary.items() for way in ways]
    write_text_atomic(path, "".join(lines))


def _refusal(word: str) -> str | None:
    """Why no dictionary can hold a word."""
    if word.startswith(LEXICON_COMMENTS):
        return "at the beginning of a line it would be a comment"
    if without_variant(word) != word:
        return f"it would be another pronunciation of {without_variant(word)!r}"
    return "it holds a NUL character" if "\0" in word else None


def _say(words: Sequence[str], language: str) -> dict[str, Pronunciation]:
    """Phones of each word; none where eSpeak NG has nothing to say."""
    said: dict[str, Pronunciation] = {}
    with progress_bar("pronouncing", len(words)) as advance:
        for start in range(0, len(words), _WORDS_A_CALL):
            some = words[start : start + _WORDS_A_CALL]
            for word, phones in zip(some, pronounce(some, language), strict=True):
                said[word] = merge_phones(phones) if language == MERGED_LANGUAGE else phones
                advance()
    return said


def _foreign_phones(
    bases: Mapping[str, tuple[Pronunciation, ...]],
    said: Mapping[str, Pronunciation],
    language: str,
) -> tuple[str, ...]:
    """Phones of a dictionary that eSpeak NG has neither in these words nor in the dictionary's."""
    sample = [word for word in bases if _refusal(word) is None][:_SAMPLE_WORDS]
    heard = {*said.values(), *_say(sample, language).values()}
    theirs = {phone for phones in heard for phone in phones}
    ours = {phone for ways in bases.values() for way in ways for phone in way}
    if min(len(ours), len(theirs)) >= _ENOUGH_PHONES and ours.isdisjoint(theirs):
        more = f" and {len(said) - 1} more" if len(said) > 1 else ""
        raise DataError(
            f"the dictionary has no phone in common with eSpeak NG ({_shown(ours)} and "
            f"{_shown(theirs)}), and lacks the word {next(iter(said))!r}{more}",
            hint="add these words to it, or let eSpeak NG pronounce all words",
        )
    return tuple(sorted(ours - theirs))


def _shown(phones: Iterable[str]) -> str:
    ordered = sorted(phones)
    return " ".join(ordered[:_SHOWN_PHONES]) + (" …" if len(ordered) > _SHOWN_PHONES else "")
