"""The kinds of tokenizers; see the package."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from asr.config import Options
from asr.ctc import BLANK
from asr.errors import ConfigError, DataError, ModelFileError
from asr.tokens.bpe import MAX_PROTO_BYTES, load_bpe, train_bpe
from asr.tokens.dictionary import read_dictionary
from asr.tokens.phones import MAX_PHONES, PhoneTokenizer, unpack_dictionary
from asr.tokens.types import BLANK_TOKEN, Tokenizer
from asr.tokens.written import BpeTokenizer, CharTokenizer, WordTokenizer

MAX_VOCAB_SIZE = 1_000_000
"""Vocabularies beyond this are refused: a head of that size is no compact recogniser."""


class TokensConfig(Options):
    """Which tokens the model outputs.

    Attributes:
        kind: ``char``, ``word``, ``bpe`` or ``phone``.
        vocab_size: Size of the vocabulary with the blank; ``bpe`` only, the other kinds take what
            the transcripts or the dictionary hold.
        pronunciations: Dictionary, as `asr pronounce` writes it; ``phone`` only. All of its words
            go into the model file. None with `training.start_from`: that model's dictionary.
    """

    kind: Literal["char", "word", "bpe", "phone"] = "char"
    vocab_size: int = Field(default=256, ge=2, le=MAX_VOCAB_SIZE)
    pronunciations: Path | None = None


def build_tokenizer(
    config: TokensConfig,
    texts: Iterable[str],
    normalized: Callable[[str], str] = lambda text: text,
) -> Tokenizer:
    """Make the vocabulary of some transcripts; the same for the same set of texts.

    Args:
        config: Kind and size.
        texts: Normalised transcripts.
        normalized: What normalised them; for the words of a dictionary.

    Raises:
        DataError: The texts hold nothing, or something that cannot be a token; or the dictionary
            cannot be read.
        ConfigError: `vocab_size` does not fit the texts (``bpe``), or there is no dictionary
            (``phone``).
    """
    if config.kind == "phone":
        return _phone_tokenizer(config.pronunciations, normalized)
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


def _phone_tokenizer(path: Path | None, normalized: Callable[[str], str]) -> Tokenizer:
    if path is None:
        raise ConfigError(
            "phones as tokens need tokens.pronunciations",
            hint="write a dictionary of all words with `asr pronounce` and name it there",
        )
    dictionary = read_dictionary(path, normalized)
    phones = sorted({phone for found in dictionary.values() for one in found for phone in one})
    if len(phones) > MAX_PHONES:
        raise DataError(f"{path} has {len(phones)} phones, and there can be {MAX_PHONES}")
    return PhoneTokenizer(phones, dictionary)


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


def _read_phone(values: Mapping[str, Any]) -> Tokenizer:
    vocab = _read_vocab(values, {"kind", "vocab", "dictionary"})
    phones = vocab[2:]
    if vocab[1] != " " or not phones or any(phone.split() != [phone] for phone in phones):
        raise ModelFileError("a vocabulary of phones is the blank, the space, and names of phones")
    if len(phones) > MAX_PHONES:
        raise ModelFileError(f"the vocabulary has more than {MAX_PHONES} phones")
    return PhoneTokenizer(phones, unpack_dictionary(values["dictionary"], phones))


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Tokenizer]] = {
    "char": _read_char,
    "word": _read_word,
    "bpe": _read_bpe,
    "phone": _read_phone,
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
