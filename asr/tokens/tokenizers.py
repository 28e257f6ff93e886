"""The kinds of tokenizers; see the package."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, Protocol

from pydantic import Field

from asr.config import Options
from asr.ctc import BLANK
from asr.errors import DataError, ModelFileError
from asr.tokens.bpe import BOUNDARY, MAX_PROTO_BYTES, BpeModel, load_bpe, train_bpe

BLANK_TOKEN = "<blank>"
"""How a vocabulary writes the blank."""

MAX_VOCAB_SIZE = 1_000_000
"""Vocabularies beyond this are refused: a head of that size is no compact recogniser."""

WordSpan = tuple[str, int, int]
"""A word, the index of its first token, and one past its last."""


class TokensConfig(Options):
    """Which tokens the model outputs.

    Attributes:
        kind: ``char``, ``word`` or ``bpe``.
        vocab_size: Size of the vocabulary with the blank; ``bpe`` only, the other kinds take what
            the transcripts hold.
    """

    kind: Literal["char", "word", "bpe"] = "char"
    vocab_size: int = Field(default=256, ge=2, le=MAX_VOCAB_SIZE)


class Tokenizer(Protocol):
    """Text to token indices and back."""

    @property
    def vocab(self) -> tuple[str, ...]:
        """(vocab_size,) text of each token; the blank first."""

    def encode(self, text: str) -> list[int]:
        """Token indices of normalised text, never the blank.

        Raises:
            DataError: The vocabulary lacks characters or words of the text; they are named.
        """

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token indices; the inverse of `encode` on normalised text.

        Raises:
            ValueError: A token is the blank, or not in the vocabulary.
        """

    def word_spans(self, tokens: Sequence[int]) -> list[WordSpan]:
        """Each word with the range of tokens that spell it, spaces left out.

        Raises:
            ValueError: As `decode`.
        """

    def to_dict(self) -> dict[str, Any]:
        """Everything `tokenizer_from_dict` needs, in values that JSON can hold."""


def build_tokenizer(config: TokensConfig, texts: Iterable[str]) -> Tokenizer:
    """Make the vocabulary of some transcripts; the same for the same set of texts.

    Args:
        config: Kind and size.
        texts: Normalised transcripts.

    Raises:
        DataError: The texts hold nothing, or something that cannot be a token.
        ConfigError: `vocab_size` does not fit the texts (``bpe``).
    """
    texts = list(texts)
    if not any(text.split() for text in texts):
        raise DataError("no transcript holds any text to make a vocabulary of")
    if config.kind == "bpe":
        return BpeTokenizer(train_bpe(texts, config.vocab_size))
    if config.kind == "char":
        return CharTokenizer((BLANK_TOKEN, *sorted(set().union(*texts))))
    words = set().union(*(text.split() for text in texts))
    if BLANK_TOKEN in words:
        raise DataError(f"a transcript holds the word {BLANK_TOKEN!r}, which is reserved")
    return WordTokenizer((BLANK_TOKEN, *sorted(words)))


class CharTokenizer:
    """One token a code point."""

    def __init__(self, vocab: tuple[str, ...]) -> None:
        self.vocab = vocab
        self._index = {token: index for index, token in enumerate(vocab) if index != BLANK}

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer.encode`."""
        try:
            return [self._index[character] for character in text]
        except KeyError:
            raise _unknown("characters", set(text) - self._index.keys(), text) from None

    def decode(self, tokens: Sequence[int]) -> str:
        """See `Tokenizer.decode`."""
        return _join(self.word_spans(tokens))

    def word_spans(self, tokens: Sequence[int]) -> list[WordSpan]:
        """See `Tokenizer.word_spans`."""
        return _split_at_spaces(_pieces(self.vocab, tokens))

    def to_dict(self) -> dict[str, Any]:
        """See `Tokenizer.to_dict`."""
        return {"kind": "char", "vocab": list(self.vocab)}


class WordTokenizer:
    """One token a word."""

    def __init__(self, vocab: tuple[str, ...]) -> None:
        self.vocab = vocab
        self._index = {token: index for index, token in enumerate(vocab) if index != BLANK}

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer.encode`."""
        words = text.split()
        try:
            return [self._index[word] for word in words]
        except KeyError:
            raise _unknown("words", set(words) - self._index.keys(), text) from None

    def decode(self, tokens: Sequence[int]) -> str:
        """See `Tokenizer.decode`."""
        return _join(self.word_spans(tokens))

    def word_spans(self, tokens: Sequence[int]) -> list[WordSpan]:
        """See `Tokenizer.word_spans`."""
        words = _pieces(self.vocab, tokens)
        return [(word, index, index + 1) for index, word in enumerate(words)]

    def to_dict(self) -> dict[str, Any]:
        """See `Tokenizer.to_dict`."""
        return {"kind": "word", "vocab": list(self.vocab)}


class BpeTokenizer:
    """One token a piece of a word; a piece that begins a word begins with `bpe.BOUNDARY`."""

    def __init__(self, model: BpeModel) -> None:
        self.vocab = (BLANK_TOKEN, *model.pieces)
        self._model = model
        # Whether pieces begin a word shows as a space, as in the characters of `CharTokenizer`.
        self._texts = tuple(token.replace(BOUNDARY, " ") for token in self.vocab)

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer.encode`."""
        unknown = set(text) - self._model.characters
        if unknown:
            raise _unknown("characters", unknown, text)
        return self._model.encode(text)

    def decode(self, tokens: Sequence[int]) -> str:
        """See `Tokenizer.decode`."""
        return _join(self.word_spans(tokens))

    def word_spans(self, tokens: Sequence[int]) -> list[WordSpan]:
        """See `Tokenizer.word_spans`."""
        return _split_at_spaces(_pieces(self._texts, tokens))

    def to_dict(self) -> dict[str, Any]:
        """See `Tokenizer.to_dict`."""
        proto = base64.b64encode(self._model.proto).decode("ascii")
        return {"kind": "bpe", "vocab": list(self.vocab), "sentencepiece": proto}


