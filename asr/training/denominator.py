"""What competes with a transcript: every sequence of tokens, as likely as a trigram has it.

CTC takes the tokens of an utterance as independent, given the sound. With a trigram of the tokens
of the training transcripts, the probability of a transcript among all sequences is

    p(tokens | sound) = p_ctc(tokens) p_lm(tokens) / Z,
    Z = sum over all sequences of p_ctc p_lm,

and its negative logarithm is the loss of maximum mutual information, with CTC's paths. Z is summed
by the forward algorithm over what a path is at: its last two tokens, and whether the frame before
was blank; its gradient is the posterior of each token in each frame, by forward and backward sums.

References:
    Xiang & Ou 2019, CRF-based single-stage acoustic modeling with CTC topology, eqs. 2 to 6.
    Povey et al. 2016, Purely sequence-trained neural networks for ASR based on lattice-free MMI.
    Witten & Bell 1991, The zero-frequency problem, method C: the smoothing of the trigram.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from asr.batching import Batch
from asr.errors import ConfigError

MAX_TOKENS = 128
"""Largest vocabulary; the tables and the sums grow with its cube."""


@dataclass(frozen=True)
class TokenTrigram:
    """How likely each token is after each two others; none is impossible.

    Attributes:
        probabilities: (vocab_size, vocab_size, vocab_size) float32: [last, one before, next]. A
            history's index 0 is the beginning of the utterance, and as the next token its end.
    """

    probabilities: Tensor

    def to(self, device: torch.device) -> TokenTrigram:
        """The same on another device."""
        return TokenTrigram(self.probabilities.to(device))

    def log_probs(self, batch: Batch) -> Tensor:
        """(batch,) natural log-probability of each transcript and its end."""
        padded = F.pad(batch.targets, (2, 1))
        asked = self.probabilities[padded[:, 1:-1], padded[:, :-2], padded[:, 2:]].log()
        steps = torch.arange(asked.shape[1], device=asked.device)
        beyond = steps > batch.target_lengths[:, None].to(asked.device)
        return asked.masked_fill(beyond, 0.0).sum(dim=1)


def fit_trigram(targets: Iterable[Sequence[int]], vocab_size: int) -> TokenTrigram:
    """The trigram of training transcripts.

    Args:
        targets: Tokens without blanks, in [1, vocab_size).
        vocab_size: At most `MAX_TOKENS`.

    Raises:
        ConfigError: The vocabulary is larger.
    """
    if vocab_size > MAX_TOKENS:
        raise ConfigError(
            f"optim.mmi needs at most {MAX_TOKENS} tokens, and there are {vocab_size}",
            hint="leave optim.mmi out, or learn phones or letters: tokens.kind",
        )
    counts = np.zeros((vocab_size,) * 3)
    for tokens in targets:
        path = np.array([0, 0, *tokens, 0])
        np.add.at(counts, (path[1:-1], path[:-2], path[2:]), 1)
    smoothed = np.full(vocab_size, 1 / vocab_size)
    for level in (counts.sum(axis=(0, 1)), counts.sum(axis=1)[:, None], counts):
        kinds = (level > 0).sum(axis=-1, keepdims=True)
        weight = np.maximum(level.sum(axis=-1, keepdims=True) + kinds, 1)
        backed_off = np.where(kinds > 0, kinds, weight)
        smoothed = (level + backed_off * smoothed) / weight
    return TokenTrigram(torch.tensor(smoothed, dtype=torch.float32))


def log_partition(log_probs: Tensor, lengths: Tensor, trigram: TokenTrigram) -> Tensor:
    """Log of Z of each utterance, with its gradient.

    Args:
        log_probs: (batch, max_frames, vocab_size) natural log, finite within the lengths.
        lengths: (batch,) int64, frames of each utterance.
        trigram: On the device of `log_probs`.

    Returns:
        (batch,) natural log.
    """
    result: Tensor = _LogPartition.apply(log_probs.float(), lengths, trigram.probabilities)
    return result


class _LogPartition(torch.autograd.Function):
    """`log_partition`, whose gradient comes from sums of its own."""

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, lengths: Tensor, lm: Tensor) -> Tensor:
        """Sum the paths, scaled in each frame, and keep the posteriors for `backward`."""
        paths = _Paths(log_probs, lengths.to(log_probs.device), lm)
        log_sums = paths.sum_forward()
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(paths.posteriors())
        return log_sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The posterior of each token in each frame, weighted."""
        (posteriors,) = ctx.saved_tensors
        return posteriors * gradients[0][:, None, None], None, None


