"""The decoder: settings, checks of what comes in, and hypotheses from what the search finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from asr.config import Options
from asr.ctc import BLANK, check_frame_s
from asr.decoding import Hypothesis, LogProbs, Word, check_batch, check_log_probs
from asr.decoding.checks import TOLERANCE
from asr.decoding.options import MOST_SCORE, MOST_WEIGHT
from asr.errors import DataError
from asr.lm.ngram import NgramModel
from asr.tensor_decoding.search import TensorHypotheses, TensorPruning, search
from asr.tensor_decoding.token_lm import TokenLm, build_token_lm
from asr.tokens import Tokenizer

Array = npt.NDArray[Any]


class TensorBeamConfig(Options):
    """How wide to search; what `BeamConfig` has too means the same.

    Attributes:
        beam_width: Prefixes kept from frame to frame.
        beam_threshold: Prefixes this much worse than the best are dropped; `inf` for none.
        token_threshold: Tokens this much less probable than the best of their frame do not
            lengthen a prefix in it; `inf` for all.
        max_tokens_per_frame: No more tokens than these, the most probable, lengthen prefixes in a
            frame. `BeamDecoder` has no such limit. Of equally probable ones any may be taken.
        num_best: At most as many hypotheses are given.
        lm_weight: Of the log-probabilities of a language model of tokens.
        word_bonus: Added for every word that the tokens spell; nothing without a language model.
    """

    beam_width: int = Field(default=100, ge=1, le=100_000)
    beam_threshold: float = Field(default=12.0, gt=0)
    token_threshold: float = Field(default=7.0, gt=0)
    max_tokens_per_frame: int = Field(default=32, ge=1)
    num_best: int = Field(default=1, ge=1)
    lm_weight: float = Field(default=0.5, ge=0, le=MOST_WEIGHT, allow_inf_nan=False)
    word_bonus: float = Field(default=1.0, ge=-MOST_SCORE, le=MOST_SCORE, allow_inf_nan=False)


class TensorBeamDecoder:
    """Prefix beam search with tensors, on any device; see the module.

    Gives what `BeamDecoder` gives with the same settings and the same language model of tokens, or
    none: tokens, times, and scores within 1e-9; its confidences are worked out as in greedy
    decoding. Where ranks differ by less than rounding, about 1e-12, either prefix may be the better
    one; of equal ranks the one that was in the beam first is, as there.

    Args:
        tokenizer: The one the model was trained with; index 0 is the blank.
        frame_s: Seconds from one frame of `log_probs` to the next: hop times subsampling.
        config: Settings.
        lm: N-gram language model whose words are the tokens, a space written ▁. Its tables are
            copied once to each device that is used.

    Raises:
        ConfigError: `frame_s` is not a positive number.
        DataError: The language model does not fit the tokenizer.

    References:
        Graves (2008), section 7.5.1; Hannun et al. (2014), algorithm 1.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        frame_s: float,
        config: TensorBeamConfig | None = None,
        lm: NgramModel | None = None,
    ) -> None:
        check_frame_s(frame_s)
        self._tokenizer = tokenizer
        self._frame_s = frame_s
        config = config or TensorBeamConfig()
        self._num_best = config.num_best
        self._pruning = TensorPruning(
            config.beam_width,
            config.beam_threshold,
            config.token_threshold,
            config.max_tokens_per_frame,
        )
        self._lm: TokenLm | None = None
        if lm is not None:
            self._lm = build_token_lm(tokenizer, lm, config.lm_weight, config.word_bonus)
        self._lm_on: dict[torch.device, TokenLm] = {}

    def decode(self, log_probs: LogProbs) -> list[Hypothesis]:
        """Decode one utterance; see `Decoder.decode`."""
        check_log_probs(log_probs, len(self._tokenizer.vocab))
        return self.decode_batch(log_probs[None], [len(log_probs)])[0]

    def decode_batch(
        self,
        log_probs: LogProbs | Tensor,
        lengths: Sequence[int] | npt.NDArray[np.integer[Any]] | Tensor,
    ) -> list[list[Hypothesis]]:
        """Decode a padded batch; see `Decoder.decode_batch`.

        Args:
            log_probs: (batch, max_frames, vocab_size); a tensor is decoded where it is, an array
                on the CPU. Padding may hold anything.
            lengths: (batch,) frames of each utterance.

        Returns:
            For each utterance up to `num_best` hypotheses, distinct as words; where that is more
            than one, the whole beam is traced back.

        Raises:
            DataError: A shape, a length or an utterance is not what it should be.
        """
        if isinstance(log_probs, np.ndarray):
            log_probs = torch.from_numpy(np.array(log_probs, order="C"))
        counts = _check(log_probs, lengths, len(self._tokenizer.vocab))
        found = self._search(log_probs, counts, None if self._num_best > 1 else 1)
        emitted = log_probs.detach().gather(2, found.paths.transpose(1, 2)).transpose(1, 2)
        values = (found.acoustic_log_probs, found.lm_log_probs, found.paths, emitted.float())
        arrays = [value.cpu().numpy() for value in values]
        return [
            self._hypotheses(acoustic, other, paths[:, :count], log_posteriors[:, :count])
            for acoustic, other, paths, log_posteriors, count in zip(*arrays, counts, strict=True)
        ]

    def decode_tensors(self, log_probs: Tensor, lengths: Tensor) -> TensorHypotheses:
        """Decode a padded batch; nothing but the checks of the input leaves the device.

        Args:
            log_probs: (batch, max_frames, vocab_size) float32 or float64, every frame normalised;
                padding may hold anything. No gradient comes back.
            lengths: (batch,) integers in [0, max_frames].

        Raises:
            DataError: A shape, a length or an utterance is not what it should be.
        """
        counts = _check(log_probs, lengths, len(self._tokenizer.vocab))
        return self._search(log_probs, counts, self._num_best)

    @torch.no_grad()
    def _search(
        self, log_probs: Tensor, counts: Sequence[int], num_best: int | None
    ) -> TensorHypotheses:
        lengths = torch.tensor(counts, dtype=torch.int64, device=log_probs.device)
        lm = self._lm_for(log_probs.device)
        return search(log_probs, lengths, self._pruning, lm, num_best)

    def _lm_for(self, device: torch.device) -> TokenLm | None:
        if self._lm is not None and device not in self._lm_on:
            self._lm_on[device] = self._lm.to(device)
        return self._lm_on.get(device)

    def _hypotheses(
        self, acoustic: Array, other: Array, paths: Array, log_posteriors: Array
    ) -> list[Hypothesis]:
        """Hypotheses of one utterance, distinct as words, of prefixes in the order of their score.

        Args:
            acoustic, other: (num_prefixes,) acoustic and language model log-probability.
            paths: (num_prefixes, num_frames) best paths.
            log_posteriors: (num_prefixes, num_frames) of what the paths say.
        """
        found: dict[tuple[str, ...], Hypothesis] = {}
        for index in np.flatnonzero(acoustic > -math.inf):
            tokens, frames, words = self._read(paths[index], log_posteriors[index])
            parts = float(acoustic[index]), float(other[index])
            one = Hypothesis(tokens, frames, words, *parts, score=sum(parts))
            found.setdefault(tuple(word.text for word in words), one)
            if len(found) == self._num_best:
                break
        return list(found.values())

    def _read(
        self, path: Array, log_posteriors: Array
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[Word, ...]]:
        """Tokens, the frame where each begins, and words of one path, (num_frames,)."""
        if path.size == 0:
            return (), (), ()
        runs = np.append(0, np.flatnonzero(path[1:] != path[:-1]) + 1)
        is_token = path[runs] != BLANK
        run_ends, run_peaks = (
            np.append(runs[1:], path.size),
            np.maximum.reduceat(log_posteriors, runs),
        )
        tokens, starts, ends, peaks = (
            values[is_token].tolist() for values in (path[runs], runs, run_ends, run_peaks)
        )
        words = tuple(
            Word(
                text=text,
                start_s=starts[first] * self._frame_s,
                end_s=ends[last - 1] * self._frame_s,
                confidence=min(1.0, math.exp(sum(peaks[first:last]) / (last - first))),
            )
            for text, first, last in self._tokenizer.word_spans(tokens)
        )
        return tuple(tokens), tuple(starts), words


def _check(log_probs: Any, lengths: Any, vocab_size: int) -> list[int]:
    """The lengths as plain integers; raises `DataError` as the checks of arrays do."""
    found = getattr(log_probs, "dtype", type(log_probs).__name__)
    if found not in (torch.float32, torch.float64):
        raise DataError(f"log_probs must be a float32 or float64 tensor, got {found}")
    if isinstance(lengths, Tensor):
        lengths = lengths.cpu().numpy()
    shape_alone = np.broadcast_to(np.float32(0), log_probs.shape)
    counts = check_batch(shape_alone, lengths, vocab_size)
    sums = log_probs.exp().sum(dim=2).log().abs()
    numbers = torch.arange(log_probs.shape[1], device=log_probs.device)
    is_padding = numbers >= torch.tensor(counts, device=log_probs.device)[:, None]
    if not bool(((sums <= TOLERANCE) | is_padding).all()):
        for one, count in zip(log_probs.detach().cpu().numpy(), counts, strict=True):
            check_log_probs(one[:count], vocab_size)
    return counts
