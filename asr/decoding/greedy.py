"""Greedy CTC decoding: the best token of every frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from asr import ctc
from asr.decoding.checks import check_batch, check_log_probs, require_unfinished
from asr.decoding.types import Hypothesis, LogProbs, Stream, Word
from asr.tokens import Tokenizer

_Tokens: TypeAlias = npt.NDArray[np.intp]
_LogProbs: TypeAlias = npt.NDArray[np.float64]


class GreedyDecoder:
    """Takes the best token of every frame, then merges repeats and drops blanks.

    On a tie the lowest index wins, so the blank before any token. A token begins at the first frame
    of its run and ends after the last; its posterior is the highest one in its run, since a run
    starts and ends in frames that are still undecided. `acoustic_log_prob` is that of the one best
    path, a lower bound of the probability of its text.

    Args:
        tokenizer: The one the model was trained with; index 0 is the blank.
        frame_s: Seconds from one frame of `log_probs` to the next: hop times subsampling.

    Raises:
        ConfigError: `frame_s` is not a positive number.

    References:
        Graves, Fernández, Gomez & Schmidhuber (2006), Connectionist temporal classification,
        "best path decoding".
    """

    def __init__(self, tokenizer: Tokenizer, frame_s: float) -> None:
        ctc.check_frame_s(frame_s)
        self._tokenizer = tokenizer
        self._frame_s = frame_s

    def decode(self, log_probs: LogProbs) -> list[Hypothesis]:
        """Decode one utterance; see `Decoder.decode`. Gives exactly one hypothesis."""
        return [self._read(*_best_tokens(log_probs, len(self._tokenizer.vocab)))]

    def stream(self) -> Stream:
        """Begin an utterance whose log-probabilities come in chunks."""
        return GreedyStream(self._read, len(self._tokenizer.vocab))

    def decode_batch(
        self, log_probs: LogProbs, lengths: Sequence[int] | npt.NDArray[np.integer[Any]]
    ) -> list[list[Hypothesis]]:
        """Decode a padded batch; see `Decoder.decode_batch`."""
        counts = check_batch(log_probs, lengths, len(self._tokenizer.vocab))
        return [
            self.decode(utterance[:num_frames])
            for utterance, num_frames in zip(log_probs, counts, strict=True)
        ]

    def _read(self, best: _Tokens, best_log_probs: _LogProbs) -> Hypothesis:
        """The hypothesis of the best token of each frame and its log-probability."""
        tokens, frames = ctc.collapse(best)
        ends = _run_ends(best, frames)
        peaks = [
            float(best_log_probs[first:end].max()) for first, end in zip(frames, ends, strict=True)
        ]
        acoustic_log_prob = float(best_log_probs.sum())
        return Hypothesis(
            tokens=tuple(tokens),
            frames=tuple(frames),
            words=tuple(self._words(tokens, frames, ends, peaks)),
            acoustic_log_prob=acoustic_log_prob,
            lm_log_prob=0.0,
            score=acoustic_log_prob,
        )

    def _words(
        self, tokens: list[int], frames: list[int], ends: list[int], peaks: list[float]
    ) -> list[Word]:
        """Words of the tokens; `ends` are exclusive frames, `peaks` log posteriors, per token."""
        return [
            Word(
                text=text,
                start_s=frames[first] * self._frame_s,
                end_s=ends[last - 1] * self._frame_s,
                confidence=min(1.0, math.exp(sum(peaks[first:last]) / (last - first))),
            )
            for text, first, last in self._tokenizer.word_spans(tokens)
        ]


class GreedyStream:
    """One utterance while it is being said; made by `GreedyDecoder.stream`. See `Stream`."""

    def __init__(self, read: Callable[[_Tokens, _LogProbs], Hypothesis], vocab_size: int) -> None:
        self._read, self._vocab_size = read, vocab_size
        self._best, self._best_log_probs = [np.empty(0, np.intp)], [np.empty(0)]
        self._num_frames = 0
        self._is_finished = False

    @property
    def num_frames(self) -> int:
        """Frames accepted so far."""
        return self._num_frames

    def accept(self, log_probs: LogProbs) -> None:
        """Take more frames; see `Stream.accept`."""
        require_unfinished(self._is_finished)
        best, best_log_probs = _best_tokens(log_probs, self._vocab_size)
        self._best.append(best)
        self._best_log_probs.append(best_log_probs)
        self._num_frames += len(best)

    def partial(self) -> Hypothesis:
        """The reading of what was accepted so far, as if it were all."""
        return self._read(np.concatenate(self._best), np.concatenate(self._best_log_probs))

    def finish(self) -> list[Hypothesis]:
        """End the utterance; see `Stream.finish`."""
        self._is_finished = True
        return [self.partial()]


def _best_tokens(log_probs: LogProbs, vocab_size: int) -> tuple[_Tokens, _LogProbs]:
    """The likeliest token of each frame, and its natural log-probability.

    Raises:
        DataError: As `check_log_probs`.
    """
    check_log_probs(log_probs, vocab_size)
    return log_probs.argmax(axis=1), log_probs.max(axis=1).astype(np.float64)


def _run_ends(best: _Tokens, frames: list[int]) -> list[int]:
    """One past the last frame of the run of equal tokens that holds each of `frames`."""
    changes = np.append(np.flatnonzero(np.diff(best)) + 1, len(best))
    return [int(end) for end in changes[np.searchsorted(changes, frames, side="right")]]
