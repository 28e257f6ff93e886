"""The LSTM written out as its equations, and a plain RNN beside it: the readable reference.

With u units, input x, hidden state h, memory cell c, ⊙ element by element, σ the gate and φ the
cell activation (sigmoid and tanh unless configured otherwise):

    i = σ(W_xi x + W_hi h + b_i + p_i ⊙ c)          input gate
    f = σ(W_xf x + W_hf h + b_f + p_f ⊙ c)          forget gate
    g = φ(W_xg x + W_hg h + b_g)                    candidate
    c' = f ⊙ c + i ⊙ g                              memory cell
    o = σ(W_xo x + W_ho h + b_o + p_o ⊙ c')         output gate
    h' = W_r (o ⊙ φ(c'))                            hidden state

Peepholes p and the projection W_r are optional. Weights lie as in torch.nn.LSTM: rows in the
order i, f, g, o, and two biases, so that weights move between the two with `from_torch` and
`to_torch`; where both exist, outputs and gradients are equal to 1e-5.

References:
    Hochreiter & Schmidhuber (1997), Long short-term memory; Gers, Schmidhuber & Cummins (2000),
    Learning to forget; Gers & Schmidhuber (2000), Recurrent nets that time and count
    (peepholes); Sak, Senior & Beaufays (2014), arXiv:1402.1128 (projection); Ba, Kiros & Hinton
    (2016), arXiv:1607.06450 (layer normalisation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.config import Options

Activation = Literal["sigmoid", "hard_sigmoid", "tanh", "relu"]
State = tuple[Tensor, ...]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": F.hardsigmoid,  # clip(x / 6 + 1 / 2, 0, 1)
    "tanh": torch.tanh,
    "relu": torch.relu,
}


class CellConfig(Options):
    """What the written-out LSTM cell can do beyond torch.nn.LSTM.

    Attributes:
        gate_activation: σ of the input, forget and output gates.
        cell_activation: φ of the candidate and of the memory cell on its way out.
        peepholes: Let the gates see the memory cell (Gers & Schmidhuber 2000).
        layer_norm: Normalise both summands of the gates, and the memory cell on its way out
            (Ba et al. 2016, equations 20 to 22).
    """

    gate_activation: Activation = "sigmoid"
    cell_activation: Activation = "tanh"
    peepholes: bool = False
    layer_norm: bool = False


class LSTMCell(nn.Module):
    """One LSTM layer in one direction, one frame at a time.

    Args:
        input_size: Width of an input frame.
        units: Width of the memory cell.
        projection: Width of the hidden state, below `units`; 0: `units`, without projection.
        config: Activations, peepholes, layer normalisation.
    """

    def __init__(
        self, input_size: int, units: int, projection: int = 0, config: CellConfig | None = None
    ) -> None:
        super().__init__()
        config = config or CellConfig()
        self.input_size, self.units, self.projection = input_size, units, projection
        self.config = config
        self.output_size = projection or units
        self.gate = ACTIVATIONS[config.gate_activation]
        self.activation = ACTIVATIONS[config.cell_activation]
        self.weight_ih = nn.Parameter(torch.empty(4 * units, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * units, self.output_size))
        self.bias_ih = nn.Parameter(torch.empty(4 * units))
        self.bias_hh = nn.Parameter(torch.empty(4 * units))
        if projection:
            self.weight_hr = nn.Parameter(torch.empty(projection, units))
        if config.peepholes:
            self.weight_ch = nn.Parameter(torch.empty(3, units))
        self.norm_ih = nn.LayerNorm(4 * units) if config.layer_norm else nn.Identity()
        self.norm_hh = nn.LayerNorm(4 * units) if config.layer_norm else nn.Identity()
        self.norm_ch = nn.LayerNorm(units) if config.layer_norm else nn.Identity()
        initialize(self.named_parameters(), units)

    def start(self, batch: int) -> State:
        """Zero hidden state (batch, output_size) and memory cell (batch, units)."""
        zeros = self.weight_ih.new_zeros
        return zeros(batch, self.output_size), zeros(batch, self.units)

    def project(self, inputs: Tensor) -> Tensor:
        """The input's share of every gate: (batch, max_frames, input_size) → (…, 4 * units)."""
        share: Tensor = self.norm_ih(F.linear(inputs, self.weight_ih))
        return share + self.bias_ih

    def step(self, from_input: Tensor, state: State) -> State:
        """One frame: the equations above.

        Args:
            from_input: (batch, 4 * units) this frame of `project`'s result.
            state: Hidden state (batch, output_size) and memory cell (batch, units).

        Returns:
            The next hidden state and memory cell.
        """
        hidden, memory = state
        gates = from_input + self.norm_hh(F.linear(hidden, self.weight_hh)) + self.bias_hh
        to_input, to_forget, to_candidate, to_output = gates.chunk(4, dim=1)
        if self.config.peepholes:
            to_input = to_input + self.weight_ch[0] * memory
            to_forget = to_forget + self.weight_ch[1] * memory
        input_gate = self.gate(to_input)
        forget_gate = self.gate(to_forget)
        candidate = self.activation(to_candidate)
        memory = forget_gate * memory + input_gate * candidate
        if self.config.peepholes:
            to_output = to_output + self.weight_ch[2] * memory
        output_gate = self.gate(to_output)
        hidden = output_gate * self.activation(self.norm_ch(memory))
        if self.projection:
            hidden = F.linear(hidden, self.weight_hr)
        return hidden, memory


