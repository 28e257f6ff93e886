"""FSDD: speakers held out in turn, and connected digits joined of their recordings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from corpus_files import RATE_HZ, damage, write_audio_file

from asr.audio import read_audio
from asr.corpora import prepare
from asr.corpora.fsdd import WORDS
from asr.corpora.joined import EDGE_S, MAX_PIECES, PAUSE_S
from asr.errors import ConfigError, DataError
from asr.manifest import Problem, Utterance, check_manifest

SPEAKERS = ("george", "jackson", "lucas", "theo")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for speaker in SPEAKERS:
        for digit in range(10):
            path = tmp_path / f"fsdd/recordings/{digit}_{speaker}_0.wav"
            write_audio_file(path, 0.1 + 0.01 * digit)
    return tmp_path / "fsdd"


def run(source: Path, **options: object) -> dict[str, list[Utterance]]:
    return prepare("fsdd", source, source.parent / "out", options)


def speakers(splits: dict[str, list[Utterance]]) -> dict[str, set[str | None]]:
    return {name: {one.speaker for one in utterances} for name, utterances in splits.items()}


def test_digits_are_words_and_splits_are_by_speaker(source: Path) -> None:
    splits = run(source)
    assert speakers(splits) == {"train": {"george", "jackson"}, "dev": {"lucas"}, "test": {"theo"}}
    texts = {one.id: one.text for one in splits["test"]}
    assert texts == {f"{digit}_theo_0": WORDS[digit] for digit in range(10)}


def test_each_speaker_can_be_left_out_in_turn(source: Path) -> None:
    dev = []
    for speaker in SPEAKERS:
        found = speakers(run(source, test_speaker=speaker))
        assert found["test"] == {speaker}
        assert len(found["train"]) == 2
        dev += list(found["dev"])
    assert sorted(map(str, dev)) == sorted(SPEAKERS)


def test_both_held_out_speakers_can_be_named(source: Path) -> None:
    found = speakers(run(source, test_speaker="george", dev_speaker="theo"))
    assert (found["test"], found["dev"]) == ({"george"}, {"theo"})
    # The default test speaker is theo; asked for as dev, the next one takes its place.
    assert speakers(run(source, dev_speaker="theo"))["test"] == {"lucas"}


def test_nobody_for_development_leaves_more_to_train(source: Path) -> None:
    for options in ({}, {"connected": 2}):
        found = speakers(run(source, test_speaker="george", dev_speaker="none", **options))
        assert (found["test"], found["train"]) == ({"george"}, {"jackson", "lucas", "theo"})
        assert not any(name.startswith("dev") for name in found)
    with pytest.raises(ConfigError, match="no speaker 'none'"):
        run(source, test_speaker="none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_speaker": "bob"}, "test_speaker: no speaker 'bob'"),
        ({"dev_speaker": "bob"}, "dev_speaker: no speaker 'bob'"),
        ({"test_speaker": "theo", "dev_speaker": "theo"}, "both 'theo'; name two"),
        ({"connected": -1}, "`connected`"),
    ],
)
def test_impossible_options(source: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(source, **options)


def test_too_few_speakers(tmp_path: Path) -> None:
    write_audio_file(tmp_path / "fsdd/1_anna_0.wav")
    with pytest.raises(DataError, match="recordings of 1 speaker, at least 3 are needed"):
        run(tmp_path / "fsdd")


def test_other_names_and_damage_are_reported(source: Path) -> None:
    write_audio_file(source / "recordings/noise.wav")
    damage(source / "recordings/3_theo_0.wav")
    problems: list[Problem] = []
    splits = prepare("fsdd", source, source.parent / "out", {"connected": 30}, problems.append)
    assert [problem.utterance_id for problem in problems] == ["3_theo_0", "noise"]
    assert "not <digit>_<speaker>_<number>.wav" in problems[1].reason
    assert len(splits["test-isolated"]) == 9
    spoken = {word for one in splits["test-connected"] for word in one.text.split()}
    assert spoken == set(WORDS) - {"three"}


def test_connected_digits_are_parts_beside_the_isolated(source: Path) -> None:
    splits = run(source, connected=5)
    sizes = {name: len(utterances) for name, utterances in splits.items()}
    assert sizes == {
        "train": 30,
        "dev": 15,
        "test": 15,
        "train-isolated": 20,
        "dev-isolated": 10,
        "test-isolated": 10,
        "train-connected": 10,
        "dev-connected": 5,
        "test-connected": 5,
    }
    assert speakers(splits)["test-connected"] == {"theo"}
    assert check_manifest(splits["train"]) == []


def test_connected_digits_are_drawn_evenly(source: Path) -> None:
    utterances = run(source, connected=60)["test-connected"]
    lengths = Counter(len(one.text.split()) for one in utterances)
    assert set(lengths) == set(range(1, MAX_PIECES + 1))
    words = Counter(word for one in utterances for word in one.text.split())
    assert max(words.values()) - min(words.values()) <= 1


def test_each_speaker_says_something_else(source: Path) -> None:
    splits = run(source, connected=5)
    texts = {
        tuple(one.text for one in splits["train-connected"] if one.speaker == speaker)
        for speaker in ("george", "jackson")
    } | {tuple(one.text for one in splits[f"{part}-connected"]) for part in ("dev", "test")}
    assert len(texts) == 4


def test_connected_audio_is_as_long_as_its_digits_and_pauses(source: Path) -> None:
    for one in run(source, connected=20)["dev-connected"]:
        digits = one.text.split()
        speech_s = sum(0.1 + 0.01 * WORDS.index(word) for word in digits)
        pauses = len(digits) - 1
        least = speech_s + 2 * EDGE_S + pauses * PAUSE_S[0]
        assert least - 0.01 <= one.duration_s <= least + pauses * (PAUSE_S[1] - PAUSE_S[0]) + 0.01
        waveform = read_audio(one.audio_path)
        assert waveform.sample_rate_hz == RATE_HZ
        assert waveform.duration_s == one.duration_s


def test_connected_digits_depend_on_the_seed_alone(source: Path) -> None:
    def audio(seed: int, out: str, **options: object) -> dict[str, bytes]:
        prepare("fsdd", source, source.parent / out, {"connected": 3, "seed": seed, **options})
        return {path.name: path.read_bytes() for path in (source.parent / out).glob("*/*.flac")}

    first = audio(0, "a")
    assert len(first) == 12
    # Not on who is held out, and not on how many are made.
    assert audio(0, "b", test_speaker="george") == first
    assert first.items() <= audio(0, "c", connected=4).items()
    assert audio(1, "d") != first


def test_varied_digits_are_for_training_alone(source: Path) -> None:
    splits = run(source, connected=5, varied=7)
    assert {name: len(found) for name, found in splits.items() if "varied" in name} == {
        "train-varied": 14
    }
    assert speakers(splits)["train-varied"] == {"george", "jackson"}
    assert len(splits["train"]) == 30 + 14
    # The tests stay what they were.
    plain = prepare("fsdd", source, source.parent / "plain", {"connected": 5})
    for ours, theirs in zip(splits["test-connected"], plain["test-connected"], strict=True):
        assert ours.audio_path.read_bytes() == theirs.audio_path.read_bytes()
    assert {"test-isolated", "train-varied"} < set(run(source, varied=3))


def test_recorders_are_for_varied_digits_alone(source: Path) -> None:
    def audio(name: str, **options: object) -> dict[str, dict[str, bytes]]:
        given = {"connected": 3, "varied": 3, **options}
        splits = prepare("fsdd", source, source.parent / name, given)
        return {
            kind: {one.id: one.audio_path.read_bytes() for one in splits[f"train-{kind}"]}
            for kind in ("connected", "varied")
        }

    plain, recorded = audio("plain"), audio("recorded", shelf_share=1)
    assert recorded["connected"] == plain["connected"]
    assert set(recorded["varied"].values()).isdisjoint(plain["varied"].values())
