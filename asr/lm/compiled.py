"""Compiled functions: numba's decorator with this project's settings and with types kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


def compiled(function: FunctionT) -> FunctionT:
    """Compile a numeric function at its first call; kept on disk, and the GIL is released."""
    return cast(FunctionT, numba.njit(cache=True, nogil=True)(function))
