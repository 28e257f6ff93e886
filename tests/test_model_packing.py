"""Packed model files: smaller, as good, and without a trace of whose computer they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ToneModel
from model_files import HOME, write_model, write_tuned_model
from tones import RATE_HZ, config_of, tone_config, tone_utterance

from asr.audio import Waveform
from asr.checkpoint import MODEL_KIND, int8_rows, load_state, load_tensors, save_tensors, scale_name
from asr.decoder_setup import DecodingChoice, beam_setup
from asr.decoding import BeamDecoder
from asr.errors import DataError, ModelFileError
from asr.lm import compact
from asr.lm.binary import model_from_bytes
from asr.lm.quantizing import quantize_model
from asr.model_evaluation import evaluate_model
from asr.model_packing import WeightType, pack_model, without_directories
from asr.recognizer import COMPACT_LM_TENSOR, LM_TENSOR, Recognizer, store_decoding
from asr.training import train

TOLERANCE = 0.02
"""Of natural log-probabilities. float16 rounds weights by up to 1 part in 2048."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tuned_model(tmp_path_factory.mktemp("whole") / "m.safetensors")


@pytest.fixture(scope="module")
def packed(whole: Path) -> Path:
    path = whole.with_name("packed.safetensors")
    pack_model(whole, path)
    return path


@pytest.fixture(scope="module")
def in_int8(whole: Path) -> Path:
    path = whole.with_name("int8.safetensors")
    pack_model(whole, path, "int8")
    return path


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the file's acoustic model."""
    tensors = load_tensors(path, MODEL_KIND)[0]
    return {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}


