"""waves_yesno: Kaldi's halves, words from names."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_files import damage, write_audio_file, write_lines

from asr.corpora import prepare
from asr.errors import DataError
from asr.manifest import Problem


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(60):
        name = "_".join(f"{number:08b}")
        write_audio_file(tmp_path / f"waves_yesno/{name}.wav", 0.1)
    write_lines(tmp_path / "waves_yesno/README", "read me")
    return tmp_path / "waves_yesno"


def test_kaldis_halves(source: Path, tmp_path: Path) -> None:
    splits = prepare("yesno", source, tmp_path / "out", {"dev_fraction": 0})
    assert [one.id for one in splits["train"]] == ["_".join(f"{n:08b}") for n in range(30)]
    assert [one.id for one in splits["test"]] == ["_".join(f"{n:08b}") for n in range(30, 60)]
    assert sum(len(one.text.split()) for one in splits["test"]) == 240


def test_words(source: Path, tmp_path: Path) -> None:
    test = prepare("yesno", source, tmp_path / "out")["test"]
    texts = {one.id: one.text for one in test}
    assert texts["0_0_1_1_0_0_0_1"] == "NO NO YES YES NO NO NO YES"


def test_development_is_held_out_of_training(source: Path, tmp_path: Path) -> None:
    plain = prepare("yesno", source, tmp_path / "a", {"dev_fraction": 0})
    splits = prepare("yesno", source, tmp_path / "b")
    assert (len(splits["train"]), len(splits["dev"]), len(splits["test"])) == (27, 3, 30)
    both = sorted(splits["train"] + splits["dev"], key=lambda one: one.id)
    assert both == plain["train"]


def test_damage_and_other_names_are_reported(source: Path, tmp_path: Path) -> None:
    damage(source / "0_0_0_0_0_0_0_0.wav")
    write_audio_file(source / "0_2_0.wav")
    problems: list[Problem] = []
    splits = prepare("yesno", source, tmp_path / "out", {}, problems.append)
    assert [problem.utterance_id for problem in problems] == ["0_0_0_0_0_0_0_0", "0_2_0"]
    assert len(splits["test"]) == 30


def test_another_folder(tmp_path: Path) -> None:
    write_audio_file(tmp_path / "a/hello.wav")
    with pytest.raises(DataError, match="is not waves_yesno: it holds 0 files named like 1_0_1"):
        prepare("yesno", tmp_path / "a", tmp_path / "out")
