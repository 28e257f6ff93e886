"""What an acoustic model returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Emissions:
    """Token log-probabilities of a batch; nothing beyond an utterance's length has meaning.

    Attributes:
        log_probs: (batch, max_frames, vocab_size) natural log, float32 (float64 where the
            model is); each frame sums to one. Index 0 is the blank.
        lengths: (batch,) int64, on the device of `log_probs`; frames of each utterance, ≥ 1.
    """

    log_probs: Tensor
    lengths: Tensor
