"""Sounds without words: what is listed of the recordings, and the quiet that is made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus_files import RATE_HZ, write_audio_file

from asr.audio import read_audio
from asr.corpora import prepare
from asr.corpora.background import QUIET_DB, draw_quiet
from asr.errors import ConfigError, DataError
from asr.manifest import Problem, Utterance, check_manifest, write_manifest

LENGTHS_S = {"a/rain": 3.0, "a/wind": 0.4, "b/door": 1.2, "b/fan": 2.0, "c": 1.0, "d": 1.5}


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for name, duration_s in LENGTHS_S.items():
        write_audio_file(tmp_path / "sounds" / f"{name}.wav", duration_s)
    return tmp_path / "sounds"


def make(sounds: Path, name: str = "out", **options: object) -> dict[str, list[Utterance]]:
    given = {"num_train": 40, "num_dev": 8, "num_test": 12, "max_s": 2.0, **options}
    return prepare("background", sounds, sounds.parent / name, given)


def recordings(utterances: list[Utterance], sounds: Path) -> set[str]:
    """Those that pieces are of, as `LENGTHS_S` names them."""
    paths = (one.audio_path for one in utterances if one.audio_path.is_relative_to(sounds))
    return {path.relative_to(sounds).with_suffix("").as_posix() for path in paths}


def test_nothing_is_said_and_everything_can_be_read(sounds: Path) -> None:
    splits = make(sounds)
    assert {name: len(found) for name, found in splits.items()} == {
        "train": 40,
        "dev": 8,
        "test": 12,
    }
    for utterances in splits.values():
        assert check_manifest(utterances) == []
        assert {one.text for one in utterances} == {""}
        for one in utterances:
            read = read_audio(one.audio_path, one.read_options())
            assert read.duration_s == pytest.approx(one.duration_s, abs=2 / RATE_HZ)
            assert one.duration_s <= 2.0


def test_recordings_at_odd_places_are_for_the_test(sounds: Path) -> None:
    """As `augment.noise.files` counts them, so that noise of training is in no test."""
    splits = make(sounds, quiet_share=0)
    assert recordings(splits["test"], sounds) == {"a/wind", "b/fan", "d"}
    train, dev = recordings(splits["train"], sounds), recordings(splits["dev"], sounds)
    assert train | dev == {"a/rain", "b/door", "c"}
    assert len(dev) == 1
    assert not train & dev


def test_ids_tell_what_was_prepared_where(sounds: Path) -> None:
    """So that several of them train together."""
    names = {one.id for one in make(sounds, "door bells")["train"]}
    assert min(names) == "door_bells-train-00000"
    assert names.isdisjoint(one.id for one in make(sounds, "rain")["train"])


def test_pieces_have_drawn_lengths_and_short_recordings_are_whole(sounds: Path) -> None:
    splits = make(sounds, quiet_share=0, dev_fraction=0)
    assert "dev" not in splits
    rain = [one for one in splits["train"] if one.audio_path.stem == "rain"]
    assert len({one.duration_s for one in rain}) == len({one.start_s for one in rain}) == len(rain)
    assert all(1.0 <= one.duration_s <= 2.0 for one in rain)
    assert {one.duration_s for one in splits["test"] if one.audio_path.stem == "wind"} == {0.4}


def test_so_much_of_it_is_quiet(sounds: Path) -> None:
    assert recordings(make(sounds, quiet_share=1)["train"], sounds) == set()
    utterances = make(sounds, "half", num_train=200)["train"]
    quiet = [one for one in utterances if one.audio_path.suffix == ".flac"]
    assert 60 <= len(quiet) <= 100  # 80 expected, standard deviation 7
    loudest_db, quietest_db = -200.0, 0.0
    for one in quiet:
        samples = read_audio(one.audio_path).samples
        level_db = 10 * np.log10(np.mean(samples.astype(np.float64) ** 2) + 1e-12)
        loudest_db, quietest_db = max(loudest_db, level_db), min(quietest_db, level_db)
    assert -50 < loudest_db < QUIET_DB[1]
    assert quietest_db < -85


def test_what_is_drawn_depends_on_the_seed_alone(sounds: Path) -> None:
    def audio(name: str) -> dict[str, bytes]:
        files = (sounds.parent / name).rglob("*.flac")
        return {path.name: path.read_bytes() for path in files}

    few, many = make(sounds, "few", num_train=10), make(sounds, "many", num_train=20)
    assert [one.duration_s for one in few["train"]] == [
        one.duration_s for one in many["train"][:10]
    ]
    assert audio("few").items() <= audio("many").items()
    make(sounds, "other", num_train=10, seed=1)
    assert set(audio("other").values()).isdisjoint(audio("few").values())


@pytest.mark.parametrize("seed", range(12))
def test_quiet_has_the_level_drawn(seed: int) -> None:
    quiet = draw_quiet(0.5, 16000, np.random.default_rng(seed))
    assert quiet.duration_s == 0.5
    level_db = 10 * np.log10(np.mean(quiet.samples.astype(np.float64) ** 2))
    assert QUIET_DB[0] - 6 <= level_db <= QUIET_DB[1] + 6


def test_a_damaged_recording_is_named_and_the_others_are_cut(sounds: Path) -> None:
    (sounds / "b" / "door.wav").write_bytes(b"RIFF")
    problems: list[Problem] = []
    splits = prepare(
        "background", sounds, sounds.parent / "out", {"quiet_share": 0}, problems.append
    )
    assert [problem.utterance_id for problem in problems] == ["b-door"]
    assert recordings(splits["train"] + splits["dev"], sounds) <= {"a/rain", "c"}


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A manifest of one long file, cut between words."""
    audio = write_audio_file(tmp_path / "speech.wav", 12.0)
    texts = ("Stop!", "go on", "the red one", "please go", "STOP it", "green, and red")
    utterances = [
        Utterance(f"u{number}", audio, 2.0, text, start_s=2.0 * number, speaker="ann")
        for number, text in enumerate(texts)
    ]
    write_manifest(tmp_path / "speech.jsonl", utterances)
    (tmp_path / "words.txt").write_text("Stop\ngo\n")
    return tmp_path / "speech.jsonl"


def test_speech_of_other_words_is_background(speech: Path) -> None:
    words = speech.parent / "words.txt"
    splits = make(speech, without=words, quiet_share=0, dev_fraction=0)
    assert set(splits) == {"train", "test"}
    for split, begin_s in (("train", 4.0), ("test", 10.0)):
        for one in splits[split]:
            assert (one.text, one.speaker) == ("", None)
            assert begin_s <= one.start_s < one.start_s + one.duration_s <= begin_s + 2.0 + 1e-9


def test_which_words_are_not_others_must_be_said(speech: Path, sounds: Path) -> None:
    with pytest.raises(ConfigError, match="`without` is for a manifest, which needs it"):
        make(speech)
    words = speech.parent / "words.txt"
    with pytest.raises(ConfigError, match="`without` is for a manifest"):
        make(sounds, without=words)
    words.write_text("stop go red")
    with pytest.raises(DataError, match=r"every utterance of .* has a word of"):
        make(speech, without=words)


def test_what_cannot_be_found_is_refused_and_one_recording_trains(sounds: Path) -> None:
    with pytest.raises(DataError, match="holds no audio"):
        make(sounds / "nowhere")
    with pytest.raises(ConfigError, match="min_s must be at most max_s"):
        make(sounds, min_s=3.0)
    alone = write_audio_file(sounds / "alone" / "one.wav").parent
    assert set(make(alone)) == {"train"}
