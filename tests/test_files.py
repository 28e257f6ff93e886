"""Files appear whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asr.errors import DataError
from asr.files import atomic_path, check_output, write_text_atomic


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_text_is_written_as_utf_8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "grüße\nç\n")
    assert (tmp_path / "a.txt").read_bytes() == "grüße\nç\n".encode()
    assert names(tmp_path) == ["a.txt"]


def test_missing_directories_are_made(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "x" / "y" / "a.txt", "1")
    assert (tmp_path / "x" / "y" / "a.txt").read_text() == "1"


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text in ("long old content", "new"):
        write_text_atomic(path, text)
    assert path.read_text() == "new"


def test_others_may_read_the_file(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_the_temporary_file_lies_beside_and_keeps_the_suffix(tmp_path: Path) -> None:
    """Beside, so that the rename stays on one disk; the suffix, because writers go by it."""
    with atomic_path(tmp_path / "a.flac") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".flac"
        assert temporary.name.startswith(".a.flac.")
        assert not (tmp_path / "a.flac").exists()


def test_the_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "links").mkdir()
    target = tmp_path / "disk" / "model.v1"
    target.write_text("old")
    (tmp_path / "links" / "via").symlink_to(Path("..") / "disk" / "model.v1")
    link = tmp_path / "links" / "a.txt"
    link.symlink_to("via")
    with atomic_path(link) as temporary:
        assert temporary.parent == target.parent, "a rename would cross disks"
        assert temporary.suffix == ".txt"
        assert target.read_text() == "old"
        temporary.write_text("new")
    assert link.readlink() == Path("via")
    assert target.read_text() == link.read_text() == "new"
    assert names(tmp_path / "disk") == ["model.v1"]
    assert names(tmp_path / "links") == ["a.txt", "via"]


def test_a_link_to_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to("b.txt")
    write_text_atomic(tmp_path / "a.txt", "x")
    assert (tmp_path / "b.txt").read_text() == "x"
    assert (tmp_path / "a.txt").is_symlink()


@pytest.mark.parametrize("points_to", ["a.txt", "gone/b.txt"])
def test_a_link_that_leads_nowhere_is_no_place_to_write(tmp_path: Path, points_to: str) -> None:
    """The directory is not made: it may be that of a disk that is not there."""
    link = tmp_path / "a.txt"
    link.symlink_to(points_to)
    with pytest.raises(DataError, match=r"cannot write .*a\.txt: "):
        write_text_atomic(link, "x")
    assert link.is_symlink()
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_file_is_not_replaced_behind_the_back_of_who_writes_to_it(tmp_path: Path) -> None:
    """Such as standard output: what else goes there would be lost."""
    with (tmp_path / "out.txt").open("w") as stream:
        with pytest.raises(DataError, match="it is a device or pipe"):
            write_text_atomic(Path(f"/proc/self/fd/{stream.fileno()}"), "x")
        assert os.fstat(stream.fileno()).st_ino == (tmp_path / "out.txt").stat().st_ino


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(DataError, match="it is a device or pipe"):
        write_text_atomic(pipe, "x")
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


@pytest.mark.skipif(os.name != "posix", reason="needs /dev")
@pytest.mark.parametrize("is_behind_link", [False, True])
def test_nothing_is_written_beside_devices(tmp_path: Path, is_behind_link: bool) -> None:
    """Not under the name of one: were this to fail, it should not cost the machine its own."""
    path = Path("/dev/asr-test-of-atomic-path")
    if is_behind_link:
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link"
    with pytest.raises(DataError, match="it is a device or pipe"):
        write_text_atomic(path, "x")


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_an_error_leaves_the_old_file_and_no_litter(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_unwritable_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "a.txt"
    with pytest.raises(DataError) as caught:
        write_text_atomic(target, "x")
    assert str(caught.value).startswith(f"cannot write {target}: ")


def test_a_directory_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(DataError, match=r"cannot write .*a\.txt"):
        write_text_atomic(tmp_path / "a.txt", "x")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["", "a" * 300])
def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(DataError, match=re.escape(f"cannot write {path}: ")):
        check_output(path, ())


def test_where_no_file_can_be_made_is_known_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "file" / "a.txt")
    check_output(tmp_path / "new" / "newer" / "a.txt", ())
    for path in (tmp_path / "file" / "a.txt", tmp_path / "file" / "b" / "a.txt", tmp_path / "link"):
        with pytest.raises(DataError) as caught:
            check_output(path, ())
        assert str(caught.value) == f"cannot write {path}: {tmp_path / 'file'} is no directory"
    # Root, who may run the tests, can write to any directory but those of read-only disks.
    monkeypatch.setattr("asr.files.os.access", lambda path, mode: path != tmp_path)
    for path in (tmp_path / "new" / "newer" / "a.txt", tmp_path / "file"):
        with pytest.raises(DataError) as caught:
            check_output(path, ())
        assert str(caught.value) == f"cannot write {path}: the directory {tmp_path} is not writable"


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom asr.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(path)])
    while process.poll() is None and len(names(tmp_path)) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() != 0
    assert path.read_text() == "old"


def test_an_output_is_no_input(tmp_path: Path) -> None:
    read, other = tmp_path / "a.txt", tmp_path / "b.txt"
    check_output(read, [read])  # missing: reading says so
    read.write_text("1")
    other.write_text("1")
    check_output(tmp_path / "new.txt", [read, other])
    check_output(other, [read, tmp_path / "missing.txt"])
    (tmp_path / "link.txt").symlink_to(read)
    for output in (read, tmp_path / "." / "a.txt", tmp_path / "link.txt"):
        with pytest.raises(DataError, match="is read and would be overwritten"):
            check_output(output, [other, read])
