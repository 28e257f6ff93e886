"""Small model files to hand on: short weights, compact language model, no directories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from asr.checkpoint import (
    MAX_LEVEL,
    MODEL_KIND,
    float32_weight,
    int8_rows,
    load_tensors,
    save_tensors,
    scale_name,
)
from asr.errors import ModelFileError
from asr.lm.binary import model_from_bytes
from asr.lm.compact import model_to_compact
from asr.recognizer import COMPACT_LM_TENSOR, LM_TENSOR

WeightType: TypeAlias = Literal["int8", "float16", "float32"]
"""How the weights of a packed file are stored. They are float32 again when they are read."""
WEIGHTS = "model."
DESCRIPTIONS = ("config", "training")
"""The documents of a model file that may name files of whoever trained it."""


@dataclass(frozen=True)
class Packing:
    """What packing came to; sizes in bytes."""

    num_bytes_before: int
    num_bytes: int
    lm_bytes_before: int
    lm_bytes: int
    """Of the language model in the file; 0 without one."""


def pack_model(source: Path, target: Path, weights: WeightType = "float16") -> Packing:
    """Write a smaller file of the same model.

    Weights are stored shorter, and widened again when they are read; feature statistics stay as
    they are. With int8, what has rows becomes 8-bit levels and a scale for each row, see
    `asr.checkpoint.int8_rows`, and the rest (biases, norms) float16. A weight that is int8 already
    is not rounded again: it stays bit for bit, becomes float32 exactly, and float16 is refused.
    One that is float16 may become int8, and is off by up to 1/2048 of itself more.

    An embedded language model is rounded as `asr.lm.compact` says, and keeps its n-grams. Of
    absolute paths in the configuration only the last part is left.

    Args:
        source: Model file.
        target: Where to; by convention `*.safetensors`.
        weights: What weights become.

    Raises:
        ModelFileError: The file is no model file, or a weight is not finite or too large, or is
            int8 already and shall be float16, or has not the scales it needs.
        DataError: The target cannot be written, or the language model is too large.
    """
    tensors, documents = load_tensors(source, MODEL_KIND)
    tensors = _packed_tensors(tensors, source, weights)
    lm_before = tensors.pop(LM_TENSOR, None)
    if lm_before is not None:
        tensors[COMPACT_LM_TENSOR] = _compact(lm_before, source)
    lm = tensors.get(COMPACT_LM_TENSOR)
    named = {
        name: without_directories(documents[name]) for name in DESCRIPTIONS if name in documents
    }
    num_bytes_before = source.stat().st_size
    save_tensors(target, MODEL_KIND, tensors, documents | named)
    lm_bytes = 0 if lm is None else lm.numel()
    return Packing(
        num_bytes_before,
        target.stat().st_size,
        lm_bytes if lm_before is None else lm_before.numel(),
        lm_bytes,
    )


def without_directories(value: Any) -> Any:
    """JSON-able value with every absolute path in it reduced to the name of its file.

    >>> without_directories({"train": ["/home/me/train.jsonl", "data/dev.jsonl"], "epochs": 3})
    {'train': ['train.jsonl', 'data/dev.jsonl'], 'epochs': 3}
    """
    if isinstance(value, Mapping):
        return {name: without_directories(one) for name, one in value.items()}
    if isinstance(value, list):
        return [without_directories(one) for one in value]
    return _file_name(value) if isinstance(value, str) else value


def _file_name(text: str) -> str:
    """The last part of an absolute path, of either kind of system, or one in somebody's home."""
    kinds: tuple[type[PurePath], ...] = (PurePosixPath, PureWindowsPath)
    for kind in kinds:
        path = kind(text)
        if path.is_absolute() or text.startswith("~"):
            return path.name
    return text


def _packed_tensors(
    tensors: Mapping[str, Tensor], source: Path, weights: WeightType
) -> dict[str, Tensor]:
    """Of a file, those of the model as `weights` has them; the others as they are."""
    packed: dict[str, Tensor] = {}
    scales = {scale_name(name) for name in tensors} & tensors.keys()
    for name in [name for name in tensors if name not in scales]:
        tensor = tensors[name]
        if not name.startswith(WEIGHTS):
            packed[name] = tensor
        elif tensor.dtype == torch.int8 or scale_name(name) in scales:
            packed |= _packed_again(name, tensors, source, weights)
        elif tensor.is_floating_point():
            packed |= _packed_weight(name, tensor, source, weights)
        else:
            packed[name] = tensor
    return packed


def _packed_again(
    name: str, tensors: Mapping[str, Tensor], source: Path, weights: WeightType
) -> dict[str, Tensor]:
    """An int8 weight and its scales, which are kept, or their product."""
    weight = float32_weight(name, tensors, source)
    if weights == "float16":
        raise ModelFileError(
            f"{source}: {name} is int8 already; as float16 it would be larger and rounded again",
            hint="pack it with --weights int8, or pack the file that it was made of",
        )
    if weights == "float32":
        return {name: weight}
    return {key: tensors[key] for key in (name, scale_name(name))}


def _packed_weight(
    name: str, tensor: Tensor, source: Path, weights: WeightType
) -> dict[str, Tensor]:
    whole = tensor.float()
    if weights == "int8" and tensor.dim() > 1 and tensor.numel():
        levels, scales = int8_rows(whole)
        packed = {name: levels, scale_name(name): scales}
        kept = scales * MAX_LEVEL
    else:
        kept = whole if weights == "float32" else whole.half()
        packed = {name: kept}
    if not bool(torch.isfinite(kept).all()):
        limit = torch.finfo(kept.dtype).max
        raise ModelFileError(
            f"{source}: {name} reaches {float(whole.abs().max()):g}, "
            f"and {kept.dtype} ends at {limit:g}",
            hint="keep float32 with --weights float32, if the weight is a number",
        )
    return packed


def _compact(lm_data: Tensor, source: Path) -> Tensor:
    content = lm_data.numpy().tobytes()
    model = model_from_bytes(content, f"the language model in {source}")
    return torch.frombuffer(bytearray(model_to_compact(model)), dtype=torch.uint8)
