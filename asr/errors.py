"""Errors a user can cause and cure; the command line prints them as `error: …` and `hint: …`."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager


class AsrError(Exception):
    """Base of every error that bad data, settings or files can cause.

    Args:
        message: What was wrong, what was expected, what was found; one line.
        hint: What to do about it; printed on a line of its own.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}; {self.hint}"


class ConfigError(AsrError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(AsrError):
    """Audio, a transcript, a manifest or a corpus is not what it should be."""


class ModelFileError(AsrError):
    """A model file or checkpoint is damaged, foreign, or of another version."""


class TrainingError(AsrError):
    """Training cannot go on: the loss is not finite, the disk is full, the data does not fit."""


class MissingExtraError(AsrError):
    """A command needs packages of an extra that is not installed."""


def not_utf8_hint(beginning: bytes) -> str:
    """What to do about a text of another encoding.

    Args:
        beginning: Of the text; a byte-order mark of UTF-16, which Windows writes, is looked for.
    """
    is_utf16 = beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if is_utf16 else "latin1"
    return f"convert it first, such as with iconv -f {encoding} -t utf-8"


@contextmanager
def require_extra(extra: str, purpose: str) -> Iterator[None]:
    """Turn a failing import inside the block into the `pip install` line that cures it.

    Args:
        extra: Name of the extra in `pyproject.toml`, such as `train`.
        purpose: What needs it, as the subject of a sentence: "training".

    Raises:
        MissingExtraError: An import inside the block failed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{purpose} needs the package {error.name!r}, which is not installed",
            hint=f'pip install "asr[{extra}]"',
        ) from error
