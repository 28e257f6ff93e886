"""A stack of recurrent layers in which padding has no influence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from asr.model.config import ModelConfig
from asr.model.lstm import LSTMCell, RecurrentLayers, initialize, reverse
from asr.model.subsampling import mask_padding


@dataclass(frozen=True)
class Ragged:
    """A batch of sequences of different lengths, laid out as its recurrent layers want it.

    Attributes:
        frames: (batch, max_frames, width), or (total_frames, width) where `packed` is set.
        lengths: (batch,) int64 on the device of `frames`.
        equal: Every length is max_frames.
        packed: How `frames` are packed; None where they are padded.
    """

    frames: Tensor
    lengths: Tensor
    equal: bool
    packed: PackedSequence | None = None

    def pack(self, cpu_lengths: Tensor) -> Ragged:
        """The same sequences without their padding."""
        packed = pack_padded_sequence(
            self.frames, cpu_lengths, batch_first=True, enforce_sorted=False
        )
        return replace(self, frames=packed.data, packed=packed)

    def padded(self) -> Tensor:
        """(batch, max_frames, width), zero in the padding."""
        if self.packed is not None:
            return pad_packed_sequence(self.as_packed(), batch_first=True)[0]
        return self.frames if self.equal else mask_padding(self.frames, self.lengths)

    def as_packed(self) -> PackedSequence:
        """The frames as torch's recurrent modules take them."""
        assert self.packed is not None
        _, batch_sizes, order, inverse = self.packed
        return PackedSequence(self.frames, batch_sizes, order, inverse)


class TorchLayer(nn.Module):
    """One layer of torch.nn.LSTM or torch.nn.RNN.

    Packed sequences keep padding out on a GPU (cuDNN). On a CPU the packed LSTM is 1.7 to 2.3
    times slower, forward and backward, than the unpacked one, which oneDNN computes: there the
    two directions run apart, unpacked, the second over utterances turned around within their own
    lengths, so that both meet the padding last. The result is the same (tools/bench_lstm.py).
    """

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.rnn: nn.LSTM | nn.RNN
        if config.cell == "rnn":
            self.rnn = nn.RNN(
                input_size,
                config.units,
                nonlinearity=config.rnn_activation,
                bidirectional=config.bidirectional,
                batch_first=True,
            )
        else:
            self.rnn = nn.LSTM(
                input_size,
                config.units,
                proj_size=config.projection,
                bidirectional=config.bidirectional,
                batch_first=True,
            )

    def forward(self, sequences: Ragged) -> Tensor:
        """Outputs in the layout of `sequences.frames`."""
        if sequences.packed is not None:
            output: PackedSequence = self.rnn(sequences.as_packed())[0]
            return output.data
        if sequences.equal or not self.rnn.bidirectional:
            frames: Tensor = self.rnn(sequences.frames)[0]
            return frames
        return self._both_directions(sequences.frames, sequences.lengths)

    def _both_directions(self, frames: Tensor, lengths: Tensor) -> Tensor:
        assert isinstance(self.rnn, nn.LSTM), "torch.lstm crashes on the weights of an RNN"
        weights = [getattr(self.rnn, name) for name in self.rnn._flat_weights_names]
        half = len(weights) // 2
        forward = self._one_direction(frames, weights[:half])
        backward = self._one_direction(reverse(frames, lengths), weights[half:])
        return torch.cat((forward, reverse(backward, lengths)), dim=2)

    def _one_direction(self, frames: Tensor, weights: list[Tensor]) -> Tensor:
        zeros = frames.new_zeros(1, len(frames), self.rnn.hidden_size)
        # has_biases, num_layers, dropout, train, bidirectional, batch_first
        options = (True, 1, 0.0, self.training, False, True)
        return torch.lstm(frames, (zeros, zeros), weights, *options)[0]


class ReferenceLayer(nn.Module):
    """One layer of the written-out LSTM."""

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        cells = [
            LSTMCell(input_size, config.units, config.projection, config.reference)
            for _ in range(2 if config.bidirectional else 1)
        ]
        self.rnn = RecurrentLayers([cells])

    def forward(self, sequences: Ragged) -> Tensor:
        """(batch, max_frames, width), zero in the padding."""
        outputs: Tensor = self.rnn(sequences.frames, sequences.lengths)[0]
        return outputs


class EncoderLayer(nn.Module):
    """Layer norm → recurrent layer → dropout → residual; the first and last two configurable."""

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        kind = ReferenceLayer if config.cell == "reference" else TorchLayer
        self.norm = nn.LayerNorm(input_size) if config.layer_norm else nn.Identity()
        self.recurrent = kind(input_size, config)
        self.dropout = nn.Dropout(config.dropout)
        self.residual = config.residual and input_size == config.layer_width

    def forward(self, sequences: Ragged) -> Ragged:
        """The sequences, transformed, in the layout they came in."""
        normed = replace(sequences, frames=self.norm(sequences.frames))
        frames = self.dropout(self.recurrent(normed))
        if self.residual:
            frames = frames + sequences.frames
        return replace(sequences, frames=frames)


class Encoder(nn.Module):
    """Input dropout, then `config.num_layers` recurrent layers.

    Args:
        input_size: Width of an input frame.
        config: Shape of the layers.
    """

    def __init__(self, input_size: int, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.dropout = nn.Dropout(config.input_dropout)
        widths = [input_size] + [config.layer_width] * (config.num_layers - 1)
        self.layers = nn.ModuleList(EncoderLayer(width, config) for width in widths)
        self.output_size = config.layer_width

    def forward(self, frames: Tensor, lengths: Tensor, cpu_lengths: Tensor) -> Tensor:
        """Run over a batch; each utterance as if it were alone.

        Args:
            frames: (batch, max_frames, input_size); padding may hold anything finite.
            lengths: (batch,) int64, 1 to max_frames, the longest exactly max_frames.
            cpu_lengths: The same, in the memory of the CPU.

        Returns:
            (batch, max_frames, output_size), zero in the padding.
        """
        equal = bool((cpu_lengths == frames.shape[1]).all())
        sequences = Ragged(self.dropout(frames), lengths, equal)
        if self._packs(equal, frames.device):
            sequences = sequences.pack(cpu_lengths)
        for layer in self.layers:
            sequences = layer(sequences)
        return sequences.padded()

    def _packs(self, equal: bool, device: torch.device) -> bool:
        """Whether sequences are packed; see `TorchLayer`. The written-out cell masks."""
        if self.config.cell == "lstm" and self.config.projection and device.type == "cpu":
            return True  # oneDNN has no projections, and warns when unpacked input asks for one
        unpacked = self.config.cell == "lstm" and device.type != "cuda"
        return not (equal or unpacked or self.config.cell == "reference")

    def reset_parameters(self, generator: torch.Generator | None) -> None:
        """Draw the recurrent weights anew; see `initialize`."""
        for module in self.modules():
            if isinstance(module, nn.LSTM | nn.RNN | LSTMCell):
                units = self.config.units
                named = module.named_parameters()
                initialize(named, units, self.config.forget_bias, generator)
