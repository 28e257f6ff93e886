"""Normalisation of log-mel features: what of an utterance counts, statistics, and scaling."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from asr.errors import DataError

# Smallest standard deviation divided by, in natural-log units: keeps the rounding noise of a
# constant band (an empty band of up-sampled audio) from becoming a feature.
MIN_STD = 1e-3

# How far above the floor a log energy may lie and still be the floor: rounding of the logarithm.
_FLOOR_SLACK = 1e-4

# What is quiet before and after an utterance: 20 dB below its loudest mels. The loudest fifth of a
# second is left out, as a click is not speech, and half a second around what is not quiet counts,
# so that weak consonants do, and recordings of usual length are normalised as a whole.
_QUIET = 2 * math.log(10)
_LOUDEST_S = 0.2
_MARGIN_S = 0.5


class Prior(NamedTuple):
    """What is known of utterances before one is heard.

    Attributes:
        mean: (num_mels,) natural log energies, of all frames.
        std: (num_mels,) likewise, of frames from their own utterance's mean.
        num_frames: How many frames of an utterance it counts like, at least 0.
    """

    mean: Tensor
    std: Tensor
    num_frames: float


def estimate_statistics(features: Iterable[Tensor], within: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every mel over all frames, one utterance in memory at a time.

    Args:
        features: Each (num_frames, num_mels), not normalised (see `LogMel.counted_energies`),
            without padded frames, all with the same number of mels.
        within: Deviations are those from the mean of their own utterance.

    Returns:
        Mean and standard deviation (population), each (num_mels,) float32 on the CPU, accumulated
        in float64; a standard deviation is at least 1e-3.

    Raises:
        DataError: There is no frame, or a value is not finite.

    References:
        Chan, Golub & LeVeque (1979), the pairwise update of mean and sum of squared deviations.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for utterance in features:
        values = utterance.detach().to("cpu", torch.float64)
        if not bool(values.isfinite().all()):
            raise DataError("features must be finite to estimate their statistics")
        if values.shape[0] == 0:
            continue
        own_mean = values.mean(dim=0)
        own_squares = (values - own_mean).square().sum(dim=0)
        total = count + values.shape[0]
        shift = own_mean - mean
        squares = squares + own_squares
        if not within:
            squares = squares + shift.square() * (count * values.shape[0] / total)
        mean = mean + shift * (values.shape[0] / total)
        count = total
    if count == 0:
        raise DataError("no frame of features to estimate statistics from")
    return mean.float(), (squares / count).sqrt().clamp(min=MIN_STD).float()


def valid_frames(features: Tensor, num_frames: Tensor) -> Tensor:
    """(batch, max_frames, 1) bool, true where a frame belongs to its utterance."""
    positions = torch.arange(features.shape[1], device=features.device)
    return (positions < num_frames[:, None])[:, :, None]


def heard_frames(features: Tensor, valid: Tensor, lowest: float, frame_rate_hz: float) -> Tensor:
    """(batch, max_frames, 1) bool, the frames of an utterance that count for its statistics.

    Neither those at `lowest` in every mel do, nor quiet well before the first sound or after the
    last.
    """
    levels = features.amax(dim=2, keepdim=True).masked_fill_(~valid, lowest)
    heard = levels > lowest + _FLOOR_SLACK
    num_loudest = min(math.ceil(_LOUDEST_S * frame_rate_hz), levels.shape[1])
    loudest = levels.topk(num_loudest, dim=1).values[:, -1:]
    sounds = heard & (levels > loudest - _QUIET)
    positions = torch.arange(levels.shape[1], device=levels.device)[:, None]
    first = torch.where(sounds, positions, levels.shape[1]).amin(dim=1, keepdim=True)
    last = torch.where(sounds, positions, -1).amax(dim=1, keepdim=True)
    margin = math.ceil(_MARGIN_S * frame_rate_hz)
    return heard & (positions >= first - margin) & (positions <= last + margin)


def normalize_utterances_(features: Tensor, valid: Tensor, heard: Tensor, prior: Prior) -> None:
    """Mean 0 and standard deviation 1 per utterance and mel, in place; padded frames hold anything.

    Only frames that are `heard` count; without any, nothing is divided. A prior counts as if so
    many frames more had its mean, moved to the level of the utterance (its mean over all mels), and
    its deviation; as in maximum a posteriori estimation (Gauvain & Lee 1994), but that the variance
    is about the utterance's own mean.

    Args:
        features: (batch, max_frames, num_mels) log energies.
        valid: (batch, max_frames, 1) bool, as of `valid_frames`.
        heard: (batch, max_frames, 1) bool, as of `heard_frames`.
        prior: With `num_frames` 0 its statistics are of no account.
    """
    counts = heard.sum(dim=1, keepdim=True)
    means = (features * heard).sum(dim=1, keepdim=True) / counts.clamp(min=1)
    features.sub_(means).masked_fill_(~valid, 0.0)
    squares = (features * heard).square_().sum(dim=1, keepdim=True)
    if prior.num_frames > 0:
        unlike = prior.mean - means
        unlike = unlike - unlike.mean(dim=2, keepdim=True)
        known = counts.clamp(max=1) * prior.num_frames
        features.sub_(unlike * (known / (counts + known).clamp(min=1)))
        squares = squares + known * prior.std.square()
        counts = counts + known
    stds = (squares / counts.clamp(min=1)).sqrt().clamp(min=MIN_STD)
    features.div_(stds.masked_fill(counts == 0, 1.0))


def scale_utterances_(features: Tensor, valid: Tensor, symmetric: bool) -> None:
    """Map least and greatest value of each utterance to 0 or -1 (`symmetric`) and 1, in place."""
    low = features.masked_fill(~valid, math.inf).amin(dim=(1, 2), keepdim=True)
    high = features.masked_fill(~valid, -math.inf).amax(dim=(1, 2), keepdim=True)
    features.sub_(low).div_((high - low).clamp(min=MIN_STD))
    if symmetric:
        features.mul_(2).sub_(1)
