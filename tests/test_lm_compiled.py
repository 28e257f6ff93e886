"""The helpers of compiled functions, each against the standard library's."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.lm.compiled import lower_bound

Values = npt.NDArray[np.int32]


def search(values: Values, begin: int, end: int, value: int) -> int:
    """`lower_bound`, for Python to call once it is compiled."""
    return lower_bound(values, begin, end, value)


compiled_search: Any = numba.njit(search)


@settings(max_examples=200)
@given(st.data(), st.lists(st.integers(0, 20), max_size=30))
def test_lower_bound_is_the_standard_librarys_bisection(
    data: st.DataObject, rest: list[int]
) -> None:
    begin = data.draw(st.integers(0, len(rest)))
    end = data.draw(st.integers(begin, len(rest)))
    # Outside the range nothing is in order, and nothing there may matter.
    values = [*rest[:begin], *sorted(rest[begin:end]), *rest[end:]]
    for value in range(-1, 22):
        expected = bisect_left(values, value, begin, end)
        assert compiled_search(np.array(values, np.int32), begin, end, value) == expected
