"""What every tokenizer can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

BLANK_TOKEN = "<blank>"
"""How a vocabulary writes the blank."""

WordSpan = tuple[str, int, int]
"""A word, the index of its first token, and one past its last."""


class Tokenizer(Protocol):
    """Text to token indices and back."""

    @property
    def vocab(self) -> tuple[str, ...]:
        """(vocab_size,) name of each token; the blank first."""

    @property
    def texts(self) -> tuple[str, ...]:
        """(vocab_size,) what each token adds to a spelling, nothing for the blank.

        A space in front ends the word before, one behind ends the token's own word.
        """

    @property
    def words(self) -> tuple[str, ...] | None:
        """The words it can spell, the likeliest first; None for any of its characters."""

    def spellings(self, word: str) -> tuple[str, ...]:
        """How tokens spell a word, in the characters of `texts`; empty where they cannot.

        The word itself, or, where tokens are phones, its pronunciations, the usual one first.
        """

    def readings(self, spelling: str) -> tuple[str, ...]:
        """The words that are spelled so, the likeliest first; never empty.

        The spelling itself, or, where tokens are phones, the words that sound like it. A sequence
        of phones that is no word is read as itself between slashes.
        """

    def spelled_spans(self, tokens: Sequence[int]) -> list[WordSpan]:
        """Each word as `spellings` has it, with the range of its tokens, spaces left out.

        Raises:
            ValueError: As `decode`.
        """

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