class RNNCell(nn.Module):
    """A plain recurrent layer, h' = φ(W_x x + b_x + W_h h + b_h), as torch.nn.RNN (Elman 1990).

    Args:
        input_size: Width of an input frame.
        units: Width of the hidden state.
        activation: φ, `tanh` or `relu`.
    """

    def __init__(
        self, input_size: int, units: int, activation: Literal["tanh", "relu"] = "tanh"
    ) -> None:
        super().__init__()
        self.input_size, self.units, self.output_size = input_size, units, units
        self.activation = activation
        self.weight_ih = nn.Parameter(torch.empty(units, input_size))
        self.weight_hh = nn.Parameter(torch.empty(units, units))
        self.bias_ih = nn.Parameter(torch.empty(units))
        self.bias_hh = nn.Parameter(torch.empty(units))
        initialize(self.named_parameters(), units)

    def start(self, batch: int) -> State:
        """Zero hidden state (batch, units)."""
        return (self.weight_ih.new_zeros(batch, self.units),)

    def project(self, inputs: Tensor) -> Tensor:
        """The input's share: (batch, max_frames, input_size) → (batch, max_frames, units)."""
        return F.linear(inputs, self.weight_ih, self.bias_ih)

    def step(self, from_input: Tensor, state: State) -> State:
        """One frame: (batch, units) of `project`'s result and the state give the next state."""
        share = from_input + F.linear(state[0], self.weight_hh, self.bias_hh)
        return (ACTIVATIONS[self.activation](share),)


Cell = LSTMCell | RNNCell


class RecurrentLayers(nn.Module):
    """Stacked layers of written-out cells; as torch.nn.LSTM or RNN with `batch_first=True`.

    Args:
        layers: One list a layer: its forward cell and, for a bidirectional layer, the cell
            that reads backwards, whose output comes second.
    """

    def __init__(self, layers: Sequence[Sequence[Cell]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleList(cells) for cells in layers)
        self.output_size = sum(cell.output_size for cell in layers[-1])

    def cells(self) -> list[list[Cell]]:
        """The cells, by layer and direction."""
        return [list(cast("nn.ModuleList", layer)) for layer in self.layers]  # type: ignore[arg-type]

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, State]:
        """Run over a batch; each utterance as if it were alone.

        Args:
            inputs: (batch, max_frames, input_size); padding may hold anything finite.
            lengths: (batch,) int64, 1 to max_frames.

        Returns:
            Outputs (batch, max_frames, output_size), zero in the padding, and the state after
            each utterance's last frame (its first for a backward cell): tensors
            (num_layers * num_directions, batch, width), hidden state first.
        """
        finals: list[State] = []
        for cells in self.cells():
            outputs = []
            for cell, backward in zip(cells, (False, True), strict=False):
                output, state = scan(cell, inputs, lengths, backward)
                outputs.append(output)
                finals.append(state)
            inputs = torch.cat(outputs, dim=2)
        return inputs, tuple(torch.stack(tensors) for tensors in zip(*finals, strict=True))


def scan(cell: Cell, inputs: Tensor, lengths: Tensor, backward: bool) -> tuple[Tensor, State]:
    """Run one cell over a batch, frame by frame.

    Args:
        cell: The cell.
        inputs: (batch, max_frames, input_size); padding may hold anything finite.
        lengths: (batch,) int64, 1 to max_frames.
        backward: Read each utterance from its own last frame to its first.

    Returns:
        Outputs (batch, max_frames, cell.output_size) in the order of the inputs, zero in the
        padding, and the state after the last frame read.
    """
    batch, max_frames, _ = inputs.shape
    if backward:
        inputs = reverse(inputs, lengths)
    from_input = cell.project(inputs)
    state = cell.start(batch)
    outputs = []
    for frame in range(max_frames):
        inside = (frame < lengths).unsqueeze(1)
        stepped = cell.step(from_input[:, frame], state)
        state = tuple(
            torch.where(inside, new, old) for new, old in zip(stepped, state, strict=True)
        )
        outputs.append(torch.where(inside, state[0], 0.0))
    output = torch.stack(outputs, dim=1)
    return (reverse(output, lengths) if backward else output), state


