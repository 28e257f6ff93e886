"""Waveform augmentation: what training relies on, and what each effect claims to do."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.augment import AugmentConfig, SpecAugment, WaveformAugment, effects
from asr.augment.noise import NoiseLibrary
from asr.config import parse_options
from asr.errors import ConfigError, DataError
from asr.threads import cpu_threads

RATE_HZ = 16000
QUICK = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tone(num_samples: int = 8000, hz: float = 440.0, peak: float = 0.3) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hz * np.arange(num_samples) / RATE_HZ)).astype(np.float32)


def energy(samples: np.ndarray | Tensor) -> float:
    return float(np.sum(np.asarray(samples, np.float64) ** 2))


@pytest.fixture(scope="module")
def noise_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three noises: short at 16 kHz, long at 8 kHz in a subdirectory, stereo FLAC at 44.1 kHz."""
    directory = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    (directory / "deep").mkdir()
    soundfile.write(directory / "a.wav", 0.1 * rng.standard_normal(1000), 16000)
    soundfile.write(directory / "deep" / "b.wav", 0.1 * rng.standard_normal(16000), 8000)
    soundfile.write(directory / "C.FLAC", 0.1 * rng.standard_normal((9000, 2)), 44100)
    (directory / "readme.txt").write_text("not audio")
    return directory


def everything(directory: Path, **changes: Any) -> AugmentConfig:
    """All stages on, each for three quarters of the utterances; `changes` replace sections."""
    sections: dict[str, Any] = {
        "speed": {"probability": 0.75},
        "quiet": {"probability": 0.75, "max_s": 0.5},
        "reverb": {"probability": 0.75},
        "noise": {"probability": 0.75, "directory": directory},
        "gain": {"probability": 0.75, "low_db": -20, "high_db": 20},
        "telephone": {"probability": 0.75},
    }
    return parse_options(AugmentConfig, {**sections, **changes}, "test")


# --- composition ---------------------------------------------------------------------------------


def test_everything_is_off_by_default() -> None:
    config = AugmentConfig()
    assert not config.changes_waveform and not config.changes_features
    samples = tone()
    assert WaveformAugment(config)(samples, RATE_HZ, seeded(0)) is samples
    features = torch.randn(2, 50, 8)
    masked = SpecAugment(config.spec)(features, torch.tensor([50, 20]), seeded(0))
    assert torch.equal(masked, features)


@pytest.mark.parametrize("section", ["speed", "quiet", "reverb", "noise", "gain", "telephone"])
def test_changes_waveform_says_whether_a_stage_is_on(section: str, noise_directory: Path) -> None:
    values: dict[str, Any] = {"probability": 0.1}
    if section == "noise":
        values["directory"] = noise_directory
    config = parse_options(AugmentConfig, {section: values}, "test")
    assert config.changes_waveform and not config.changes_features


@QUICK
@given(seed=st.integers(0, 2**32), num_samples=st.integers(1, 6000), peak=st.floats(0, 1))
def test_results_are_finite_and_within_one(
    noise_directory: Path, seed: int, num_samples: int, peak: float
) -> None:
    samples = tone(num_samples, peak=peak)
    before = samples.copy()
    changed = WaveformAugment(everything(noise_directory))(samples, RATE_HZ, seeded(seed))
    assert changed.dtype == np.float32 and changed.ndim == 1 and len(changed) > 0
    assert np.isfinite(changed).all() and np.abs(changed).max() <= 1
    assert np.array_equal(samples, before)  # the argument is not changed


@QUICK
@given(seed=st.integers(0, 2**32))
def test_one_seed_gives_one_result(noise_directory: Path, seed: int) -> None:
    config = everything(noise_directory)
    first = WaveformAugment(config)
    result = first(tone(), RATE_HZ, seeded(seed))
    first(tone(3000), RATE_HZ, seeded(seed + 1))  # what it did before has no influence
    assert np.array_equal(first(tone(), RATE_HZ, seeded(seed)), result)
    assert np.array_equal(WaveformAugment(config)(tone(), RATE_HZ, seeded(seed)), result)
    tensor = first(torch.from_numpy(tone()), RATE_HZ, seeded(seed))
    assert isinstance(tensor, Tensor) and np.array_equal(tensor.numpy(), result)


def test_seeds_differ(noise_directory: Path) -> None:
    augment = WaveformAugment(everything(noise_directory))
    results = {augment(tone(), RATE_HZ, seeded(seed)).tobytes() for seed in range(20)}
    assert len(results) >= 19  # one in 4096 draws changes nothing


