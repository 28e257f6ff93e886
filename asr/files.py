"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asr.errors import DataError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; rename it on success, delete it otherwise.

    The file is flushed to the disk before the rename, so a crash at any moment leaves either the
    old content or the new, never a part. Directories above `path` are made when missing.

    Raises:
        DataError: The directory cannot be written, the disk is full, or `path` is a device or pipe.
    """
    temporary: Path | None = None
    try:
        _check_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _check_replaceable(path: Path) -> None:
    """Refuse what a rename would destroy: /dev/null for everybody, where root asks for it."""
    is_special = path.exists() and not (path.is_file() or path.is_dir())
    if is_special or path.parent.resolve() == Path("/dev"):
        raise DataError(
            f"cannot write {path}: it is a device or pipe, and files are replaced whole",
            hint="name a file",
        )


def refuse_own_input(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output that would take the place of what it is made from.

    Raises:
        DataError: `output` is the same file as one of the inputs.
    """
    for path in inputs:
        if _is_same_file(output, path):
            raise DataError(
                f"{output} is read and would be overwritten", hint="write to another file"
            )


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one is missing, or not to be seen
        return False


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text with `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
