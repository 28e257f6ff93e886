"""Model files: whole or refused, and never executed."""

from __future__ import annotations

import contextlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import save_file

from asr.checkpoint import (
    MODEL_KIND,
    TRAINING_KIND,
    float32_weight,
    int8_rows,
    load_state,
    load_tensors,
    read_documents,
    save_tensors,
)
from asr.errors import DataError, ModelFileError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}
DOCUMENTS: dict[str, Any] = {"config": {"x": [1, "ß"]}, "tokenizer": {"vocab": ["<blank>", "a"]}}


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_tensors(path, MODEL_KIND, TENSORS, DOCUMENTS)
    return path


def test_what_is_written_is_read_back(model_path: Path) -> None:
    tensors, documents = load_tensors(model_path, MODEL_KIND)
    assert documents == DOCUMENTS == read_documents(model_path, MODEL_KIND)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_another_kind_is_refused(model_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is no asr-training-state file: it is asr-model"):
        load_tensors(model_path, TRAINING_KIND)


def test_another_program_is_named(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ModelFileError, match="a safetensors file of another program"):
        load_tensors(path, MODEL_KIND)


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    metadata = {"kind": MODEL_KIND, "format_version": "99"}
    save_file({"x": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(ModelFileError, match="format version 99, this release reads 1"):
        load_tensors(path, MODEL_KIND)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "1" + "0" * 5000])
def test_a_broken_document_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.safetensors"
    metadata = {"kind": MODEL_KIND, "format_version": "1", "config": text}
    save_file({"x": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(ModelFileError, match="its 'config' is not valid JSON"):
        load_tensors(path, MODEL_KIND)


class Boom:
    """Writes a file when unpickled."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path(self._target),))


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_is_refused_not_loaded(tmp_path: Path, writer: str) -> None:
    path, trace = tmp_path / "evil.safetensors", tmp_path / "executed"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Boom(str(trace))))
    else:
        torch.save({"x": Boom(str(trace))}, path)
    with pytest.raises(ModelFileError, match=r"is a pickle .* refused"):
        load_tensors(path, MODEL_KIND)
    assert not trace.exists()


@pytest.mark.parametrize("kept", [0, 5, 9, 60, 200, -1])
def test_a_truncated_file_is_refused(model_path: Path, kept: int) -> None:
    model_path.write_bytes(model_path.read_bytes()[:kept])
    with pytest.raises(ModelFileError, match=r"cut short"):
        load_tensors(model_path, MODEL_KIND)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot read the model file .*no\.safetensors"):
        load_tensors(tmp_path / "no.safetensors", MODEL_KIND)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot read the model file"):
        load_tensors(tmp_path, MODEL_KIND)


def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + b"{" + b" " * 100)
    with pytest.raises(ModelFileError, match="not a safetensors file, or it is cut short"):
        load_tensors(path, MODEL_KIND)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=300)
    | st.binary(max_size=300).map(lambda b: b"\x40\0\0\0\0\0\0\0{" + b)
)
def test_any_bytes_end_in_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fuzz.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        load_tensors(path, MODEL_KIND)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_flipped_byte_never_crashes(model_path: Path, position: int, value: int) -> None:
    content = bytearray(model_path.read_bytes())
    content[position % len(content)] = value
    flipped = model_path.with_name("flipped.safetensors")
    flipped.write_bytes(bytes(content))
    with contextlib.suppress(ModelFileError):
        load_tensors(flipped, MODEL_KIND)


def test_an_unwritable_place_is_said_and_the_old_file_stays(model_path: Path) -> None:
    before = model_path.read_bytes()
    with pytest.raises(DataError, match="cannot write"):
        save_tensors(model_path / "inside-a-file" / "m.safetensors", MODEL_KIND, TENSORS, {})
    assert model_path.read_bytes() == before


def test_a_full_disk_is_said_and_the_old_file_stays(model_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = model_path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal = pytest.importorskip("signal")
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(DataError, match="cannot write"):
            save_tensors(model_path, MODEL_KIND, {"big": torch.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert model_path.read_bytes() == before
    assert [path.name for path in model_path.parent.iterdir()] == [model_path.name]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.zeros(2, 3)}, r"1 tensors missing \['bias'\]"),
        (
            {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "x": torch.zeros(1)},
            r"1 unknown \['x'\]",
        ),
        (
            {"weight": torch.zeros(3, 3), "bias": torch.zeros(2)},
            r"weight is torch.float32 \(3, 3\), expected torch.float32 \(2, 3\)",
        ),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2).int()}, "bias is torch.int32"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tensors: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        load_state(torch.nn.Linear(3, 2), tensors, Path("m"))


SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)
WEIGHTS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=4, max_side=5),
    elements=st.floats(-(2.0**100), 2.0**100, width=32)
    | st.floats(-3, 3, width=32)
    | st.sampled_from([0.0, 127.0, -127.0, 0.5, 1.5]),
).map(torch.from_numpy)
"""Weights of any size a float32 has, and of the size that trained ones have."""


def restored(levels: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return float32_weight("w", {"w": levels, "w.scale": scales}, Path("m"))


@settings(max_examples=300)
@given(weight=WEIGHTS)
def test_int8_rows_are_off_by_half_a_step_at_most(weight: torch.Tensor) -> None:
    levels, scales = int8_rows(weight)
    assert (levels.dtype, levels.shape) == (torch.int8, weight.shape)
    assert (scales.dtype, scales.shape) == (torch.float32, weight.shape[:1])
    back = restored(levels, scales)
    assert back.dtype == torch.float32
    for row, kept, level, scale in zip(weight, back, levels, scales, strict=True):
        exact = row.double().abs().max().item() / 127
        assert scale.item() == pytest.approx(exact, rel=1e-6, abs=2.0**-149)
        # Beside the half step: rounding of the scale, of the quotient and of the product; and 127
        # times the smallest float32, where the scale is as small as that.
        limit = scale.item() * (0.5 + 1e-4) + 2.0**-142
        assert (row.double() - kept.double()).abs().max().item() <= limit
        if exact > SMALLEST_NORMAL:
            assert level.int().abs().max().item() == 127


@given(weight=WEIGHTS, data=st.data())
def test_rows_do_not_depend_on_each_other(weight: torch.Tensor, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(weight))))
    levels, scales = int8_rows(weight)
    other_levels, other_scales = int8_rows(weight[order])
    assert torch.equal(other_levels, levels[order])
    assert torch.equal(other_scales, scales[order])
    alone = [int8_rows(row[None]) for row in weight]
    assert torch.equal(torch.cat([one[0] for one in alone]), levels)
    assert torch.equal(torch.cat([one[1] for one in alone]), scales)


@given(weight=WEIGHTS)
def test_both_signs_are_rounded_alike(weight: torch.Tensor) -> None:
    levels, scales = int8_rows(weight)
    negative_levels, negative_scales = int8_rows(-weight)
    assert torch.equal(negative_levels, -levels)
    assert torch.equal(negative_scales, scales)


@given(weight=WEIGHTS)
def test_what_was_rounded_once_is_not_moved_again(weight: torch.Tensor) -> None:
    levels, scales = int8_rows(weight)
    levels_again, scales_again = int8_rows(restored(levels, scales))
    is_normal = scales > SMALLEST_NORMAL
    assert torch.equal(levels_again[is_normal], levels[is_normal])
    assert torch.allclose(scales_again[is_normal], scales[is_normal], rtol=3e-7, atol=0)


def test_int8_rows_of_a_weight_worked_out_by_hand() -> None:
    weight = torch.tensor([[127.0, -63.4, 0.6], [0.0, -0.0, 0.0], [-254.0, 3.0, 5.0]])
    levels, scales = int8_rows(weight)
    assert levels.tolist() == [[127, -63, 1], [0, 0, 0], [-127, 2, 2]]  # 1.5 and 2.5 to even
    assert scales.tolist() == [1.0, 0.0, 2.0]
    assert restored(levels, scales).tolist() == [[127, -63, 1], [0, 0, 0], [-254, 4, 4]]


def quantized(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """What `Linear(3, 2)` may be given: 1 to 6 by scales, some tensors changed or left out."""
    whole: dict[str, torch.Tensor | None] = {
        "weight": torch.arange(1, 7, dtype=torch.int8).reshape(2, 3),
        "weight.scale": torch.tensor([0.5, 0.25]),
        "bias": torch.ones(2).half(),
    }
    renamed = {name.replace("_", "."): value for name, value in changes.items()}
    return {name: value for name, value in (whole | renamed).items() if value is not None}


def test_an_int8_weight_is_widened_by_the_scales_of_its_rows() -> None:
    module = torch.nn.Linear(3, 2)
    load_state(module, quantized(), Path("m"))
    assert module.weight.dtype == torch.float32
    assert module.weight.tolist() == [[0.5, 1.0, 1.5], [1.0, 1.25, 1.5]]
    assert module.bias.tolist() == [1.0, 1.0]


def test_each_filter_of_a_convolution_is_a_row() -> None:
    torch.manual_seed(0)
    first, second = torch.nn.Conv2d(2, 5, 3), torch.nn.Conv2d(2, 5, 3)
    before = first.weight.detach()
    levels, scales = int8_rows(before)
    tensors = {"weight": levels, "weight.scale": scales, "bias": torch.zeros(5)}
    load_state(second, tensors, Path("m"))
    off = (before - second.weight.detach()).abs().amax((1, 2, 3))
    assert bool((off <= 0.5001 * scales).all())
    assert float(off.max()) > 0


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (quantized(weight_scale=None), r"^m: weight is torch\.int8 without weight\.scale$"),
        (
            quantized(weight=torch.ones(2, 3)),
            r"weight\.scale belongs to rows of torch\.int8, and weight is torch\.float32 \(2, 3\)",
        ),
        (quantized(bias_scale=torch.ones(2)), r"bias\.scale belongs to .* bias is torch\.float16"),
        (quantized(weight=None), r"1 tensors missing \['weight'\]"),
        (quantized(other_scale=torch.ones(2)), r"1 unknown \['other\.scale'\]"),
        (
            quantized(weight_scale=torch.ones(3)),
            r"weight\.scale is torch\.float32 \(3,\), expected torch\.float32 \(2,\)",
        ),
        (quantized(weight_scale=torch.ones(2, 1)), r"weight\.scale is torch\.float32 \(2, 1\)"),
        (quantized(weight_scale=torch.tensor(1.0)), r"weight\.scale is torch\.float32 \(\)"),
        (quantized(weight_scale=torch.ones(2).half()), r"weight\.scale is torch\.float16 \(2,\)"),
        (quantized(weight_scale=torch.ones(2).int()), r"weight\.scale is torch\.int32 \(2,\)"),
        (
            quantized(weight_scale=torch.tensor([1.0, float("inf")])),
            r"weight\.scale must be finite and not negative",
        ),
        (
            quantized(weight_scale=torch.tensor([float("nan"), 1.0])),
            r"weight\.scale must be finite",
        ),
        (
            quantized(weight_scale=torch.tensor([-1.0, 1.0])),
            r"weight\.scale must be finite and not",
        ),
        (
            quantized(weight=torch.ones(3, 2).char(), weight_scale=torch.ones(3)),
            r"weight is torch\.float32 \(3, 2\), expected torch\.float32 \(2, 3\)",
        ),
        (
            quantized(weight=torch.tensor(3).char(), weight_scale=torch.tensor(1.0)),
            r"belongs to rows of torch\.int8, and weight is torch\.int8 \(\)",
        ),
        (quantized(weight=torch.ones(2, 3).byte()), r"and weight is torch\.uint8 \(2, 3\)"),
    ],
)
def test_levels_and_scales_that_do_not_go_together_are_named(
    tensors: dict[str, torch.Tensor], message: str
) -> None:
    module = torch.nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(ModelFileError, match=message):
        load_state(module, tensors, Path("m"))
    assert torch.equal(module.weight, before)


def test_counters_are_not_widened_from_int8() -> None:
    module = torch.nn.BatchNorm1d(2)
    levels = {"num_batches_tracked": torch.ones(1).char()}
    with pytest.raises(ModelFileError, match=r"is torch\.int8 without num_batches_tracked\.scale"):
        load_state(module, module.state_dict() | levels, Path("m"))
    levels["num_batches_tracked.scale"] = torch.ones(1)
    with pytest.raises(ModelFileError, match=r"num_batches_tracked is torch\.float32 \(1,\)"):
        load_state(module, module.state_dict() | levels, Path("m"))


class Scaled(torch.nn.Module):
    """Has a tensor of its own that is called as scales are."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.zeros(2))


def test_a_tensor_of_the_module_may_be_called_scale() -> None:
    scaled = Scaled()
    module = torch.nn.Sequential(scaled)
    load_state(module, {"0.scale": torch.tensor([1.0, -2.0]).half()}, Path("m"))
    assert scaled.scale.tolist() == [1.0, -2.0]
