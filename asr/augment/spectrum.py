"""SpecAugment on a padded batch of features, on the model's device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.augment.config import SpecAugmentConfig
from asr.augment.seeds import draw_generators


class SpecAugment(nn.Module):
    """Replace random ranges of frames and of mels, independently in each utterance of a batch.

    Belongs after normalisation and scaling. Identity in `eval()`, as dropout is. The width of a
    time mask is uniform in 0 … min(max_time_frames, max_time_fraction * frames), its start uniform
    where it fits; frequency masks likewise. Masks may overlap. Padded frames stay as they are.

    Args:
        config: Number, width and value of the masks.

    References:
        Park et al. (2019); without its time warping, which they found to matter least.
    """

    def __init__(self, config: SpecAugmentConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, features: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """Masked features; the argument is not changed.

        A call in training mode takes two seeds from the generator, one for time and one for
        frequency, whatever is on: changing one kind of mask leaves the other as it was.

        Args:
            features: (batch, max_frames, num_mels), floating point.
            lengths: (batch,) integers, frames of each utterance.
            generator: Source of every draw; on the CPU or on the device of `features`.

        Returns:
            (batch, max_frames, num_mels).
        """
        if not self.training:
            return features
        for_time, for_frequency = draw_generators(generator, 2)
        lengths = lengths.to(features.device)
        frames = torch.arange(features.shape[1], device=features.device)
        valid = frames < lengths[:, None]
        masked = self._time_mask(lengths, frames, for_time)[:, :, None]
        masked = masked | self._frequency_mask(features, for_frequency)[:, None, :]
        masked = masked & valid[:, :, None]
        return torch.where(masked, self._value(features, valid), features)

    def _time_mask(self, lengths: Tensor, frames: Tensor, generator: torch.Generator) -> Tensor:
        count = self.config.num_time_masks
        widest = (lengths * self.config.max_time_fraction).floor()
        mask_lengths = lengths[:, None].expand(-1, count)
        starts, ends = _draw_ranges(
            mask_lengths, widest.clamp(max=self.config.max_time_frames)[:, None], generator
        )
        if self.config.frames_per_time_mask is not None:
            allowed = lengths // self.config.frames_per_time_mask
            unused = torch.arange(count, device=lengths.device) >= allowed[:, None]
            ends = torch.where(unused, starts, ends)
        return _inside_any(frames, starts, ends)

    def _frequency_mask(self, features: Tensor, generator: torch.Generator) -> Tensor:
        batch, _, num_mels = features.shape
        sizes = torch.full(
            (batch, self.config.num_frequency_masks), num_mels, device=features.device
        )
        widest = torch.full_like(sizes, min(self.config.max_frequency_mels, num_mels))
        starts, ends = _draw_ranges(sizes, widest, generator)
        return _inside_any(torch.arange(num_mels, device=features.device), starts, ends)

    def _value(self, features: Tensor, valid: Tensor) -> Tensor:
        if self.config.value == "zero":
            return features.new_zeros(())
        total = features.masked_fill(~valid[:, :, None], 0).sum(dim=(1, 2), dtype=torch.float32)
        count = valid.sum(dim=1).clamp(min=1) * features.shape[2]
        return (total / count).to(features.dtype)[:, None, None]


def _draw_ranges(
    sizes: Tensor, widest: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Start and end (batch, num_masks) of ranges inside 0 … size, of width 0 … widest."""
    draws = torch.rand((2, *sizes.shape), generator=generator, device=generator.device)
    draws = draws.to(sizes.device)
    widths = (draws[0] * (widest + 1)).floor()
    starts = (draws[1] * (sizes - widths + 1)).floor()
    return starts, starts + widths


def _inside_any(positions: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """(batch, num_positions) bool: whether any range of the row holds the position."""
    inside = (positions >= starts[:, :, None]) & (positions < ends[:, :, None])
    return inside.any(dim=1)
