"""Compiled functions: numba's decorators with this project's settings and with types kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


def compiled(function: FunctionT) -> FunctionT:
    """Compile a numeric function at its first call; kept on disk, and the GIL is released."""
    return cast(FunctionT, numba.njit(cache=True, nogil=True)(function))


def kernel(function: FunctionT) -> FunctionT:
    """As `compiled`, for a function that makes no array and calls only kernels.

    It works on arrays its caller owns, so numba need not count who refers to them. That counting,
    an atomic operation for each array of each tuple at each call, was 60 % of the beam search.
    """
    return cast(FunctionT, numba.njit(cache=True, nogil=True, _nrt=False)(function))
