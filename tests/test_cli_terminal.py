"""The command line on a terminal: what standard output gets beside a progress bar."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import ToneModel

from asr.manifest import read_manifest

pty = pytest.importorskip("pty", reason="needs pseudo-terminals")

ERASE_LINE = "\x1b[2K"


class Terminal:
    """A pseudo-terminal; what was written to `device` is `shown` once it is closed."""

    def __init__(self) -> None:
        self._reading, self.device = pty.openpty()
        self._chunks: list[bytes] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._reading, 65536):
                self._chunks.append(chunk)
        except OSError:  # nobody can write any more
            pass

    def shown(self) -> str:
        os.close(self.device)
        self._thread.join()
        os.close(self._reading)
        return b"".join(self._chunks).decode("utf-8")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "asr", *map(str, arguments)]


def environment() -> dict[str, str]:
    return os.environ | {"TERM": "xterm", "COLUMNS": "120"}


def test_transcripts_and_errors_stand_on_lines_of_their_own(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    utterance, missing = read_manifest(tone_model.dev)[0], tmp_path / "missing.wav"
    arguments = command("transcribe", utterance.audio_path, missing, "-m", tone_model.path)
    terminal = Terminal()
    subprocess.run(arguments, stdout=terminal.device, stderr=terminal.device, env=environment())
    shown = terminal.shown()
    assert "transcribing" in shown
    assert f"{ERASE_LINE}{utterance.audio_path}\t{utterance.text}\r\n" in shown
    assert f"{ERASE_LINE}error: " in shown


def test_a_pipe_gets_transcripts_alone(tone_model: ToneModel) -> None:
    utterance = read_manifest(tone_model.dev)[0]
    arguments = command("transcribe", utterance.audio_path, "-m", tone_model.path)
    terminal = Terminal()
    done = subprocess.run(
        arguments, stdout=subprocess.PIPE, stderr=terminal.device, env=environment()
    )
    assert "transcribing" in terminal.shown()
    assert done.stdout.decode("utf-8") == f"{utterance.text}{os.linesep}"