def reverse(frames: Tensor, lengths: Tensor) -> Tensor:
    """Turn each utterance around within its own length; padding stays where it is.

    Args:
        frames: (batch, max_frames, width).
        lengths: (batch,) int64.

    >>> reverse(torch.tensor([[[1.0], [2.0], [9.0]]]), torch.tensor([2])).flatten().tolist()
    [2.0, 1.0, 9.0]
    """
    position = torch.arange(frames.shape[1], device=frames.device)
    last = lengths.unsqueeze(1) - 1
    index = torch.where(position <= last, last - position, position)
    return frames.gather(1, index.unsqueeze(2).expand_as(frames))


def initialize(
    parameters: Iterable[tuple[str, Tensor]],
    units: int,
    forget_bias: float = 1.0,
    generator: torch.Generator | None = None,
) -> None:
    """Draw the weights of one recurrent layer, ours or torch's, in place.

    Input and projection weights Xavier uniform, recurrent weights orthogonal, gate by gate;
    biases and peepholes zero, but for the LSTM's forget gate, so that memory lasts at first.

    Args:
        parameters: (name, tensor) of one layer.
        units: Width of one gate.
        forget_bias: Start of the LSTM's forget-gate bias.
        generator: Source of the draws; None for torch's default.

    References:
        Jozefowicz, Zaremba & Sutskever (2015) for the forget bias; Saxe et al. (2014),
        arXiv:1312.6120, for orthogonal weights.
    """
    with torch.no_grad():
        for name, tensor in parameters:
            if name.startswith("weight_hh"):
                for gate in torch.split(tensor, units):
                    nn.init.orthogonal_(gate, generator=generator)
            elif name.startswith(("weight_ih", "weight_hr")):
                for gate in torch.split(tensor, units):
                    nn.init.xavier_uniform_(gate, generator=generator)
            elif name.startswith(("bias", "weight_ch")):
                tensor.zero_()
            if name.startswith("bias_ih") and len(tensor) == 4 * units:
                tensor[units : 2 * units] = forget_bias


def from_torch(module: nn.LSTM | nn.RNN) -> RecurrentLayers:
    """The written-out layers with the weights of a torch module.

    Args:
        module: Any torch.nn.LSTM or torch.nn.RNN with biases; `batch_first` and dropout
            between its layers have no counterpart and are ignored.
    """
    directions = 2 if module.bidirectional else 1
    width = directions * (module.proj_size or module.hidden_size)
    layers = [
        [_empty_cell(module, module.input_size if layer == 0 else width) for _ in range(directions)]
        for layer in range(module.num_layers)
    ]
    weight = next(module.parameters())
    result = RecurrentLayers(layers).to(weight.device, weight.dtype)
    _copy(module, result, to_reference=True)
    return result


def to_torch(layers: RecurrentLayers) -> nn.LSTM | nn.RNN:
    """A torch module (`batch_first=True`) with the weights of written-out layers.

    Raises:
        ValueError: A cell has what torch lacks: peepholes, layer norm, other activations.
    """
    cells = layers.cells()
    first = cells[0][0]
    if isinstance(first, LSTMCell) and first.config != CellConfig():
        raise ValueError(f"torch.nn.LSTM has no counterpart of {first.config!r}")
    module: nn.LSTM | nn.RNN
    sizes = {"num_layers": len(cells), "bidirectional": len(cells[0]) == 2, "batch_first": True}
    if isinstance(first, LSTMCell):
        module = nn.LSTM(first.input_size, first.units, proj_size=first.projection, **sizes)
    else:
        module = nn.RNN(first.input_size, first.units, nonlinearity=first.activation, **sizes)
    module = module.to(first.weight_ih.device, first.weight_ih.dtype)
    _copy(module, layers, to_reference=False)
    return module


def _empty_cell(module: nn.LSTM | nn.RNN, input_size: int) -> Cell:
    if isinstance(module, nn.LSTM):
        return LSTMCell(input_size, module.hidden_size, module.proj_size)
    return RNNCell(input_size, module.hidden_size, module.nonlinearity)


def _copy(module: nn.LSTM | nn.RNN, layers: RecurrentLayers, to_reference: bool) -> None:
    with torch.no_grad():
        for number, cells in enumerate(layers.cells()):
            for cell, suffix in zip(cells, ("", "_reverse"), strict=False):
                for name, ours in cell.named_parameters():
                    theirs = getattr(module, f"{name}_l{number}{suffix}")
                    ours.copy_(theirs) if to_reference else theirs.copy_(ours)
