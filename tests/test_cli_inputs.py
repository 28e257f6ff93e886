"""What can be transcribed from the command line: files, directories, patterns, standard input."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
import soundfile
from conftest import ToneModel, run_asr

from asr.cli.transcribe import expand, stdin_as_file
from asr.errors import DataError
from asr.manifest import read_manifest


def test_one_file_gives_its_text_alone(tone_model: ToneModel) -> None:
    utterance = read_manifest(tone_model.dev)[0]
    done = run_asr("transcribe", utterance.audio_path, "-m", tone_model.path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{utterance.text}\n"


def test_standard_input_is_a_file(tone_model: ToneModel) -> None:
    utterance = read_manifest(tone_model.dev)[0]
    with utterance.audio_path.open("rb") as audio:
        done = run_asr("transcribe", "-", "-m", tone_model.path, stdin=audio)
    assert done.stdout == f"{utterance.text}\n", done.stderr
    done = run_asr("transcribe", "-", "-m", tone_model.path, input="no audio")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot read standard input as audio: ")


def test_headerless_audio_needs_its_format_said(tone_model: ToneModel, tmp_path: Path) -> None:
    utterance = read_manifest(tone_model.dev)[0]
    samples, _ = soundfile.read(utterance.audio_path, dtype="int16")
    (tmp_path / "a.raw").write_bytes(samples.astype(">i2").tobytes())
    done = run_asr("transcribe", tmp_path / "a.raw", "-m", tone_model.path, "--pcm", "8000:s16be")
    assert done.stdout == f"{utterance.text}\n", done.stderr
    assert run_asr("transcribe", tmp_path / "a.raw", "-m", tone_model.path).returncode == 1


def test_headerless_audio_in_a_directory_is_done_or_named(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    utterances = read_manifest(tone_model.dev)[:2]
    for utterance, name in zip(utterances, ("a.raw", "B.PCM"), strict=True):
        samples, _ = soundfile.read(utterance.audio_path, dtype="int16")
        (tmp_path / name).write_bytes(samples.astype(">i2").tobytes())
    command = ("transcribe", tmp_path, "-m", tone_model.path)
    done = run_asr(*command, "--pcm", "8000:s16be")
    first, second = (one.text for one in utterances)
    lines = f"{tmp_path / 'B.PCM'}\t{second}\n{tmp_path / 'a.raw'}\t{first}\n"
    assert (done.returncode, done.stdout) == (0, lines), done.stderr
    done = run_asr(*command)
    cure = "it has no header: state its format with --pcm RATE:ENCODING"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"error: cannot read {tmp_path / name}; {cure}" for name in ("B.PCM", "a.raw")
    ]


def test_a_bad_file_in_a_directory_is_named_and_the_others_done(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    utterances = read_manifest(tone_model.dev)[:3]
    for utterance in utterances:
        (tmp_path / utterance.audio_path.name).symlink_to(utterance.audio_path)
    (tmp_path / "bad.wav").write_text("no audio")
    (tmp_path / "notes.txt").write_text("not looked at")
    done = run_asr("transcribe", tmp_path, "-m", tone_model.path)
    assert done.returncode == 1
    lines = dict(line.split("\t") for line in done.stdout.splitlines())
    assert lines == {str(tmp_path / one.audio_path.name): one.text for one in utterances}
    assert "bad.wav" in done.stderr
    assert "error: 1 of 4 files were not transcribed" in done.stderr


def test_recordings_that_must_be_converted_are_named_and_the_others_done(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    utterance = read_manifest(tone_model.dev)[0]
    for name in ("phone 1.m4a", "a.mp4"):
        (tmp_path / name).write_bytes(b"\0\0\0\x1cftypM4A " * 9)
    cures = [
        f"convert it first, such as with `ffmpeg -i {names}`"
        for names in ("a.mp4 a.wav", "'phone 1.m4a' 'phone 1.wav'")
    ]
    done = run_asr("transcribe", tmp_path, "-m", tone_model.path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"error: cannot read {tmp_path / 'a.mp4'}; {cures[0]}",
        f"error: cannot read {tmp_path / 'phone 1.m4a'}; {cures[1]}",
    ]
    (tmp_path / "a.wav").symlink_to(utterance.audio_path)
    done = run_asr("transcribe", tmp_path, "-m", tone_model.path)
    assert (done.returncode, done.stdout) == (1, f"{tmp_path / 'a.wav'}\t{utterance.text}\n")
    assert "a.mp4" not in done.stderr, "it was converted"
    done = run_asr("transcribe", tmp_path / "a.mp4", "-m", tone_model.path)
    assert cures[0] in done.stderr


def test_globs_are_expanded_and_empty_ones_refused(tone_model: ToneModel) -> None:
    folder = tone_model.dev.parent / "audio"
    done = run_asr("transcribe", folder / "dev[01].wav", "-m", tone_model.path)
    assert len(done.stdout.splitlines()) == 2
    done = run_asr("transcribe", folder / "zzz*.wav", "-m", tone_model.path)
    assert done.returncode == 1
    assert "no audio file in" in done.stderr


def test_inputs_without_audio_are_named_and_the_others_done(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    utterance = read_manifest(tone_model.dev)[0]
    empty, gone, endless = tmp_path / "empty", tmp_path / "gone*.wav", "x" * 5000
    empty.mkdir()
    files = (empty, utterance.audio_path, gone, endless)
    done = run_asr("transcribe", *files, "-m", tone_model.path)
    assert done.returncode == 1
    assert done.stdout == f"{utterance.audio_path}\t{utterance.text}\n", "of several inputs"
    assert done.stderr.splitlines()[:2] == [
        f"error: no audio file in {empty}",
        f"error: no audio file in {gone}",
    ]
    assert f"error: cannot read {endless}: File name too long" in done.stderr
    assert "Traceback" not in done.stderr
    done = run_asr("transcribe", empty, "-m", tone_model.path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: no audio file in {empty}\n"


@pytest.mark.skipif(os.name != "posix", reason="other systems refuse such names")
def test_a_line_is_a_file_whatever_its_name(tone_model: ToneModel, tmp_path: Path) -> None:
    utterance = read_manifest(tone_model.dev)[0]
    names = ["a\tb.wav", "a\\tb.wav", "c\nd.wav", "e\rf.wav", "plain.wav"]
    for name in names:
        (tmp_path / name).symlink_to(utterance.audio_path)
    done = run_asr("transcribe", *(tmp_path / one for one in names), "-m", tone_model.path)
    shown = [r"a\tb.wav", r"a\\tb.wav", r"c\nd.wav", r"e\rf.wav", "plain.wav"]
    assert done.stdout == "".join(f"{tmp_path}/{one}\t{utterance.text}\n" for one in shown)
    plain = tmp_path / names[0]
    assert run_asr("transcribe", plain, "-m", tone_model.path).stdout == f"{utterance.text}\n"


def test_a_glob_that_is_none_and_closed_input_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pattern: str) -> list[Path]:
        raise ValueError("Invalid pattern")  # as Python before 3.13 does for this one

    monkeypatch.setattr(Path, "glob", lambda path, pattern: refuse(pattern))
    paths, problems = expand(["a**b.wav", "c.wav"])
    assert paths == ["c.wav"]
    assert [str(one) for one in problems] == ["cannot look for 'a**b.wav': Invalid pattern"]
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="standard input: it is closed"), stdin_as_file(["-"]):
        pass


def test_globs_find_what_a_shell_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.wav", "._a.wav", "b/c.wav", ".trash/d.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for pattern, found in {
        f"{tmp_path}/*.wav": ["a.wav"],
        "../*.wav": ["a.wav"],
        f"{tmp_path}/**/*.wav": ["a.wav", "c.wav"],
        f"{tmp_path}/.*.wav": ["._a.wav"],
        f"{tmp_path}/.trash/*.wav": ["d.wav"],
    }.items():
        assert [Path(name).name for name in expand([pattern])[0]] == found


def test_standard_input_that_finds_no_room_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="cannot copy standard input to a file: No such") as caught:
        stdin_as_file(["-"]).__enter__()
    assert caught.value.hint is not None and "TMPDIR" in caught.value.hint
    with stdin_as_file(["a.wav"]) as sources:  # which needs none
        assert sources == [("a.wav", Path("a.wav"))]


def test_an_empty_name_is_not_the_current_directory(
    tone_model: ToneModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tone_model.dev.parent)
    paths, problems = expand(["", "c.wav"])
    assert paths == ["c.wav"]
    assert [one.message for one in problems] == ["the name of a file is empty"]
    assert [one.hint for one in problems] == ["for the current directory write ."]
