"""The digit corpus: the same to the bit, unheard voices in dev and test, noise as stated."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asr.audio import probe_audio, read_audio
from asr.config import parse_options
from asr.corpora import prepare, synthetic
from asr.corpora.digits import (
    DIGITS,
    FOREIGN,
    OH,
    DigitsConfig,
    find,
    speak_digits,
)
from asr.corpora.synthetic import ACCENTS, split_families
from asr.errors import ConfigError, DataError
from asr.manifest import read_manifest
from asr.synthesis import Voice, list_languages, synthesize

pytest.importorskip("espeakng_loader", reason="digits need the extra 'demo'")

ROOT = Path(__file__).resolve().parent.parent
SMALL = DigitsConfig(num_train=7, num_dev=3, num_test=4, num_workers=1)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_same_settings_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        prepare("digits", None, tmp_path / name, SMALL.model_dump())
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    assert len(first) == 7 + 3 + 4 + 3


def test_sizes_and_processes_change_no_utterance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(tmp_path / "one", SMALL)
    monkeypatch.setattr(synthetic, "_MIN_PARALLEL_JOBS", 1)
    more = SMALL.model_copy(update={"num_train": 40, "num_workers": 2})
    listing = find(tmp_path / "two", more)
    assert [entry.id for entry in listing.splits["train"]] == [f"train-{n:05d}" for n in range(40)]
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert len(two) == 40 + 3 + 4
    assert one.items() <= two.items()


def test_a_seed_changes_words_and_voices_but_not_who_is_held_out() -> None:
    first = [speak_digits("test", n, SMALL) for n in range(12)]
    other = SMALL.model_copy(update={"seed": 2})
    second = [speak_digits("test", n, other) for n in range(12)]
    assert [text for text, _, _ in first] != [text for text, _, _ in second]
    held_out = {variant for family in split_families()["test"] for variant in family}
    assert {voice.variant for _, voice, _ in first + second} <= held_out


def test_digits_can_be_said_alone() -> None:
    alone = SMALL.model_copy(update={"max_words": 1})
    for index in range(8):
        text, voice, waveform = speak_digits("train", index, alone)
        assert text in DIGITS
        assert voice.language in ACCENTS
        assert waveform.duration_s < 2.5
    lengths = [
        len(speak_digits("train", n, SMALL.model_copy(update={"max_words": 3}))[0].split())
        for n in range(7)
    ]
    assert lengths == [3, 1, 3, 2, 3, 3, 3]


def test_manifests_describe_the_audio(tmp_path: Path) -> None:
    prepare("digits", None, tmp_path, SMALL.model_dump())
    sizes = {}
    for split in ("train", "dev", "test"):
        utterances = read_manifest(tmp_path / f"{split}.jsonl")
        sizes[split] = len(utterances)
        for utterance in utterances:
            info = probe_audio(utterance.audio_path)
            assert (info.sample_rate_hz, info.num_channels) == (16000, 1)
            assert utterance.duration_s == pytest.approx(info.duration_s, abs=1e-5)
            assert set(utterance.text.split()) <= set(DIGITS)
            assert utterance.speaker is not None
            assert utterance.speaker.split("+")[0] in ACCENTS
    assert sizes == {"train": 7, "dev": 3, "test": 4}


def test_150_utterances_have_600_words_of_every_digit() -> None:
    counts: Counter[str] = Counter()
    config = DigitsConfig()
    for index in range(config.num_test):
        counts.update(speak_digits("test", index, config)[0].split())
    assert counts.total() == 600
    assert set(counts) == set(DIGITS)
    assert min(counts.values()) >= 40


@pytest.mark.parametrize("snr_db", [0.0, 12.0])
def test_noise_has_the_stated_ratio_to_speech(snr_db: float) -> None:
    for index in range(6):
        _, _, clean = speak_digits("dev", index, DigitsConfig(min_snr_db=100, max_snr_db=100))
        noisy_config = DigitsConfig(min_snr_db=snr_db, max_snr_db=snr_db)
        _, _, noisy = speak_digits("dev", index, noisy_config)
        x, y = clean.samples.astype(np.float64), noisy.samples.astype(np.float64)
        gain = (x @ y) / (x @ x)
        noise_power = np.mean((y - gain * x) ** 2)
        # The ratio is stated over the speech, without the silence around it.
        spoken = np.flatnonzero(np.abs(x) > 1e-3 * np.abs(x).max())
        speech_power = np.mean((gain * x[spoken[0] : spoken[-1] + 1]) ** 2)
        assert 10 * np.log10(speech_power / noise_power) == pytest.approx(snr_db, abs=1.0)


def test_levels_vary_and_nothing_clips() -> None:
    peaks_db = []
    for index in range(30):
        samples = speak_digits("train", index, DigitsConfig())[2].samples
        peaks_db.append(20 * np.log10(np.abs(samples).max()))
    assert -26.01 <= min(peaks_db) < -20
    assert -6 < max(peaks_db) <= -0.99


def test_speech_begins_and_ends_inside() -> None:
    config = DigitsConfig(min_snr_db=100, max_snr_db=100)
    for index in range(10):
        waveform = speak_digits("train", index, config)[2]
        loud = np.flatnonzero(np.abs(waveform.samples) > 0.02 * np.abs(waveform.samples).max())
        assert loud[0] >= 0.05 * 16000
        assert loud[-1] <= len(waveform.samples) - 0.05 * 16000


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*train-00000\.wav"):
        find(tmp_path / "file", SMALL)


def test_an_empty_range_of_noise_is_refused() -> None:
    with pytest.raises(ConfigError, match="min_snr_db must be at most max_snr_db"):
        parse_options(DigitsConfig, {"min_snr_db": 30, "max_snr_db": 10}, "--set")


def test_the_sample_speech_in_the_repository_is_reproducible(tmp_path: Path) -> None:
    script = ROOT / "tools" / "make_sample_speech.py"
    subprocess.run([sys.executable, str(script), "--out", str(tmp_path)], check=True)
    committed = read_manifest(ROOT / "data" / "digits" / "manifest.jsonl")
    made = read_manifest(tmp_path / "manifest.jsonl")
    assert [replace(one, audio_path=Path(one.audio_path.name)) for one in made] == [
        replace(one, audio_path=Path(one.audio_path.name)) for one in committed
    ]
    for ours, theirs in zip(made, committed, strict=True):
        difference = read_audio(ours.audio_path).samples - read_audio(theirs.audio_path).samples
        # Resampling and noise may round differently on another processor.
        assert np.abs(difference).max() <= 3 / 32768
    size = sum(path.stat().st_size for path in (ROOT / "data" / "digits").iterdir())
    assert size < 300 * 1024


def test_foreign_accents_and_oh_change_nothing_else() -> None:
    """Words and pauses stay; who has the accent depends on the utterance, not on the share."""
    plain = DigitsConfig()
    some, every = (plain.model_copy(update={"foreign_share": share}) for share in (0.4, 1.0))
    oh = plain.model_copy(update={"oh_share": 1.0})
    num_foreign = 0
    for index in range(30):
        text, voice, waveform = speak_digits("train", index, plain)
        assert voice.language in ACCENTS
        foreign_text, foreign, _ = speak_digits("train", index, every)
        assert foreign_text == text
        assert foreign.language in FOREIGN
        assert replace(foreign, language=voice.language) == voice
        _, sometimes, heard = speak_digits("train", index, some)
        assert sometimes in (voice, foreign)
        num_foreign += sometimes == foreign
        if sometimes == voice:
            assert heard.samples.tobytes() == waveform.samples.tobytes()
        assert speak_digits("train", index, oh)[0] == text.replace(DIGITS[0], OH)
    assert 6 <= num_foreign <= 18


def test_foreign_spellings_are_said_as_the_digits() -> None:
    """Each is one short word of its language: not spelled letter by letter, and not silent."""
    assert set(FOREIGN) <= set(list_languages())
    for language, spellings in FOREIGN.items():
        assert tuple(spellings) == (*DIGITS, OH)
        length_s = {
            word: synthesize(spelling, Voice(language, rate_wpm=160)).duration_s
            for word, spelling in spellings.items()
        }
        assert min(length_s.values()) > 0.1, (language, length_s)
        assert max(length_s.values()) < 0.9, (language, length_s)
