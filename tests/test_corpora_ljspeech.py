"""LJ Speech: a table with pipes and stray quotes."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_files import write_audio_file, write_lines

from asr.corpora import prepare
from asr.errors import DataError
from asr.manifest import Problem


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "LJSpeech-1.1"
    lines = []
    for number in range(40):
        name = f"LJ001-{number:04d}"
        write_audio_file(root / f"wavs/{name}.wav", 0.1, rate_hz=22050)
        lines.append(f'{name}|"In {1400 + number}|"In fourteen hundred {number}')
    write_lines(root / "metadata.csv", *lines)
    return root


def test_splits_and_raw_text(source: Path, tmp_path: Path) -> None:
    splits = prepare("ljspeech", source, tmp_path / "out")
    sizes = {name: len(utterances) for name, utterances in splits.items()}
    assert sizes == {"train": 36, "dev": 2, "test": 2}
    first = splits["train"][0]
    assert (first.speaker, first.text) == ("LJ", f'"In {1400 + int(first.id[-4:])}')


def test_expanded_text(source: Path, tmp_path: Path) -> None:
    splits = prepare("ljspeech", tmp_path, tmp_path / "out", {"expanded": True})
    assert splits["test"][0].text.startswith('"In fourteen hundred ')


def test_the_split_is_the_same_every_time(source: Path, tmp_path: Path) -> None:
    first = prepare("ljspeech", source, tmp_path / "a", {"test_fraction": 0.2})
    assert first == prepare("ljspeech", source, tmp_path / "b", {"test_fraction": 0.2})
    assert len(first["test"]) == 8


def test_missing_audio_is_reported(source: Path, tmp_path: Path) -> None:
    (source / "wavs/LJ001-0007.wav").unlink()
    problems: list[Problem] = []
    prepare("ljspeech", source, tmp_path / "out", {}, problems.append)
    assert [problem.utterance_id for problem in problems] == ["LJ001-0007"]


@pytest.mark.parametrize("line", ["LJ001-0040|only one", "|a|b", "LJ001-0040|a|b|c"])
def test_malformed_lines(source: Path, tmp_path: Path, line: str) -> None:
    with (source / "metadata.csv").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"metadata.csv: line 41: expected `id\|transcript"):
        prepare("ljspeech", source, tmp_path / "out")
