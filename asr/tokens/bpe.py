"""Byte-pair encoding by sentencepiece: training in memory, and loading of untrusted models.

sentencepiece does no normalisation here (its rule is ``identity``): `text.normalize` did it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import sentencepiece

from asr.errors import ConfigError, DataError, ModelFileError

BOUNDARY = "\u2581"
"""What sentencepiece writes for a space; the first character of a piece that begins a word."""

MAX_PROTO_BYTES = 32 * 2**20
"""Larger sentencepiece models are refused; one of 100,000 pieces has 2 MB."""

_UNKNOWN_ID = 0
# sentencepiece silently skips sentences with its own boundary marks, and cuts texts at NUL.
_RESERVED = (BOUNDARY, "\u2585", "\0", "\n")
_MAX_SENTENCE_BYTES = 2**30


class BpeModel:
    """A sentencepiece model whose piece 0, its unknown token, is nothing that text can hold.

    So its indices are those of a vocabulary with the blank at 0.

    Attributes:
        proto: The serialised model.
        pieces: (vocab_size - 1,) pieces, from index 1 on.
        characters: What texts may hold.
    """

    def __init__(self, proto: bytes) -> None:
        self.proto = proto
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=proto)
        ids = range(1, self._processor.get_piece_size())
        self.pieces: tuple[str, ...] = tuple(self._processor.id_to_piece(list(ids)))
        characters = {piece for piece in self.pieces if len(piece) == 1}
        self.characters = frozenset(characters - {BOUNDARY} | {" "})

    def encode(self, text: str) -> list[int]:
        """Indices of the pieces of a text that holds nothing but `characters`."""
        ids: list[int] = self._processor.encode(text)
        return ids

    def has_only_plain_pieces(self) -> bool:
        """Whether piece 0, and no other, stands for something else than its text."""
        processor = self._processor
        ids = range(1, processor.get_piece_size())
        special = (
            processor.is_unknown,
            processor.is_control,
            processor.is_byte,
            processor.is_unused,
        )
        return bool(processor.is_unknown(_UNKNOWN_ID)) and not any(
            is_special(index) for is_special in special for index in ids
        )


def train_bpe(texts: Sequence[str], vocab_size: int) -> BpeModel:
    """Learn the pieces of some texts; the same for the same texts.

    Args:
        texts: Normalised, at least one of them not empty.
        vocab_size: With the blank.

    Raises:
        DataError: A text holds a character that sentencepiece reserves.
        ConfigError: `vocab_size` is below the number of characters, or above what the texts hold.
    """
    for text in texts:
        reserved = next((symbol for symbol in _RESERVED if symbol in text), None)
        if reserved is not None:
            raise DataError(f"subword pieces cannot spell {reserved!r}; in the text {text[:80]!r}")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=_MAX_SENTENCE_BYTES,
            unk_id=_UNKNOWN_ID,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=3,
        )
    except RuntimeError as error:
        raise _training_error(str(error), vocab_size) from None
    return BpeModel(model.getvalue())


def load_bpe(proto: bytes) -> BpeModel:
    """Load an untrusted model.

    Raises:
        ModelFileError: It is too large, no sentencepiece model, or not one that `train_bpe` makes.
    """
    if len(proto) > MAX_PROTO_BYTES:
        raise ModelFileError(f"the sentencepiece model has more than {MAX_PROTO_BYTES} bytes")
    try:
        model = BpeModel(proto)
        foreign = not model.has_only_plain_pieces() or not all(map(_is_plain, model.pieces))
        sample = " ".join(sorted(model.characters - {" "}))
        spelled = "".join(("", *model.pieces)[index] for index in model.encode(sample))
    except (RuntimeError, UnicodeDecodeError, IndexError, TypeError) as error:
        raise ModelFileError(f"the sentencepiece model is damaged: {error}") from None
    if foreign or spelled != BOUNDARY + sample.replace(" ", BOUNDARY):
        raise ModelFileError(
            "the sentencepiece model has special tokens or a normalisation of its own",
            hint="use one that this package trained",
        )
    return model


def _is_plain(piece: str) -> bool:
    """One word, or the beginning or the end of one."""
    return bool(piece) and " " not in piece and BOUNDARY not in piece[1:]


def _training_error(message: str, vocab_size: int) -> ConfigError:
    too_small = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if too_small:
        return ConfigError(
            f"vocab_size {vocab_size} is too small: the transcripts hold so many characters that "
            f"it must be at least {too_small[1]}"
        )
    too_large = re.search(r"set it to a value <= (\d+)", message)
    if too_large:
        return ConfigError(
            f"vocab_size {vocab_size} is too large: the transcripts give at most {too_large[1]}"
        )
    return ConfigError(f"cannot learn {vocab_size} subword pieces: {message}")
