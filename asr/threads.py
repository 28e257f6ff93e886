"""CPU threads of PyTorch for a while: the number of threads decides the order of sums."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def cpu_threads(num_threads: int) -> Iterator[None]:
    """Let PyTorch use so many CPU threads inside the block; 0 leaves its choice.

    Results agree bit for bit only between equal numbers of threads. Data workers have one.
    """
    before = torch.get_num_threads()
    if num_threads > 0 and num_threads != before:
        torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
