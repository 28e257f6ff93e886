"""A folder of audio, as anybody keeps it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest
from corpus_files import write_audio_file, write_lines

from asr.corpora import prepare
from asr.errors import DataError
from asr.manifest import Problem, Utterance

Form = Literal["NFC", "NFD"]
WHOLE = {"dev_fraction": 0, "test_fraction": 0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "in"


def run(source: Path, **options: object) -> dict[str, list[Utterance]]:
    return prepare("folder", source, source.parent / "out", options)


def texts(utterances: list[Utterance]) -> dict[str, str]:
    return {one.id: one.text for one in utterances}


def test_a_text_file_beside_each(folder: Path) -> None:
    for name, suffix in {"a": ".wav", "x/b": ".flac", "x/y/c": ".ogg", "d": ".MP3"}.items():
        write_audio_file(folder / f"{name}{suffix}", rate_hz=16000)
        write_lines(folder / f"{name}.txt", f"  Say {name}!")
    assert texts(run(folder, **WHOLE)["train"]) == {
        "a": "Say a!",
        "x-b": "Say x/b!",
        "x-y-c": "Say x/y/c!",
        "d": "Say d!",
    }


def test_a_text_file_that_is_no_utf_8_is_left_out(folder: Path) -> None:
    for name in ("good", "bad"):
        write_audio_file(folder / f"{name}.wav")
        write_lines(folder / f"{name}.txt", "hello")
    (folder / "bad.txt").write_bytes("grüß".encode("latin-1"))
    problems: list[Problem] = []
    splits = prepare("folder", folder, folder.parent / "out", WHOLE, problems.append)
    assert texts(splits["train"]) == {"good": "hello"}
    assert [one.utterance_id for one in problems] == ["bad"]
    assert "is not UTF-8 (byte 2)" in problems[0].reason


def test_one_transcript_file(folder: Path) -> None:
    for name in ("a", "b", "x/c", "two words"):
        write_audio_file(folder / f"{name}.wav")
    write_lines(
        folder / "transcripts.txt",
        "a by stem",
        "b.wav by name",
        "x/c.wav\tby path, with\ttab",
        "two words.wav\tname with a space",
    )
    assert texts(run(folder, **WHOLE)["train"]) == {
        "a": "by stem",
        "b": "by name",
        "x-c": "by path, with\ttab",
        "two_words": "name with a space",
    }


def test_a_transcript_file_of_another_name(folder: Path) -> None:
    write_audio_file(folder / "a.wav")
    listed = write_lines(folder.parent / "labels", "a yes")
    assert texts(run(folder, transcripts=listed, **WHOLE)["train"]) == {"a": "yes"}


def test_lines_and_files_without_counterpart_are_reported(folder: Path) -> None:
    for name in ("a", "x/b", "y/b", "c"):
        write_audio_file(folder / f"{name}.wav")
    write_lines(folder / "transcripts.tsv", "a\tyes", "b\twhich", "gone\tno", "a.wav\tagain")
    problems: list[Problem] = []
    splits = prepare("folder", folder, folder.parent / "out", WHOLE, problems.append)
    assert texts(splits["train"]) == {"a": "yes"}
    reasons = {problem.utterance_id: problem.reason for problem in problems}
    assert "there is no such audio file" in reasons["gone"]
    assert "could be" in reasons["b"]
    assert "under another name already" in reasons["a.wav"]
    assert all("has no line for it" in reasons[name] for name in ("x-b", "y-b", "c"))


def test_missing_text_files_are_reported(folder: Path) -> None:
    for name in "ab":
        write_audio_file(folder / f"{name}.wav")
    write_lines(folder / "a.txt", "yes")
    problems: list[Problem] = []
    prepare("folder", folder, folder.parent / "out", WHOLE, problems.append)
    assert problems == [Problem("b", f"there is no {folder / 'b.txt'}")]


def test_a_recording_of_a_format_that_is_not_read_is_reported(folder: Path) -> None:
    for name in ("a", "c"):
        write_audio_file(folder / f"{name}.wav")
    for name in ("b 1.m4a", "c.M4A", "alone.WMA", "d.raw"):
        (folder / name).write_bytes(b"")
    for name in ("a", "b 1", "c", "d"):
        write_lines(folder / f"{name}.txt", name)
    problems: list[Problem] = []
    splits = prepare("folder", folder, folder.parent / "out", WHOLE, problems.append)
    assert texts(splits["train"]) == {"a": "a", "c": "c"}
    assert problems == [
        Problem(
            "alone",
            f"{folder / 'alone.WMA'} cannot be read: convert it first, such as with "
            "`ffmpeg -i alone.WMA alone.wav`",
        ),
        Problem(
            "b_1",
            f"{folder / 'b 1.m4a'} cannot be read: convert it first, such as with "
            "`ffmpeg -i 'b 1.m4a' 'b 1.wav'`",
        ),
        Problem("d", f"{folder / 'd.raw'} has no header: say --raw ENCODING:RATE"),
    ]


def test_a_listed_recording_that_is_not_read_is_reported_once(folder: Path) -> None:
    write_audio_file(folder / "a.wav")
    (folder / "b.m4a").write_bytes(b"")
    write_lines(folder / "transcripts.txt", "a yes", "b.m4a no")
    problems: list[Problem] = []
    prepare("folder", folder, folder.parent / "out", WHOLE, problems.append)
    assert [one.utterance_id for one in problems] == ["b"]
    assert "convert it first" in problems[0].reason


def test_a_name_that_may_be_of_a_recording_that_is_not_read(folder: Path) -> None:
    write_audio_file(folder / "x/a.wav")
    (folder / "y").mkdir()
    (folder / "y/a.m4a").write_bytes(b"")
    write_audio_file(folder / "x/b.wav")
    write_lines(folder / "text.txt", "a said in y", "x/b said in x")
    problems: list[Problem] = []
    options = {**WHOLE, "transcripts": str(folder / "text.txt")}
    splits = prepare("folder", folder, folder.parent / "out", options, problems.append)
    assert texts(splits["train"]) == {"x-b": "said in x"}
    assert any(
        one.reason.endswith(f": could be {folder / 'x/a.wav'} or {folder / 'y/a.m4a'}")
        for one in problems
    )


def test_only_recordings_of_formats_that_are_not_read(folder: Path) -> None:
    write_lines(folder / "b.txt", "x")
    (folder / "b.m4a").write_bytes(b"")
    with pytest.raises(DataError, match=r"no audio that can be read: \.m4a files only") as caught:
        run(folder)
    assert caught.value.hint == "convert them first, such as with `ffmpeg -i b.m4a b.wav`"


def test_transcripts_without_a_recording_are_reported_and_documents_are_not(folder: Path) -> None:
    for name in ("anna/a", "anna/b"):
        write_audio_file(folder / f"{name}.wav")
        write_lines(folder / f"{name}.txt", name)
    for name in ("anna/gone", "carl/a", "anna/README", "anna/._a", ".git/b", "prompts", "Licence"):
        write_lines(folder / f"{name}.txt", "x")
    problems: list[Problem] = []
    splits = prepare("folder", folder, folder.parent / "out", WHOLE, problems.append)
    assert texts(splits["train"]) == {"anna-a": "anna/a", "anna-b": "anna/b"}
    assert [one.utterance_id for one in problems] == ["anna-gone", "carl-a"]
    gone = folder / "anna/gone.txt"
    assert problems[0].reason == f"{gone} has no recording of its name beside it"


def test_empty_transcripts_are_kept_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, text in {"a": "yes", "b": " ", "c": ""}.items():
        write_audio_file(folder / f"{name}.wav")
        write_lines(folder / f"{name}.txt", text)
    assert texts(run(folder, **WHOLE)["train"]) == {"a": "yes", "b": "", "c": ""}
    assert "2 of 3 transcripts are empty (first: 'b'): kept, as recordings" in caplog.text
    caplog.clear()
    for name in "bc":
        write_lines(folder / f"{name}.txt", "no")
    run(folder, **WHOLE)
    assert not caplog.text


def test_suffixes_of_texts_may_be_in_capitals(folder: Path) -> None:
    write_audio_file(folder / "CAP.WAV")
    write_lines(folder / "CAP.TXT", "loud")
    assert texts(run(folder, **WHOLE)["train"]) == {"CAP": "loud"}


@pytest.mark.parametrize(("in_names", "in_texts"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("beside", [True, False])
def test_accents_may_be_written_otherwise_than_in_names(
    folder: Path, in_names: Form, in_texts: Form, beside: bool
) -> None:
    write_audio_file(folder / f"{normalize(in_names, 'Übung é')}.wav")
    name, text = normalize(in_texts, "Übung é"), normalize(in_names, "é")
    if beside:
        write_lines(folder / f"{name}.txt", text)
    else:
        write_lines(folder / "transcripts.txt", f"{name}.wav\t{text}")
    assert [one.text for one in run(folder, **WHOLE)["train"]] == [text], "as it stands"


def test_names_that_only_look_the_same_are_two(folder: Path) -> None:
    names = [normalize(form, "é") for form in ("NFC", "NFD")]
    for name in names:
        write_audio_file(folder / f"{name}.wav")
        write_lines(folder / f"{name}.txt", str(len(name)))
    if len(list(folder.glob("*.wav"))) == 1:
        pytest.skip("this file system has one name for both")
    assert texts(run(folder, **WHOLE)["train"]) == {name: str(len(name)) for name in names}


@pytest.mark.parametrize("line", ["alone", "\tno name"])
def test_malformed_lines(folder: Path, line: str) -> None:
    write_audio_file(folder / "a.wav")
    write_lines(folder / "transcripts.txt", "a yes", line)
    with pytest.raises(
        DataError, match=r"transcripts.txt: line 2: expected `name<TAB or space>text`"
    ):
        run(folder)


def test_folders_of_splits(folder: Path) -> None:
    for name in ("train/a", "val/x/b", "test/c"):
        write_audio_file(folder / f"{name}.wav")
        write_lines(folder / f"{name}.txt", name)
    splits = run(folder)
    assert {name: texts(found) for name, found in splits.items()} == {
        "train": {"train-a": "train/a"},
        "dev": {"val-x-b": "val/x/b"},
        "test": {"test-c": "test/c"},
    }
    write_audio_file(folder / "stray.wav")
    write_lines(folder / "stray.txt", "stray")
    with pytest.raises(DataError, match=r"stray.wav is outside of test, train, val"):
        run(folder)


def test_speaker_folders(folder: Path) -> None:
    for speaker in range(10):
        for split in ("train", "test"):
            path = write_audio_file(folder / f"{split}/{split[1]}{speaker}/day1/a.wav")
            write_lines(path.with_suffix(".txt"), "x")
    splits = run(folder, speaker_folders=True)
    assert len(splits["dev"]) == 1
    assert {one.speaker for one in splits["test"]} == {f"e{n}" for n in range(10)}
    write_audio_file(folder / "train/a.wav")
    write_lines(folder / "train/a.txt", "x")
    with pytest.raises(DataError, match=r"a.wav is in no speaker's folder"):
        run(folder, speaker_folders=True)


def test_the_same_speaker_in_two_splits(folder: Path) -> None:
    for split in ("train", "dev", "test"):
        write_audio_file(folder / f"{split}/anna/a.wav")
        write_lines(folder / f"{split}/anna/a.txt", "x")
    with pytest.raises(DataError, match=r"share 1 speaker \(first: 'anna'\)"):
        run(folder, speaker_folders=True)


def test_raw_files_need_their_format(folder: Path) -> None:
    write_audio_file(folder / "a.raw", 0.5)
    write_lines(folder / "a.txt", "x")
    with pytest.raises(DataError, match="holds no audio") as caught:
        run(folder)
    assert caught.value.hint == "for .raw and .pcm files say --raw ENCODING:RATE"
    assert run(folder, raw="s16be:8000", **WHOLE)["train"][0].duration_s == 0.5


def test_recordings_of_one_id_are_reported_and_the_rest_prepared(folder: Path) -> None:
    for name in ("a.wav", "a.flac", "b c.wav", "b_c.wav", "d.wav"):
        path = write_audio_file(folder / name)
        write_lines(path.with_suffix(".txt"), "x")
    problems: list[Problem] = []
    splits = prepare("folder", folder, folder.parent / "out", WHOLE, problems.append)
    assert texts(splits["train"]) == {"d": "x"}
    assert {one.utterance_id: one.reason for one in problems} == {
        one_id: f"{folder / first} and {folder / second} would both have this id: "
        "rename or remove one"
        for one_id, first, second in (
            ("a", "a.flac", "a.wav"),
            ("b_c", "b c.wav", "b_c.wav"),
        )
    }


def test_a_file_name_that_is_not_utf_8_is_reported(folder: Path) -> None:
    for name in "abcd":
        write_audio_file(folder / f"{name}.wav")
        write_lines(folder / f"{name}.txt", name)
    try:
        for suffix in (".wav", ".txt"):
            (folder / f"d{suffix}").rename(folder / os.fsdecode(b"x\xff" + suffix.encode()))
    except OSError:
        pytest.skip("this file system has no such names")
    problems: list[Problem] = []
    splits = prepare("folder", folder, folder.parent / "out", None, problems.append)
    assert {one.id for utterances in splits.values() for one in utterances} == {"a", "b", "c"}
    assert [one.reason for one in problems] == ["a name in its path is not UTF-8; rename it"]
