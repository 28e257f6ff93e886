"""What comes through a pipe is read as the same bytes in a file are, from the first to the last."""

from __future__ import annotations

import contextlib
import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lm_files import GOLDEN
from typer.testing import CliRunner

from asr.cli import app
from asr.errors import DataError
from asr.lm.arpa import read_arpa
from asr.lm.counting import text_blocks
from asr.lm.files import read_model, write_model
from asr.lm.mixing import best_weights
from asr.text import TextConfig
from asr.word_files import normalize_text_file

# A pipe holds 64 KiB at a time, and a buffer of Python's 8.
TEXT = (GOLDEN / "commands.txt").read_bytes() * 20
ARPA = (GOLDEN / "commands.o3.arpa").read_bytes()
PACKINGS: list[Callable[[bytes], bytes]] = [bytes, gzip.compress]

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


@pytest.fixture
def piped(tmp_path: Path) -> Callable[[bytes], Path]:
    """piped(content): a named pipe that gives these bytes once, the first of them alone."""

    def open_pipe(content: bytes) -> Path:
        path = tmp_path / f"pipe{len(list(tmp_path.iterdir()))}"
        os.mkfifo(path)

        def write() -> None:
            # A reader may refuse what it gets, and go.
            with contextlib.suppress(BrokenPipeError), path.open("wb", buffering=0) as stream:
                stream.write(content[:1])
                stream.write(content[1:])

        threading.Thread(target=write, daemon=True).start()
        return path

    return open_pipe


def run_lm(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["lm", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("packing", PACKINGS)
def test_texts(piped: Callable[[bytes], Path], packing: Callable[[bytes], bytes]) -> None:
    assert len(TEXT) > 1 << 18
    for content in (b"", b"a", b"a\n", b"\ncall\n", TEXT):
        read = b"".join(block for block, _ in text_blocks(piped(packing(content))))
        assert read == content + b"\n" * (content == b"a")


@pytest.mark.parametrize("packing", PACKINGS)
def test_copies_as_a_model_writes(
    piped: Callable[[bytes], Path], packing: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    normalize_text_file(piped(packing(TEXT)), tmp_path / "copy", TextConfig(profile="upper"))
    assert (tmp_path / "copy").read_bytes() == TEXT.upper()


@pytest.mark.parametrize("packing", PACKINGS)
def test_arpa_models(piped: Callable[[bytes], Path], packing: Callable[[bytes], bytes]) -> None:
    expected = read_arpa(GOLDEN / "commands.o3.arpa")
    np.testing.assert_array_equal(
        read_model(piped(packing(ARPA))).tables.ints, expected.tables.ints
    )


def test_verbs_with_what_a_shell_calls_a_pipe(
    piped: Callable[[bytes], Path], tmp_path: Path
) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    run_lm("build", tmp_path / "text", "-o", tmp_path / "file.arpa")
    run_lm("build", piped(TEXT), "-o", tmp_path / "pipe.arpa")
    assert (tmp_path / "pipe.arpa").read_bytes() == (tmp_path / "file.arpa").read_bytes()
    expected = run_lm("perplexity", tmp_path / "file.arpa", tmp_path / "text")
    with piped(TEXT).open("rb") as stream:
        assert (
            run_lm("perplexity", tmp_path / "file.arpa", f"/dev/fd/{stream.fileno()}") == expected
        )


def test_weights_from_a_text_that_is_there_once(piped: Callable[[bytes], Path]) -> None:
    models = [read_arpa(GOLDEN / f"commands.o{order}.arpa") for order in (1, 3)]
    expected = best_weights(models, [GOLDEN / "commands.txt"] * 20)
    assert best_weights(models, [piped(TEXT)]) == pytest.approx(expected)


def test_a_binary_model_must_be_a_file(piped: Callable[[bytes], Path], tmp_path: Path) -> None:
    write_model(read_arpa(GOLDEN / "commands.o3.arpa"), tmp_path / "lm.bin")
    with pytest.raises(DataError, match="mapped into memory: expected a file, got a pipe"):
        read_model(piped((tmp_path / "lm.bin").read_bytes()))


def test_gzip_data_that_fills_memory_is_refused(
    piped: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.lm.arpa.FREE_BYTES", 0)
    monkeypatch.setattr("asr.lm.arpa.BLOCK_BYTES", 1 << 16)
    assert read_arpa(piped(gzip.compress(ARPA))).order == 3
    bomb = gzip.compress(b" " * 1000 + b"\n" * (1 << 24))
    with pytest.raises(DataError, match="unpacks to more than"):
        read_arpa(piped(bomb))


def test_damaged_gzip_data_is_refused(piped: Callable[[bytes], Path]) -> None:
    with pytest.raises(DataError, match="damaged gzip data"):
        list(text_blocks(piped(gzip.compress(TEXT)[:-9])))
