"""Model files and training checkpoints: safetensors with JSON metadata, never pickle.

A file holds named tensors and a few JSON documents in its header. Reading an untrusted file can
fail with an error; it cannot run code. `kind` says what a file is for and `FORMAT_VERSION` which
layout it has, so a file of another kind or version is refused by name.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from asr.errors import ModelFileError
from asr.files import atomic_path

FORMAT_VERSION = 1
MODEL_KIND = "asr-model"
TRAINING_KIND = "asr-training-state"
SCALE_SUFFIX = ".scale"
"""Ends the name of the scales of an int8 weight. No tensor of a module is called so: what has the
weight's own name is no module with a tensor `scale`."""
MAX_LEVEL = 127
"""Of int8 weights, of either sign."""
_RETRAIN = "load it with the release that wrote it, or train again"


def save_tensors(
    path: Path, kind: str, tensors: Mapping[str, Tensor], documents: Mapping[str, Any]
) -> None:
    """Write tensors and JSON documents to one file, atomically.

    Args:
        path: Where to; by convention `*.safetensors`.
        kind: `MODEL_KIND` or `TRAINING_KIND`.
        tensors: Any shapes; copied to the CPU and made contiguous.
        documents: JSON-able values by name.

    Raises:
        DataError: The file cannot be written.
    """
    metadata = {name: json.dumps(value, ensure_ascii=False) for name, value in documents.items()}
    metadata |= {"kind": kind, "format_version": str(FORMAT_VERSION)}
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(on_cpu, temporary, metadata=metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file written by `save_tensors`.

    Returns:
        The tensors by name, and the JSON documents by name.

    Raises:
        ModelFileError: The file is missing, damaged, a pickle, or of another kind or version.
    """
    _refuse_foreign(path)
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            _check_kind(path, kind, metadata)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelFileError(
            f"{path} is damaged or cut short: {error}", hint="copy or download it again"
        ) from None
    return tensors, _documents(path, metadata)


def read_documents(path: Path, kind: str) -> dict[str, Any]:
    """Read only the JSON documents of a file, not its tensors.

    Raises:
        ModelFileError: As `load_tensors`.
    """
    _refuse_foreign(path)
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
    except SafetensorError as error:
        raise ModelFileError(
            f"{path} is damaged or cut short: {error}", hint="copy or download it again"
        ) from None
    _check_kind(path, kind, metadata)
    return _documents(path, metadata)


def _refuse_foreign(path: Path) -> None:
    """Say what the file is when it is plainly not safetensors: safetensors gives no such hint."""
    try:
        with path.open("rb") as opened:
            head = opened.read(9)
        size = path.stat().st_size
    except OSError as error:
        raise ModelFileError(f"cannot read the model file {path}: {error.strerror}") from None
    if len(head) == 9 and head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] <= size - 8:
        return
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        raise ModelFileError(
            f"{path} is a pickle (a PyTorch .pt file?), which could run code when loaded: refused",
            hint="model files of this toolkit are safetensors",
        )
    raise ModelFileError(
        f"{path} is not a safetensors file, or it is cut short ({size} bytes)",
        hint="copy or download it again, or name the right file",
    )


def _check_kind(path: Path, kind: str, metadata: Mapping[str, str]) -> None:
    if metadata.get("kind") != kind:
        found = metadata.get("kind", "a safetensors file of another program")
        raise ModelFileError(f"{path} is no {kind} file: it is {found}")
    version = metadata.get("format_version")
    if version != str(FORMAT_VERSION):
        raise ModelFileError(
            f"{path} has format version {version}, this release reads {FORMAT_VERSION}",
            hint=_RETRAIN,
        )


def _documents(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    documents: dict[str, Any] = {}
    for name, text in metadata.items():
        if name in ("kind", "format_version"):
            continue
        try:
            documents[name] = json.loads(text)
        except (ValueError, RecursionError) as error:  # a number too long, and nested too deeply
            raise ModelFileError(f"{path}: its {name!r} is not valid JSON: {error}") from None
    return documents


def load_state(module: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put `tensors` into `module`, all names, shapes and types required to agree.

    Packed files have float16, or int8 with scales, for float32: see `float32_weight`.

    A module built on the device `meta`, whose tensors are all in its state, comes to the CPU once
    they agree. So the sizes that a file's settings speak of take memory only where its tensors
    have them: settings of a few bytes ask for hundreds of gigabytes.

    Raises:
        ModelFileError: A tensor is missing, left over, or of another shape or type, or the scales
            of an int8 weight are not what they should be.
    """
    expected = module.state_dict()
    scales = {scale_name(name) for name in expected} - expected.keys()
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys() - scales)
    if missing or extra:
        raise ModelFileError(
            f"{path} does not fit its configuration: "
            f"{len(missing)} tensors missing {missing[:3]}, {len(extra)} unknown {extra[:3]}"
        )
    state = {}
    for name, target in expected.items():
        tensor = tensors[name]
        if tensor.dtype == torch.int8 or scale_name(name) in tensors.keys() - expected.keys():
            tensor = float32_weight(name, tensors, path)
        elif tensor.dtype == torch.float16 and target.dtype == torch.float32:
            tensor = tensor.float()
        if tensor.shape != target.shape or tensor.dtype != target.dtype:
            raise ModelFileError(
                f"{path}: {name} is {tensor.dtype} {tuple(tensor.shape)}, "
                f"expected {target.dtype} {tuple(target.shape)}"
            )
        state[name] = tensor
    if any(target.is_meta for target in expected.values()):
        module.to_empty(device="cpu")
    module.load_state_dict(state)


