"""Fetching archives from a server of this test's own: resumed, checked, unpacked safely."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from corpus_files import write_audio_file

from asr.corpora import librispeech, prepare
from asr.corpora.download import Archive, fetch
from asr.errors import DataError


@dataclass
class Server:
    """What is served, how, and what was asked for."""

    url: str
    content: bytes = b""
    ranges: bool = True
    send_at_most: int | None = None
    requested: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.requested.append(asked)
            if not self.path.endswith(".tar.gz"):
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            if start >= len(state.content) > 0 and start:
                self.send_error(416)
                return
            rest = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest[: state.send_at_most])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def tar(**files: bytes) -> bytes:
    """A .tar.gz of files by path; `__` in a name is `/`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            add(archive, tarfile.TarInfo(name.replace("__", "/")), content)
    return buffer.getvalue()


def add(archive: tarfile.TarFile, member: tarfile.TarInfo, content: bytes = b"") -> None:
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def archive_of(server: Server, content: bytes | None = None) -> Archive:
    md5 = hashlib.md5(server.content if content is None else content).hexdigest()
    return Archive(f"{server.url}/corpus.tar.gz", md5, "top/part")


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_fetch_and_unpack(server: Server, tmp_path: Path) -> None:
    server.content = tar(top__README=b"all", top__part__a=b"A" * 3_000_000, top__part__b__c=b"C")
    fetch(archive_of(server), tmp_path / "new")
    # Only the folder that was asked for, and the archive, kept.
    assert names(tmp_path / "new") == {"top/part/a", "top/part/b/c", "corpus.tar.gz"}
    assert (tmp_path / "new/top/part/a").read_bytes() == b"A" * 3_000_000


def test_what_is_there_is_not_fetched(server: Server, tmp_path: Path) -> None:
    server.content = tar(top__part__a=b"A")
    (tmp_path / "top/part").mkdir(parents=True)
    fetch(archive_of(server), tmp_path)
    assert server.requested == []


def test_an_archive_that_is_there_is_used_and_checked(server: Server, tmp_path: Path) -> None:
    server.content = tar(top__part__a=b"A")
    archive = archive_of(server)
    (tmp_path / "corpus.tar.gz").write_bytes(server.content)
    fetch(archive, tmp_path)
    assert server.requested == []
    assert names(tmp_path) == {"top/part/a", "corpus.tar.gz"}
    (tmp_path / "other").mkdir()
    (tmp_path / "other/corpus.tar.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"corpus.tar.gz has MD5 .*, expected .*: it is damaged"):
        fetch(archive, tmp_path / "other")
    assert names(tmp_path / "other") == {"corpus.tar.gz"}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_resumed(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.content = tar(top__part__a=bytes(range(256)) * 40)
    server.ranges = ranges
    server.send_at_most = 100
    with pytest.raises(DataError, match=r"cannot fetch .*ended after 100 of \d+ bytes") as caught:
        fetch(archive_of(server), tmp_path)
    assert caught.value.hint is not None and "goes on from here" in caught.value.hint
    assert names(tmp_path) == {"corpus.tar.gz.part"}
    server.send_at_most = None
    fetch(archive_of(server), tmp_path)
    assert server.requested == [None, "bytes=100-"]
    assert names(tmp_path) == {"top/part/a", "corpus.tar.gz"}


def test_stopped_between_fetching_and_checking(server: Server, tmp_path: Path) -> None:
    server.content = tar(top__part__a=b"A")
    (tmp_path / "corpus.tar.gz.part").write_bytes(server.content)
    fetch(archive_of(server), tmp_path)
    assert names(tmp_path) == {"top/part/a", "corpus.tar.gz"}


def test_a_wrong_checksum_is_refused_and_nothing_stays(server: Server, tmp_path: Path) -> None:
    server.content = tar(top__part__a=b"A")
    with pytest.raises(DataError, match=r"has MD5 .*, expected"):
        fetch(archive_of(server, b"other"), tmp_path)
    assert names(tmp_path) == set()


def test_an_address_that_does_not_answer(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot fetch .*/nothing: Not Found"):
        fetch(Archive(f"{server.url}/nothing", "0" * 32, "x"), tmp_path)
    with pytest.raises(DataError, match=r"cannot fetch http://127.0.0.1:9/.*refused"):
        fetch(Archive("http://127.0.0.1:9/a.tar.gz", "0" * 32, "x"), tmp_path)


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "top/../../outside", "c:\\outside"])
def test_paths_that_point_outside_are_refused(name: str, server: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        add(archive, tarfile.TarInfo("top/part/a"), b"A")
        add(archive, tarfile.TarInfo(name), b"bad")
    server.content = buffer.getvalue()
    with pytest.raises(DataError, match="points out of its folder; not unpacked"):
        fetch(archive_of(server), tmp_path / "target")
    assert names(tmp_path) == {"target/corpus.tar.gz"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind: bytes, server: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("top/part/link")
        member.type, member.linkname = kind, "../../../outside"
        add(archive, member)
        add(archive, tarfile.TarInfo("top/part/link/a"), b"bad")
    server.content = buffer.getvalue()
    with pytest.raises(DataError, match="'top/part/link', a link or device; not unpacked"):
        fetch(archive_of(server), tmp_path)
    assert names(tmp_path) == {"corpus.tar.gz"}


@pytest.mark.parametrize(
    "content",
    [b"not gzip at all", tar(top__part__a=b"A" * 9999)[:-40]],
    ids=["not gzip", "cut short"],
)
def test_a_damaged_archive(content: bytes, server: Server, tmp_path: Path) -> None:
    server.content = content
    with pytest.raises(DataError, match=r"corpus.tar.gz is damaged: "):
        fetch(archive_of(server), tmp_path)
    assert names(tmp_path) == {"corpus.tar.gz"}


def test_an_archive_of_something_else(server: Server, tmp_path: Path) -> None:
    server.content = tar(other__a=b"A")
    with pytest.raises(DataError, match="holds no folder top/part"):
        fetch(archive_of(server), tmp_path)


def test_a_target_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match=r"cannot write below .*file"):
        fetch(archive_of(server), tmp_path / "file/corpus")


@pytest.mark.parametrize("source", ["corpora", "corpora/LibriSpeech"])
def test_librispeech_downloads_what_it_is_asked_to(
    source: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flac = write_audio_file(tmp_path / "a.flac", 0.2, rate_hz=16000).read_bytes()
    chapter = "LibriSpeech/dev-clean/84/121123/84-121123"
    files = {f"{chapter}.trans.txt": b"84-121123-0000 GO\n", f"{chapter}-0000.flac": flac}
    server.content = tar(**{"LibriSpeech/README.TXT": b"x"}, **files)
    monkeypatch.setattr(librispeech, "ADDRESS", server.url)
    monkeypatch.setitem(librispeech.MD5, "dev-clean", hashlib.md5(server.content).hexdigest())
    for _ in range(2):
        splits = prepare(
            "librispeech", tmp_path / source, tmp_path / "out", {"download": ("dev-clean",)}
        )
    expected = tmp_path / f"corpora/{chapter}-0000.flac"
    assert [(one.text, one.audio_path) for one in splits["dev"]] == [("GO", expected)]
    assert server.requested == [None]
