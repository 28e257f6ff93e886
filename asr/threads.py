"""CPU threads of PyTorch: so many for a while, or one for each of many pieces of work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


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


def map_in_threads(function: Callable[[ItemT], ResultT], items: Sequence[ItemT]) -> list[ResultT]:
    """What a function that computes with PyTorch gives for each item, several at a time.

    As many threads work as PyTorch would use, but each on items of its own and by itself. Threads
    that share every product of a recurrent layer meet many thousand times a second, and spin until
    the last is there: where another program has the processor of one, they take 25 times as long
    as one thread would. These never wait for each other, and what they compute does not depend on
    their number.

    Args:
        function: Safe to be called from several threads.
        items: The longest first, so that none is left for the end.

    Returns:
        The results, in order.

    Raises:
        Exception: What the function raises for the first item that it does so for.
    """
    num_threads = min(torch.get_num_threads(), len(items))
    with cpu_threads(1):
        if num_threads < 2:
            return [function(item) for item in items]
        # A new thread begins with the number that any thread set last, so each says its own.
        pool = ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,))
        try:
            return list(pool.map(function, items))
        finally:
            pool.shutdown(cancel_futures=True)
