"""Tokens that are phones, and the dictionary that leads from words to them and back."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from asr.errors import ModelFileError
from asr.tokens.types import BLANK_TOKEN, WordSpan
from asr.tokens.written import WrittenTokenizer, unknown_symbols

ADD_WORDS = "write its phones into a file for --pronunciations; `asr pronounce` does it"
"""The cure where a model of phones lacks a word, when recognising."""

Pronunciation = tuple[str, ...]
"""Phones in order."""

FIRST_LETTER = 0xE000
"""Phones are spelled with one character each, from here on: Unicode's private use area."""

MAX_PHONES = 6400
"""As many characters are private."""

MAX_DICTIONARY_BYTES = 64_000_000
"""Of the dictionary in a model file, unpacked; a million words have some 20 MB."""


class PhoneTokenizer(WrittenTokenizer):
    """One token a phone; the blank between words is a token too.

    A transcript is learnt as the usual pronunciation of each of its words. What is heard is
    written as the first word of the dictionary that sounds so; a decoder with a language model
    chooses between words that sound alike by what it expects (`readings`).

    Args:
        phones: Their names.
        dictionary: Pronunciations of each word, the usual one first; of words that sound alike the
            likelier ones come first.
    """

    def __init__(
        self, phones: Sequence[str], dictionary: Mapping[str, Sequence[Pronunciation]]
    ) -> None:
        letters = [chr(FIRST_LETTER + index) for index in range(len(phones))]
        super().__init__((BLANK_TOKEN, " ", *phones), ("", " ", *letters))
        letter_of = dict(zip(phones, letters, strict=True))
        self._spellings = {
            word: tuple("".join(map(letter_of.__getitem__, phones)) for phones in pronunciations)
            for word, pronunciations in dictionary.items()
        }
        self._index = {text: index for index, text in enumerate(self.texts) if index}
        self._readings: dict[str, tuple[str, ...]] = {}
        for word, spellings in self._spellings.items():
            for spelling in spellings:
                self._readings[spelling] = (*self._readings.get(spelling, ()), word)
        self.words = tuple(dictionary)

    def with_words(self, words: Mapping[str, Sequence[Pronunciation]]) -> PhoneTokenizer:
        """The same tokens with more words, or other pronunciations of words it has.

        Args:
            words: As `dictionary`, in phones that there are.
        """
        phones = self.vocab[2:]
        old = {
            word: [tuple(self._name(letter) for letter in one) for one in spellings]
            for word, spellings in self._spellings.items()
        }
        return PhoneTokenizer(phones, {**old, **words})

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer.encode`."""
        words = text.split()
        unknown = set(words) - self._spellings.keys()
        if unknown:
            raise unknown_symbols(
                "words without pronunciation",
                unknown,
                text,
                "write a dictionary that has them with `asr pronounce`",
            )
        spelled = " ".join(self._spellings[word][0] for word in words)
        return [self._index[letter] for letter in spelled]

    def word_spans(self, tokens: Sequence[int]) -> list[WordSpan]:
        """See `Tokenizer.word_spans`."""
        return [
            (self.readings(spelling)[0], first, last)
            for spelling, first, last in self.spelled_spans(tokens)
        ]

    def spellings(self, word: str) -> tuple[str, ...]:
        """See `Tokenizer.spellings`."""
        return self._spellings.get(word, ())

    def readings(self, spelling: str) -> tuple[str, ...]:
        """See `Tokenizer.readings`."""
        if spelling in self._readings:
            return self._readings[spelling]
        return (f"/{''.join(map(self._name, spelling))}/",)

    def _name(self, letter: str) -> str:
        return self.vocab[self._index[letter]]

    def to_dict(self) -> dict[str, Any]:
        """See `Tokenizer.to_dict`."""
        lines = ["\t".join((word, *spellings)) for word, spellings in self._spellings.items()]
        packed = zlib.compress("\n".join(lines).encode(), 9)
        return {
            "kind": "phone",
            "vocab": list(self.vocab),
            "dictionary": base64.b64encode(packed).decode("ascii"),
        }


def unpack_dictionary(packed: object, phones: Sequence[str]) -> dict[str, list[Pronunciation]]:
    """The dictionary of `PhoneTokenizer.to_dict`, from an untrusted value.

    Args:
        packed: What should be it.
        phones: Of the vocabulary.

    Raises:
        ModelFileError: It is something else.
    """
    dictionary: dict[str, list[Pronunciation]] = {}
    for line in _unpacked(packed).split("\n"):
        word, *spellings = line.split("\t")
        numbers = [[ord(letter) - FIRST_LETTER for letter in one] for one in spellings]
        is_spelled = all(one and min(one) >= 0 and max(one) < len(phones) for one in numbers)
        if word.split() != [word] or not numbers or not is_spelled or word in dictionary:
            raise ModelFileError(f"the dictionary of the tokenizer is damaged at {word[:60]!r}")
        dictionary[word] = [tuple(phones[number] for number in one) for one in numbers]
    return dictionary


def _unpacked(packed: object) -> str:
    damaged = ModelFileError("the dictionary of the tokenizer is damaged")
    if not isinstance(packed, str):
        raise damaged
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(base64.b64decode(packed, validate=True), MAX_DICTIONARY_BYTES)
        if not unpacker.eof:
            raise damaged
        return data.decode()
    except (zlib.error, ValueError, binascii.Error):
        raise damaged from None