class _Paths:
    """Forward and backward sums over the paths of a batch.

    Sums of paths are indexed [last token, utterance, token before]. Padded frames are blank for
    sure, which changes no sum.
    """

    def __init__(self, log_probs: Tensor, lengths: Tensor, lm: Tensor) -> None:
        num_frames, vocab_size = log_probs.shape[1:]
        self._lm, self._transposed = lm, lm.transpose(1, 2).contiguous()
        self._ends = lm[:, None, :, 0]
        self._padding = padding = torch.arange(num_frames, device=lm.device) >= lengths[:, None]
        peaks = log_probs.detach().amax(dim=2).masked_fill(padding, 0.0)
        scaled = (log_probs.detach() - peaks[..., None]).exp()
        scaled = scaled.masked_fill(padding[..., None], 0.0)
        scaled[..., 0] = scaled[..., 0].masked_fill(padding, 1.0)
        self._frames = scaled.transpose(0, 1).contiguous()
        self._log_scale = peaks.double().sum(dim=1)
        # [token, before]: a token is not followed by itself unless a blank is between.
        same = torch.arange(vocab_size, device=lm.device)
        self._repeats = lm[same, :, same]
        self._kept: list[tuple[Tensor, Tensor]] = []

    def sum_forward(self) -> Tensor:
        """Log of Z; keeps what `posteriors` needs of every frame."""
        vocab_size, batch = len(self._lm), self._frames.shape[1]
        ended = self._lm.new_zeros(vocab_size, batch, vocab_size)
        every = ended.clone()
        every[0, :, 0] = 1.0
        log_sums = self._log_scale.clone()
        for frame in self._frames:
            said = self._lengthened(ended, every).add_(ended)
            self._kept.append((said, every))
            ended = frame.T[:, :, None] * said
            every = torch.addcmul(ended, frame[None, :, :1], every)
            total = every.sum(dim=(0, 2))
            log_sums += total.double().log()
            ended.div_(total[:, None])
            every.div_(total[:, None])
        log_sums += (every * self._ends).sum(dim=(0, 2)).double().log()
        return log_sums.float()

    def _lengthened(self, ended: Tensor, every: Tensor) -> Tensor:
        """By each token: [new token, utterance, last token], before the sound of the frame."""
        new = torch.bmm(every, self._lm)
        new[:, :, 0] = 0.0
        new = new.permute(2, 1, 0).contiguous()
        same = new.diagonal(dim1=0, dim2=2)  # [utterance, token]
        same -= torch.bmm(ended, self._repeats[..., None])[..., 0].T
        return new

    def posteriors(self) -> Tensor:
        """(batch, num_frames, vocab_size) probability of what each frame is; 0 in the padding."""
        after_token = after_blank = self._ends.expand_as(self._kept[0][0])
        found = torch.zeros_like(self._frames)
        for index in range(len(self._frames) - 1, -1, -1):
            frame, (said, every) = self._frames[index], self._kept.pop()
            token = frame.T[:, :, None] * after_token
            blank = frame[None, :, :1] * after_blank
            weights = (said * token).sum(dim=2).T
            weights[:, 0] = (every * blank).sum(dim=(0, 2))
            found[index] = weights / weights.sum(dim=1, keepdim=True)
            following = token.permute(2, 1, 0).contiguous()  # [last token, utterance, new token]
            following[:, :, 0] = 0.0
            after_blank = torch.baddbmm(blank, following, self._transposed)
            same = following.diagonal(dim1=0, dim2=2).T[..., None]  # [token, utterance, 1]
            after_token = torch.addcmul(
                after_blank + token, same, self._repeats[:, None], value=-1.0
            )
            scale = after_blank.sum(dim=(0, 2))[:, None]
            after_token.div_(scale)
            after_blank.div_(scale)
        return found.transpose(0, 1).masked_fill(self._padding[..., None], 0.0)
