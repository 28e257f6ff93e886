"""Tokenizers whose tokens are written text: characters, words, pieces of words."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import islice
from typing import Any

from asr.ctc import BLANK
from asr.errors import DataError
from asr.tokens.bpe import BOUNDARY, BpeModel
from asr.tokens.types import BLANK_TOKEN, WordSpan

CORRECT = "correct the transcript, or choose a text profile that removes them"


class WrittenTokenizer(ABC):
    """What tokenizers share whose tokens are written text.

    Args:
        vocab: Names of the tokens, the blank first.
        texts: What each adds; see `Tokenizer.texts`.
    """

    words: tuple[str, ...] | None = None

    def __init__(self, vocab: tuple[str, ...], texts: tuple[str, ...]) -> None:
        self.vocab = vocab
        self.texts = ("", *texts[1:])
        self._characters = frozenset("".join(self.texts)) - {" "}
        self._has_letters_only = all(len(text) == 1 for text in self.texts[1:])

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """See `Tokenizer.encode`."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """See `Tokenizer.to_dict`."""

    def decode(self, tokens: Sequence[int]) -> str:
        """See `Tokenizer.decode`."""
        return " ".join(word for word, _, _ in self.word_spans(tokens))

    def word_spans(self, tokens: Sequence[int]) -> list[WordSpan]:
        """See `Tokenizer.word_spans`."""
        return self.spelled_spans(tokens)

    def spelled_spans(self, tokens: Sequence[int]) -> list[WordSpan]:
        """See `Tokenizer.spelled_spans`."""
        for extreme in (min(tokens, default=1), max(tokens, default=1)):
            if not BLANK < extreme < len(self.vocab):
                raise ValueError(f"token must be 1 to {len(self.vocab) - 1}, got {extreme}")
        pieces = [self.texts[token] for token in tokens]
        return _split_letters(pieces) if self._has_letters_only else _split_at_spaces(pieces)

    def spellings(self, word: str) -> tuple[str, ...]:
        """See `Tokenizer.spellings`."""
        return (word,) if word and self._characters.issuperset(word) else ()

    def readings(self, spelling: str) -> tuple[str, ...]:
        """See `Tokenizer.readings`."""
        return (spelling,)


class CharTokenizer(WrittenTokenizer):
    """One token a code point."""

    def __init__(self, vocab: tuple[str, ...]) -> None:
        super().__init__(vocab, vocab)
        self._index = {token: index for index, token in enumerate(vocab) if index != BLANK}

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer.encode`."""
        try:
            return [self._index[character] for character in text]
        except KeyError:
            raise unknown_symbols("characters", set(text) - self._index.keys(), text) from None

    def to_dict(self) -> dict[str, Any]:
        """See `Tokenizer.to_dict`."""
        return {"kind": "char", "vocab": list(self.vocab)}


class WordTokenizer(WrittenTokenizer):
    """One token a word."""

    def __init__(self, vocab: tuple[str, ...]) -> None:
        super().__init__(vocab, tuple(f" {word} " for word in vocab))
        self._index = {token: index for index, token in enumerate(vocab) if index != BLANK}

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer.encode`."""
        words = text.split()
        try:
            return [self._index[word] for word in words]
        except KeyError:
            raise unknown_symbols("words", set(words) - self._index.keys(), text) from None

    def spellings(self, word: str) -> tuple[str, ...]:
        """See `Tokenizer.spellings`."""
        return (word,) if word in self._index else ()

    def to_dict(self) -> dict[str, Any]:
        """See `Tokenizer.to_dict`."""
        return {"kind": "word", "vocab": list(self.vocab)}


def shown_words(tokenizer: WordTokenizer) -> str:
    """The words of a model, for people: the first twenty."""
    words = tokenizer.vocab[1:]
    return " ".join(words[:20]) + (" …" if len(words) > 20 else "")


class BpeTokenizer(WrittenTokenizer):
    """One token a piece of a word; a piece that begins a word begins with `bpe.BOUNDARY`."""

    def __init__(self, model: BpeModel) -> None:
        vocab = (BLANK_TOKEN, *model.pieces)
        super().__init__(vocab, tuple(token.replace(BOUNDARY, " ") for token in vocab))
        self._model = model

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer.encode`."""
        unknown = set(text) - self._model.characters
        if unknown:
            raise unknown_symbols("characters", unknown, text)
        return self._model.encode(text)

    def to_dict(self) -> dict[str, Any]:
        """See `Tokenizer.to_dict`."""
        proto = base64.b64encode(self._model.proto).decode("ascii")
        return {"kind": "bpe", "vocab": list(self.vocab), "sentencepiece": proto}


def _split_letters(pieces: Sequence[str]) -> list[WordSpan]:
    """As `_split_at_spaces`, of pieces that are one character each; several times as fast."""
    spans: list[WordSpan] = []
    first = 0
    for word in "".join(pieces).split(" "):
        end = first + len(word)
        if word:
            spans.append((word, first, end))
        first = end + 1
    return spans


def _split_at_spaces(pieces: Sequence[str]) -> list[WordSpan]:
    """Words of pieces that have spaces, if any, only as their first or last character."""
    spans: list[WordSpan] = []
    word, first = "", 0
    for index, piece in enumerate(pieces):
        if piece.startswith(" ") and word:
            spans.append((word, first, index))
            word = ""
        if not word:
            first = index
        word += piece.strip(" ")
        if piece.endswith(" ") and word:
            spans.append((word, first, index + 1))
            word = ""
    if word:
        spans.append((word, first, len(pieces)))
    return spans


def unknown_symbols(what: str, unknown: set[str], text: str, hint: str = CORRECT) -> DataError:
    """The error for symbols of a text that a vocabulary lacks; some are named."""
    shown = [_name(symbol) for symbol in islice(sorted(unknown), 8)]
    more = f" and {len(unknown) - len(shown)} more" if len(unknown) > len(shown) else ""
    return DataError(
        f"{what} not in the vocabulary: {', '.join(shown)}{more}; in the text {text[:80]!r}",
        hint=hint,
    )


def _name(symbol: str) -> str:
    plain = len(symbol) > 1 or symbol.isascii()
    return repr(symbol) if plain else f"{symbol!r} (U+{ord(symbol):04X})"