def assert_equal_tensors(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype, name
        assert torch.equal(tensor, second[name]), name


def waveforms() -> list[Waveform]:
    generator = np.random.default_rng(3)
    texts = [["ba", "do"], ["mi"], ["do", "mi", "ba", "ba"]]
    return [Waveform(tone_utterance(words, generator), RATE_HZ) for words in texts]


def test_weights_are_half_as_large_and_statistics_are_as_they_were(
    whole: Path, packed: Path
) -> None:
    before, after = load_tensors(whole, MODEL_KIND)[0], load_tensors(packed, MODEL_KIND)[0]
    assert before.keys() - {LM_TENSOR} == after.keys() - {COMPACT_LM_TENSOR}
    for name in after.keys() - {COMPACT_LM_TENSOR}:
        if name.startswith("model."):
            assert after[name].dtype == torch.float16
            assert torch.equal(after[name], before[name].half())
        else:
            assert after[name].dtype == before[name].dtype
            assert torch.equal(after[name], before[name])
    assert packed.stat().st_size < 0.6 * whole.stat().st_size


def test_emissions_are_the_same_within_the_tolerance(whole: Path, packed: Path) -> None:
    greedy = DecodingChoice(decoder="greedy")
    before = Recognizer.load(whole, "cpu", greedy).emissions(waveforms())
    recognizer = Recognizer.load(packed, "cpu", greedy)
    assert {one.dtype for one in recognizer.model.state_dict().values()} == {torch.float32}
    largest = 0.0
    for old, new in zip(before, recognizer.emissions(waveforms()), strict=True):
        assert np.ptp(old) > 1
        largest = max(largest, float(np.abs(old - new).max()))
    assert 0 < largest < TOLERANCE


def test_documents_differ_in_the_paths_only(whole: Path, packed: Path) -> None:
    before, after = load_tensors(whole, MODEL_KIND)[1], load_tensors(packed, MODEL_KIND)[1]
    assert HOME.encode() in whole.read_bytes()
    assert HOME.encode() not in packed.read_bytes()
    config = before["config"]
    for section, name in ((config["data"], "train"), (config["data"], "dev")):
        section[name] = without_directories(section[name])
    config["augment"]["noise"]["directory"] = "noise"
    assert after == before


def test_decoding_and_language_model_are_kept(whole: Path, packed: Path) -> None:
    before, after = Recognizer.load(whole, "cpu"), Recognizer.load(packed, "cpu")
    assert after.decoding == before.decoding
    assert "2-gram language model of the model file" in after.decoding
    assert isinstance(after.decoder, BeamDecoder)
    assert after.source.stored == before.source.stored
    lm = beam_setup(after.source, DecodingChoice()).knowledge.lm
    assert lm is not None and before.source.lm_data is not None
    expected = quantize_model(model_from_bytes(before.source.lm_data, "lm"))
    np.testing.assert_array_equal(lm.tables.ints, expected.tables.ints)
    texts = [one.text for one in after.transcribe_many(waveforms())]
    assert texts == [one.text for one in before.transcribe_many(waveforms())]


def test_sizes_are_told(whole: Path, tmp_path: Path) -> None:
    packing = pack_model(whole, tmp_path / "p.safetensors")
    tensors = load_tensors(whole, MODEL_KIND)[0]
    assert packing.num_bytes_before == whole.stat().st_size
    assert packing.num_bytes == (tmp_path / "p.safetensors").stat().st_size
    assert packing.lm_bytes_before == tensors[LM_TENSOR].numel()
    again = load_tensors(tmp_path / "p.safetensors", MODEL_KIND)[0]
    assert packing.lm_bytes == again[COMPACT_LM_TENSOR].numel() < packing.lm_bytes_before


def test_float32_weights_stay_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    pack_model(whole, tmp_path / "p.safetensors", "float32")
    before, after = (
        load_tensors(whole, MODEL_KIND)[0],
        load_tensors(tmp_path / "p.safetensors", MODEL_KIND)[0],
    )
    assert_equal_tensors(
        {name: one for name, one in before.items() if name != LM_TENSOR},
        {name: one for name, one in after.items() if name != COMPACT_LM_TENSOR},
    )


def test_int8_is_for_what_has_rows_and_float16_for_the_rest(whole: Path, in_int8: Path) -> None:
    before, after = weights_of(whole), weights_of(in_int8)
    matrices = {name for name, tensor in before.items() if tensor.dim() > 1}
    assert {before[name].dim() for name in before} >= {1, 2, 4}
    assert after.keys() == before.keys() | {scale_name(name) for name in matrices}
    for name, tensor in before.items():
        if name in matrices:
            levels, scales = int8_rows(tensor)
            assert torch.equal(after[name], levels)
            assert torch.equal(after[scale_name(name)], scales)
            assert after[name].dtype == torch.int8
        else:
            assert after[name].dtype == torch.float16
            assert torch.equal(after[name], tensor.half())
    for name in ("features.mean", "features.std"):
        statistics = [load_tensors(path, MODEL_KIND)[0][name] for path in (whole, in_int8)]
        assert statistics[0].dtype == statistics[1].dtype
        assert torch.equal(*statistics)
    assert in_int8.stat().st_size < 0.35 * whole.stat().st_size


def test_int8_emissions_are_near(whole: Path, in_int8: Path) -> None:
    """Numbers are 1/127 of a row's largest apart: up to 16 times as far as float16 is there."""
    greedy = DecodingChoice(decoder="greedy")
    recognizer = Recognizer.load(in_int8, "cpu", greedy)
    assert {one.dtype for one in recognizer.model.state_dict().values()} == {torch.float32}
    before = Recognizer.load(whole, "cpu", greedy).emissions(waveforms())
    pairs = list(zip(before, recognizer.emissions(waveforms()), strict=True))
    assert 0 < max(float(np.abs(old - new).max()) for old, new in pairs) < 16 * TOLERANCE


@pytest.mark.parametrize("weights", ["int8", "float32"])
def test_an_int8_file_packed_again_is_the_same_model(
    in_int8: Path, tmp_path: Path, weights: WeightType
) -> None:
    target = tmp_path / "again.safetensors"
    pack_model(in_int8, target, weights)
    if weights == "int8":
        assert_equal_tensors(weights_of(in_int8), weights_of(target))
        assert target.stat().st_size == in_int8.stat().st_size
    else:
        assert {one.dtype for one in weights_of(target).values()} == {torch.float32}
    states = [Recognizer.load(path, "cpu").model.state_dict() for path in (in_int8, target)]
    assert_equal_tensors(states[0], states[1])
    pack_model(target, tmp_path / "third.safetensors", weights)
    assert_equal_tensors(weights_of(target), weights_of(tmp_path / "third.safetensors"))


def test_float16_of_an_int8_file_is_refused(in_int8: Path, tmp_path: Path) -> None:
    target = tmp_path / "p.safetensors"
    with pytest.raises(ModelFileError, match=r"model\.\S+ is int8 already") as caught:
        pack_model(in_int8, target)
    assert caught.value.hint is not None and "--weights int8" in caught.value.hint
    assert not target.exists()


@pytest.mark.parametrize("weights", ["int8", "float32"])
def test_a_float16_file_may_become_either(
    packed: Path, tmp_path: Path, weights: WeightType
) -> None:
    target = tmp_path / "p.safetensors"
    pack_model(packed, target, weights)
    before, after = weights_of(packed), weights_of(target)
    for name, tensor in before.items():
        if weights == "float32":
            assert after[name].dtype == torch.float32
            assert torch.equal(after[name], tensor.float())
        elif tensor.dim() > 1:
            assert torch.equal(after[name], int8_rows(tensor)[0])
            assert torch.equal(after[scale_name(name)], int8_rows(tensor)[1])
        else:
            assert torch.equal(after[name], tensor)


@pytest.mark.parametrize("weights", ["int8", "float16", "float32"])
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"head.weight.scale": None}, r"head\.weight is torch\.int8 without model\.head"),
        ({"head.weight.scale": torch.ones(3)}, r"head\.weight\.scale is .* \(3,\)"),
        (
            {"head.weight": None, "head.weight.scale": None, "head.bias.scale": torch.ones(8)},
            r"head\.bias\.scale belongs to rows",
        ),
    ],
)
def test_a_damaged_int8_file_is_not_packed(
    in_int8: Path,
    tmp_path: Path,
    weights: WeightType,
    changes: dict[str, torch.Tensor | None],
    problem: str,
) -> None:
    tensors, documents = load_tensors(in_int8, MODEL_KIND)
    # Of the model only the head is left, so that what is wrong with it is found first.
    changed: dict[str, torch.Tensor | None] = {
        name: tensor for name, tensor in tensors.items() if name.startswith("model.head.")
    }
    changed |= {f"model.{name}": tensor for name, tensor in changes.items()}
    path = tmp_path / "bad.safetensors"
    left = {name: tensor for name, tensor in changed.items() if tensor is not None}
    save_tensors(path, MODEL_KIND, left, documents)
    with pytest.raises(ModelFileError, match=problem):
        pack_model(path, tmp_path / "p.safetensors", weights)


