"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
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
    old content or the new, never a part. Directories above `path` are made when missing. Where
    `path` is a link, all this is done to the file that it points to, and the link stays.

    Raises:
        DataError: The directory cannot be written, the disk is full, or `path` is a device or pipe.
    """
    temporary: Path | None = None
    try:
        check_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        target = _linked(path)
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=path.suffix, dir=target.parent
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(target)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_replaceable(path: Path) -> None:
    """Refuse an output that `atomic_path` could not write to, before the work for it is done.

    That is a directory, and what a rename would destroy: /dev/null for everybody, where root asks
    for it. Standard output is refused by any of its names, also where it goes to a file.

    Raises:
        DataError: It is one of these, or cannot be looked at.
    """
    try:
        is_directory, is_special = path.is_dir(), path.exists() and not path.is_file()
        folders = (path.parent.resolve(), Path(os.path.realpath(path)).parent)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    if is_directory:
        raise DataError(f"cannot write {path}: it is a directory", hint="name a file in it")
    if is_special or any(one == Path("/dev") or Path("/proc") in one.parents for one in folders):
        raise DataError(
            f"cannot write {path}: it is a device or pipe, and files are replaced whole",
            hint="name a file",
        )


def _linked(path: Path) -> Path:
    """What a link points to in the end, whether it is there or not; any other path itself."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


def check_output(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output before the work for it is done.

    Raises:
        DataError: As of `check_replaceable`; no file can be made where it is to lie; or it would
            take the place of one of the inputs.
    """
    check_replaceable(output)
    _check_folder(output)
    for path in inputs:
        if _is_same_file(output, path):
            raise DataError(
                f"{output} is read and would be overwritten", hint="write to another file"
            )


def _check_folder(path: Path) -> None:
    """Refuse where `atomic_path` could make neither the file beside it nor missing folders."""
    try:
        above = Path(os.path.realpath(path)).parents
        folder = next((one for one in above if one.exists()), Path())
        is_folder = folder.is_dir()
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
    if not is_folder:
        raise DataError(f"cannot write {path}: {folder} is no directory")
    if not os.access(folder, os.W_OK | os.X_OK):  # root may write all but read-only disks
        raise DataError(f"cannot write {path}: the directory {folder} is not writable")


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:  # one is missing, or not to be seen
        return False


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text with `atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
