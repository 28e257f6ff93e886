"""The written-out LSTM against torch.nn.LSTM, against arithmetic by hand, and against itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.model.lstm import (
    ACTIVATIONS,
    CellConfig,
    LSTMCell,
    RecurrentLayers,
    RNNCell,
    from_torch,
    initialize,
    reverse,
    scan,
    to_torch,
)

LENGTHS = torch.tensor([4, 9, 1, 7])


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every weight drawn, biases, peepholes and norms too, so that none can be forgotten."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.normal_(0.0, 0.4, generator=generator)
    return module


def run_packed(module: nn.LSTM | nn.RNN, inputs: Tensor, lengths: Tensor):
    packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    outputs, state = module(packed)
    return pad_packed_sequence(outputs, batch_first=True)[0], state


def assert_same(ours: RecurrentLayers, theirs: nn.LSTM | nn.RNN) -> None:
    """Outputs, final states, and the gradients of the input and of all weights, to 1e-5."""
    inputs = draw(1, 4, 9, theirs.input_size)
    mine, other = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    outputs, state = ours(mine, LENGTHS)
    expected, expected_state = run_packed(theirs, other, LENGTHS)
    expected_states = (expected_state,) if isinstance(theirs, nn.RNN) else expected_state
    weighting = draw(2, *outputs.shape)
    for result, tensors in ((outputs, state), (expected, expected_states)):
        ((result * weighting).sum() + sum(tensor.square().sum() for tensor in tensors)).backward()
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(outputs, expected, **close)
    for got, want in zip(state, expected_states, strict=True):
        torch.testing.assert_close(got, want, **close)
    torch.testing.assert_close(mine.grad, other.grad, **close)
    seen = 0
    for number, cells in enumerate(ours.cells()):
        for cell, suffix in zip(cells, ("", "_reverse"), strict=False):
            for name, weight in cell.named_parameters():
                want = getattr(theirs, f"{name}_l{number}{suffix}").grad
                torch.testing.assert_close(weight.grad, want, **close)
                seen += 1
    assert seen == len(list(theirs.parameters()))


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("projection", [0, 2])
def test_lstm_equals_torch(num_layers: int, bidirectional: bool, projection: int) -> None:
    theirs = nn.LSTM(
        3, 5, num_layers, batch_first=True, bidirectional=bidirectional, proj_size=projection
    )
    randomised(theirs)
    assert_same(from_torch(theirs), theirs)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_rnn_equals_torch(num_layers: int, bidirectional: bool, activation: str) -> None:
    theirs = nn.RNN(
        3, 4, num_layers, nonlinearity=activation, batch_first=True, bidirectional=bidirectional
    )
    randomised(theirs)
    assert_same(from_torch(theirs), theirs)


@pytest.mark.parametrize("projection", [0, 2])
def test_export_equals_torch(projection: int) -> None:
    layers = RecurrentLayers(
        [
            [LSTMCell(3, 4, projection), LSTMCell(3, 4, projection)],
            [LSTMCell(width, 4, projection) for width in [2 * (projection or 4)] * 2],
        ]
    )
    randomised(layers)
    module = to_torch(layers)
    assert isinstance(module, nn.LSTM)
    assert_same(layers, module)


def test_weights_survive_the_way_there_and_back() -> None:
    layers = randomised(RecurrentLayers([[RNNCell(3, 4, "relu")], [RNNCell(4, 4, "relu")]]))
    module = to_torch(layers.double())
    back = from_torch(module)
    for ours, returned in zip(layers.parameters(), back.parameters(), strict=True):
        assert returned.dtype == torch.float64
        assert torch.equal(ours, returned)
    places = [weight.data_ptr() for part in (layers, module, back) for weight in part.parameters()]
    assert len(set(places)) == len(places), "copies share no memory"


@pytest.mark.parametrize(
    "config",
    [CellConfig(peepholes=True), CellConfig(layer_norm=True), CellConfig(cell_activation="relu")],
)
def test_export_refuses_what_torch_lacks(config: CellConfig) -> None:
    with pytest.raises(ValueError, match="no counterpart"):
        to_torch(RecurrentLayers([[LSTMCell(3, 4, config=config)]]))


def sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))


def test_peephole_equations_by_hand() -> None:
    """One unit, two frames, plain arithmetic after Gers & Schmidhuber (2000), section 2."""
    cell = LSTMCell(1, 1, config=CellConfig(peepholes=True))
    weights = {"weight_ih": [0.5, -0.3, 0.8, 0.2], "weight_hh": [0.1, 0.4, -0.6, 0.7]}
    biases = {"bias_ih": [0.1, 0.2, 0.3, 0.4], "bias_hh": [-0.4, 0.3, -0.2, 0.1]}
    peepholes = [0.9, -1.1, 1.3]
    with torch.no_grad():
        for name, values in (weights | biases).items():
            parameter = getattr(cell, name)
            parameter.copy_(torch.tensor(values).reshape(parameter.shape))
        cell.weight_ch.copy_(torch.tensor(peepholes).reshape(3, 1))

    hidden, memory, expected = 0.0, 0.0, []
    for value in (0.7, -1.9):
        share = [
            weights["weight_ih"][k] * value
            + weights["weight_hh"][k] * hidden
            + biases["bias_ih"][k]
            + biases["bias_hh"][k]
            for k in range(4)
        ]
        input_gate = sigmoid(share[0] + peepholes[0] * memory)
        forget_gate = sigmoid(share[1] + peepholes[1] * memory)
        memory = forget_gate * memory + input_gate * math.tanh(share[2])
        output_gate = sigmoid(share[3] + peepholes[2] * memory)  # sees the new memory
        hidden = output_gate * math.tanh(memory)
        expected.append(hidden)
    outputs, (last_hidden, last_memory) = scan(
        cell, torch.tensor([[[0.7], [-1.9]]]), torch.tensor([2]), backward=False
    )
    assert outputs.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert last_hidden.item() == pytest.approx(hidden, abs=1e-6)
    assert last_memory.item() == pytest.approx(memory, abs=1e-6)


def normalised(values: Tensor, norm: nn.LayerNorm) -> Tensor:
    mean = sum(values.tolist()) / len(values)
    variance = sum((value - mean) ** 2 for value in values.tolist()) / len(values)
    return (values - mean) / math.sqrt(variance + norm.eps) * norm.weight + norm.bias


def test_layer_norm_equations_one_frame() -> None:
    """Ba et al. (2016), equations 20 to 22, for one utterance, without the module's code."""
    cell = LSTMCell(3, 4, config=CellConfig(layer_norm=True))
    randomised(cell, seed=3)
    value, hidden, memory = draw(4, 3), draw(5, 4), draw(6, 4)
    gates = (
        normalised(cell.weight_ih @ value, cell.norm_ih)
        + normalised(cell.weight_hh @ hidden, cell.norm_hh)
        + cell.bias_ih
        + cell.bias_hh
    )
    rows = {name: gates[4 * k : 4 * k + 4] for k, name in enumerate("ifgo")}
    expected_memory = rows["f"].sigmoid() * memory + rows["i"].sigmoid() * rows["g"].tanh()
    expected = rows["o"].sigmoid() * normalised(expected_memory, cell.norm_ch).tanh()
    got, got_memory = cell.step(cell.project(value[None]), (hidden[None], memory[None]))
    torch.testing.assert_close(got[0], expected)
    torch.testing.assert_close(got_memory[0], expected_memory)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sigmoid", [0.5, 0.8807970779778823, 0.11920292202211755]),
        ("hard_sigmoid", [0.5, 0.8333333333, 0.1666666667]),
        ("tanh", [0.0, 0.9640275800758169, -0.9640275800758169]),
        ("relu", [0.0, 2.0, 0.0]),
    ],
)
def test_activations(name: str, values: list[float]) -> None:
    got = ACTIVATIONS[name](torch.tensor([0.0, 2.0, -2.0]))
    assert got.tolist() == pytest.approx(values, abs=1e-6)


