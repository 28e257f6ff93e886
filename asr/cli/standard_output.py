"""Standard output that says in one line why it cannot be written to."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    # Where it is ASCII, typer would write UTF-8 past us, to the bytes below.
    is_ascii = codecs.lookup(stream.encoding).name == "ascii"
    stream.reconfigure(encoding="utf-8" if is_ascii else None, errors="surrogateescape")
    checked = _Checked(stream)
    sys.stdout = cast(TextIO, checked)
    try:
        yield
    except AsrError:  # it says what is wrong, be that the output or not
        with suppress(OutputError, SystemExit):
            checked.finish()
        raise
    except SystemExit:
        checked.finish()
        raise
    checked.finish()


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

    def finish(self) -> None:
        """Write what is still buffered: Python would do so at exit, and complain at length."""
        try:
            self.flush()
        except (OutputError, BrokenPipeError) as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)  # where Python may write it then
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            if isinstance(error, OutputError):
                raise
            sys.exit(1)


def _refusal(error: OSError) -> Exception:
    if error.errno == errno.EPIPE:
        return error
    return OutputError(f"cannot write to standard output: {error.strerror or error}")
