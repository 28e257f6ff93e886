"""For Python to call what only compiled functions may (`asr.lm.compiled.inner`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


def from_python(function: FunctionT) -> FunctionT:
    """A compiled function that calls another one with whatever arguments it gets itself."""

    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return cast(FunctionT, numba.njit(call))