@pytest.mark.parametrize("gate", ACTIVATIONS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_pair_of_activations_sits_where_it_belongs(gate: str, activation: str) -> None:
    cell = LSTMCell(2, 3, config=CellConfig(gate_activation=gate, cell_activation=activation))
    randomised(cell, seed=7)
    from_input, hidden, memory = draw(8, 1, 12), draw(9, 1, 3), draw(10, 1, 3)
    rows = (from_input + hidden @ cell.weight_hh.T + cell.bias_hh).split(3, dim=1)
    outer, inner = ACTIVATIONS[gate], ACTIVATIONS[activation]
    expected_memory = outer(rows[1]) * memory + outer(rows[0]) * inner(rows[2])
    expected = outer(rows[3]) * inner(expected_memory)
    got, got_memory = cell.step(from_input, (hidden, memory))
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(got_memory, expected_memory)


def test_zero_peepholes_change_nothing() -> None:
    plain = randomised(LSTMCell(3, 4))
    peeping = LSTMCell(3, 4, config=CellConfig(peepholes=True))
    peeping.load_state_dict(plain.state_dict() | {"weight_ch": torch.zeros(3, 4)})
    inputs = draw(11, 4, 9, 3)
    ours, _ = scan(peeping, inputs, LENGTHS, backward=False)
    assert torch.equal(ours, scan(plain, inputs, LENGTHS, backward=False)[0])


SMOOTH = [
    CellConfig(),
    CellConfig(peepholes=True),
    CellConfig(layer_norm=True),
    CellConfig(peepholes=True, layer_norm=True),
]
CONFIGS = [*SMOOTH, CellConfig(gate_activation="hard_sigmoid", cell_activation="relu")]


@pytest.mark.parametrize("config", SMOOTH)
@pytest.mark.parametrize("projection", [0, 2])
def test_gradients_match_finite_differences(config: CellConfig, projection: int) -> None:
    cell = LSTMCell(2, 3, projection, config).double()
    randomised(cell, seed=12)
    inputs = draw(13, 2, 3, 2).double().requires_grad_()
    lengths = torch.tensor([3, 2])

    def outputs(inputs: Tensor, *_: Tensor) -> Tensor:
        return scan(cell, inputs, lengths, backward=True)[0]

    assert torch.autograd.gradcheck(outputs, (inputs, *cell.parameters()))


def stack(config: CellConfig, projection: int) -> RecurrentLayers:
    width = 2 * (projection or 4)
    cells = [[LSTMCell(size, 4, projection, config) for _ in "fb"] for size in (3, width)]
    return randomised(RecurrentLayers(cells), seed=14)  # type: ignore[return-value]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("projection", [0, 2])
@given(lengths=st.lists(st.integers(1, 8), min_size=1, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=8)
def test_batch_equals_alone_with_loud_padding(
    config: CellConfig, projection: int, lengths: Sequence[int], seed: int
) -> None:
    layers = stack(config, projection).double()  # layer norm magnifies rounding
    inputs = draw(seed, len(lengths), max(lengths) + 2, 3).double()
    for row, length in enumerate(lengths):
        inputs[row, length:] = 1e4
    outputs, (hidden, memory) = layers(inputs, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone, state = layers(inputs[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(outputs[row, :length], alone[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(hidden[:, row], state[0][:, 0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(memory[:, row], state[1][:, 0], atol=1e-5, rtol=1e-5)
        assert not outputs[row, length:].any()


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_reverse_turns_each_utterance_alone(lengths: list[int]) -> None:
    frames = draw(15, len(lengths), max(lengths), 2)
    turned = reverse(frames, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        assert torch.equal(turned[row, :length], frames[row, :length].flip(0))
        assert torch.equal(turned[row, length:], frames[row, length:])
    assert torch.equal(reverse(turned, torch.tensor(lengths)), frames)


@pytest.mark.parametrize("module", [LSTMCell(6, 4, 3), nn.LSTM(6, 4, bidirectional=True)])
def test_initial_weights(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    initialize(module.named_parameters(), 4, forget_bias=1.5, generator=generator)
    for name, weight in module.named_parameters():
        if name.startswith("weight_hh"):
            for gate in weight.split(4):
                product = gate.T @ gate if gate.shape[0] >= gate.shape[1] else gate @ gate.T
                torch.testing.assert_close(product, torch.eye(len(product)), atol=1e-5, rtol=0)
        elif name.startswith("weight_ih"):
            bound = math.sqrt(6 / (6 + 4))  # Glorot & Bengio (2010), equation 16, gate by gate
            assert weight.abs().max() <= bound
            assert weight.abs().max() > 0.9 * bound
        elif name.startswith("bias_ih"):
            assert weight.tolist() == [0.0] * 4 + [1.5] * 4 + [0.0] * 8
        elif name.startswith("bias_hh"):
            assert not weight.any()


def test_initial_weights_follow_the_generator() -> None:
    drawn = []
    for seed in (1, 1, 2):
        cell = LSTMCell(3, 4, 2, CellConfig(peepholes=True))
        initialize(cell.named_parameters(), 4, generator=torch.Generator().manual_seed(seed))
        drawn.append(torch.cat([weight.flatten() for weight in cell.parameters()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
