"""One JSON object a line, strictly."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.jsonl import parse_object, shown

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values, max_size=5), st.booleans())
def test_what_json_writes_is_read_back(value: dict[str, Any], ascii_only: bool) -> None:
    assert parse_object(json.dumps(value, ensure_ascii=ascii_only)) == value
    assert parse_object(json.dumps(value) + "\n") == value


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "not JSON: Expecting value at column 1"),
        ('{"a": 1} x', "not JSON: Extra data at column 10"),
        ("[]", "expected a JSON object, got []"),
        ('"text"', 'expected a JSON object, got "text"'),
        ('{"a": 1, "a": 1}', "the key `a` occurs twice"),
        ('{"b": {"a": 1, "a": 2}}', "the key `a` occurs twice"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": [-Infinity]}', "-Infinity is not JSON"),
        ('{"a": ' + "[" * 100_000, "nested too deeply, or a number too long"),
        ('{"a": ' + "9" * 5000 + "}", "nested too deeply, or a number too long"),
    ],
)
def test_everything_else_is_refused_with_its_reason(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        parse_object(line)


@given(st.text(max_size=200))
def test_any_line_is_an_object_or_a_value_error(line: str) -> None:
    try:
        assert isinstance(parse_object(line), dict)
    except ValueError as error:
        assert "\n" not in str(error)


def test_long_values_are_cut_for_messages() -> None:
    assert shown([1, 2]) == "[1, 2]"
    assert shown("x" * 100) == '"' + "x" * 56 + "..."
    assert len(shown(list(range(1000)))) == 60
