"""Fewer, wider frames before the recurrent layers: convolution or stacking."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LengthsT = TypeVar("LengthsT", int, Tensor)

# Time strides of the two convolutions; their product is the subsampling.
CONV_STRIDES = {1: (1, 1), 2: (2, 1), 3: (3, 1), 4: (2, 2)}
MEL_STRIDE = 2
# Without gradients long audio goes through the convolutions in chunks of this many output
# frames, so that an hour does not need gigabytes for the first layer's maps.
CHUNK_FRAMES = 1500


def divide_up(lengths: LengthsT, factor: int) -> LengthsT:
    """Lengths divided by `factor`, rounded up.

    >>> divide_up(1, 4), divide_up(4, 4), divide_up(5, 4)
    (1, 1, 2)
    """
    return (lengths + (factor - 1)) // factor


def mask_padding(features: Tensor, lengths: Tensor) -> Tensor:
    """Zero what lies beyond each length, be it NaN.

    Args:
        features: (batch, max_frames, width) any values.
        lengths: (batch,) int64.

    Returns:
        (batch, max_frames, width); padded frames are zero, in value and gradient.
    """
    return features.masked_fill(padding_mask(lengths, features.shape[1]).unsqueeze(2), 0.0)


def padding_mask(lengths: Tensor, max_frames: int) -> Tensor:
    """(batch, max_frames) bool, True in the padding."""
    return torch.arange(max_frames, device=lengths.device) >= lengths.unsqueeze(1)


class FrameStacking(nn.Module):
    """Joins `factor` neighbouring frames into one; the last is filled up with zeros.

    Args:
        num_features: Width of a feature frame.
        factor: Frames joined; 1 leaves the features as they are.
    """

    def __init__(self, num_features: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.output_size = num_features * factor

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Stack a batch.

        Args:
            features: (batch, max_frames, num_features); padding may hold anything.
            lengths: (batch,) int64.

        Returns:
            (batch, ceil(max_frames / factor), num_features * factor).
        """
        features = mask_padding(features, lengths)
        batch, max_frames, _ = features.shape
        missing = -max_frames % self.factor
        return F.pad(features, (0, 0, 0, missing)).reshape(batch, -1, self.output_size)


class ConvSubsampling(nn.Module):
    """Two 3 × 3 convolutions with ReLU over (time, mel); mels are reduced by 4.

    Output frame t is centred on input frame t * factor. Every convolution sees zeros beyond
    the utterance, as if it were alone, so lengths are exactly ceil(length / factor).

    Args:
        num_features: Width of a feature frame.
        factor: Feature frames per output frame, 1 to 4.
        channels: Channels of both layers.
    """

    def __init__(self, num_features: int, factor: int, channels: int) -> None:
        super().__init__()
        self.factor = factor
        self.time_strides = CONV_STRIDES[factor]
        first, second = self.time_strides
        self.conv1 = nn.Conv2d(1, channels, 3, stride=(first, MEL_STRIDE), padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(second, MEL_STRIDE), padding=1)
        self.output_size = channels * divide_up(divide_up(num_features, MEL_STRIDE), MEL_STRIDE)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Convolve a batch.

        Args:
            features: (batch, max_frames, num_features); padding may hold anything.
            lengths: (batch,) int64.

        Returns:
            (batch, ceil(max_frames / factor), output_size); padded frames hold anything finite.
        """
        features = mask_padding(features, lengths)
        num_frames = divide_up(features.shape[1], self.factor)
        if torch.is_grad_enabled() or num_frames <= CHUNK_FRAMES:
            return self._convolve(features, lengths)
        starts = range(0, num_frames, CHUNK_FRAMES)
        return torch.cat([self._chunk(features, lengths, start) for start in starts], dim=1)

    def _chunk(self, features: Tensor, lengths: Tensor, start: int) -> Tensor:
        """Output frames [start, start + CHUNK_FRAMES), from as much context as they can see."""
        context = 2  # output frames; two 3-wide layers see at most 1 + stride frames either way
        before = min(start, context)
        first = (start - before) * self.factor
        last = (start + CHUNK_FRAMES + context) * self.factor
        part = self._convolve(features[:, first:last], (lengths - first).clamp(min=0))
        return part[:, before : before + CHUNK_FRAMES]

    def _convolve(self, features: Tensor, lengths: Tensor) -> Tensor:
        hidden = F.relu(self.conv1(features.unsqueeze(1)))
        lengths = divide_up(lengths, self.time_strides[0])
        mask = padding_mask(lengths, hidden.shape[2])
        hidden = hidden.masked_fill(mask[:, None, :, None], 0.0)
        hidden = F.relu(self.conv2(hidden))
        return hidden.transpose(1, 2).flatten(2)
