"""Common Voice: official tables, validated.tsv, clips as MP3."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_files import write_audio_file, write_lines

from asr.corpora import prepare
from asr.errors import DataError
from asr.manifest import Problem

HEADER = "client_id\tpath\tsentence\tup_votes\tage"


def write_table(source: Path, name: str, rows: list[tuple[str, str]], suffix: str = ".mp3") -> None:
    """Rows of client and sentence; a clip for each."""
    lines = [HEADER]
    for number, (client, sentence) in enumerate(rows):
        clip = f"common_voice_en_{name}{number}{suffix}"
        write_audio_file(source / "clips" / clip, 0.5, rate_hz=32000)
        lines.append(f"{client}\t{clip}\t{sentence}\t2\t")
    write_lines(source / f"{name}.tsv", *lines)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_table(tmp_path / "en", "train", [("a", '"Quoted," he said.'), ("a", "x"), ("b", "y")])
    write_table(tmp_path / "en", "dev", [("c", "z")])
    write_table(tmp_path / "en", "test", [("d", "Grüße!")])
    write_table(tmp_path / "en", "validated", [(f"v{n // 2}", f"s{n}") for n in range(40)])
    return tmp_path / "en"


def test_official_splits(source: Path, tmp_path: Path) -> None:
    splits = prepare("commonvoice", source, tmp_path / "out")
    assert {name: len(found) for name, found in splits.items()} == {"train": 3, "dev": 1, "test": 1}
    first = splits["train"][0]
    assert (first.id, first.speaker) == ("common_voice_en_train0", "a")
    assert first.text == '"Quoted," he said.'
    assert first.duration_s == pytest.approx(0.5, abs=0.1)
    assert splits["test"][0].text == "Grüße!"


def test_validated_is_divided_by_speaker(source: Path, tmp_path: Path) -> None:
    splits = prepare("commonvoice", source, tmp_path / "out", {"validated": True})
    assert {name: len(v) for name, v in splits.items()} == {"train": 32, "dev": 4, "test": 4}
    assert len({one.speaker for one in splits["test"]}) == 2


def test_validated_alone(source: Path, tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        (source / f"{name}.tsv").unlink()
    assert len(prepare("commonvoice", source, tmp_path / "out")["train"]) == 32


def test_without_speakers_and_as_ogg(tmp_path: Path) -> None:
    source = tmp_path / "v1"
    for name in ("train", "dev", "test"):
        write_audio_file(source / f"clips/{name}.ogg", 0.5, rate_hz=16000)
        write_lines(source / f"{name}.tsv", "path\tsentence", f"{name}.ogg\thello")
    splits = prepare("commonvoice", source, tmp_path / "out")
    assert [one.speaker for found in splits.values() for one in found] == [None] * 3


def test_missing_clips_are_reported(source: Path, tmp_path: Path) -> None:
    (source / "clips/common_voice_en_train1.mp3").unlink()
    problems: list[Problem] = []
    prepare("commonvoice", source, tmp_path / "out", {}, problems.append)
    assert [problem.utterance_id for problem in problems] == ["common_voice_en_train1"]


def test_shared_speakers_are_refused_unless_accepted(source: Path, tmp_path: Path) -> None:
    write_table(source, "test", [("a", "x")])
    with pytest.raises(DataError, match="share 1 speaker"):
        prepare("commonvoice", source, tmp_path / "out")
    splits = prepare("commonvoice", source, tmp_path / "out", {"split_by": "utterance"})
    assert splits["test"][0].speaker == "a"


def test_missing_columns(source: Path, tmp_path: Path) -> None:
    write_lines(source / "dev.tsv", "path\ttext", "a.mp3\thello")
    with pytest.raises(DataError, match=r"dev.tsv has no column sentence; it has path, text"):
        prepare("commonvoice", source, tmp_path / "out")


def test_malformed_rows(source: Path, tmp_path: Path) -> None:
    write_lines(source / "dev.tsv", "path\tsentence", "a.mp3\thello\tmore", "a.mp3")
    with pytest.raises(DataError, match=r"dev.tsv: line 2: 3 cells .*; line 3: 1 cells where"):
        prepare("commonvoice", source, tmp_path / "out")


def test_validated_that_is_not_there(source: Path, tmp_path: Path) -> None:
    (source / "validated.tsv").unlink()
    with pytest.raises(DataError, match=r"it has no validated.tsv"):
        prepare("commonvoice", source, tmp_path / "out", {"validated": True})
