"""The acoustic model: padding without influence, exact lengths, one meaning in every mode."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.config import parse_options
from asr.errors import ConfigError, DataError
from asr.model import AcousticModel, Emissions, ModelConfig, num_parameters
from asr.model import subsampling as subsampling_module
from asr.model.encoder import Encoder, Ragged, TorchLayer
from asr.model.lstm import LSTMCell
from asr.model.subsampling import ConvSubsampling, FrameStacking

NUM_FEATURES = 9
VOCAB_SIZE = 6
SUBSAMPLINGS = [(kind, factor) for kind in ("conv", "stack") for factor in (1, 2, 3, 4)]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"bidirectional": False},
    {"residual": True},
    {"layer_norm": True, "residual": True, "bidirectional": False},
    {"projection": 3},
    {"projection": 3, "bidirectional": False},
    {"cell": "rnn"},
    {"cell": "rnn", "rnn_activation": "relu", "bidirectional": False},
    {"cell": "reference"},
    {"cell": "reference", "projection": 3, "bidirectional": False},
    {"cell": "reference", "reference": {"peepholes": True, "layer_norm": True}},
    {"cell": "reference", "reference": {"gate_activation": "hard_sigmoid"}, "residual": True},
]


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(seed: int = 0, **values: Any) -> AcousticModel:
    small = {"num_layers": 2, "units": 5, "conv_channels": 3, "dropout": 0.0}
    config = ModelConfig.model_validate(small | values)
    generator = torch.Generator().manual_seed(seed)
    return AcousticModel(config, NUM_FEATURES, VOCAB_SIZE, generator)


def noisy_batch(seed: int, lengths: Sequence[int], noise: float = float("nan")) -> Tensor:
    """Features with two more frames than the longest needs, and loud padding."""
    features = draw(seed, len(lengths), max(lengths) + 2, NUM_FEATURES)
    for row, length in enumerate(lengths):
        features[row, length:] = noise
    return features


def loss_and_gradients(
    model: AcousticModel, features: Tensor, lengths: Sequence[int]
) -> tuple[Tensor, list[Tensor], Tensor]:
    """A loss over valid frames only, whose weighting does not depend on the batch."""
    model.zero_grad()
    features = features.clone().requires_grad_()
    emissions = model(features, torch.tensor(lengths))
    weighting = draw(99, 40, VOCAB_SIZE).to(features)
    parts = [
        (row[:length] * weighting[:length]).sum()
        for row, length in zip(emissions.log_probs, emissions.lengths, strict=True)
    ]
    loss = torch.stack(parts).sum()
    loss.backward()
    assert features.grad is not None
    return loss.detach(), [weight.grad.clone() for weight in model.parameters()], features.grad


close = {"atol": 1e-5, "rtol": 1e-4}


def in_safe_precision(model: AcousticModel, features: Tensor) -> tuple[AcousticModel, Tensor]:
    """Float64 for layer norm: on a silent frame it multiplies rounding by up to 300."""
    if model.config.layer_norm or model.config.reference.layer_norm:
        return model.double(), features.double()
    return model, features


@pytest.mark.parametrize(("kind", "factor"), SUBSAMPLINGS)
@pytest.mark.parametrize("values", VARIANTS, ids=str)
@given(lengths=st.lists(st.integers(1, 14), min_size=1, max_size=4), seed=st.integers(0, 999))
@settings(max_examples=4)
def test_batch_equals_alone_with_loud_padding(
    kind: str, factor: int, values: dict[str, Any], lengths: list[int], seed: int
) -> None:
    model = make(subsampling=factor, subsampling_kind=kind, **values).eval()
    model, features = in_safe_precision(model, noisy_batch(seed, lengths))
    emissions = model(features, torch.tensor(lengths))
    assert emissions.log_probs.isfinite().all()
    assert emissions.log_probs.shape == (len(lengths), -(-max(lengths) // factor), VOCAB_SIZE)
    for row, length in enumerate(lengths):
        alone = model(features[row : row + 1, :length], torch.tensor([length]))
        num_frames = alone.log_probs.shape[1]
        assert emissions.lengths[row] == alone.lengths[0] == num_frames == -(-length // factor)
        torch.testing.assert_close(
            emissions.log_probs[row, :num_frames], alone.log_probs[0], **close
        )


@pytest.mark.parametrize("kind", ["conv", "stack"])
@pytest.mark.parametrize("noise", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("values", VARIANTS, ids=str)
def test_gradients_of_a_batch_are_the_sum_of_its_utterances(
    values: dict[str, Any], kind: str, noise: float
) -> None:
    model = make(subsampling=2, subsampling_kind=kind, **values)
    lengths = [7, 12, 1]
    features = noisy_batch(3, lengths, noise)
    model, features = in_safe_precision(model, features)
    _, gradients, by_features = loss_and_gradients(model, features, lengths)
    total = [torch.zeros_like(gradient) for gradient in gradients]
    for row, length in enumerate(lengths):
        one = features[row : row + 1, :length]
        _, alone, alone_by_features = loss_and_gradients(model, one, [length])
        total = [sum_ + gradient for sum_, gradient in zip(total, alone, strict=True)]
        torch.testing.assert_close(by_features[row, :length], alone_by_features[0], **close)
        assert not by_features[row, length:].any()
    for got, want in zip(gradients, total, strict=True):
        torch.testing.assert_close(got, want, **close)


def packed_reference(layer: TorchLayer, frames: Tensor, lengths: Tensor) -> Tensor:
    packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(layer.rnn(packed)[0], batch_first=True)[0]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("batch", "units"), [(3, 5), (8, 64)])
def test_unpacked_layer_equals_torch_packed(
    batch: int, units: int, bidirectional: bool, training: bool
) -> None:
    """The CPU's faster way gives cuDNN's meaning: outputs and every gradient, to 1e-5."""
    torch.manual_seed(0)
    config = ModelConfig(units=units, bidirectional=bidirectional)
    layer = TorchLayer(7, config).train(training)
    lengths = torch.randint(1, 21, (batch,), generator=torch.Generator().manual_seed(4))
    lengths[0] = 20
    inputs = draw(5, batch, 20, 7)
    weighting = draw(6, batch, 20, config.layer_width)
    results = []
    for run in (
        lambda frames: Ragged(layer(Ragged(frames, lengths, False)), lengths, False).padded(),
        lambda frames: packed_reference(layer, frames, lengths),
    ):
        layer.zero_grad()
        frames = inputs.clone().requires_grad_()
        outputs = run(frames)
        (outputs * weighting).mean().backward()
        gradients = [weight.grad.clone() for weight in layer.parameters()]
        results.append([outputs, frames.grad, *gradients])
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("values", [{}, {"bidirectional": False}, {"layer_norm": True}], ids=str)
def test_packed_encoder_equals_unpacked(
    values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layout a GPU gets, on the CPU."""
    lengths = [3, 14, 8]
    model, features = in_safe_precision(make(residual=True, **values), noisy_batch(7, lengths))
    unpacked = loss_and_gradients(model, features, lengths)
    calls = []
    monkeypatch.setattr(Encoder, "_packs", lambda *_: calls.append(1) or True)
    packed = loss_and_gradients(model, features, lengths)
    assert calls
    torch.testing.assert_close(packed, unpacked, **close)


