"""LibriSpeech's tree, all its subsets, and fetching them."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_files import write_audio_file, write_lines

from asr.corpora import librispeech, prepare
from asr.errors import ConfigError, DataError
from asr.manifest import Problem, Utterance


def write_chapter(root: Path, subset: str, speaker: str, chapter: str = "1") -> Path:
    """Two utterances in the official layout."""
    folder = root / subset / speaker / chapter
    names = [f"{speaker}-{chapter}-{number:04d}" for number in range(2)]
    for name in names:
        write_audio_file(folder / f"{name}.flac", 0.2, rate_hz=16000)
    lines = [f"{name} WORDS OF {speaker}" for name in names]
    write_lines(folder / f"{speaker}-{chapter}.trans.txt", *lines)
    return folder


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Every official subset, each with a speaker of its own."""
    root = tmp_path / "LibriSpeech"
    for number, subset in enumerate(librispeech.MD5):
        write_chapter(root, subset, f"{100 + number}")
    write_lines(root / "SPEAKERS.TXT", "100 | F | train-clean-100")
    return root


def run(source: Path, **options: object) -> dict[str, list[Utterance]]:
    return prepare("librispeech", source, source.parent / "out", options)


def test_all_subsets_go_to_their_split_and_to_a_manifest_of_their_own(tree: Path) -> None:
    splits = run(tree)
    sizes = {name: len(utterances) for name, utterances in splits.items()}
    whole = {"train": 6, "dev": 4, "test": 4}
    assert sizes == whole | dict.fromkeys(sorted(librispeech.MD5), 2)
    assert splits["test"] == splits["test-clean"] + splits["test-other"]
    for name in sizes:
        assert (tree.parent / "out" / f"{name}.jsonl").exists()


def test_text_speaker_and_duration(tree: Path) -> None:
    first = run(tree)["train-clean-100"][0]
    assert (first.id, first.text, first.speaker) == ("100-1-0000", "WORDS OF 100", "100")
    assert first.duration_s == pytest.approx(0.2)


def test_only_the_subsets_asked_for(tree: Path) -> None:
    splits = run(tree, subset=("dev-clean", "train-clean-100"))
    assert set(splits) == {"train", "dev", "dev-clean", "train-clean-100"}


def test_subsets_in_one_string(tree: Path) -> None:
    splits = run(tree, subset="dev-clean,train-clean-100")
    assert set(splits) == {"train", "dev", "dev-clean", "train-clean-100"}


def test_the_parent_folder_will_do(tree: Path) -> None:
    assert len(run(tree.parent)["train"]) == 6


def test_a_subset_that_is_not_there(tmp_path: Path) -> None:
    write_chapter(tmp_path / "LibriSpeech", "dev-clean", "84")
    with pytest.raises(DataError, match="holds no test-clean") as caught:
        run(tmp_path, subset=("dev-clean", "test-clean"))
    assert caught.value.hint == "fetch it with --download test-clean"


def test_an_unknown_subset(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown subset 'train-clean'; known: train-clean-100"):
        run(tmp_path, download=("train-clean",))


def test_missing_files_are_reported(tree: Path) -> None:
    (tree / "dev-clean/103/1/103-1-0001.flac").unlink()
    write_lines(tree / "dev-other/104/1/104-1.trans.txt", "104-1-0000 ONLY ONE")
    (tree / "test-clean/105/1/105-1.trans.txt").unlink()
    problems: list[Problem] = []
    splits = prepare("librispeech", tree, tree.parent / "out", {}, problems.append)
    reasons = {problem.utterance_id: problem.reason for problem in problems}
    assert "there is no file" in reasons["103-1-0001"]
    assert "104-1.trans.txt has no line for it" in reasons["104-1-0001"]
    assert "there is no" in reasons["105-1-0000"] and "105-1.trans.txt" in reasons["105-1-0001"]
    assert len(reasons) == 4
    assert len(splits["dev"]) == 2
    assert "test-clean" not in splits


@pytest.mark.parametrize("line", ["100-1-0001", "WORDS WITHOUT ID"])
def test_malformed_lines(line: str, tree: Path) -> None:
    path = tree / "train-clean-100/100/1/100-1.trans.txt"
    write_lines(path, "100-1-0000 FINE", line)
    with pytest.raises(DataError) as caught:
        run(tree)
    assert caught.value.message.startswith(f"{path}: line 2: expected `speaker-chapter-number")


def test_official_checksums() -> None:
    # https://www.openslr.org/resources/12/md5sum.txt
    assert librispeech.MD5["test-clean"] == "32fa31d27d2e1cad72775fee3f4849a9"
    assert len(librispeech.MD5) == 7
    assert all(len(md5) == 32 and int(md5, 16) for md5 in librispeech.MD5.values())
    archive = librispeech.archive_of("dev-clean")
    assert archive.url == "https://www.openslr.org/resources/12/dev-clean.tar.gz"
    assert archive.folder == "LibriSpeech/dev-clean"
