"""AN4 in each of the formats that it comes in."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_files import noise, write_audio_file, write_lines

from asr.audio import PcmFormat, read_audio
from asr.corpora import prepare
from asr.corpora.an4 import RAW_FORMAT
from asr.errors import DataError
from asr.manifest import Problem, Utterance

SPEAKERS = ("fash", "fbbh", "mblb", "mcel")


def write_an4(root: Path, suffix: str = ".sph", sentence_marks: bool = False) -> Path:
    """Four training speakers of three utterances, one test speaker of two."""
    left, right = ("<s> ", " </s>") if sentence_marks else ("", "")
    places = {
        "train": [f"an4_clstk/{who}/an{n}-{who}-b" for who in SPEAKERS for n in range(3)],
        "test": [f"an4test_clstk/fcaw/an{n}-fcaw-b" for n in range(2)],
    }
    for split, files in places.items():
        for place in files:
            write_audio_file(root / "wav" / f"{place}{suffix}", 0.25, rate_hz=16000)
        write_lines(root / f"etc/an4_{split}.fileids", *files)
        texts = [f"{left}RUBOUT G M {n}{right} ({Path(p).name})" for n, p in enumerate(files)]
        write_lines(root / f"etc/an4_{split}.transcription", *texts)
    return root


def run(root: Path, **options: object) -> dict[str, list[Utterance]]:
    return prepare("an4", root, root.parent / "out", options)


@pytest.mark.parametrize("suffix", [".sph", ".raw", ".wav", ".flac"])
def test_every_format(suffix: str, tmp_path: Path) -> None:
    splits = run(write_an4(tmp_path / "an4", suffix))
    assert {name: len(utterances) for name, utterances in splits.items()} == {
        "train": 9,
        "dev": 3,
        "test": 2,
    }
    first = splits["test"][0]
    assert first.id == "an0-fcaw-b"
    assert first.text == "RUBOUT G M 0"
    assert first.speaker == "fcaw"
    assert first.duration_s == 0.25
    assert first.pcm == (RAW_FORMAT if suffix == ".raw" else None)
    samples = read_audio(first.audio_path, first.read_options()).samples
    assert (samples * 32768 == noise(0.25, 16000)).all()


def test_raw_is_big_endian_16_khz() -> None:
    assert PcmFormat(sample_rate_hz=16000, encoding="s16be") == RAW_FORMAT


def test_sentence_marks_are_not_words(tmp_path: Path) -> None:
    splits = run(write_an4(tmp_path / "an4", ".wav", sentence_marks=True))
    assert splits["test"][1].text == "RUBOUT G M 1"


def test_development_is_by_speaker(tmp_path: Path) -> None:
    splits = run(write_an4(tmp_path / "an4", ".wav"), dev_fraction=0.5)
    train, dev = ({one.speaker for one in splits[name]} for name in ("train", "dev"))
    assert len(dev) == 2
    assert train | dev == set(SPEAKERS)


def test_without_development(tmp_path: Path) -> None:
    splits = run(write_an4(tmp_path / "an4", ".wav"), dev_fraction=0)
    assert set(splits) == {"train", "test"}


def test_missing_audio_and_transcripts_are_reported(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4", ".wav")
    (root / "wav/an4_clstk/fash/an1-fash-b.wav").unlink()
    write_lines(root / "etc/an4_test.transcription", "YES (an1-fcaw-b)", "NO (an9-fcaw-b)")
    problems: list[Problem] = []
    splits = prepare("an4", root, tmp_path / "out", {}, problems.append)
    reasons = {problem.utterance_id: problem.reason for problem in problems}
    assert reasons["an0-fcaw-b"] == "it has no transcript"
    assert reasons["an9-fcaw-b"] == "an4_test.fileids does not say where it is"
    assert "there is no file" in reasons["an1-fash-b"]
    assert len(reasons) == 3
    assert [one.id for one in splits["test"]] == ["an1-fcaw-b"]


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("an4_train.transcription", "NO ID HERE", "line 2: expected `WORDS (id)`, got 'NO ID"),
        ("an4_train.fileids", "bare", "line 2: expected `folder/speaker/id`, got 'bare'"),
        ("an4_test.fileids", "../x/y", "line 2: expected `folder/speaker/id`, got '../x/y'"),
    ],
)
def test_malformed_lines(file: str, line: str, expected: str, tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4", ".wav")
    path = root / "etc" / file
    path.write_text(path.read_text(encoding="utf-8").split("\n")[0] + "\n" + line + "\n")
    with pytest.raises(DataError) as caught:
        run(root)
    assert caught.value.message.startswith(f"{path}: {expected}")


def test_a_missing_table(tmp_path: Path) -> None:
    root = write_an4(tmp_path / "an4", ".wav")
    (root / "etc/an4_test.fileids").unlink()
    with pytest.raises(DataError, match=r"cannot read .*an4_test.fileids"):
        run(root)


def test_the_parent_folder_will_do(tmp_path: Path) -> None:
    write_an4(tmp_path / "an4", ".wav")
    assert len(prepare("an4", tmp_path, tmp_path / "out")["test"]) == 2