def scale_name(name: str) -> str:
    """What the scales of an int8 weight are called.

    >>> scale_name("model.head.weight")
    'model.head.weight.scale'
    """
    return name + SCALE_SUFFIX


def int8_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight as whole numbers of a step that each row has for itself.

    The step of a row is its largest magnitude / 127; each number is rounded to the nearest step, of
    two as near to the even one. A row of zeros has step 0.

    Args:
        weight: (num_rows, ...), floating point, finite.

    Returns:
        Levels, int8 of the same shape, in -127 to 127, and scales (num_rows,) float32: the steps.
        `float32_weight` multiplies them; what comes back is at most half a step off.

    References:
        Jacob et al. (2018), Quantization and training of neural networks for efficient
        integer-arithmetic-only inference; here symmetric, and for storage alone.
    """
    rows = weight.float().flatten(1)
    scales = rows.abs().amax(1) / MAX_LEVEL
    steps = torch.where(scales > 0, scales, 1.0)
    levels = (rows / steps[:, None]).round().clamp(-MAX_LEVEL, MAX_LEVEL)
    return levels.to(torch.int8).reshape(weight.shape), scales


def float32_weight(name: str, tensors: Mapping[str, Tensor], path: Path) -> Tensor:
    """An int8 weight of a file, times the scales that are beside it, in float32.

    Args:
        name: Of the weight: (num_rows, ...) int8.
        tensors: Those of the file, or a part of them, with the weight and its scales.
        path: The file, for error messages.

    Raises:
        ModelFileError: There are no scales, or no int8 weight that they belong to, or they are not
            (num_rows,) float32, finite and at least 0.
    """
    levels, scales = tensors[name], tensors.get(scale_name(name))
    if scales is None:
        raise ModelFileError(f"{path}: {name} is torch.int8 without {scale_name(name)}")
    if levels.dtype != torch.int8 or not levels.dim():
        raise ModelFileError(
            f"{path}: {scale_name(name)} belongs to rows of torch.int8, "
            f"and {name} is {levels.dtype} {tuple(levels.shape)}"
        )
    if scales.dtype != torch.float32 or scales.shape != levels.shape[:1]:
        raise ModelFileError(
            f"{path}: {scale_name(name)} is {scales.dtype} {tuple(scales.shape)}, "
            f"expected torch.float32 {tuple(levels.shape[:1])}, one for each row of {name}"
        )
    if not bool((scales.isfinite() & (scales >= 0)).all()):
        raise ModelFileError(f"{path}: {scale_name(name)} must be finite and not negative")
    return levels.float() * scales.reshape(-1, *[1] * (levels.dim() - 1))
