"""One line of a JSON-lines file as an object, strictly: what is ambiguous is refused."""

from __future__ import annotations

import json
from typing import Any


def parse_object(line: str) -> dict[str, Any]:
    """Parse one line that must hold one JSON object.

    Raises:
        ValueError: It is not JSON, not an object, repeats a key, holds NaN or Infinity (no JSON),
            is nested too deeply or has a number of too many digits. The message says which.
    """
    try:
        value = _DECODER.decode(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    except _AmbiguousError:
        raise
    except (RecursionError, ValueError):
        raise ValueError("nested too deeply, or a number too long") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {shown(value)}")
    return value


def shown(value: Any) -> str:
    """A value as JSON, cut to 60 characters, for messages."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_utf8(text: str) -> bool:
    """Whether it can be written: JSON's escapes allow half a surrogate pair, UTF-8 does not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _AmbiguousError(ValueError):
    """JSON that the decoder accepts and the format does not."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise _AmbiguousError(f"the key `{repeated}` occurs twice")
    return values


def _no_constant(name: str) -> float:
    raise _AmbiguousError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant)