def test_a_call_takes_the_same_from_the_generator_whatever_is_on(noise_directory: Path) -> None:
    states = []
    for config in (AugmentConfig(), everything(noise_directory)):
        generator = seeded(3)
        WaveformAugment(config)(tone(), RATE_HZ, generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("seed", range(8))
def test_a_stage_draws_the_same_whatever_the_others_do(noise_directory: Path, seed: int) -> None:
    off = {"probability": 0.0}
    others = {"speed": off, "quiet": off, "noise": off, "telephone": off}
    alone = everything(noise_directory, reverb=off, **others)
    with_reverb = everything(noise_directory, **others)
    samples = tone(peak=0.01)  # quiet, so that no peak is limited
    # Reverberation keeps the energy, so the gain can be read from the energy of both results.
    first = WaveformAugment(alone)(samples, RATE_HZ, seeded(seed))
    second = WaveformAugment(with_reverb)(samples, RATE_HZ, seeded(seed))
    assert energy(first) == pytest.approx(energy(second), rel=1e-4)


def test_a_higher_probability_keeps_the_draws_of_those_that_had_the_stage() -> None:
    def gains(probability: float) -> list[float]:
        config = parse_options(AugmentConfig, {"gain": {"probability": probability}}, "test")
        augment = WaveformAugment(config)
        return [float(augment(tone(99), RATE_HZ, seeded(seed)).max()) for seed in range(200)]

    rarely, often = gains(0.3), gains(0.8)
    unchanged = float(tone(99).max())
    happened = [gain != unchanged for gain in rarely]
    assert 40 <= sum(happened) <= 80  # 60 expected, three standard deviations
    assert 140 <= sum(gain != unchanged for gain in often) <= 180
    assert all(a == b for a, b, yes in zip(rarely, often, happened, strict=True) if yes)


@pytest.mark.filterwarnings("ignore:This process .* multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_give_the_same(noise_directory: Path, method: str) -> None:
    augment = WaveformAugment(everything(noise_directory))
    with cpu_threads(1):
        here = [augment(tone(), RATE_HZ, seeded(seed)) for seed in range(4)]
    context = multiprocessing.get_context(method)
    with context.Pool(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        there = pool.starmap(_call, [(augment, seed) for seed in range(4)])
    assert all(np.array_equal(a, b) for a, b in zip(here, there, strict=True))


def _call(augment: WaveformAugment, seed: int) -> np.ndarray:
    return augment(tone(), RATE_HZ, seeded(seed))


def test_pickles_leave_the_cached_noise_behind(noise_directory: Path) -> None:
    augment = WaveformAugment(everything(noise_directory))
    fresh = len(pickle.dumps(augment))
    for seed in range(20):
        augment(tone(), RATE_HZ, seeded(seed))
    assert len(pickle.dumps(augment)) < fresh + 1000


def test_read_only_samples_are_taken(noise_directory: Path) -> None:
    samples = tone()
    samples.flags.writeable = False
    WaveformAugment(everything(noise_directory))(samples, RATE_HZ, seeded(0))


def test_loud_results_are_scaled_down_not_clipped() -> None:
    config = parse_options(
        AugmentConfig, {"gain": {"probability": 1, "low_db": 30, "high_db": 30}}, "test"
    )
    samples = tone()
    changed = WaveformAugment(config)(samples, RATE_HZ, seeded(0))
    assert np.abs(changed).max() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(changed, samples / np.abs(samples).max(), atol=1e-6)


@pytest.mark.parametrize(
    "samples", [np.zeros((2, 100), np.float32), np.zeros(100), torch.zeros(10, dtype=torch.int16)]
)
def test_wrong_samples_are_refused(samples: Any) -> None:
    with pytest.raises(DataError, match=r"samples must be \(num_samples,\) float32"):
        WaveformAugment(AugmentConfig())(samples, RATE_HZ, seeded(0))


@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        ({"speed": {"factors": []}}, "speed.factors", "at least 1 item"),
        ({"speed": {"factors": [0.9, 2.5]}}, "speed.factors", "0.5 to 2"),
        ({"speed": {"factors": [0.905]}}, "speed.factors", "multiple of 0.01"),
        ({"speed": {"probability": 1.5}}, "speed.probability", "less than or equal to 1"),
        ({"quiet": {"max_s": 61}}, "quiet.max_s", "less than or equal to 60"),
        ({"quiet": {"high_db": 20}}, "quiet.high_db", "at least low_db (25)"),
        ({"reverb": {"low_rt60_s": 0.6}}, "reverb.high_rt60_s", "at least low_rt60_s (0.6)"),
        ({"reverb": {"low_drr_db": 20}}, "reverb.high_drr_db", "at least low_drr_db"),
        ({"reverb": {"low_rt60_s": 0}}, "reverb.low_rt60_s", "0.01"),
        ({"noise": {"probability": 0.5}}, "noise.directory", "must name a directory"),
        ({"noise": {"high_snr_db": -5}}, "noise.high_snr_db", "at least low_snr_db (5)"),
        ({"noise": {"low_snr_db": math.nan}}, "noise.low_snr_db", "less than or equal"),
        ({"gain": {"low_db": 3, "high_db": 2}}, "gain.high_db", "at least low_db (3)"),
        ({"spec": {"max_time_fraction": 1.1}}, "spec.max_time_fraction", "less than or equal"),
        ({"spec": {"num_time_masks": -1}}, "spec.num_time_masks", "greater than or equal"),
        ({"spec": {"value": "max"}}, "spec.value", "'zero' or 'mean'"),
        ({"gain": {"high": 2}}, "gain.high", "did you mean `high_db`"),
    ],
)
def test_wrong_settings_are_refused_by_name(
    values: dict[str, Any], name: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_options(AugmentConfig, values, "a.toml")
    assert f"`{name}`" in str(caught.value) and message in str(caught.value)


# --- speed and gain ------------------------------------------------------------------------------


@settings(max_examples=40)
@given(percent=st.integers(50, 200), num_samples=st.integers(1, 5000))
def test_speed_divides_the_duration(percent: int, num_samples: int) -> None:
    changed = effects.change_speed(torch.from_numpy(tone(num_samples)), percent / 100)
    assert len(changed) == math.ceil(num_samples * 100 / percent)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 1.37, 2.0])