def word_errors(path: Path, manifest: Path) -> int:
    return evaluate_model(Recognizer.load(path, "cpu"), manifest).report.words.num_errors


def test_an_int8_file_recognises_and_is_trained_further(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    """One epoch at a rate too low to learn anything scores as well as the file it began with."""
    path = tmp_path / "small.safetensors"
    pack_model(tone_model.path, path, "int8")
    errors = word_errors(path, tone_model.dev)
    assert errors == word_errors(tone_model.path, tone_model.dev)
    values = tone_config(tmp_path, epochs=1, start_from=str(path))
    config = config_of({**values, "optim": {"learning_rate": 1e-9, "weight_decay": 0.0}})
    result = train(config, tmp_path / "run")
    assert result.validation.errors == errors
    before = Recognizer.load(path, "cpu").model.state_dict()
    after = Recognizer.load(result.model_path, "cpu").model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in before)


def test_storing_settings_keeps_int8_weights(whole: Path, in_int8: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(in_int8.read_bytes())
    source = Recognizer.load(whole, "cpu").source
    assert source.stored is not None
    store_decoding(copy, source.stored, source.lm_data)
    assert_equal_tensors(weights_of(copy), weights_of(in_int8))
    assert LM_TENSOR in load_tensors(copy, MODEL_KIND)[0]
    pack_model(copy, tmp_path / "p.safetensors", "int8")
    assert_equal_tensors(
        load_tensors(tmp_path / "p.safetensors", MODEL_KIND)[0],
        load_tensors(in_int8, MODEL_KIND)[0],
    )


def test_packing_again_changes_nothing(packed: Path, tmp_path: Path) -> None:
    packing = pack_model(packed, tmp_path / "again.safetensors")
    before, after = (
        load_tensors(path, MODEL_KIND) for path in (packed, tmp_path / "again.safetensors")
    )
    assert before[1] == after[1]
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(after[0][name], tensor) for name, tensor in before[0].items())
    assert packing.lm_bytes_before == packing.lm_bytes > 0


def test_a_model_without_language_model_needs_none(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.safetensors")
    packing = pack_model(path, tmp_path / "p.safetensors")
    assert (packing.lm_bytes_before, packing.lm_bytes) == (0, 0)
    assert Recognizer.load(tmp_path / "p.safetensors", "cpu").decoding == "greedy"


@pytest.mark.parametrize(
    ("value", "weights", "problem"),
    [
        (1e5, "float16", r"head.bias reaches 100000, and torch.float16 ends at 65504"),
        (1e5, "int8", r"head.bias reaches 100000, and torch.float16 ends at 65504"),
        (-7e4, "float16", "reaches 70000"),
        (float("inf"), "float16", "reaches inf"),
        (float("inf"), "float32", "reaches inf, and torch.float32"),
        (float("nan"), "float32", "reaches nan"),
        (6e4, "float16", None),
        (1e5, "float32", None),
    ],
)
def test_weights_that_float16_cannot_hold_are_refused(
    tmp_path: Path, value: float, weights: WeightType, problem: str | None
) -> None:
    path, target = write_model(tmp_path / "m.safetensors"), tmp_path / "p.safetensors"
    tensors, documents = load_tensors(path, MODEL_KIND)
    tensors["model.head.bias"][3] = value
    save_tensors(path, MODEL_KIND, tensors, documents)
    if problem is None:
        pack_model(path, target, weights)
        assert float(load_tensors(target, MODEL_KIND)[0]["model.head.bias"][3]) == value
        return
    with pytest.raises(ModelFileError, match=problem):
        pack_model(path, target, weights)
    assert not target.exists()


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e6])
def test_rows_that_int8_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    path, target = write_model(tmp_path / "m.safetensors"), tmp_path / "p.safetensors"
    tensors, documents = load_tensors(path, MODEL_KIND)
    tensors["model.head.weight"][3, 2] = value
    save_tensors(path, MODEL_KIND, tensors, documents)
    if value == 1e6:
        pack_model(path, target, "int8")
        state = Recognizer.load(target, "cpu").model.state_dict()
        assert float(state["head.weight"][3, 2]) == pytest.approx(value, rel=1e-6)
        return
    with pytest.raises(ModelFileError, match=r"head\.weight reaches (inf|nan), and torch\.float32"):
        pack_model(path, target, "int8")
    assert not target.exists()


