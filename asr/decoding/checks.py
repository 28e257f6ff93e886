"""Refuse decoder input that is not log-probabilities, and say what it seems to be instead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from asr.decoding.types import LogProbs
from asr.errors import DataError
from asr.lm.compiled import kernel

# Wide enough for float32 log_softmax over 100,000 tokens and for int8 inference, and far below
# what logits or probabilities, the usual mistakes, show.
TOLERANCE = 1e-3
# Frames turned into float64 at a time: a few MB however long the utterance.
CHUNK_FRAMES = 512

_CONVERSIONS = {
    "Tensor": "pass log_probs.detach().cpu().numpy()",
    "float16": "pass log_probs.astype(numpy.float32)",
}
"""What makes an array that is taken of what people have in its place."""


def check_log_probs(log_probs: LogProbs, vocab_size: int) -> None:
    """Check the emissions of one utterance.

    Args:
        log_probs: Should be (num_frames, vocab_size) float32 or float64 natural log-probabilities;
            no frames and -inf are fine.
        vocab_size: Tokens of the vocabulary, the blank included.

    Raises:
        DataError: Wrong type or shape, NaN, or a frame whose probabilities do not sum to 1
            within `TOLERANCE` (in the logarithm).
    """
    check_form(log_probs, vocab_size)
    _check_values(log_probs)


def check_form(log_probs: LogProbs, vocab_size: int) -> None:
    """Check type and shape of the emissions of one utterance, and not its values.

    Args:
        log_probs: As for `check_log_probs`.
        vocab_size: Tokens of the vocabulary, the blank included.

    Raises:
        DataError: Wrong type or shape.
    """
    _check_array(log_probs)
    if log_probs.ndim != 2:
        raise DataError(f"log_probs must be (num_frames, vocab_size), got shape {log_probs.shape}")
    _check_vocab_size(log_probs, vocab_size)


def join_log_probs(group: Sequence[LogProbs], vocab_size: int) -> npt.NDArray[np.float64]:
    """The frames of some utterances, at least one, as one array.

    Args:
        group: (num_frames, vocab_size) of each utterance; `check_form` was content.
        vocab_size: Tokens of the vocabulary, the blank included.

    Returns:
        (num_frames of all, vocab_size).

    Raises:
        DataError: As `check_log_probs`, of the first utterance that is not what it should be.
    """
    joined = np.empty((sum(map(len, group)), vocab_size))  # in rows, whatever the utterances are
    np.concatenate(group, out=joined)
    if not _are_normalised(joined, TOLERANCE):
        for one in group:
            _check_values(one)
    return joined


def check_batch(
    log_probs: LogProbs, lengths: Sequence[int] | npt.NDArray[np.integer[Any]], vocab_size: int
) -> list[int]:
    """Check the shapes of a batch, not its values: padding may hold anything.

    Args:
        log_probs: Should be (batch, max_frames, vocab_size).
        lengths: Should be (batch,) integers in [0, max_frames].
        vocab_size: Tokens of the vocabulary, the blank included.

    Returns:
        The lengths as plain integers.

    Raises:
        DataError: A type, a shape or a length does not fit.
    """
    _check_array(log_probs)
    if log_probs.ndim != 3:
        raise DataError(
            f"log_probs must be (batch, max_frames, vocab_size), got shape {log_probs.shape}"
        )
    _check_vocab_size(log_probs, vocab_size)
    counts = np.asarray(lengths)
    batch, max_frames, _ = log_probs.shape
    if counts.shape != (batch,) or (batch > 0 and not np.issubdtype(counts.dtype, np.integer)):
        raise DataError(
            f"lengths must be ({batch},) integers, one an utterance, "
            f"got shape {counts.shape} of {counts.dtype}"
        )
    wrong = np.flatnonzero((counts < 0) | (counts > max_frames))
    if wrong.size:
        raise DataError(
            f"lengths must be in [0, {max_frames}], the frames of log_probs; "
            f"got {counts[wrong[0]]} for utterance {wrong[0]}"
        )
    return [int(count) for count in counts]


def _check_array(log_probs: LogProbs) -> None:
    if not isinstance(log_probs, np.ndarray) or log_probs.dtype not in (np.float32, np.float64):
        is_array = isinstance(log_probs, np.ndarray)
        found = str(log_probs.dtype) if is_array else type(log_probs).__name__
        raise DataError(
            f"log_probs must be a float32 or float64 array, got {found}",
            hint=_CONVERSIONS.get(found),
        )


def _check_vocab_size(log_probs: LogProbs, vocab_size: int) -> None:
    if log_probs.shape[-1] != vocab_size:
        raise DataError(
            f"log_probs must be (…, vocab_size) with vocab_size {vocab_size}, "
            f"got shape {log_probs.shape}",
            hint="the tokenizer must be the one the model was trained with, blank included",
        )


def _check_values(log_probs: LogProbs) -> None:
    for begin in range(0, len(log_probs), CHUNK_FRAMES):
        chunk = np.ascontiguousarray(log_probs[begin : begin + CHUNK_FRAMES], dtype=np.float64)
        if not _are_normalised(chunk, TOLERANCE):
            _refuse(log_probs)


@kernel
def _are_normalised(log_probs: npt.NDArray[np.float64], tolerance: float) -> bool:
    """Whether the probabilities of every frame sum to 1, within the tolerance of the logarithm."""
    num_frames, vocab_size = log_probs.shape
    # Most tokens are so improbable that a bound of their sum is enough, and saves most of the time.
    most = tolerance / (2 * vocab_size + 1)
    floor, lowest, highest = math.log(most), math.exp(-tolerance), math.exp(tolerance)
    for frame in range(num_frames):
        total, num_left_out = 0.0, 0
        for token in range(vocab_size):
            if log_probs[frame, token] <= floor:
                num_left_out += 1
            else:  # so NaN counts
                total += math.exp(log_probs[frame, token])
        if not (lowest <= total and total + num_left_out * most <= highest):
            total = 0.0
            for token in range(vocab_size):
                total += math.exp(log_probs[frame, token])
            if not (total > 0.0 and abs(math.log(total)) <= tolerance):
                return False
    return True


def _refuse(log_probs: LogProbs) -> None:
    """Say what is wrong with values that are not normalised."""
    highest = float(log_probs.max())
    if np.isnan(highest):
        frame = int(np.flatnonzero(np.isnan(log_probs).any(axis=1))[0])
        raise DataError(f"log_probs holds NaN (first in frame {frame})")
    with np.errstate(divide="ignore", over="ignore"):
        totals = np.log(np.exp(log_probs).sum(axis=1))
    wrong = np.flatnonzero(~(np.abs(totals) <= TOLERANCE))
    if wrong.size:
        frame = int(wrong[0])
        raise DataError(
            f"log_probs must be normalised: the probabilities of frame {frame} sum to "
            f"exp({totals[frame]:.4g}) instead of 1 ({wrong.size} of {len(totals)} frames are off)",
            hint=_cure(log_probs, highest),
        )


def _cure(log_probs: LogProbs, highest: float) -> str:
    if log_probs.min() >= 0 and np.allclose(log_probs.sum(axis=1), 1.0, atol=TOLERANCE):
        return "these are probabilities; pass their natural logarithm"
    if highest > TOLERANCE:
        return f"these look like logits (highest {highest:.4g}, above 0); apply log_softmax first"
    return "these look like logits, scaled or base-10 logarithms; apply log_softmax first"


def require_unfinished(is_finished: bool) -> None:
    """Refuse to go on with an utterance that was ended.

    Raises:
        DataError: It was.
    """
    if is_finished:
        raise DataError("the stream is finished", hint="begin another with decoder.stream()")