@pytest.mark.parametrize("values", VARIANTS, ids=str)
def test_what_lies_ahead_matters_only_to_a_bidirectional_model(values: dict[str, Any]) -> None:
    model = make(subsampling=2, subsampling_kind="stack", **values).eval()
    features = draw(8, 1, 12, NUM_FEATURES)
    changed = features.clone()
    changed[0, 8:] += 1.0
    lengths = torch.tensor([12])
    before = model(features, lengths).log_probs[0, :4]
    after = model(changed, lengths).log_probs[0, :4]
    assert torch.allclose(before, after, atol=1e-6) is not model.config.bidirectional


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_convolution_frame_is_centred_on_its_input_frame(factor: int) -> None:
    frontend = ConvSubsampling(NUM_FEATURES, factor, 3)
    with torch.no_grad():  # all positive, so that no ReLU hides a change
        for weight in frontend.parameters():
            weight.abs_()
    features, lengths = draw(9, 1, 25, NUM_FEATURES).abs(), torch.tensor([25])
    base = frontend(features, lengths)
    # Two layers of width 3 see 1 + (stride of the first) frames to either side.
    reach = 1 + frontend.time_strides[0]
    for frame in range(25):
        touched = features.clone()
        touched[0, frame] += 10.0
        changed = (frontend(touched, lengths) - base).abs().sum(2)[0].nonzero().flatten()
        num_frames = -(-25 // factor)
        seen = [t for t in range(num_frames) if abs(t * factor - frame) <= reach]
        assert changed.tolist() == seen


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_convolution_in_chunks_equals_the_whole(
    factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subsampling_module, "CHUNK_FRAMES", 5)
    frontend = ConvSubsampling(NUM_FEATURES, factor, 3)
    nn.init.constant_(frontend.conv1.bias, 1.0)
    lengths = torch.tensor([23 * factor - 1, 5 * factor, 1, 10 * factor + 1])
    features = draw(10, 4, 23 * factor, NUM_FEATURES)
    whole = frontend(features, lengths)
    widest = []
    convolve = frontend._convolve
    monkeypatch.setattr(
        frontend, "_convolve", lambda part, n: widest.append(part.shape[1]) or convolve(part, n)
    )
    with torch.no_grad():
        chunked = frontend(features, lengths)
    assert len(widest) == 5
    assert max(widest) == (5 + 2 + 2) * factor
    assert chunked.shape == whole.shape
    for row, length in enumerate(-(-lengths // factor)):
        torch.testing.assert_close(chunked[row, :length], whole[row, :length], **close)


def test_stacking_joins_neighbours_in_order() -> None:
    features = torch.arange(10.0).reshape(1, 5, 2)
    stacked = FrameStacking(2, 3)(features, torch.tensor([4]))
    assert stacked.tolist() == [[[0, 1, 2, 3, 4, 5], [6, 7, 0, 0, 0, 0]]]


@given(
    factor=st.integers(1, 4),
    lengths=st.lists(st.integers(0, 10**7), min_size=1, max_size=5),
    kind=st.sampled_from(["conv", "stack"]),
)
@settings(max_examples=30)
def test_output_lengths_of_ints_and_tensors(factor: int, lengths: list[int], kind: str) -> None:
    model = make(subsampling=factor, subsampling_kind=kind, num_layers=1)
    got = model.output_lengths(torch.tensor(lengths))
    assert got.dtype == torch.int64
    expected = [len(range(0, length, factor)) for length in lengths]
    assert got.tolist() == expected
    assert [model.output_lengths(length) for length in lengths] == expected
    assert all(type(model.output_lengths(length)) is int for length in lengths)
    assert model.subsampling == factor


@pytest.mark.parametrize("cell", ["lstm", "rnn", "reference"])
@pytest.mark.parametrize("training", [True, False])
def test_frames_are_normalised_and_float32(cell: str, training: bool) -> None:
    model = make(cell=cell, dropout=0.3, input_dropout=0.3).train(training)
    emissions = model(draw(11, 3, 20, NUM_FEATURES), torch.tensor([20, 3, 11]))
    assert isinstance(emissions, Emissions)
    assert emissions.log_probs.dtype == torch.float32
    assert emissions.lengths.dtype == torch.int64
    total = emissions.log_probs.exp().sum(2)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("lengths", [[20, 20], [20, 9]])
def test_autocast_still_gives_float32_log_probs(lengths: list[int]) -> None:
    model = make().eval()
    features = draw(12, 2, 20, NUM_FEATURES)
    exact = model(features, torch.tensor(lengths))
    dtypes = []
    model.head.register_forward_hook(lambda *args: dtypes.append(args[2].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(features, torch.tensor(lengths))
    assert [rough.log_probs.dtype, *dtypes] == [torch.float32] * 2
    torch.testing.assert_close(rough.log_probs, exact.log_probs, atol=0.05, rtol=0.05)
    total = rough.log_probs.exp().sum(2)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("values", VARIANTS, ids=str)
def test_training_and_evaluation_mean_the_same_without_dropout(values: dict[str, Any]) -> None:
    model = make(**values)
    features, lengths = draw(13, 3, 20, NUM_FEATURES), torch.tensor([20, 3, 11])
    trained = model.train()(features, lengths).log_probs
    torch.testing.assert_close(trained, model.eval()(features, lengths).log_probs, **close)


@pytest.mark.parametrize("where", ["dropout", "input_dropout"])
def test_dropout_acts_in_training_only_and_follows_the_seed(where: str) -> None:
    model = make(**{where: 0.5})
    features, lengths = draw(14, 3, 20, NUM_FEATURES), torch.tensor([20, 3, 11])
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(model(features, lengths).log_probs)
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    model.eval()
    plain = make().eval()
    plain.load_state_dict(model.state_dict())
    expected = plain(features, lengths).log_probs
    assert torch.equal(model(features, lengths).log_probs, expected)


def test_residual_and_layer_norm_do_what_they_say() -> None:
    """One layer whose recurrent output is silenced: what is left is the way around it."""
    features, lengths = draw(15, 2, 6, 10), torch.tensor([6, 4])
    config = ModelConfig(num_layers=1, units=5, dropout=0.0, residual=True, layer_norm=True)
    encoder = Encoder(10, config)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.zero_()
    outputs = encoder(features, lengths, lengths)
    assert torch.equal(outputs[0], features[0])
    assert torch.equal(outputs[1, :4], features[1, :4])
    assert not outputs[1, 4:].any()
    assert not Encoder(11, config).layers[0].residual, "widths differ"
    normed = Encoder(10, config.model_copy(update={"residual": False}))
    louder = normed(features * 50 + 3, lengths, lengths)
    torch.testing.assert_close(louder, normed(features, lengths, lengths), atol=1e-4, rtol=1e-3)


def test_weights_follow_the_generator_or_the_global_seed() -> None:
    def weights(model: AcousticModel) -> Tensor:
        return torch.cat([weight.detach().flatten() for weight in model.parameters()])

    assert torch.equal(weights(make(1)), weights(make(1)))
    assert not torch.equal(weights(make(1)), weights(make(2)))
    seeded = []
    for _ in range(2):
        torch.manual_seed(5)
        seeded.append(weights(AcousticModel(ModelConfig(units=4), NUM_FEATURES, 3)))
    assert torch.equal(*seeded)


@pytest.mark.parametrize(("cell", "name"), [("lstm", "bias_ih_l0"), ("reference", "bias_ih")])
def test_forget_bias_starts_where_the_setting_says(cell: str, name: str) -> None:
    model = make(cell=cell, forget_bias=0.75)
    found = [
        weight
        for full, weight in model.named_parameters()
        if full.rsplit(".", 1)[1] in (name, f"{name}_reverse")
    ]
    assert len(found) == 4
    for weight in found:
        assert weight.tolist() == [0.0] * 5 + [0.75] * 5 + [0.0] * 10


def test_settings_of_the_cell_reach_every_layer() -> None:
    reference = {"gate_activation": "hard_sigmoid", "cell_activation": "relu", "peepholes": True}
    model = make(cell="reference", reference=reference)
    cells = [module for module in model.modules() if isinstance(module, LSTMCell)]
    assert [cell.config.model_dump() for cell in cells] == [reference | {"layer_norm": False}] * 4
    model = make(cell="rnn", rnn_activation="relu")
    layers = [module for module in model.modules() if isinstance(module, nn.RNN)]
    assert [layer.nonlinearity for layer in layers] == ["relu"] * 2


def test_reference_cell_takes_the_fast_models_place() -> None:
    """The same weights give the same model, whichever cell computes it."""
    fast, slow = make(1, residual=True).eval(), make(2, residual=True, cell="reference").eval()
    for ours, theirs in zip(slow.parameters(), fast.parameters(), strict=True):
        assert ours.shape == theirs.shape
        ours.data.copy_(theirs.data)
    features, lengths = draw(16, 3, 20, NUM_FEATURES), torch.tensor([20, 3, 11])
    expected = fast(features, lengths).log_probs
    torch.testing.assert_close(slow(features, lengths).log_probs, expected, **close)


@pytest.mark.parametrize("cell", ["lstm", "rnn", "reference"])
def test_every_cell_learns_two_utterances_by_heart(cell: str) -> None:
    model = make(cell=cell, units=12, num_layers=1, subsampling=2)
    features, lengths = draw(17, 2, 20, NUM_FEATURES), torch.tensor([20, 14])
    targets, target_lengths = torch.tensor([[1, 2, 2, 3], [4, 5, 0, 0]]), torch.tensor([4, 2])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(50):
        emissions = model(features, lengths)
        log_probs = emissions.log_probs.transpose(0, 1)
        loss = F.ctc_loss(log_probs, targets, emissions.lengths, target_lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3


def test_an_hour_of_audio() -> None:
    """100 frames a second for an hour, in bounded memory: the convolutions never see it whole."""
    hour = 360_000
    model = make(num_layers=1, units=3, conv_channels=2).eval()
    assert isinstance(model.frontend, ConvSubsampling)
    widest = []
    model.frontend.conv1.register_forward_hook(lambda *args: widest.append(args[1][0].shape[2]))
    features = draw(18, 1, hour, NUM_FEATURES)
    with torch.no_grad():
        emissions = model(features, torch.tensor([hour]))
        tail = model(features[:, -4000:], torch.tensor([4000])).log_probs[0, -400:]
    assert emissions.log_probs.shape == (1, 90_000, VOCAB_SIZE)
    assert emissions.log_probs.isfinite().all()
    assert max(widest) <= 4 * (subsampling_module.CHUNK_FRAMES + 4)
    # An LSTM forgets: the last 400 frames do not feel what was an hour before.
    torch.testing.assert_close(emissions.log_probs[0, -400:], tail, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("num_features", [1, 2, 13, 80])
@pytest.mark.parametrize(("kind", "factor"), SUBSAMPLINGS)
def test_any_number_of_mels_and_one_frame(num_features: int, kind: str, factor: int) -> None:
    config = ModelConfig(subsampling=factor, subsampling_kind=kind, units=4, num_layers=1)
    model = AcousticModel(config, num_features, 3)
    emissions = model(draw(19, 2, 1, num_features), torch.tensor([1, 1]))
    assert emissions.log_probs.shape == (2, 1, 3)
    assert emissions.lengths.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 5, 8), [5, 5], r"features must be \(batch, max_frames, 9\), got shape \(2, 5, 8\)"),
        ((5, 9), [5], r"features must be .* got shape \(5, 9\)"),
        ((2, 5, 9), [5], r"lengths must be \(2,\) .* got shape \(1,\)"),
        ((0, 5, 9), [], r"at least one utterance"),
        ((2, 5, 9), [5, 0], r"lengths must be 1 to 5 frames, got 0 to 5"),
        ((2, 5, 9), [5, 6], r"lengths must be 1 to 5 frames, got 5 to 6"),
    ],
)
def test_wrong_input_is_named(shape: tuple[int, ...], lengths: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()(torch.zeros(shape), torch.tensor(lengths, dtype=torch.int64))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"subsampling": 5}, "subsampling"),
        ({"subsampling": 0}, "subsampling"),
        ({"num_layers": 0}, "num_layers"),
        ({"dropout": 1.0}, "dropout"),
        ({"units": 8, "projection": 8}, "`projection` must be below `units`"),
        ({"cell": "rnn", "projection": 4}, "`projection` needs"),
        ({"reference": {"peepholes": True}}, "need cell = 'reference'"),
        ({"cell": "gru"}, "cell"),
        ({"layernorm": True}, "did you mean `layer_norm`"),
        ({"reference": {"peephole": True}}, "did you mean `peepholes`"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_options(ModelConfig, values, "test")


def test_num_parameters_by_hand() -> None:
    model = AcousticModel(ModelConfig(subsampling_kind="stack", num_layers=2, units=10), 8, 7)
    first = 2 * 4 * 10 * (32 + 10 + 2)  # directions, gates, units, (input, recurrent, biases)
    second = 2 * 4 * 10 * (20 + 10 + 2)
    assert num_parameters(model) == first + second + 7 * (20 + 1)
    model.head.requires_grad_(False)
    assert num_parameters(model) == first + second


def test_copies_are_independent() -> None:
    """Averaged weights live in a deep copy, which must not share or lose anything."""
    model = make().eval()
    features, lengths = draw(20, 2, 9, NUM_FEATURES), torch.tensor([9, 4])
    expected = model(features, lengths).log_probs
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert torch.equal(twin(features, lengths).log_probs, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("values", "equal"), list(product(VARIANTS, [True, False])), ids=str)
def test_gpu_equals_cpu(values: dict[str, Any], equal: bool) -> None:
    model = make(**values)
    lengths = [12, 12, 12] if equal else [7, 12, 1]
    features = noisy_batch(21, lengths)
    loss, gradients, by_features = loss_and_gradients(model, features, lengths)
    gpu = loss_and_gradients(model.cuda(), features.cuda(), lengths)
    rough = {"atol": 2e-3, "rtol": 2e-3}  # TF32
    torch.testing.assert_close(gpu[0].cpu(), loss, **rough)
    torch.testing.assert_close(gpu[2].cpu(), by_features, **rough)
    for got, want in zip(gpu[1], gradients, strict=True):
        torch.testing.assert_close(got.cpu(), want, **rough)