def test_a_language_model_too_large_is_refused(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "MAX_NGRAMS", 2)
    with pytest.raises(DataError, match="compact form may have 2"):
        pack_model(whole, tmp_path / "p.safetensors")


def test_storing_settings_replaces_the_compact_language_model(
    packed: Path, whole: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(packed.read_bytes())
    source = Recognizer.load(whole, "cpu").source
    assert source.stored is not None
    store_decoding(copy, source.stored, source.lm_data)
    tensors = load_tensors(copy, MODEL_KIND)[0]
    assert LM_TENSOR in tensors and COMPACT_LM_TENSOR not in tensors
    store_decoding(copy, source.stored.model_copy(update={"lm": "none"}), None)
    assert not {LM_TENSOR, COMPACT_LM_TENSOR} & load_tensors(copy, MODEL_KIND)[0].keys()


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (torch.zeros(100), "lm.compact must be bytes, got torch.float32"),
        (torch.zeros(2, 9, dtype=torch.uint8), "lm.compact must be bytes"),
        (torch.zeros(0, dtype=torch.uint8), "no usable binary language model"),
    ],
)
def test_what_is_no_compact_language_model_is_refused(
    packed: Path, tmp_path: Path, tensor: torch.Tensor, problem: str
) -> None:
    tensors, documents = load_tensors(packed, MODEL_KIND)
    path = tmp_path / "bad.safetensors"
    save_tensors(path, MODEL_KIND, tensors | {COMPACT_LM_TENSOR: tensor}, documents)
    with pytest.raises(ModelFileError, match=problem):
        Recognizer.load(path, "cpu")


def test_a_damaged_compact_language_model_is_refused(packed: Path, tmp_path: Path) -> None:
    tensors, documents = load_tensors(packed, MODEL_KIND)
    tensors[COMPACT_LM_TENSOR][-9] ^= 1
    save_tensors(tmp_path / "bad.safetensors", MODEL_KIND, tensors, documents)
    with pytest.raises(ModelFileError, match=r"model in .*bad\.safetensors .* check sum is wrong"):
        Recognizer.load(tmp_path / "bad.safetensors", "cpu")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"weight": torch.ones(2, 3).half(), "bias": torch.ones(2).half()}, None),
        ({"weight": torch.ones(2, 3), "bias": torch.ones(2).half()}, None),
        ({"weight": torch.ones(2, 3).bfloat16(), "bias": torch.ones(2)}, "torch.bfloat16"),
        ({"weight": torch.ones(2, 3).double(), "bias": torch.ones(2)}, "torch.float64"),
        ({"weight": torch.ones(3, 2).half(), "bias": torch.ones(2)}, r"\(3, 2\)"),
    ],
)
def test_only_float16_is_widened(given: dict[str, torch.Tensor], expected: str | None) -> None:
    module = torch.nn.Linear(3, 2)
    if expected is None:
        load_state(module, given, Path("m"))
        assert module.weight.dtype == torch.float32
        assert torch.equal(module.weight, torch.ones(2, 3))
        return
    with pytest.raises(ModelFileError, match=f"weight is .*{expected}"):
        load_state(module, given, Path("m"))


def test_whole_numbers_are_not_widened() -> None:
    module = torch.nn.BatchNorm1d(2)
    state = module.state_dict() | {"num_batches_tracked": torch.tensor(3.0).half()}
    with pytest.raises(ModelFileError, match=r"num_batches_tracked is torch\.float16"):
        load_state(module, state, Path("m"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/home/somebody/a/train.jsonl", "train.jsonl"),
        ("C:\\Users\\somebody\\train.jsonl", "train.jsonl"),
        ("~/corpora/train.jsonl", "train.jsonl"),
        ("data/train.jsonl", "data/train.jsonl"),
        ("lower", "lower"),
        ("", ""),
        (None, None),
        (0.5, 0.5),
        ({"a": ["/x/y", {"b": "/z/"}], "/k/": 1}, {"a": ["y", {"b": "z"}], "/k/": 1}),
    ],
)
def test_directories_are_left_out(value: object, expected: object) -> None:
    assert without_directories(value) == expected
