"""What spoken corpora share: voices held apart by their vocal tracts, noise, and processes."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from asr.audio import Waveform
from asr.corpora import synthetic
from asr.corpora.synthetic import (
    ACCENTS,
    FAMILIES,
    SynthesisOptions,
    coloured_noise,
    draw_voice,
    in_processes,
    mains_hum,
    place,
    speaker_name,
    split_families,
)
from asr.errors import MissingExtraError, require_extra
from asr.synthesis import Voice, list_languages, list_variants

espeakng_loader = pytest.importorskip("espeakng_loader", reason="voices need the extra 'demo'")


def variant_formants(variant: str) -> dict[int, tuple[str, ...]]:
    """Formant lines of a variant as eSpeak NG's own file has them: number to its settings."""
    path = Path(espeakng_loader.get_data_path()) / "voices" / "!v" / variant
    formants = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split("//")[0].split()
        if len(words) > 2 and words[0] == "formant":
            formants[int(words[1])] = tuple(words[2:5])
    return formants


def test_every_voice_exists_once() -> None:
    variants = [variant for family in FAMILIES for variant in family]
    assert len(set(variants)) == len(variants)
    assert set(variants) <= set(list_variants())
    assert set(ACCENTS) <= set(list_languages())


def test_splits_share_no_family_and_use_all() -> None:
    splits = split_families()
    assert {name: len(families) for name, families in splits.items()} == {
        "test": 12,
        "dev": 8,
        "train": len(FAMILIES) - 20,
    }
    assert sorted(family for families in splits.values() for family in families) == sorted(FAMILIES)
    # The choice is fixed: another one would make published error rates incomparable.
    assert [family[0] for family in splits["dev"]] == (
        ["Andrea", "pablo", "edward", "m2", "shelby", "f1", "robert", "announcer"]
    )


def test_voices_that_share_their_formants_are_one_family() -> None:
    family_of = {variant: number for number, family in enumerate(FAMILIES) for variant in family}
    home: dict[tuple[tuple[str, ...], ...], int] = {}
    for variant, number in family_of.items():
        formants = variant_formants(variant)
        key = tuple((formants.get(n, ()) + ("100",) * 3)[:3] for n in range(6))
        assert home.setdefault(key, number) == number, variant


def test_vocal_tracts_are_human() -> None:
    for variant in (variant for family in FAMILIES for variant in family):
        formants = variant_formants(variant)
        for number in (1, 2):
            percent = int(formants.get(number, ("100",))[0])
            assert 70 <= percent <= 140, variant


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_falls_as_its_exponent_says(exponent: float) -> None:
    noise = coloured_noise(100_000, exponent, np.random.default_rng(3))
    assert noise.shape == (100_000,)
    assert np.mean(noise**2) == pytest.approx(1)
    # Welch's estimate, then a line through log power over log frequency.
    frames = noise[: 97 * 1024].reshape(97, 1024) * np.hanning(1024)
    power = np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0)[4:400]
    slope = np.polyfit(np.log(np.arange(4, 400)), np.log(power), 1)[0]
    assert -slope == pytest.approx(exponent, abs=0.1)


def test_noise_of_one_sample_is_possible() -> None:
    assert np.abs(coloured_noise(1, 1.0, np.random.default_rng(0))) == pytest.approx([1.0])


def test_hum_is_on_harmonics_of_the_mains() -> None:
    for seed in range(4):
        hum = mains_hum(16000, 16000, np.random.default_rng(seed))  # one second: bins of 1 Hz
        power = np.abs(np.fft.rfft(hum)) ** 2
        lines = set(np.flatnonzero(power > 1e-9 * power.max()).tolist())
        assert lines <= {50 * n for n in range(1, 8)} or lines <= {60 * n for n in range(1, 8)}
        assert np.mean(hum**2) == pytest.approx(1)


def test_families_take_turns() -> None:
    families = (("f1",), ("m1", "m2"), ("croak",))
    rng = np.random.default_rng(0)
    voices = [draw_voice(families, turn, ("tr", "de"), rng) for turn in range(60)]
    assert all(voices[turn].variant in families[turn % 3] for turn in range(60))
    assert {voice.variant for voice in voices} == {"f1", "m1", "m2", "croak"}
    assert {voice.language for voice in voices} == {"tr", "de"}
    assert len({voice.rate_wpm for voice in voices}) > 20


def test_a_speaker_is_one_word() -> None:
    assert speaker_name(Voice("en-gb", "Mr serious")) == "en-gb+Mr_serious"


@pytest.mark.parametrize("rate_hz", [8000, 22050])
def test_speech_is_placed_in_the_middle_of_silence(rate_hz: int) -> None:
    speech = Waveform(np.full(rate_hz // 2, 0.5, np.float32), rate_hz)
    options = SynthesisOptions(min_snr_db=100, max_snr_db=100)
    for seed in range(10):
        placed = place(speech, options, np.random.default_rng(seed))
        assert placed.sample_rate_hz == rate_hz
        loud = np.flatnonzero(placed.samples > 0.5 * placed.samples.max())
        assert len(loud) == rate_hz // 2
        lead_s, tail_s = loud[0] / rate_hz, (len(placed.samples) - loud[-1]) / rate_hz
        assert 0.049 <= lead_s <= 0.4
        assert 0.049 <= tail_s <= 0.401
        assert -26.01 <= 20 * np.log10(np.abs(placed.samples).max()) <= -0.99


def square(number: int) -> int:
    return number * number


@pytest.mark.parametrize("num_workers", [1, 2])
def test_endless_jobs_give_their_results_in_order(
    num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "_MIN_PARALLEL_JOBS", 3)
    monkeypatch.setattr(synthetic, "_JOBS_AHEAD", 5)
    results = in_processes(square, itertools.count(), num_workers)
    assert list(itertools.islice(results, 23)) == [number * number for number in range(23)]
    results.close()


def test_no_more_jobs_are_drawn_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "_MIN_PARALLEL_JOBS", 3)
    jobs = iter(range(100))
    assert list(itertools.islice(in_processes(square, jobs, 1), 4)) == [0, 1, 4, 9]
    assert next(jobs) == 4


def test_few_jobs_are_done_in_this_process() -> None:
    done: list[int] = []  # seen here only if no other process did it
    assert list(in_processes(done.append, [1, 2], 4)) == [None, None]
    assert done == [1, 2]


def count_threads(_: int) -> int:
    with require_extra("train", "counting threads"):
        import torch
    return torch.get_num_threads()


def test_each_process_computes_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(synthetic, "_MIN_PARALLEL_JOBS", 2)
    assert list(in_processes(count_threads, range(2), 2)) == [1, 1]


def test_processes_need_torch_only_where_their_jobs_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(name='torch')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(synthetic, "_MIN_PARALLEL_JOBS", 2)
    assert list(in_processes(square, range(2), 2)) == [0, 1]
    with pytest.raises(MissingExtraError, match=r"pip install .asr\[train\]"):
        list(in_processes(count_threads, range(2), 2))
