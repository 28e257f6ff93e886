"""Settings of the acoustic model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from asr.config import Options
from asr.model.lstm import CellConfig


class ModelConfig(Options):
    """Shape of the acoustic model: subsampling, a stack of recurrent layers, a CTC head.

    Attributes:
        subsampling: Feature frames per output frame, 1 to 4; lengths round up, so one frame
            in gives one frame out.
        subsampling_kind: `conv` runs two 3 × 3 convolutions over (time, mel) that also reduce
            the mels by 4; `stack` joins `subsampling` neighbouring frames into one (× 1: none).
        conv_channels: Channels of both convolutions.
        num_layers: Recurrent layers.
        units: Units per direction.
        bidirectional: False for a model that looks at the past only (the convolutions still
            see up to four frames ahead; stacking sees none).
        cell: `lstm` is torch.nn.LSTM; `reference` the written-out cell of `asr.model.lstm` with
            everything in `reference`, many times slower; `rnn` a plain torch.nn.RNN.
        reference: What only the written-out cell can do; refused with another `cell`.
        rnn_activation: Activation of the plain RNN.
        projection: Width of the recurrent projection (Sak et al. 2014), below `units`; 0: none.
        forget_bias: Initial bias of the forget gate (Jozefowicz et al. 2015).
        dropout: On the output of every recurrent layer.
        input_dropout: On the input of the first recurrent layer.
        residual: Add each layer's input to its output where the widths agree.
        layer_norm: Normalise the input of every layer, and of the head.
    """

    subsampling: int = Field(4, ge=1, le=4)
    subsampling_kind: Literal["conv", "stack"] = "conv"
    conv_channels: int = Field(32, ge=1, le=1024)
    num_layers: int = Field(3, ge=1, le=32)
    units: int = Field(320, ge=1, le=8192)
    bidirectional: bool = True
    cell: Literal["lstm", "reference", "rnn"] = "lstm"
    reference: CellConfig = CellConfig()
    rnn_activation: Literal["tanh", "relu"] = "tanh"
    projection: int = Field(0, ge=0)
    forget_bias: float = Field(1.0, ge=-10.0, le=10.0)
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    input_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    residual: bool = False
    layer_norm: bool = False

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if self.projection >= self.units:
            raise ValueError(f"`projection` must be below `units` ({self.units}); 0 for none")
        if self.projection and self.cell == "rnn":
            raise ValueError("`projection` needs cell = 'lstm' or 'reference'")
        if self.cell != "reference" and self.reference != CellConfig():
            raise ValueError("settings in `reference` need cell = 'reference'")
        return self

    @property
    def layer_width(self) -> int:
        """Width of a recurrent layer's output, both directions together."""
        return (self.projection or self.units) * (2 if self.bidirectional else 1)