def tokenizer_from_dict(values: Mapping[str, Any]) -> Tokenizer:
    """Rebuild a tokenizer from untrusted values, such as those in a model file.

    Raises:
        ModelFileError: They are not what `Tokenizer.to_dict` makes.
    """
    if not isinstance(values, Mapping):
        raise ModelFileError(f"the tokenizer must be a table, got {type(values).__name__}")
    kind = values.get("kind")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise ModelFileError(f"unknown kind of tokenizer {kind!r}; known: {', '.join(_READERS)}")
    return reader(values)


def _read_char(values: Mapping[str, Any]) -> Tokenizer:
    vocab = _read_vocab(values, {"kind", "vocab"})
    long = next((token for token in vocab[1:] if len(token) != 1), None)
    if long is not None:
        raise ModelFileError(f"token {long!r} of a character vocabulary is not one character")
    return CharTokenizer(vocab)


def _read_word(values: Mapping[str, Any]) -> Tokenizer:
    vocab = _read_vocab(values, {"kind", "vocab"})
    split = next((token for token in vocab if token.split() != [token]), None)
    if split is not None:
        raise ModelFileError(f"token {split!r} of a word vocabulary is not one word")
    return WordTokenizer(vocab)


def _read_bpe(values: Mapping[str, Any]) -> Tokenizer:
    vocab = _read_vocab(values, {"kind", "vocab", "sentencepiece"})
    text = values["sentencepiece"]
    if isinstance(text, str) and len(text) > 2 * MAX_PROTO_BYTES:
        raise ModelFileError(f"the sentencepiece model has more than {MAX_PROTO_BYTES} bytes")
    try:
        proto = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise ModelFileError("the sentencepiece model of the tokenizer is not base64") from None
    tokenizer = BpeTokenizer(load_bpe(proto))
    if tokenizer.vocab != vocab:
        raise ModelFileError("the tokenizer's vocabulary is not that of its sentencepiece model")
    return tokenizer


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Tokenizer]] = {
    "char": _read_char,
    "word": _read_word,
    "bpe": _read_bpe,
}


def _read_vocab(values: Mapping[str, Any], keys: set[str]) -> tuple[str, ...]:
    if set(values) != keys:
        got = ", ".join(sorted(map(repr, values)))
        raise ModelFileError(f"the tokenizer must have {', '.join(sorted(keys))}; got {got}")
    vocab = values["vocab"]
    if not isinstance(vocab, (list, tuple)) or not all(isinstance(token, str) for token in vocab):
        raise ModelFileError("the vocabulary must be a list of strings")
    if not 2 <= len(vocab) <= MAX_VOCAB_SIZE or vocab[BLANK] != BLANK_TOKEN:
        raise ModelFileError(
            f"the vocabulary must have 2 to {MAX_VOCAB_SIZE:,} tokens, {BLANK_TOKEN!r} first"
        )
    double, count = Counter(vocab).most_common(1)[0]
    if count > 1:
        raise ModelFileError(f"the vocabulary has the token {double!r} more than once")
    try:
        "".join(vocab).encode()
    except UnicodeEncodeError:
        raise ModelFileError("the vocabulary holds half a surrogate pair") from None
    return tuple(vocab)


def _pieces(vocab: tuple[str, ...], tokens: Sequence[int]) -> list[str]:
    for token in tokens:
        if not BLANK < token < len(vocab):
            raise ValueError(f"token must be 1 to {len(vocab) - 1}, got {token}")
    return [vocab[token] for token in tokens]


def _split_at_spaces(pieces: Sequence[str]) -> list[WordSpan]:
    """Words of pieces whose only space, if any, is their first character."""
    spans: list[WordSpan] = []
    word, first = "", 0
    for index, piece in enumerate(pieces):
        if piece[0] == " ":
            if word:
                spans.append((word, first, index))
            word, piece = "", piece[1:]
        if not word:
            first = index
        word += piece
    if word:
        spans.append((word, first, len(pieces)))
    return spans


def _join(spans: Iterable[WordSpan]) -> str:
    return " ".join(word for word, _, _ in spans)


def _unknown(what: str, unknown: set[str], text: str) -> DataError:
    shown = [_name(symbol) for symbol in islice(sorted(unknown), 8)]
    more = f" and {len(unknown) - len(shown)} more" if len(unknown) > len(shown) else ""
    return DataError(
        f"{what} not in the vocabulary: {', '.join(shown)}{more}; in the text {text[:80]!r}",
        hint="correct the transcript, or choose a text profile that removes them",
    )


def _name(symbol: str) -> str:
    plain = len(symbol) > 1 or symbol.isascii()
    return repr(symbol) if plain else f"{symbol!r} (U+{ord(symbol):04X})"
