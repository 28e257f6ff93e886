"""Forced alignment: when each token and word of a known transcript was said.

The path is the best one through the CTC trellis of that transcript (torchaudio's Viterbi search).
A CTC model learns when to emit a token, not how long its sound lasts, so a token's span is often
one or two frames within the sound, and a word reaches from its first token to its last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING

import numpy as np

from asr.ctc import BLANK, check_frame_s, min_frames
from asr.errors import DataError, require_extra
from asr.tokens import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

# Of the logarithm of a frame's summed probabilities: float32 rounding, not logits.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class AlignedToken:
    """One token of the transcript and the frames that say it.

    Attributes:
        token: Index in the vocabulary.
        start_frame: First frame.
        end_frame: One past the last frame; at least one frame.
        log_prob: Sum of the token's log-probability over its frames.
    """

    token: int
    start_frame: int
    end_frame: int
    log_prob: float


@dataclass(frozen=True)
class AlignedWord:
    """One word of the transcript and when it was said.

    Attributes:
        text: The word.
        start_s: Start of its first token's first frame.
        end_s: End of its last token's last frame.
        score: Geometric mean of its tokens' probabilities over their frames, 0 to 1.
    """

    text: str
    start_s: float
    end_s: float
    score: float


def align_tokens(log_probs: np.ndarray | Tensor, tokens: Sequence[int]) -> list[AlignedToken]:
    """Find the most probable CTC path of a transcript.

    Takes num_frames × num_tokens × 2 bytes of memory, and time in proportion.

    Args:
        log_probs: (num_frames, vocab_size) natural log, one utterance without padding; the blank
            at index 0.
        tokens: (num_tokens,) the transcript, without blanks.

    Returns:
        One span a token, in order; spans do not overlap.

    Raises:
        DataError: A shape or token does not fit, `log_probs` are not normalised, there are fewer
            frames than the transcript needs under CTC, or every path has probability zero.
        MissingExtraError: torchaudio is not installed.

    References:
        Graves et al. (2006), Connectionist temporal classification, section 3.1, with the maximum
        in place of the sum.
    """
    with require_extra("train", "forced alignment"):
        import torch
        from torchaudio import functional as taf
    if isinstance(log_probs, torch.Tensor):
        log_probs = log_probs.detach().float().cpu().numpy()
    emissions = torch.from_numpy(np.array(log_probs, dtype=np.float32, order="C"))
    tokens = _indices(tokens)
    _check(emissions, tokens)
    if not tokens:
        return []
    targets = torch.tensor([list(tokens)], dtype=torch.int64)
    finite = _without_infinity(emissions)
    paths, scores = taf.forced_align(finite.unsqueeze(0), targets, blank=BLANK)
    path, scores = paths[0], scores[0]
    if bool((emissions[torch.arange(len(path)), path] == -math.inf).any()):
        raise DataError("no alignment of this transcript has a probability above zero")
    return [
        AlignedToken(span.token, span.start, span.end, float(scores[span.start : span.end].sum()))
        for span in taf.merge_tokens(path, scores, blank=BLANK)
    ]


def align_words(
    log_probs: np.ndarray | Tensor, tokens: Sequence[int], tokenizer: Tokenizer, frame_s: float
) -> list[AlignedWord]:
    """Find when each word of a transcript was said.

    Args:
        log_probs: (num_frames, vocab_size) natural log, one utterance without padding.
        tokens: (num_tokens,) the transcript as `tokenizer.encode` gives it.
        tokenizer: Knows which tokens make up a word.
        frame_s: Seconds per frame of `log_probs`: the features' hop × the model's subsampling.

    Returns:
        One span a word, in order.

    Raises:
        ConfigError: `frame_s` is not a positive number.
        DataError: As `align_tokens`.
        MissingExtraError: As `align_tokens`.
    """
    check_frame_s(frame_s)
    tokens = _indices(tokens)
    spans = align_tokens(log_probs, tokens)
    return [
        _align_word(text, spans[first:last], frame_s)
        for text, first, last in tokenizer.word_spans(tokens)
    ]


def _indices(tokens: Sequence[int]) -> list[int]:
    """Plain integers of a list, an array or a tensor."""
    try:
        return [index(token) for token in tokens]
    except TypeError:
        raise DataError(
            "tokens must be integers", hint="pass what tokenizer.encode gives for the text"
        ) from None


def _align_word(text: str, spans: Sequence[AlignedToken], frame_s: float) -> AlignedWord:
    num_frames = sum(span.end_frame - span.start_frame for span in spans)
    log_prob = sum(span.log_prob for span in spans)
    return AlignedWord(
        text=text,
        start_s=spans[0].start_frame * frame_s,
        end_s=spans[-1].end_frame * frame_s,
        score=float(np.exp(log_prob / num_frames)),
    )


def _without_infinity(emissions: Tensor) -> Tensor:
    """Minus infinity as a number so low that one frame of it outweighs any finite path.

    torchaudio 2.11 reads memory it never wrote where every path has probability zero.
    """
    if bool(emissions.isfinite().all()):
        return emissions
    lowest = float(emissions[emissions.isfinite()].min())
    return emissions.clamp(min=2.0 * len(emissions) * lowest - 1.0)


def _check(emissions: Tensor, tokens: Sequence[int]) -> None:
    if emissions.dim() != 2:
        got = tuple(emissions.shape)
        raise DataError(f"log_probs must be (num_frames, vocab_size), got shape {got}")
    if bool(emissions.isnan().any()):
        raise DataError("log_probs holds NaN")
    if not bool((emissions.logsumexp(dim=1).abs() <= TOLERANCE).all()):
        hint = "pass natural log-probabilities: log_softmax of a model's output"
        raise DataError("log_probs must be normalised: probabilities that sum to 1", hint=hint)
    num_frames, vocab_size = emissions.shape
    wrong = [token for token in tokens if not BLANK < token < vocab_size]
    if wrong:
        raise DataError(f"tokens must be 1 to {vocab_size - 1}, got {wrong[0]}")
    needed = min_frames(tokens)
    if num_frames < needed:
        raise DataError(
            f"a transcript of {len(tokens)} tokens needs at least {needed} frames under CTC, "
            f"got {num_frames}",
            hint="check that the transcript belongs to the audio, or subsample less",
        )
