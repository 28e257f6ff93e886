"""Packed model files: smaller, as good, and without a trace of whose computer they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from model_files import HOME, write_model, write_tuned_model
from tones import RATE_HZ, tone_utterance

from asr.audio import Waveform
from asr.checkpoint import MODEL_KIND, load_state, load_tensors, save_tensors
from asr.decoder_setup import DecodingChoice, beam_setup
from asr.decoding import BeamDecoder
from asr.errors import DataError, ModelFileError
from asr.lm import compact
from asr.lm.binary import model_from_bytes
from asr.lm.quantizing import quantize_model
from asr.model_packing import pack_model, without_directories
from asr.recognizer import COMPACT_LM_TENSOR, LM_TENSOR, Recognizer, store_decoding

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


def test_without_half_the_weights_stay_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    pack_model(whole, tmp_path / "p.safetensors", half=False)
    before, after = (
        load_tensors(whole, MODEL_KIND)[0],
        load_tensors(tmp_path / "p.safetensors", MODEL_KIND)[0],
    )
    for name in after.keys() - {COMPACT_LM_TENSOR}:
        assert after[name].dtype == before[name].dtype
        assert torch.equal(after[name], before[name])


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
    ("value", "half", "problem"),
    [
        (1e5, True, r"head.bias reaches 100000, and torch.float16 ends at 65504"),
        (-7e4, True, "reaches 70000"),
        (float("inf"), True, "reaches inf"),
        (float("inf"), False, "reaches inf, and torch.float32"),
        (float("nan"), False, "reaches nan"),
        (6e4, True, None),
        (1e5, False, None),
    ],
)
def test_weights_that_float16_cannot_hold_are_refused(
    tmp_path: Path, value: float, half: bool, problem: str | None
) -> None:
    path, target = write_model(tmp_path / "m.safetensors"), tmp_path / "p.safetensors"
    tensors, documents = load_tensors(path, MODEL_KIND)
    tensors["model.head.bias"][3] = value
    save_tensors(path, MODEL_KIND, tensors, documents)
    if problem is None:
        pack_model(path, target, half)
        assert float(load_tensors(target, MODEL_KIND)[0]["model.head.bias"][3]) == value
        return
    with pytest.raises(ModelFileError, match=problem):
        pack_model(path, target, half)
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
