"""Texts and models opened once, so that a pipe gives all it has: its first bytes say what it holds.

A pipe cannot go back, and what was read of it is not there for whoever opens it again.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from asr.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GZIP_MAGIC = b"\x1f\x8b"
# As many as the longest magic, that of the mapped binary.
BEGINNING_BYTES = 8


class Opened(io.RawIOBase):
    """The bytes of a file or pipe, from the first on, once.

    Args:
        path: Its name, for errors.
        stream: The open file, at its beginning.

    Attributes:
        path: As above.
        beginning: The first bytes, `BEGINNING_BYTES` or all there are; they are still to be read.
        num_bytes: Read so far.
    """

    def __init__(self, path: Path, stream: io.BufferedIOBase) -> None:
        super().__init__()
        self.path = path
        # Waits for all of them; a pipe may have fewer for a while, which `peek` would return.
        self.beginning = stream.read(BEGINNING_BYTES)
        self.num_bytes = 0
        self._stream = stream

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer as far as may be; returns the number of bytes, 0 at the end."""
        room = memoryview(buffer).cast("B")
        if ahead := self.beginning[self.num_bytes : self.num_bytes + len(room)]:
            room[: len(ahead)] = ahead
            num_bytes = len(ahead)
        else:
            num_bytes = self._stream.readinto(room)
        self.num_bytes += num_bytes
        return num_bytes

    def unpacked(self) -> IO[bytes]:
        """What it holds, through gzip where it begins as gzip data does."""
        buffered = io.BufferedReader(self)
        if self.beginning.startswith(GZIP_MAGIC):
            return cast("IO[bytes]", gzip.GzipFile(fileobj=buffered))
        return buffered


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open a file or pipe for the time of a block.

    Raises:
        DataError: It cannot be opened; or, in the block, it cannot be read or unpacked.
    """
    try:
        with path.open("rb") as stream:
            yield Opened(path, stream)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged gzip data: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