def test_speed_multiplies_the_pitch(factor: float) -> None:
    changed = effects.change_speed(torch.from_numpy(tone(16000, hz=500)), factor)
    middle = changed[1000:-1000].numpy()
    expected = tone(len(changed), hz=500 * factor)[1000:-1000]
    np.testing.assert_allclose(middle, expected, atol=2e-3)


def test_speed_one_is_the_utterance_itself() -> None:
    samples = torch.from_numpy(tone())
    assert effects.change_speed(samples, 1.0) is samples


def test_all_speed_factors_are_drawn() -> None:
    config = parse_options(
        AugmentConfig, {"speed": {"probability": 1, "factors": [0.8, 1.0, 1.25]}}, "test"
    )
    augment = WaveformAugment(config)
    lengths = [len(augment(tone(1000), RATE_HZ, seeded(seed))) for seed in range(90)]
    assert set(lengths) == {1250, 1000, 800}
    assert min(lengths.count(length) for length in set(lengths)) >= 15  # 30 expected


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_gain_is_within_its_range(seed: int) -> None:
    config = parse_options(
        AugmentConfig, {"gain": {"probability": 1, "low_db": -9, "high_db": 3}}, "test"
    )
    changed = WaveformAugment(config)(tone(), RATE_HZ, seeded(seed))
    gain_db = 10 * math.log10(energy(changed) / energy(tone()))
    assert -9.001 <= gain_db <= 3.001
    np.testing.assert_allclose(changed, tone() * 10 ** (gain_db / 20), atol=1e-5)


def test_six_decibels_double() -> None:
    doubled = effects.apply_gain(torch.ones(3), 6.0206)
    torch.testing.assert_close(doubled, torch.full((3,), 2.0), atol=1e-4, rtol=0)


# --- noise ---------------------------------------------------------------------------------------


@QUICK
@given(seed=st.integers(0, 2**32), snr_db=st.floats(-10, 40), num_samples=st.integers(500, 30000))
def test_noise_has_the_drawn_ratio(
    noise_directory: Path, seed: int, snr_db: float, num_samples: int
) -> None:
    noise = {"probability": 1, "directory": noise_directory}
    noise |= {"low_snr_db": snr_db, "high_snr_db": snr_db}
    config = parse_options(AugmentConfig, {"noise": noise}, "test")
    speech = tone(num_samples, peak=0.02)
    changed = WaveformAugment(config)(speech, RATE_HZ, seeded(seed))
    added = changed.astype(np.float64) - speech
    assert abs(10 * math.log10(energy(speech) / energy(added)) - snr_db) < 0.1


