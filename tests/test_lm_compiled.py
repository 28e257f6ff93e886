"""The helpers of compiled functions, each against the standard library's."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.lm.compiled import lower_bound


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
        assert lower_bound(np.array(values, np.int32), begin, end, value) == expected
