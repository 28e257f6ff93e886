"""The acoustic model: features to token log-probabilities."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.errors import DataError
from asr.model.config import ModelConfig
from asr.model.emissions import Emissions
from asr.model.encoder import Encoder
from asr.model.subsampling import ConvSubsampling, FrameStacking, LengthsT, divide_up


class AcousticModel(nn.Module):
    """Subsampling → recurrent layers → linear CTC head → log-softmax.

    An utterance's emissions depend on its own frames alone, never on its batch or on what the
    padding holds. `eval()` and `train()` differ by dropout only.

    Args:
        config: Shape of the model.
        num_features: Width of a feature frame: the mels.
        vocab_size: Tokens, the blank at index 0 included.
        generator: Source of the initial weights; None for torch's default.

    Attributes:
        subsampling: Feature frames per output frame.
    """

    def __init__(
        self,
        config: ModelConfig,
        num_features: int,
        vocab_size: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.num_features = num_features
        self.vocab_size = vocab_size
        self.subsampling: int = config.subsampling
        self.frontend: ConvSubsampling | FrameStacking
        if config.subsampling_kind == "conv":
            self.frontend = ConvSubsampling(num_features, config.subsampling, config.conv_channels)
        else:
            self.frontend = FrameStacking(num_features, config.subsampling)
        self.encoder = Encoder(self.frontend.output_size, config)
        width = self.encoder.output_size
        self.norm = nn.LayerNorm(width) if config.layer_norm else nn.Identity()
        self.head = nn.Linear(width, vocab_size)
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew: convolutions Kaiming, head Xavier, recurrent see `initialize`."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu", generator=generator)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        self.encoder.reset_parameters(generator)

    def output_lengths(self, lengths: LengthsT) -> LengthsT:
        """Output frames of utterances: lengths / subsampling, rounded up.

        Args:
            lengths: Feature frames, one int or an int64 tensor of any shape.
        """
        return divide_up(lengths, self.subsampling)

    def forward(self, features: Tensor, lengths: Tensor) -> Emissions:
        """Emissions of a batch.

        Args:
            features: (batch, max_frames, num_features) float; what lies beyond an utterance's
                length is ignored, be it NaN.
            lengths: (batch,) int64 on any device, 1 to max_frames.

        Returns:
            Emissions of ceil(max(lengths) / subsampling) frames, on the device of `features`;
            log_probs in float32 under autocast and in lower precision.

        Raises:
            DataError: A shape or a length does not fit.
        """
        cpu_lengths = lengths.cpu()
        self._check(features, cpu_lengths)
        features = features[:, : int(cpu_lengths.max())]
        lengths = lengths.to(features.device)
        frames = self.frontend(features, lengths)
        lengths = self.output_lengths(lengths)
        encoded = self.encoder(frames, lengths, self.output_lengths(cpu_lengths))
        with torch.autocast(features.device.type, enabled=False):
            logits = self.head(self.norm(encoded.to(self.head.weight.dtype)))
            at_least = torch.promote_types(logits.dtype, torch.float32)
            return Emissions(F.log_softmax(logits.to(at_least), dim=2), lengths)

    def _check(self, features: Tensor, cpu_lengths: Tensor) -> None:
        if features.dim() != 3 or features.shape[2] != self.num_features:
            expected = f"(batch, max_frames, {self.num_features})"
            raise DataError(f"features must be {expected}, got shape {tuple(features.shape)}")
        if cpu_lengths.shape != features.shape[:1] or cpu_lengths.numel() == 0:
            raise DataError(
                f"lengths must be ({features.shape[0]},) with at least one utterance, "
                f"got shape {tuple(cpu_lengths.shape)}"
            )
        low, high = int(cpu_lengths.min()), int(cpu_lengths.max())
        if low < 1 or high > features.shape[1]:
            raise DataError(
                f"lengths must be 1 to {features.shape[1]} frames, got {low} to {high}",
                hint="leave out utterances shorter than one analysis window",
            )


def num_parameters(module: nn.Module) -> int:
    """Trainable weights of a module."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)
