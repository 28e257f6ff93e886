"""speechocean762: WAV as published, Ogg where it was made smaller."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_files import write_audio_file, write_lines

from asr.corpora import prepare
from asr.errors import DataError
from asr.manifest import Problem


def write_speechocean(root: Path, suffix: str) -> Path:
    for split, speakers in {"train": range(1, 11), "test": range(11, 13)}.items():
        texts, scp, owners = [], [], []
        for speaker in speakers:
            for number in range(2):
                name = f"{speaker:04}0{number:04}"
                place = f"WAVE/SPEAKER{speaker:04}/{name}{suffix}"
                write_audio_file(root / place, 0.3, rate_hz=16000)
                texts.append(f"{name}\tMARK IS GOING {number}")
                scp.append(f"{name}\t{place}")
                owners.append(f"{name} {speaker:04}")
        write_lines(root / split / "text", *texts)
        write_lines(root / split / "wav.scp", *scp)
        write_lines(root / split / "utt2spk", *owners)
    return root


@pytest.mark.parametrize("suffix", [".WAV", ".ogg"])
def test_both_formats(suffix: str, tmp_path: Path) -> None:
    splits = prepare("speechocean762", write_speechocean(tmp_path / "s", suffix), tmp_path / "out")
    assert {name: len(utterances) for name, utterances in splits.items()} == {
        "train": 18,
        "dev": 2,
        "test": 4,
    }
    first = splits["test"][0]
    assert (first.id, first.text, first.speaker) == ("001100000", "MARK IS GOING 0", "0011")
    assert first.duration_s == pytest.approx(0.3, abs=0.01)
    assert len({one.speaker for one in splits["dev"]}) == 1


def test_missing_audio_is_reported(tmp_path: Path) -> None:
    root = write_speechocean(tmp_path / "s", ".WAV")
    (root / "WAVE/SPEAKER0001/000100000.WAV").unlink()
    problems: list[Problem] = []
    prepare("speechocean762", root, tmp_path / "out", {}, problems.append)
    assert [problem.utterance_id for problem in problems] == ["000100000"]


def test_a_missing_split(tmp_path: Path) -> None:
    root = write_speechocean(tmp_path / "s", ".WAV")
    (root / "test/text").unlink()
    with pytest.raises(DataError, match=r"cannot read .*test/text"):
        prepare("speechocean762", root, tmp_path / "out")


def test_speakers_of_train_in_test_are_refused(tmp_path: Path) -> None:
    root = write_speechocean(tmp_path / "s", ".WAV")
    owners = [f"{speaker:04}0{n:04} 0001" for speaker in (11, 12) for n in range(2)]
    write_lines(root / "test/utt2spk", *owners)
    with pytest.raises(DataError, match=r"share 1 speaker \(first: '0001'\)"):
        prepare("speechocean762", root, tmp_path / "out", {"dev_fraction": 0})
