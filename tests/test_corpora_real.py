"""The real corpora, where `ASR_CORPORA` names their directory; counts are those published."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asr.corpora import prepare
from asr.manifest import Utterance, check_manifest

CORPORA = os.environ.get("ASR_CORPORA")


def run(corpus: str, folder: str, out: Path, **options: object) -> dict[str, list[Utterance]]:
    if CORPORA is None:
        pytest.skip("ASR_CORPORA is not set: it names the directory of the corpora")
    source = Path(CORPORA) / folder
    if not source.is_dir():
        pytest.skip(f"there is no {source}")
    return prepare(corpus, source, out, options)


def sizes(splits: dict[str, list[Utterance]]) -> dict[str, int]:
    return {name: len(utterances) for name, utterances in splits.items()}


def num_words(utterances: list[Utterance]) -> int:
    return sum(len(one.text.split()) for one in utterances)


def minutes(utterances: list[Utterance]) -> float:
    return sum(one.duration_s for one in utterances) / 60


def speakers(utterances: list[Utterance]) -> set[str | None]:
    return {one.speaker for one in utterances}


def test_an4(tmp_path: Path) -> None:
    splits = run("an4", "an4", tmp_path)
    train = splits["train"] + splits["dev"]
    # The official lists: 948 training and 130 test utterances; 773 test words; 84 speakers.
    assert (len(train), len(splits["test"]), num_words(splits["test"])) == (948, 130, 773)
    assert minutes(train) == pytest.approx(42.4, abs=0.05)
    assert minutes(splits["test"]) == pytest.approx(6.0, abs=0.1)
    assert 85 <= len(splits["dev"]) <= 105
    assert len(speakers(train) | speakers(splits["test"])) == 84
    assert not speakers(splits["train"]) & speakers(splits["dev"])
    words = {word for one in train for word in one.text.split()}
    unseen = {word for one in splits["test"] for word in one.text.split()} - words
    assert unseen == {"NOVEMBER", "THIRTEEN"}


def test_speechocean762(tmp_path: Path) -> None:
    splits = run("speechocean762", "speechocean762", tmp_path)
    train = splits["train"] + splits["dev"]
    assert (len(train), len(splits["test"]), num_words(splits["test"])) == (2500, 2500, 15967)
    assert minutes(train) / 60 == pytest.approx(2.88, abs=0.01)
    assert minutes(splits["test"]) / 60 == pytest.approx(2.69, abs=0.01)
    assert len(speakers(train)) == len(speakers(splits["test"])) == 125
    assert 225 <= len(splits["dev"]) <= 275


def test_fsdd_leaving_each_speaker_out(tmp_path: Path) -> None:
    everyone = ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
    dev = []
    for speaker in everyone:
        splits = run("fsdd", "fsdd", tmp_path, test_speaker=speaker)
        assert sizes(splits) == {"train": 2000, "dev": 500, "test": 500}
        assert speakers(splits["test"]) == {speaker}
        dev += [str(name) for name in speakers(splits["dev"])]
    assert sorted(dev) == everyone


def test_fsdd_connected(tmp_path: Path) -> None:
    splits = run("fsdd", "fsdd", tmp_path, connected=10, seed=3)
    assert sizes(splits)["train-connected"] == 40
    assert sizes(splits)["test-connected"] == sizes(splits)["dev-connected"] == 10
    connected = [one for part in ("train", "dev", "test") for one in splits[f"{part}-connected"]]
    assert check_manifest(connected) == []


def test_common_voice(tmp_path: Path) -> None:
    splits = run("commonvoice", "common_voice_v1", tmp_path)
    assert sizes(splits) == {"train": 2812, "dev": 339, "test": 431}
    assert sum(map(minutes, splits.values())) / 60 == pytest.approx(4.4, abs=0.05)


def test_yesno(tmp_path: Path) -> None:
    splits = run("yesno", "waves_yesno", tmp_path)
    assert sizes(splits) == {"train": 27, "dev": 3, "test": 30}
    assert num_words(splits["test"]) == 240
    first_half = sorted(one.id for one in splits["train"] + splits["dev"])
    assert max(first_half) < min(one.id for one in splits["test"])


def test_speechocean762_as_kaldi_data(tmp_path: Path) -> None:
    if CORPORA is None:
        pytest.skip("ASR_CORPORA is not set: it names the directory of the corpora")
    root = Path(CORPORA) / "speechocean762"
    splits = run("kaldi", "speechocean762", tmp_path, audio_root=root)
    assert len(splits["train"]) + len(splits["dev"]) == len(splits["test"]) == 2500
