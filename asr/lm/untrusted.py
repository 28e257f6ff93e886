"""What must hold of a model's bytes, whoever wrote them, and the error where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asr.errors import ModelFileError


class DamagedError(Exception):
    """Bytes are no model; the message says why."""


def require(condition: bool, problem: str) -> None:
    """Go on only if a condition holds.

    Raises:
        DamagedError: It does not; with the problem as message.
    """
    if not condition:
        raise DamagedError(problem)


def require_utf8(vocabulary: bytes) -> None:
    """Go on only if a vocabulary is text.

    Raises:
        DamagedError: It is not.
    """
    try:
        vocabulary.decode("utf-8")
    except UnicodeDecodeError:
        raise DamagedError("its vocabulary is not UTF-8") from None


@contextmanager
def damage_named(source: str, kind: str, hint: str | None = None) -> Iterator[None]:
    """Turn a `DamagedError` inside into one for the user.

    Args:
        source: What holds the bytes.
        kind: Form of language model that they ought to be, such as `binary`.
        hint: What cures it.

    Raises:
        ModelFileError: The bytes are damaged.
    """
    try:
        yield
    except DamagedError as error:
        message = f"{source} is no usable {kind} language model: {error}"
        raise ModelFileError(message, hint=hint) from None
