"""Greedy CTC decoding: the best token of every frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from asr import ctc
from asr.decoding.checks import check_batch, check_log_probs
from asr.decoding.types import Hypothesis, LogProbs, Word
from asr.tokens import Tokenizer


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
        check_log_probs(log_probs, len(self._tokenizer.vocab))
        best = log_probs.argmax(axis=1)
        best_log_probs = log_probs.max(axis=1).astype(np.float64)
        tokens, frames = ctc.collapse(best)
        ends = _run_ends(best, frames)
        peaks = [
            float(best_log_probs[first:end].max()) for first, end in zip(frames, ends, strict=True)
        ]
        acoustic_log_prob = float(best_log_probs.sum())
        return [
            Hypothesis(
                tokens=tuple(tokens),
                frames=tuple(frames),
                words=tuple(self._words(tokens, frames, ends, peaks)),
                acoustic_log_prob=acoustic_log_prob,
                lm_log_prob=0.0,
                score=acoustic_log_prob,
            )
        ]

    def decode_batch(
        self, log_probs: LogProbs, lengths: Sequence[int] | npt.NDArray[np.integer[Any]]
    ) -> list[list[Hypothesis]]:
        """Decode a padded batch; see `Decoder.decode_batch`."""
        counts = check_batch(log_probs, lengths, len(self._tokenizer.vocab))
        return [
            self.decode(utterance[:num_frames])
            for utterance, num_frames in zip(log_probs, counts, strict=True)
        ]

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


def _run_ends(best: npt.NDArray[np.intp], frames: list[int]) -> list[int]:
    """One past the last frame of the run of equal tokens that holds each of `frames`."""
    changes = np.append(np.flatnonzero(np.diff(best)) + 1, len(best))
    return [int(end) for end in changes[np.searchsorted(changes, frames, side="right")]]
