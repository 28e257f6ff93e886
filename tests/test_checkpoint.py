"""Model files: whole or refused, and never executed."""

from __future__ import annotations

import contextlib
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from asr.checkpoint import (
    MODEL_KIND,
    TRAINING_KIND,
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


def test_a_broken_document_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    metadata = {"kind": MODEL_KIND, "format_version": "1", "config": "{"}
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