def test_noise_ratios_fill_their_range(noise_directory: Path) -> None:
    noise = {"probability": 1, "directory": noise_directory}
    noise |= {"low_snr_db": 0, "high_snr_db": 10}
    augment = WaveformAugment(parse_options(AugmentConfig, {"noise": noise}, "test"))
    speech = tone(2000, peak=0.02)
    ratios = [
        10 * math.log10(energy(speech) / energy(augment(speech, RATE_HZ, seeded(seed)) - speech))
        for seed in range(100)
    ]
    counts, _ = np.histogram(ratios, bins=4, range=(0, 10))
    assert counts.sum() == 100 and counts.min() >= 10  # 25 expected in each quarter


@pytest.mark.parametrize("silent", ["speech", "noise"])
def test_silence_has_no_ratio_and_stays(silent: str) -> None:
    speech, noise = torch.from_numpy(tone(100)), torch.randn(100, generator=seeded(0))
    (speech if silent == "speech" else noise).zero_()
    assert torch.equal(effects.mix_noise(speech, noise, 10.0), speech)


def test_long_noise_is_cropped_and_short_noise_repeated(tmp_path: Path) -> None:
    ramp = np.arange(1, 101, dtype=np.float32) / 1000
    soundfile.write(tmp_path / "ramp.wav", ramp, RATE_HZ, subtype="FLOAT")
    library = NoiseLibrary(tmp_path, max_cached_s=10)
    starts, begins = set(), set()
    for seed in range(50):
        crop = library.excerpt(30, RATE_HZ, seeded(seed)).numpy()
        start = round(float(crop[0]) * 1000) - 1
        np.testing.assert_array_equal(crop, ramp[start : start + 30])
        starts.add(start)
        looped = library.excerpt(250, RATE_HZ, seeded(seed)).numpy()
        begin = round(float(looped[0]) * 1000) - 1
        np.testing.assert_array_equal(looped, np.tile(ramp, 4)[begin : begin + 250])
        begins.add(begin)
    assert min(begins) < 10 and max(begins) > 90 and len(begins) > 20
    assert min(starts) < 10 and max(starts) > 60 and len(starts) > 20


def test_noise_comes_from_every_file_resampled(noise_directory: Path) -> None:
    library = NoiseLibrary(noise_directory, max_cached_s=10)
    names = [path.relative_to(noise_directory).as_posix() for path in library.paths]
    assert names == ["C.FLAC", "a.wav", "deep/b.wav"]
    for seed in range(30):
        library.excerpt(100, RATE_HZ, seeded(seed))
    # 1000 / 16000 + 16000 / 8000 + 9000 / 44100 seconds, kept whatever the rate is.
    assert library.cached_s == pytest.approx(2.2666, abs=1e-3)


def test_the_cache_is_bounded_and_has_no_influence(noise_directory: Path) -> None:
    large = NoiseLibrary(noise_directory, max_cached_s=100)
    small = NoiseLibrary(noise_directory, max_cached_s=2.1)  # holds b, or a and C
    for seed in range(30):
        expected = large.excerpt(500, RATE_HZ, seeded(seed))
        assert torch.equal(small.excerpt(500, RATE_HZ, seeded(seed)), expected)
        assert small.cached_s <= 2.1


def test_a_file_beyond_the_cache_is_read_in_part(tmp_path: Path) -> None:
    ramp = np.linspace(0.1, 0.9, 8000, dtype=np.float32)
    soundfile.write(tmp_path / "ramp.wav", ramp, RATE_HZ, subtype="FLOAT")
    library = NoiseLibrary(tmp_path, max_cached_s=0.1)
    starts = []
    for seed in range(20):
        crop = library.excerpt(400, RATE_HZ, seeded(seed)).numpy()
        start = int(np.abs(ramp - crop[0]).argmin())
        np.testing.assert_array_equal(crop, ramp[start : start + 400])
        starts.append(start)
        assert len(library.excerpt(20000, RATE_HZ, seeded(seed))) == 20000
    assert library.cached_s == 0 and max(starts) - min(starts) > 2000


def test_a_directory_without_audio_is_refused(tmp_path: Path) -> None:
    noise = {"noise": {"probability": 0.1, "directory": tmp_path}}
    (tmp_path / "notes.txt").write_text("no audio here")
    with pytest.raises(DataError, match="holds no audio file"):
        WaveformAugment(parse_options(AugmentConfig, noise, "test"))
    noise["noise"]["directory"] = tmp_path / "missing"
    with pytest.raises(DataError, match="missing or not a directory"):
        WaveformAugment(parse_options(AugmentConfig, noise, "test"))


