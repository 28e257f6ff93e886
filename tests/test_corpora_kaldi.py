"""Kaldi data directories: segments, speakers, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_files import write_audio_file, write_lines

from asr.corpora import prepare
from asr.errors import DataError
from asr.manifest import Problem, Utterance, check_manifest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten speakers of two utterances, each in a file of its own."""
    folder = tmp_path / "data"
    names = [f"s{speaker}-u{number}" for speaker in range(10) for number in range(2)]
    for name in names:
        write_audio_file(folder / f"audio/{name}.wav", 0.4)
    write_lines(folder / "text", *(f"{name} Words, {name[-1]}!" for name in names))
    write_lines(folder / "wav.scp", *(f"{name} audio/{name}.wav" for name in names))
    write_lines(folder / "utt2spk", *(f"{name} {name[:2]}" for name in names))
    return folder


def run(source: Path, **options: object) -> dict[str, list[Utterance]]:
    return prepare("kaldi", source, source.parent / "out", options)


def everything(splits: dict[str, list[Utterance]]) -> dict[str, Utterance]:
    return {one.id: one for utterances in splits.values() for one in utterances}


def test_one_directory_is_divided_by_speaker(data: Path) -> None:
    splits = run(data)
    assert {name: len(found) for name, found in splits.items()} == {
        "train": 16,
        "dev": 2,
        "test": 2,
    }
    one = everything(splits)["s3-u1"]
    assert (one.text, one.speaker, one.duration_s) == ("Words, 1!", "s3", 0.4)


def test_segments_of_a_long_recording(data: Path) -> None:
    write_audio_file(data / "audio/long.wav", 10.0)
    write_lines(data / "wav.scp", "rec1 audio/long.wav")
    write_lines(data / "segments", "a rec1 0.00 2.50", "b rec1 2.5 4", "c rec1 9.25 -1")
    write_lines(data / "text", "a ONE", "b TWO", "c")
    write_lines(data / "utt2spk", "a x", "b y", "c z")
    found = everything(run(data))
    times = {name: (one.start_s, one.duration_s) for name, one in found.items()}
    assert times == {"a": (0.0, 2.5), "b": (2.5, 1.5), "c": (9.25, 0.75)}
    assert found["c"].text == ""
    assert check_manifest(list(found.values())) == []


def test_a_segment_may_pass_the_end_by_rounding_only(data: Path) -> None:
    write_audio_file(data / "audio/long.wav", 1.996)
    write_lines(data / "wav.scp", "rec1 audio/long.wav")
    write_lines(data / "segments", "a rec1 0 1", "b rec1 1 2.00", "c rec1 1 2.10")
    write_lines(data / "text", "a ONE", "b TWO", "c THREE")
    write_lines(data / "utt2spk", "a x", "b y", "c z")
    problems: list[Problem] = []
    options = {"dev_fraction": 0, "test_fraction": 0}
    splits = prepare("kaldi", data, data.parent / "out", options, problems.append)
    assert [problem.utterance_id for problem in problems] == ["c"]
    assert "not inside the file" in problems[0].reason
    assert splits["train"][1].duration_s == pytest.approx(0.996)


def test_directories_of_splits(data: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("train", "valid", "test")):
        folder = tmp_path / "all" / name
        write_audio_file(folder / "a.wav")
        write_lines(folder / "text", f"u{number} X")
        write_lines(folder / "wav.scp", f"u{number} a.wav")
    assert set(run(tmp_path / "all")) == {"train", "dev", "test"}


def test_a_split_under_two_names(tmp_path: Path) -> None:
    for name in ("dev", "valid"):
        write_lines(tmp_path / "all" / name / "wav.scp", "a a.wav")
    with pytest.raises(DataError, match="has dev twice: dev and valid"):
        run(tmp_path / "all")


def test_relative_paths_start_where_told(data: Path, tmp_path: Path) -> None:
    (data / "audio").rename(tmp_path / "elsewhere")
    write_lines(data / "wav.scp", *(f"s{n}-u{m} s{n}-u{m}.wav" for n in range(10) for m in (0, 1)))
    one = everything(run(data, audio_root=tmp_path / "elsewhere"))["s0-u0"]
    assert one.audio_path == tmp_path / "elsewhere/s0-u0.wav"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("sph2pipe -f wav a.sph |", "is a command .*never run"),
        ("| cat", "is a command"),
        ("raw.ark:1234", "is a place in an archive"),
        ("", "s0-u0 has no path"),
    ],
)
def test_what_is_no_file_is_refused(data: Path, value: str, message: str) -> None:
    write_lines(data / "wav.scp", f"s0-u0 {value}")
    with pytest.raises(DataError, match=message):
        run(data)


def test_a_command_is_not_run(data: Path, tmp_path: Path) -> None:
    write_lines(data / "wav.scp", f"s0-u0 touch {tmp_path}/run |")
    with pytest.raises(DataError):
        run(data)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("segments", "a b 1", "line 1: expected `utterance recording start end`"),
        ("segments", "a b one 2", "line 1: times must be numbers, got 'one' and '2'"),
        ("segments", "a b 2 1.5", "line 1: expected 0 <= start < end, got 2 and 1.5"),
        ("segments", "a b nan 1", "line 1: expected 0 <= start < end"),
        ("segments", "a b -1 1", "line 1: expected 0 <= start < end"),
        ("utt2spk", "a", "line 1: expected `utterance speaker`"),
        ("utt2spk", "a b c", "line 1: expected `utterance speaker`"),
    ],
)
def test_malformed_lines(data: Path, file: str, line: str, message: str) -> None:
    write_lines(data / file, line)
    with pytest.raises(DataError, match=f"{file}: {message}"):
        run(data)


def test_an_id_twice(data: Path) -> None:
    write_lines(data / "text", "s0-u0 A", "s0-u0 B")
    with pytest.raises(DataError, match="text: line 2: 's0-u0' occurs a second time"):
        run(data)


def test_missing_counterparts_are_reported(data: Path) -> None:
    write_lines(data / "text", "s0-u0 A", "s1-u0 B", "s2-u0 C", "nowhere D")
    (data / "audio/s1-u0.wav").unlink()
    problems: list[Problem] = []
    prepare("kaldi", data, data.parent / "out", {}, problems.append)
    reasons = {problem.utterance_id: problem.reason for problem in problems}
    assert reasons["nowhere"] == "it is in text, but not in wav.scp or segments"
    assert reasons["s0-u1"] == "it has no line in text"
    assert "there is no file" in reasons["s1-u0"]
    assert len(reasons) == 2 + 17


def test_a_segment_of_no_recording_is_reported(data: Path) -> None:
    write_lines(data / "segments", "s0-u0 s0-u0 0 0.2", "s1-u0 gone 0 0.2", "s2-u0 s2-u0 0 0.2")
    write_lines(data / "text", "s0-u0 A", "s1-u0 B", "s2-u0 C")
    problems: list[Problem] = []
    options = {"dev_fraction": 0}
    prepare("kaldi", data, data.parent / "out", options, problems.append)
    assert problems == [Problem("s1-u0", "its recording gone is not in wav.scp")]


def test_without_speakers_recordings_stay_together(data: Path) -> None:
    (data / "utt2spk").unlink()
    splits = run(data)
    assert {name: len(found) for name, found in splits.items()} == {
        "train": 16,
        "dev": 2,
        "test": 2,
    }
    assert everything(splits)["s0-u0"].speaker is None
