"""Joined recordings: each used equally often, everything of one speaker, noise as drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus_files import RATE_HZ, write_audio_file

from asr.audio import Waveform, probe_audio
from asr.corpora import prepare
from asr.corpora.joined import EDGE_S, PAUSE_RMS, PAUSE_S, join, join_varied
from asr.corpora.recorders import RecorderOptions
from asr.errors import ConfigError, DataError
from asr.manifest import Utterance, write_manifest

WORDS = ("red", "green", "blue", "white")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    utterances = []
    for speaker in ("ann", "bob", None):
        for number, word in enumerate(WORDS):
            path = write_audio_file(tmp_path / f"{speaker}-{word}.wav", 0.2 + 0.05 * number)
            duration_s = probe_audio(path).duration_s
            name = f"{speaker}-{word}"
            utterances.append(Utterance(name, path, duration_s, word, speaker=speaker))
    write_manifest(tmp_path / "short.jsonl", utterances)
    return tmp_path / "short.jsonl"


def make(manifest: Path, name: str = "out", **options: object) -> list[Utterance]:
    given = {"sample_rate_hz": RATE_HZ, **options}
    splits = prepare("joined", manifest, manifest.parent / name, given)
    assert set(splits) == {"train"}
    return splits["train"]


def test_each_recording_is_used_equally_often(manifest: Path) -> None:
    words: dict[str | None, Counter[str]] = defaultdict(Counter)
    for one in make(manifest, per_speaker=30, max_pieces=4):
        words[one.speaker].update(one.text.split())
        assert 1 <= len(one.text.split()) <= 4
    assert set(words) == {"ann", "bob", "unknown"}
    for counts in words.values():
        assert set(counts) == set(WORDS)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_audio_is_as_long_as_its_recordings_and_pauses(manifest: Path) -> None:
    for one in make(manifest, per_speaker=10, max_pieces=3):
        spoken_s = sum(0.2 + 0.05 * WORDS.index(word) for word in one.text.split())
        num_pauses = len(one.text.split())
        assert spoken_s + 0.02 <= one.duration_s <= spoken_s + 0.31 + 0.71 * num_pauses
        assert probe_audio(one.audio_path).sample_rate_hz == RATE_HZ


def test_a_range_of_a_file_is_a_recording(manifest: Path) -> None:
    long = write_audio_file(manifest.parent / "long.wav", 9.0)
    write_manifest(manifest, [Utterance("one", long, 0.3, "red", start_s=4.0)])
    (found,) = make(manifest, per_speaker=1, max_pieces=1, sample_rate_hz=16000)
    assert 0.3 < found.duration_s < 1.4
    assert probe_audio(found.audio_path).sample_rate_hz == 16000


def test_what_is_drawn_depends_on_the_seed_and_the_speaker_alone(manifest: Path) -> None:
    def audio(name: str) -> dict[str, bytes]:
        files = (manifest.parent / name).rglob("*.flac")
        return {path.name: path.read_bytes() for path in files}

    both = make(manifest, "a", per_speaker=3)
    assert len(audio("a")) == len(both) == 9
    make(manifest, "b", per_speaker=3, seed=1)
    assert set(audio("a").values()).isdisjoint(audio("b").values())
    write_manifest(
        manifest,
        [
            Utterance(f"ann-{word}", manifest.parent / f"ann-{word}.wav", 0.2, word, speaker="ann")
            for word in WORDS
        ],
    )
    texts = [one.text for one in both if one.speaker == "ann"]
    assert [one.text for one in make(manifest, "c", per_speaker=3)] == texts


def test_recorders_change_the_sound_and_not_the_words(manifest: Path) -> None:
    plain = make(manifest, per_speaker=8)
    recorded = make(manifest, "other", per_speaker=8, shelf_share=1)
    assert [one.text.split()[0] in WORDS for one in recorded] == [True] * len(plain)
    assert recorded[0].audio_path.parent.name == f"joined-8-7-{RATE_HZ}-0-s1"
    assert plain[0].audio_path.parent.name == f"joined-8-7-{RATE_HZ}-0"
    assert {one.audio_path.read_bytes() for one in plain}.isdisjoint(
        one.audio_path.read_bytes() for one in recorded
    )
    again = make(manifest, "again", per_speaker=8, shelf_share=1)
    for one, other in zip(recorded, again, strict=True):
        assert one.audio_path.read_bytes() == other.audio_path.read_bytes()


def test_a_speaker_may_have_any_name(manifest: Path) -> None:
    path = write_audio_file(manifest.parent / "x.wav")
    write_manifest(manifest, [Utterance("x", path, 0.1, "red", speaker="../a b")])
    (found,) = make(manifest, per_speaker=1)
    assert found.id == "joined_.._a_b_0000"
    assert found.audio_path.is_relative_to(manifest.parent / "out")


def test_speakers_whose_files_would_have_one_name_are_refused_before_any_is_written(
    manifest: Path,
) -> None:
    path = write_audio_file(manifest.parent / "x.wav")
    names = ("a b", "c", "a_b")
    write_manifest(
        manifest,
        [Utterance(str(index), path, 0.1, "red", speaker=one) for index, one in enumerate(names)],
    )
    with pytest.raises(DataError, match="speakers 'a b' and 'a_b' would have the same names"):
        make(manifest, per_speaker=1)
    assert not list((manifest.parent / "out").rglob("*.flac"))


def test_impossible_options(manifest: Path) -> None:
    with pytest.raises(ConfigError, match="per_speaker"):
        make(manifest, per_speaker=0)
    with pytest.raises(DataError, match="none"):
        make(manifest.parent / "none.jsonl")


def tone(hz: float, rms: float = 0.1) -> Waveform:
    samples = rms * np.sqrt(2) * np.sin(2 * np.pi * hz * np.arange(2000) / RATE_HZ)
    return Waveform(samples.astype(np.float32), RATE_HZ)


def test_varied_pauses_have_noise_below_the_speech() -> None:
    """Where no noise lies under all of it, the pause's is 15 to 55 dB below the speech."""
    levels_db = []
    for seed in range(60):
        joined = join_varied([tone(700.0)], np.random.default_rng(seed)).samples.astype(np.float64)
        assert -30.01 <= 20 * np.log10(np.abs(joined).max()) <= -0.99
        frames = joined[: len(joined) // 80 * 80].reshape(-1, 80)
        power = np.mean(frames**2, axis=1)
        levels_db.append(10 * np.log10(power.min() / power.max()))
    assert -75 < min(levels_db) < -35
    assert max(levels_db) < -5
    assert len({round(level) for level in levels_db}) > 15


def test_varied_levels_stay_within_four_decibels() -> None:
    spreads_db = []
    for seed in range(40):
        joined = join_varied([tone(500.0), tone(1500.0)], np.random.default_rng(seed))
        spectrum = np.abs(np.fft.rfft(joined.samples, 16 * RATE_HZ))
        powers = [np.sum(spectrum[16 * (hz - 50) : 16 * (hz + 50)] ** 2) for hz in (500, 1500)]
        spreads_db.append(10 * np.log10(powers[0] / powers[1]))
    assert max(map(abs, spreads_db)) < 8.5
    # About half keep their levels.
    assert 10 <= sum(abs(spread) < 0.2 for spread in spreads_db) <= 30


def test_recordings_of_a_joined_utterance_keep_their_order() -> None:
    joined = join_varied([tone(500.0), tone(1500.0)], np.random.default_rng(3))
    time_s = np.arange(len(joined.samples)) / RATE_HZ

    def centre_s(hz: float) -> float:
        carrier = np.exp(-2j * np.pi * hz * time_s) * joined.samples
        envelope = np.abs(np.convolve(carrier, np.ones(400) / 400, "same")) ** 2
        return float(np.sum(envelope * time_s) / np.sum(envelope))

    assert centre_s(500.0) + 0.2 < centre_s(1500.0)


def test_join_keeps_the_digits_and_fills_pauses_with_faint_noise() -> None:
    one, two = (
        Waveform(np.full(n, level, np.float32), 1000) for n, level in ((300, 0.5), (200, 1))
    )
    joined = join([one, two], np.random.default_rng(7))
    edge = round(EDGE_S * 1000)
    middle = len(joined.samples) - 500 - 2 * edge
    assert PAUSE_S[0] * 1000 <= middle <= PAUSE_S[1] * 1000
    assert (joined.samples[edge : edge + 300] == 0.5).all()
    assert (joined.samples[-edge - 200 : -edge] == 1).all()
    for pause in (joined.samples[:edge], joined.samples[edge + 300 : -edge - 200]):
        assert 0.5 * PAUSE_RMS < pause.std() < 2 * PAUSE_RMS
    assert joined.samples.dtype == np.float32


def test_join_refuses_two_rates() -> None:
    digits = [Waveform(np.zeros(10, np.float32), rate) for rate in (8000, 16000)]
    with pytest.raises(DataError, match=r"sampling rates \[8000, 16000\]; expected one"):
        join(digits, np.random.default_rng(0))


def test_varied_refuses_two_rates() -> None:
    with pytest.raises(DataError, match="expected one"):
        join_varied([tone(500.0), replace(tone(500.0), sample_rate_hz=16000)], _rng())


def test_one_recorder_cuts_all_recordings() -> None:
    """Of words with faint ends, what is left has a third of the length."""
    quiet = 1e-3 * tone(700.0).samples
    word = Waveform(np.concatenate([quiet, tone(700.0).samples, quiet]), RATE_HZ)
    for seed in range(10):
        joined = join_varied([word, word], np.random.default_rng(seed))
        cut = join_varied([word, word], np.random.default_rng(seed), RecorderOptions(cut_share=1))
        assert joined.duration_s > 12000 / RATE_HZ
        assert cut.duration_s < 4000 / RATE_HZ + 0.3 + 2 * 0.7 + 0.1


def test_varied_stands_silence() -> None:
    joined = join_varied([Waveform(np.zeros(100, np.float32), 8000)], _rng())
    assert np.isfinite(joined.samples).all()


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)
