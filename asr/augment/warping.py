"""Vocal tracts of other lengths: features warped along frequency, on the model's device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.augment.config import WarpConfig
from asr.augment.seeds import draw_generators

_SCALED_SHARE = 0.6
"""Of the frequencies up to half the rate, the share that is scaled whole: formants lie there. It
is 4800 Hz at 16 kHz, as Jaitly & Hinton have it."""


class FrequencyWarp(nn.Module):
    """Vocal tract length perturbation: every utterance of a batch gets a factor of its own.

    What was at frequency f comes to `warp_hz(f)`. Not the filterbank is warped but the log-mel
    features, which needs no second transform: a mel takes the value from where its centre comes
    from, interpolated between the two neighbouring mels; beyond the outermost centres their value
    stays. Frames are not mixed. Identity in `eval()`, as dropout is.

    Args:
        config: How often, and how far.
        centres_hz: (num_mels,) centres of the filters, at least two, evenly spaced in HTK's mel.
        sample_rate_hz: Of the audio.

    References:
        Jaitly & Hinton (2013), Vocal tract length perturbation (VTLP) improves speech recognition.
    """

    _centres_hz: Tensor

    def __init__(self, config: WarpConfig, centres_hz: Tensor, sample_rate_hz: int) -> None:
        super().__init__()
        self.config = config
        self.half_rate_hz = sample_rate_hz / 2
        self.register_buffer("_centres_hz", centres_hz.double(), persistent=False)

    def forward(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """Warped features; the argument is not changed.

        A call in training mode takes one seed from the generator where `probability` is above 0;
        otherwise none.

        Args:
            features: (batch, max_frames, num_mels) natural log, normalised or not.
            generator: Source of every draw; on the CPU or on the device of `features`.

        Returns:
            (batch, max_frames, num_mels).
        """
        if not self.training or self.config.probability == 0:
            return features
        (own,) = draw_generators(generator, 1)
        draws = torch.rand((2, len(features)), generator=own, device=own.device)
        changes = self.config.max_change * (2 * draws[1] - 1)
        factors = 1 + changes * (draws[0] < self.config.probability)
        return self.warp(features, factors.to(features.device))

    def warp(self, features: Tensor, factors: Tensor) -> Tensor:
        """Features warped by given factors.

        Args:
            features: (batch, max_frames, num_mels).
            factors: (batch,); above 1, what is there moves up, as in a shorter vocal tract.

        Returns:
            (batch, max_frames, num_mels).
        """
        num_mels = features.shape[2]
        sources_hz = warp_hz(self._centres_hz, 1 / factors.double()[:, None], self.half_rate_hz)
        ends = _mel(self._centres_hz[[0, -1]])
        places = (_mel(sources_hz) - ends[0]) / (ends[1] - ends[0]) * (num_mels - 1)
        places = places.clamp(0, num_mels - 1)[:, None, :]
        below = places.long().clamp(max=num_mels - 2)
        share = (places - below).to(features.dtype)
        below = below.expand_as(features)
        return torch.lerp(features.gather(2, below), features.gather(2, below + 1), share)


def warp_hz(hz: Tensor, factors: Tensor, half_rate_hz: float) -> Tensor:
    """Frequencies in a vocal tract 1 / factor as long: scaled, but half the rate stays in place.

    Piecewise linear; factor 1 / a undoes factor a.

    Args:
        hz: From 0 to `half_rate_hz`.
        factors: From 0.7 to 1.3, or one over that; broadcast against `hz`.
        half_rate_hz: Half the sampling rate.
    """
    scaled_up_to = _SCALED_SHARE * half_rate_hz
    last_hz = scaled_up_to * factors.clamp(max=1) / factors
    slope = (half_rate_hz - last_hz * factors) / (half_rate_hz - last_hz)
    return torch.where(hz <= last_hz, hz * factors, half_rate_hz - slope * (half_rate_hz - hz))


def _mel(hz: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + hz / 700)
