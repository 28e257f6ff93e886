"""`tools/robustness.py`: what it does to audio, and the table it prints."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from conftest import ToneModel
from scipy import signal
from tones import write_tones

from asr.audio import Waveform
from asr.augment.noise import NoiseLibrary
from asr.cli.decoding_options import DecodingOptions
from asr.errors import DataError
from asr.wer import ErrorCounts

RATE_HZ = 16000
PATH = Path(__file__).parents[1] / "tools" / "robustness.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("robustness", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Noise at odd places, silence at even ones, which would change nothing."""
    directory = tmp_path / "noise"
    directory.mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        samples = rng.uniform(-0.5, 0.5, 8000) * (index % 2)
        soundfile.write(directory / f"{index}.wav", samples, RATE_HZ)
    return directory


def speech_like(num_samples: int, seed: int = 0, peak: float = 0.3) -> np.ndarray:
    """Noise below 2 kHz whose level comes and goes four times a second."""
    noise = np.random.default_rng(seed).standard_normal(num_samples)
    low = signal.lfilter(*signal.butter(4, 2000, fs=RATE_HZ), noise)
    low *= 1 + np.sin(2 * np.pi * 4 * np.arange(num_samples) / RATE_HZ)
    return np.asarray(peak * low / np.abs(low).max(), np.float32)


@pytest.mark.parametrize("num_samples", [8000, 16123, 40001])
def test_mp3_keeps_length_and_place(tool: ModuleType, num_samples: int) -> None:
    samples = speech_like(num_samples)
    heard = tool.mp3(torch.from_numpy(samples), RATE_HZ).numpy()
    assert heard.shape == samples.shape
    error = np.sum((heard - samples) ** 2) / np.sum(samples**2)
    shifted = np.sum((heard[1:] - samples[:-1]) ** 2) / np.sum(samples**2)
    assert 1e-6 < error < 0.05  # something was lost, and little
    assert error < shifted / 2


def test_mp3_has_its_bit_rate(tool: ModuleType) -> None:
    encoded = tool.encode_mp3(speech_like(10 * RATE_HZ))
    # Frame header: MPEG-2 layer III is 0xFFF2 or, without a checksum, 0xFFF3; then four bits of
    # bit rate, of which 0100 is 32 kbit/s, and two of sampling rate, of which 10 is 16 kHz.
    assert encoded[0] == 0xFF and encoded[1] & 0xFE == 0xF2
    assert encoded[2] >> 4 == 0b0100 and encoded[2] >> 2 & 0b11 == 0b10
    assert len(encoded) * 8 / 10 == pytest.approx(32000, rel=0.03)


