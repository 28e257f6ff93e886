"""Cached audio is the audio of the files, and never that of other files."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tones import RATE_HZ, write_tones

from asr import audio_cache
from asr.audio_cache import AudioFiles, cache_audio
from asr.errors import DataError
from asr.manifest import Utterance, read_manifest


@pytest.fixture
def utterances(tmp_path: Path) -> list[Utterance]:
    return read_manifest(write_tones(tmp_path, "x", 7, seed=3))


def test_the_cache_gives_what_the_files_give(utterances: list[Utterance], tmp_path: Path) -> None:
    for rate in (RATE_HZ, 5000):
        files = AudioFiles(tuple(utterances), rate)
        cached = cache_audio(utterances, rate, tmp_path / "cache")
        assert len(cached) == len(files) == 7
        for index in range(7):
            np.testing.assert_array_equal(cached.samples(index), files.samples(index))


def test_a_range_of_a_file_is_cached_as_that_range(tmp_path: Path) -> None:
    samples = np.arange(1000, dtype=np.float32) / 1000
    soundfile.write(tmp_path / "a.wav", samples, 1000, subtype="FLOAT")
    part = Utterance("a", tmp_path / "a.wav", 0.3, "", start_s=0.2)
    cached = cache_audio([part], 1000, tmp_path / "cache")
    np.testing.assert_allclose(cached.samples(0), samples[200:500])


def test_a_second_call_reads_no_audio(utterances: list[Utterance], tmp_path: Path) -> None:
    counted: list[None] = []
    cache_audio(utterances, RATE_HZ, tmp_path / "c", lambda: counted.append(None))
    assert len(counted) == 7
    again = cache_audio(utterances, RATE_HZ, tmp_path / "c", lambda: counted.append(None))
    assert len(counted) == 7
    assert len(again) == 7


def test_changed_audio_is_read_again(utterances: list[Utterance], tmp_path: Path) -> None:
    before = cache_audio(utterances, RATE_HZ, tmp_path / "c")
    path = utterances[0].audio_path
    samples, _ = soundfile.read(path, dtype="float32")
    soundfile.write(path, samples / 2, RATE_HZ)
    os.utime(path, ns=(1, 1))
    after = cache_audio(utterances, RATE_HZ, tmp_path / "c")
    np.testing.assert_allclose(after.samples(0), before.samples(0) / 2, atol=1e-4)


def test_what_another_release_read_is_read_again(
    utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_audio(utterances, RATE_HZ, tmp_path / "c")
    monkeypatch.setattr(audio_cache, "READING", audio_cache.READING + 1)
    counted: list[None] = []
    cache_audio(utterances, RATE_HZ, tmp_path / "c", lambda: counted.append(None))
    assert len(counted) == 7


def test_a_cut_cache_is_made_again(utterances: list[Utterance], tmp_path: Path) -> None:
    cached = cache_audio(utterances, RATE_HZ, tmp_path / "c")
    expected = cached.samples(6)
    cached.path.write_bytes(cached.path.read_bytes()[:-4])
    again = cache_audio(utterances, RATE_HZ, tmp_path / "c")
    np.testing.assert_array_equal(again.samples(6), expected)


def test_all_bad_audio_is_named_and_nothing_is_left(
    utterances: list[Utterance], tmp_path: Path
) -> None:
    for index in (1, 4):
        utterances[index].audio_path.write_bytes(b"no audio")
    with pytest.raises(DataError, match=r"2 of 7 utterances cannot be read: .*x1\.wav.*x4\.wav"):
        cache_audio(utterances, RATE_HZ, tmp_path / "c")
    assert list((tmp_path / "c").iterdir()) == []


def test_samples_may_be_changed(utterances: list[Utterance], tmp_path: Path) -> None:
    cached = cache_audio(utterances, RATE_HZ, tmp_path / "c")
    samples = cached.samples(0)
    samples[:] = 0
    assert cached.samples(0).any()


def test_workers_get_a_path_not_the_samples(utterances: list[Utterance], tmp_path: Path) -> None:
    cached = cache_audio(utterances, RATE_HZ, tmp_path / "c")
    expected = cached.samples(3)
    packed = pickle.dumps(cached)
    assert len(packed) < 2000
    np.testing.assert_array_equal(pickle.loads(packed).samples(3), expected)
