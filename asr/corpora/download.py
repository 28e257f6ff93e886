"""Archives of corpora: fetched whole or resumed, checked, and unpacked without trust.

What is not complete has another name: `NAME.part` while it is fetched, a hidden folder while it is
unpacked. A crash at any moment is cured by running again.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO

from asr.errors import DataError
from asr.progress import progress_bar

BLOCK_BYTES = 1 << 20
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Archive:
    """A `.tar.gz` file somewhere.

    Attributes:
        url: Its address.
        md5: Its official checksum, in hexadecimal digits.
        folder: The folder in it that is wanted, and where it goes.
    """

    url: str
    md5: str
    folder: str

    @property
    def name(self) -> str:
        """File name."""
        return self.url.rsplit("/", 1)[-1]


def fetch(archive: Archive, target: Path) -> None:
    """Have an archive's folder below `target`: do nothing if it is there, else fetch and unpack.

    An archive that lies in `target` already is checked and used; none is deleted.

    Raises:
        DataError: The address cannot be reached, the checksum is wrong, the archive is damaged or
            holds anything that could be written elsewhere, or the disk is full.
    """
    if (target / archive.folder).is_dir():
        return
    try:
        target.mkdir(parents=True, exist_ok=True)
        path = target / archive.name
        if path.exists():
            _check_md5(path, archive)
        else:
            _download(archive, path)
        _unpack(path, archive.folder, target)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(
            f"cannot fetch {archive.url}: {reason}",
            hint="run the command again: it goes on from here",
        ) from None
    except OSError as error:
        raise DataError(f"cannot write below {target}: {error.strerror or error}") from None


def _download(archive: Archive, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(archive.url)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            resumed = response.status == HTTPStatus.PARTIAL_CONTENT
            with part.open("ab" if resumed else "wb") as file:
                size = int(response.headers.get("Content-Length") or 0)
                _copy(response, file, size, f"fetching {archive.name} (MiB)")
    except urllib.error.HTTPError as error:
        # All of it is here already, so nothing is left to send; the checksum decides.
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
    try:
        _check_md5(part, archive)
    except DataError:
        # Going on from damaged bytes would never succeed.
        part.unlink()
        raise
    part.replace(path)


def _copy(source: IO[bytes], target: IO[bytes], size: int, label: str) -> None:
    copied = 0
    with progress_bar(label, -(-size // BLOCK_BYTES)) as advance:
        while block := source.read(BLOCK_BYTES):
            target.write(block)
            copied += len(block)
            advance()
    if copied < size:
        raise HTTPException(f"the connection ended after {copied} of {size} bytes")


def _check_md5(path: Path, archive: Archive) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    size = path.stat().st_size
    bar = progress_bar(f"checking {archive.name} (MiB)", -(-size // BLOCK_BYTES))
    with path.open("rb") as file, bar as advance:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            advance()
    if digest.hexdigest() != archive.md5:
        raise DataError(
            f"{path} has MD5 {digest.hexdigest()}, expected {archive.md5}: it is damaged",
            hint="delete it and run the command again",
        )


def _unpack(path: Path, folder: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=target) as temporary:
        inside = Path(temporary)
        size = path.stat().st_size
        with progress_bar(f"unpacking {path.name} (MiB)", -(-size // BLOCK_BYTES)) as advance:
            try:
                _extract(path, inside, advance)
            except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise DataError(
                    f"{path} is damaged: {error}", hint="delete it and run the command again"
                ) from None
        if not (inside / folder).is_dir():
            raise DataError(f"{path} holds no folder {folder}")
        (target / folder).parent.mkdir(parents=True, exist_ok=True)
        (inside / folder).replace(target / folder)


def _extract(path: Path, target: Path, advance: Callable[[], None]) -> None:
    """Write an archive's files below `target`, and nothing else, whatever it holds."""
    advanced = 0
    with path.open("rb") as compressed, tarfile.open(fileobj=compressed, mode="r:gz") as archive:
        for member in archive:
            place = _safe_place(path, member)
            if member.isdir():
                (target / place).mkdir(parents=True, exist_ok=True)
                continue
            content = archive.extractfile(member)
            assert content is not None, "a regular file has content"
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            with (target / place).open("wb") as file:
                shutil.copyfileobj(content, file, BLOCK_BYTES)
            while advanced < compressed.tell() // BLOCK_BYTES:
                advanced += 1
                advance()


def _safe_place(path: Path, member: tarfile.TarInfo) -> PurePosixPath:
    place = PurePosixPath(member.name)
    if place.is_absolute() or ".." in place.parts or "\\" in member.name or ":" in member.name:
        raise DataError(
            f"{path} holds {member.name!r}, which points out of its folder; not unpacked"
        )
    if not (member.isdir() or member.isreg()):
        raise DataError(f"{path} holds {member.name!r}, a link or device; not unpacked")
    return place
