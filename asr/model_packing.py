"""Small model files to hand on: float16 weights, compact language model, no directories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

import torch
from torch import Tensor

from asr.checkpoint import MODEL_KIND, load_tensors, save_tensors
from asr.errors import ModelFileError
from asr.lm.binary import model_from_bytes
from asr.lm.compact import model_to_compact
from asr.recognizer import COMPACT_LM_TENSOR, LM_TENSOR

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


def pack_model(source: Path, target: Path, half: bool = True) -> Packing:
    """Write a smaller file of the same model.

    Weights become float16 and are widened again when they are read; feature statistics stay as
    they are. An embedded language model is rounded as `asr.lm.compact` says, and keeps its n-grams.
    Of absolute paths in the configuration only the last part is left.

    Args:
        source: Model file.
        target: Where to; by convention `*.safetensors`.
        half: Whether weights become float16, or stay float32.

    Raises:
        ModelFileError: The file is no model file, or a weight is not finite or too large.
        DataError: The target cannot be written, or the language model is too large.
    """
    tensors, documents = load_tensors(source, MODEL_KIND)
    for name, tensor in tensors.items():
        if name.startswith(WEIGHTS) and tensor.is_floating_point():
            tensors[name] = _packed_weight(tensor, f"{source}: {name}", half)
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


def _packed_weight(tensor: Tensor, name: str, half: bool) -> Tensor:
    packed = tensor.half() if half else tensor
    if not bool(torch.isfinite(packed).all()):
        limit = torch.finfo(packed.dtype).max
        raise ModelFileError(
            f"{name} reaches {float(tensor.abs().max()):g}, and {packed.dtype} ends at {limit:g}",
            hint="keep float32 with --no-half, if the weight is a number",
        )
    return packed


def _compact(lm_data: Tensor, source: Path) -> Tensor:
    content = lm_data.numpy().tobytes()
    model = model_from_bytes(content, f"the language model in {source}")
    return torch.frombuffer(bytearray(model_to_compact(model)), dtype=torch.uint8)
