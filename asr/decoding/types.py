"""The values that decoders give, and the protocol they keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

LogProbs: TypeAlias = npt.NDArray[np.floating[Any]]
"""Natural log-probabilities, float32 or float64; -inf where a token is impossible."""


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word.

    Attributes:
        text: The word as the tokenizer spells it.
        start_s: Start of the frame where its first token begins, seconds from the first frame.
        end_s: End of the last frame of its last token; more than `start_s`.
        confidence: Probability that it is right, in [0, 1]: of a beam search by its `Calibration`;
            of greedy decoding the geometric mean of the posteriors of its tokens, uncalibrated
            (CTC posteriors are too sure of themselves).
    """

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One reading of an utterance.

    Attributes:
        tokens: Vocabulary indices, blanks and repeats removed.
        frames: The frame where each token begins, strictly rising.
        words: The tokens as words with times.
        acoustic_log_prob: Natural log-probability of the tokens given the audio, as far as the
            decoder sums it: greedy counts its one best path.
        lm_log_prob: What the language model added, weights included; 0.0 without one.
        score: `acoustic_log_prob + lm_log_prob`, what hypotheses are ranked by.
    """

    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    words: tuple[Word, ...]
    acoustic_log_prob: float
    lm_log_prob: float
    score: float

    @property
    def text(self) -> str:
        """The words, one blank between them."""
        return " ".join(word.text for word in self.words)


class Stream(Protocol):
    """Decodes one utterance while it is being said; made by `decoder.stream()`.

    How the frames are cut into chunks changes nothing about the result.
    """

    @property
    def num_frames(self) -> int:
        """Frames accepted so far."""
        ...

    def accept(self, log_probs: LogProbs) -> None:
        """Go on.

        Args:
            log_probs: (num_frames, vocab_size) of any number of frames, as for `Decoder.decode`.

        Raises:
            DataError: `log_probs` is not what it should be, or the stream is finished.
        """
        ...

    def partial(self) -> Hypothesis:
        """The best reading of what was accepted so far, as if it were all."""
        ...

    def finish(self) -> list[Hypothesis]:
        """End the utterance.

        Returns:
            What `Decoder.decode` gives for all of its frames at once.
        """
        ...


class Decoder(Protocol):
    """Turns the log-probabilities of utterances into hypotheses."""

    def decode(self, log_probs: LogProbs) -> list[Hypothesis]:
        """Decode one utterance.

        Args:
            log_probs: (num_frames, vocab_size), every frame normalised; token 0 is the blank.

        Returns:
            At least one hypothesis, best first; without frames one empty hypothesis.

        Raises:
            DataError: `log_probs` is not what it should be (see `check_log_probs`).
        """
        ...

    def decode_batch(
        self, log_probs: LogProbs, lengths: Sequence[int] | npt.NDArray[np.integer[Any]]
    ) -> list[list[Hypothesis]]:
        """Decode each utterance exactly as `decode` does alone; padding is never looked at.

        Args:
            log_probs: (batch, max_frames, vocab_size).
            lengths: (batch,) frames of each utterance, in [0, max_frames].

        Raises:
            DataError: A shape, a length or an utterance is not what it should be.
        """
        ...