@pytest.mark.parametrize("rate", [8000, 22050])
def test_mp3_takes_other_rates(tool: ModuleType, rate: int) -> None:
    samples = 0.3 * np.sin(2 * np.pi * 500 * np.arange(rate) / rate).astype(np.float32)
    heard = tool.mp3(torch.from_numpy(samples), rate).numpy()
    middle = slice(rate // 10, -rate // 10)
    np.testing.assert_allclose(heard[middle], samples[middle], atol=0.03)
    assert len(heard) == rate


def test_mp3_of_silence_is_silence(tool: ModuleType) -> None:
    assert float(tool.mp3(torch.zeros(5000), RATE_HZ).abs().max()) < 1e-4


def degraded(tool: ModuleType, noise: Path, name: str, draw: str = "0 a") -> np.ndarray:
    effects = tool.all_effects(NoiseLibrary(noise, 100, "odd"))
    return np.asarray(
        tool.degrade(Waveform(speech_like(16000), RATE_HZ), effects[name], draw).samples
    )


@pytest.mark.parametrize("snr_db", [20, 10, 5])
def test_noise_has_its_ratio(tool: ModuleType, noise: Path, snr_db: int) -> None:
    samples = speech_like(16000)
    added = degraded(tool, noise, f"noise, {snr_db} dB") - samples
    ratio = np.sum(samples.astype(float) ** 2) / np.sum(added.astype(float) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.01)


def test_levels_and_speeds_are_what_they_are_called(tool: ModuleType, noise: Path) -> None:
    samples = speech_like(16000, peak=0.9)
    louder = tool.louder(6.0)(torch.from_numpy(samples), RATE_HZ, torch.Generator()).numpy()
    np.testing.assert_allclose(louder, np.clip(1.9953 * samples, -1, 1), atol=1e-3)
    assert np.abs(louder).max() == 1
    softer = degraded(tool, noise, "level - 6 dB")
    np.testing.assert_allclose(softer, speech_like(16000) / 1.9953, atol=1e-4)
    assert len(degraded(tool, noise, "speed × 0.85")) == 18824  # 16000 / 0.85, rounded up
    assert len(degraded(tool, noise, "speed × 1.15")) == 13914


def test_far_field_decays_by_60_db_in_its_time(tool: ModuleType) -> None:
    """Schroeder's backward integration of what a click becomes, from -5 to -25 dB, times three."""
    click = torch.zeros(RATE_HZ)
    click[0] = 0.5
    for seed in range(8):
        response = tool.far_field(click, RATE_HZ, torch.Generator().manual_seed(seed)).numpy()
        tail = response[1:].astype(float) ** 2
        assert response[0] ** 2 == pytest.approx(tail.sum(), rel=1e-3)
        left_db = 10 * np.log10(np.cumsum(tail[::-1])[::-1] / tail.sum() + 1e-12)
        decay = np.argmax(left_db < -25) - np.argmax(left_db < -5)
        assert 0.27 < 3 * decay / RATE_HZ < 0.66


def test_draws_depend_on_seed_and_id_alone(tool: ModuleType, noise: Path) -> None:
    for name in ("noise, 10 dB", "far field, RT60 0.3 to 0.6 s"):
        first = degraded(tool, noise, name)
        assert np.array_equal(first, degraded(tool, noise, name))
        assert not np.array_equal(first, degraded(tool, noise, name, "1 a"))
        assert not np.array_equal(first, degraded(tool, noise, name, "0 b"))


def test_the_argument_of_an_effect_is_not_changed(tool: ModuleType, noise: Path) -> None:
    waveform = Waveform(speech_like(8000, peak=0.9), RATE_HZ)
    before = waveform.samples.copy()
    waveform.samples.flags.writeable = False  # as a memory-mapped cache lends them
    for effect in tool.all_effects(NoiseLibrary(noise, 100, "odd")).values():
        changed = tool.degrade(waveform, effect, "0 a").samples
        assert changed.dtype == np.float32 and np.isfinite(changed).all()
    assert np.array_equal(waveform.samples, before)


def test_the_table_has_counts_rates_and_ratios(tool: ModuleType) -> None:
    def counts(hits: int, errors: int) -> ErrorCounts:
        return ErrorCounts(hits=hits, substitutions=errors, deletions=0, insertions=0)

    rows = {
        "clean": {"greedy": counts(45, 5), "beam": counts(50, 0)},
        "noise, 5 dB": {"greedy": counts(35, 15), "beam": counts(49, 1)},
    }
    assert tool.table(rows).splitlines() == [
        "| 50 words | greedy: errors | WER % | × clean | beam: errors | WER % | × clean |",
        "|---|---|---|---|---|---|---|",
        "| clean | 5 | 10.00 | 1.00 | 0 | 0.00 | – |",
        "| noise, 5 dB | 15 | 30.00 | 3.00 | 1 | 2.00 | – |",
    ]


def test_a_model_is_measured_as_it_decodes(
    tool: ModuleType,
    tone_model: ToneModel,
    noise: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dev = write_tones(tmp_path / "data", "u", 6, seed=3)
    for out in ("a.md", "b.md"):
        tool.robustness(
            [dev],
            [tone_model.path, tone_model.path],
            noise,
            tmp_path / out,
            device="cpu",
            decoding=DecodingOptions(beam=5),
        )
    text = (tmp_path / "a.md").read_text(encoding="utf-8")
    assert (
        text == (tmp_path / "b.md").read_text(encoding="utf-8") and text in capsys.readouterr().out
    )
    head, _, clean, *rows = text.split("\n\n")[0].splitlines()
    assert re.findall(r"\d (?:greedy|beam)", head) == ["1 greedy", "1 beam", "2 greedy", "2 beam"]
    assert clean.startswith("| clean | 0 | 0.00 | – |") and len(rows) == 10
    for line in rows:
        cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
        assert cells[:6] == cells[6:]  # the same model twice
    by_name = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in rows}
    assert int(by_name["noise, 5 dB"]) > 0  # half-scale white noise buries the tones
    assert int(by_name["level - 6 dB"]) == 0
    assert "1 beam:" in text and "beam search, width 5" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.md", "b.md", "data", "noise"]


def test_unreadable_audio_ends_the_measurement(
    tool: ModuleType, tone_model: ToneModel, noise: Path, tmp_path: Path
) -> None:
    dev = write_tones(tmp_path / "data", "u", 2, seed=3)
    (tmp_path / "data" / "audio" / "u1.wav").unlink()
    with pytest.raises(DataError, match=r"u1\.wav"):
        tool.robustness([dev], [tone_model.path], noise, device="cpu")
