"""Standard output that says in one line why it cannot be written to."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from asr.errors import AsrError


class OutputError(AsrError):
    """Standard output cannot be written to: the disk is full, for example."""


@contextmanager
def checked_output() -> Iterator[None]:
    """Standard output for a command line: a failure to write is an `OutputError`.

    Names of files are printed as the bytes that they are, which need not be valid text.

    Raises:
        OutputError: Standard output cannot be written to.
    """
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="surrogateescape")
        sys.stdout = cast(TextIO, _Checked(stream))
    try:
        yield
    except OutputError:
        # What is still buffered goes nowhere: Python would try once more at exit, and complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        raise


class _Checked:
    """A text stream but for its errors. A pipe closed by its reader is left to typer."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            raise _refusal(error) from None

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise _refusal(error) from None


def _refusal(error: OSError) -> Exception:
    if error.errno == errno.EPIPE:
        return error
    return OutputError(f"cannot write to standard output: {error.strerror or error}")