def test_hidden_files_are_no_noise(noise_directory: Path, tmp_path: Path) -> None:
    # macOS leaves them beside every file on a disk that is not its own; they hold no audio.
    shutil.copytree(noise_directory, tmp_path / "noise")
    (tmp_path / "noise" / "._a.wav").write_bytes(b"\0\5\x16\7")
    (tmp_path / "noise" / ".trash").mkdir()
    shutil.copy(noise_directory / "a.wav", tmp_path / "noise" / ".trash")
    names = [path.name for path in NoiseLibrary(tmp_path / "noise", 10).paths]
    assert names == [path.name for path in NoiseLibrary(noise_directory, 10).paths]


def test_halves_of_the_noise_share_no_file(noise_directory: Path) -> None:
    names = {
        files: [path.name for path in NoiseLibrary(noise_directory, 10, files).paths]
        for files in ("all", "even", "odd")
    }
    assert names == {
        "all": ["C.FLAC", "a.wav", "b.wav"],
        "even": ["C.FLAC", "b.wav"],
        "odd": ["a.wav"],
    }
    with pytest.raises(DataError, match="no file at odd places"):
        NoiseLibrary(noise_directory / "deep", 10, "odd")
    noise = {"probability": 1, "directory": noise_directory / "deep", "files": "odd"}
    with pytest.raises(DataError, match="no file at odd places"):
        WaveformAugment(parse_options(AugmentConfig, {"noise": noise}, "test"))


def test_an_unreadable_noise_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_text("not audio at all")
    with pytest.raises(DataError, match=r"broken\.wav"):
        NoiseLibrary(tmp_path, 10).excerpt(10, RATE_HZ, seeded(0))


@pytest.mark.skipif("ASR_CORPORA" not in os.environ, reason="ASR_CORPORA is not set")
def test_real_noise_at_its_ratio() -> None:
    noise = {"probability": 1, "directory": Path(os.environ["ASR_CORPORA"]) / "noise_esc10"}
    noise |= {"low_snr_db": 12, "high_snr_db": 12}
    augment = WaveformAugment(parse_options(AugmentConfig, {"noise": noise}, "test"))
    speech = tone(48000, peak=0.05)
    ratios = []
    for seed in range(6):
        added = augment(speech, RATE_HZ, seeded(seed)).astype(np.float64) - speech
        ratios.append(10 * math.log10(energy(speech) / energy(added)))
    np.testing.assert_allclose(ratios, 12, atol=0.1)


# --- reverberation -------------------------------------------------------------------------------


@QUICK
@given(seed=st.integers(0, 2**32), num_samples=st.integers(1, 20000))
def test_reverberation_keeps_length_and_energy(seed: int, num_samples: int) -> None:
    config = parse_options(AugmentConfig, {"reverb": {"probability": 1}}, "test")
    samples = tone(num_samples + 1, peak=0.05)
    changed = WaveformAugment(config)(samples, RATE_HZ, seeded(seed))
    assert len(changed) == len(samples)
    assert energy(changed) == pytest.approx(energy(samples), rel=1e-4)


def test_the_direct_sound_stays_where_it_is() -> None:
    config = parse_options(AugmentConfig, {"reverb": {"probability": 1}}, "test")
    click = np.zeros(8000, np.float32)
    click[1000] = 0.5
    changed = WaveformAugment(config)(click, RATE_HZ, seeded(0))
    assert np.abs(changed).argmax() == 1000
    assert np.abs(changed[:1000]).max() < 1e-6
    assert np.abs(changed[1001:]).max() > 1e-4


def test_the_room_decays_by_60_db_in_its_time_at_its_ratio() -> None:
    tail = torch.randn(16000, generator=seeded(0))
    room = effects.room_response(tail, rt60_samples=16000, drr_db=7).double()
    assert room[0] == 1
    assert 10 * math.log10(1 / energy(room[1:])) == pytest.approx(7, abs=0.01)
    level_db = [10 * math.log10(energy(room[at : at + 1000])) for at in (1, 4001, 8001, 12001)]
    np.testing.assert_allclose(np.diff(level_db), -15, atol=1.5)  # a quarter of the time each


def test_fft_convolution_equals_the_sum() -> None:
    samples, response = torch.from_numpy(tone(512)), torch.randn(50, generator=seeded(0))
    expected = np.convolve(samples.numpy(), response.numpy())[:512]
    expected *= math.sqrt(energy(samples) / energy(expected))
    np.testing.assert_allclose(effects.convolve(samples, response), expected, atol=1e-5)


def test_silence_stays_silent_in_a_room() -> None:
    assert not effects.convolve(torch.zeros(100), torch.ones(10)).any()
