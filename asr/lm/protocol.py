"""The seam between decoders and language models: state in; log-probability and state out."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol, TypeVar

StateT = TypeVar("StateT", bound=Hashable)


class LanguageModel(Protocol[StateT]):
    """Scores token sequences from left to right.

    Tokens are indices into the vocabulary of the tokenizer that the decoder uses, never the blank.
    A model of words keeps the begun word in its state and scores it when a token completes it.
    States are immutable and hashable, so that a beam can share and compare them; equal states have
    equal futures. Scores are natural log-probabilities without any weight: a decoder weighs.
    """

    def start(self) -> StateT:
        """State before the first token."""
        ...

    def score(self, state: StateT, token: int) -> tuple[float, StateT]:
        """Natural log-probability of `token` after `state`, at most 0, and the state after it."""
        ...

    def finish(self, state: StateT) -> float:
        """Natural log-probability, at most 0, that the utterance ends after `state`."""
        ...


class ZeroLM:
    """The language model that knows nothing: every sequence scores 0. Stands where None would.

    >>> lm = ZeroLM()
    >>> lm.score(lm.start(), 7)
    (0.0, ())
    """

    def start(self) -> tuple[()]:
        """The only state there is."""
        return ()

    def score(self, state: tuple[()], token: int) -> tuple[float, tuple[()]]:
        """0 for every token."""
        return 0.0, state

    def finish(self, state: tuple[()]) -> float:
        """0 for every end."""
        return 0.0
