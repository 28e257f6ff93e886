"""PyTorch's deterministic algorithms for a while, where it has them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

CUBLAS_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
CUBLAS_WORKSPACE = ":4096:8"
"""Buffers of a fixed size, without which cuBLAS, and the LSTMs of cuDNN, may sum in any order.
cuBLAS looks when a process first uses it."""


@contextmanager
def deterministic_algorithms(device: torch.device) -> Iterator[None]:
    """Have PyTorch take deterministic algorithms inside the block.

    One operation has none: the gradient of CTC's loss on CUDA. Two runs there agree but for the
    rounding of that, so PyTorch is let go on with it, without its warning in every run; of any
    other such operation it warns.

    References:
        The documentation of torch.use_deterministic_algorithms, which lists torch.nn.CTCLoss.
    """
    mode = torch.get_deterministic_debug_mode()
    sets_workspace = device.type == "cuda" and CUBLAS_VARIABLE not in os.environ
    if sets_workspace:
        os.environ[CUBLAS_VARIABLE] = CUBLAS_WORKSPACE
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "ctc_loss_backward_gpu does not have a determin")
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        if sets_workspace:
            del os.environ[CUBLAS_VARIABLE]
