"""The log-mel front end against an obvious reference, librosa, torchaudio and Kaldi's options."""

from __future__ import annotations

import math
import os
import sys
import warnings
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from front_end import MEAN, SMALL, STD, front_end, run, voice
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

import asr.features
from asr.audio import read_audio
from asr.config import parse_options
from asr.errors import ConfigError, DataError
from asr.features import MAX_FLOOR, MIN_FLOOR, LogMel, LogMelConfig, mel_filters

PLAIN = {"normalization": "none", "preemphasis": 0.0, "floor": 1e-10}


def reference(samples: np.ndarray, config: LogMelConfig) -> np.ndarray:
    """Frame by frame, filter by filter, in float64; nothing shared with the code under test."""
    window, hop = config.window_samples, config.hop_samples
    x = samples.astype(np.float64)
    x = x - config.preemphasis * np.concatenate([x[:1], x[:-1]])
    n = np.arange(window)
    if config.window == "hann":
        taper = 0.5 - 0.5 * np.cos(2 * np.pi * n / window)
    else:
        taper = (0.5 - 0.5 * np.cos(2 * np.pi * n / (window - 1))) ** 0.85
    high_hz = config.high_hz or config.sample_rate_hz / 2
    mel_ends = [2595 * np.log10(1 + hz / 700) for hz in (config.low_hz, high_hz)]
    edges = 700 * (10 ** (np.linspace(mel_ends[0], mel_ends[1], config.num_mels + 2) / 2595) - 1)
    bins = np.arange(config.fft_size // 2 + 1) * config.sample_rate_hz / config.fft_size
    rows = []
    for start in range(0, len(x) - window + 1, hop):
        spectrum = np.fft.rfft(x[start : start + window] * taper, config.fft_size)
        power = np.abs(spectrum) ** 2
        row = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
            row.append(np.sum(power * np.clip(np.minimum(rising, falling), 0, None)))
        rows.append(np.log(np.maximum(row, config.floor)))
    return np.array(rows)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"window": "povey", "preemphasis": 0.0},
        {"sample_rate_hz": 8000, "num_mels": 40, "high_hz": 3800},
        {"sample_rate_hz": 11025, "num_mels": 23, "window_ms": 31.7, "hop_ms": 7.3, "low_hz": 0},
        {"sample_rate_hz": 44100, "num_mels": 128, "window_ms": 46, "hop_ms": 46, "floor": 1e-3},
        {"num_mels": 1},
        {"num_mels": 17, "window_ms": 32},
    ],
)
def test_equals_the_frame_by_frame_reference(options: dict[str, object]) -> None:
    config = LogMelConfig.model_validate({"normalization": "none", **options})
    samples = voice(config.sample_rate_hz // 2, config.sample_rate_hz)
    features, num_frames = run(LogMel(config).eval(), samples)
    expected = reference(samples, config)
    assert features.shape == (1, *expected.shape) and num_frames.tolist() == [len(expected)]
    # torchaudio spreads the FFT bins over 0 to 5512 Hz, not 5512.5, at an odd rate.
    tolerance = 2e-3 if config.sample_rate_hz % 2 else 2e-4
    np.testing.assert_allclose(features[0], expected, atol=tolerance)


def test_equals_librosa() -> None:
    # librosa centres the 400-sample window in its 512-sample transform: 56 zeros put frame t at
    # t * hop. Same filters (HTK, peak 1), same periodic Hann window.
    samples = voice(16000)
    features, _ = run(front_end(low_hz=30, high_hz=7000, **PLAIN), samples)
    energies = librosa.feature.melspectrogram(
        y=np.pad(samples, 56), sr=16000, n_fft=512, win_length=400, hop_length=160,
        window="hann", center=False, power=2.0, n_mels=80, fmin=30, fmax=7000, htk=True, norm=None,
    )  # fmt: skip
    expected = np.log(np.maximum(energies, 1e-10)).T
    np.testing.assert_allclose(features[0], expected, atol=2e-4)


def test_equals_torchaudio_mel_spectrogram() -> None:
    samples = voice(16000)
    features, _ = run(front_end(**PLAIN), samples)
    peer = torchaudio.transforms.MelSpectrogram(
        16000, 512, 400, 160, f_min=20, n_mels=80, center=False, norm=None, mel_scale="htk"
    )
    expected = peer(torch.from_numpy(np.pad(samples, 56))).clamp(min=1e-10).log().T
    torch.testing.assert_close(features[0], expected, atol=2e-4, rtol=0)


def kaldi_fbank(samples: np.ndarray, num_mels: int) -> Tensor:
    energies: Tensor = torchaudio.compliance.kaldi.fbank(
        torch.from_numpy(samples)[None], num_mel_bins=num_mels, window_type="povey", dither=0.0,
        remove_dc_offset=False, preemphasis_coefficient=0.97, low_freq=20, high_freq=8000,
        sample_frequency=16000, frame_length=25, frame_shift=10, snip_edges=True,
        use_power=True, use_log_fbank=True,
    )  # fmt: skip
    return energies


def test_follows_kaldi_fbank() -> None:
    # Kaldi's triangles are straight in mel, ours (as librosa's and torchaudio's) in Hz, which
    # matters more the wider they are.
    samples = voice(32000)
    for num_mels, typical, worst in ((23, 0.006, 0.05), (80, 0.004, 0.025)):
        features, _ = run(
            front_end(window="povey", normalization="none", floor=1e-16, num_mels=num_mels), samples
        )
        difference = (features[0] - kaldi_fbank(samples, num_mels)).abs()
        assert difference.median() < typical
        assert difference.max() < worst


def test_equals_kaldi_fbank_given_its_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    # With the difference of the triangles taken away, everything else agrees: framing,
    # pre-emphasis (theirs per frame, ours over the waveform), window, transform, power.
    filters, _ = torchaudio.compliance.kaldi.get_mel_banks(80, 512, 16000, 20, 8000, 100, -500, 1)
    theirs = torch.nn.functional.pad(filters, (0, 1)).T.contiguous()
    monkeypatch.setattr(asr.features, "mel_filters", lambda config: theirs)
    samples = voice(32000)
    features, _ = run(front_end(window="povey", normalization="none", floor=1.2e-7), samples)
    torch.testing.assert_close(features[0], kaldi_fbank(samples, 80), atol=2e-4, rtol=0)


def test_filters_sum_to_one_between_the_outer_centres() -> None:
    filters = mel_filters(LogMelConfig(num_mels=40))
    centres = filters.argmax(dim=0)
    inner = filters[int(centres[0]) + 1 : int(centres[-1])].sum(dim=1)
    torch.testing.assert_close(inner, torch.ones_like(inner), atol=1e-4, rtol=0)


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(32, 400), min_size=1, max_size=4),
    normalization=st.sampled_from(["none", "utterance", "global"]),
    scaling=st.sampled_from(["none", "symmetric", "unit"]),
    garbage=st.sampled_from([1e6, -1e30, math.inf, math.nan]),
    gain=st.sampled_from([1.0, 1e4]),  # loud enough that every log energy is above 0
)
def test_padding_is_inert(
    lengths: list[int], normalization: str, scaling: str, garbage: float, gain: float
) -> None:
    module = front_end(**SMALL, normalization=normalization, scaling=scaling)
    module.set_statistics(MEAN, STD)
    waveforms = [
        np.float32(gain) * voice(length, 1000, seed) for seed, length in enumerate(lengths)
    ]
    # Products of other shapes round differently, by some 2e-6; bands that are nearly constant over
    # a few frames magnify it, at most by 1 / (smallest standard deviation divided by).
    tolerance = 2e-3 if normalization == "utterance" else 1e-5
    together, num_frames = run(module, *waveforms, padding=garbage)
    for row, samples in enumerate(waveforms):
        alone, (count,) = run(module, samples)
        assert num_frames[row] == count == alone.shape[1]
        torch.testing.assert_close(together[row, :count], alone[0], atol=tolerance, rtol=0)
        assert not together[row, count:].any()


def test_padding_beyond_the_longest_utterance_adds_no_frames() -> None:
    module = front_end(**SMALL)
    samples = torch.from_numpy(voice(300, 1000))[None]
    padded = torch.cat([samples, torch.full((1, 500), math.nan)], dim=1)
    expected, _ = module(samples, torch.tensor([300]))
    features, _ = module(padded, torch.tensor([300]))
    assert torch.equal(features, expected)


@settings(max_examples=50)
@given(st.integers(0, 2000))
def test_num_frames_counts_the_windows_that_fit(num_samples: int) -> None:
    module = front_end(**SMALL)
    expected = sum(start + 32 <= num_samples for start in range(0, num_samples, 10))
    assert module.num_frames(num_samples) == expected
    assert module.num_frames(torch.tensor([num_samples])).tolist() == [expected]
    if expected:
        features, (count,) = run(module, voice(num_samples, 1000))
        assert features.shape[1] == count == expected


def test_frame_t_sees_its_own_samples_only() -> None:
    module = front_end(**SMALL, normalization="none", preemphasis=0.0)
    samples = voice(200, 1000)
    before, _ = run(module, samples)
    samples[50:82] = 0  # frame 5 covers [50, 82)
    after, _ = run(module, samples)
    changed = (before != after).any(dim=2)[0].nonzero().flatten().tolist()
    assert changed == [frame for frame in range(17) if frame * 10 + 32 > 50 and frame * 10 < 82]
    assert torch.equal(after[0, 5], torch.full((6,), math.log(1e-8)))


def test_chunking_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [voice(16000), voice(9000, seed=1)]
    module = front_end()
    whole, _ = run(module, *samples)
    for chunk_frames in (1, 7, 64):
        monkeypatch.setattr(asr.features, "_CPU_CHUNK_FRAMES", chunk_frames)
        chunked, _ = run(module, *samples)
        torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=0)


def test_dither_is_drawn_from_the_generator_in_training_only() -> None:
    module = front_end(dither=1e-3, **PLAIN).train()
    lengths, samples = torch.tensor([16000]), torch.zeros(1, 16000)
    first, again, other = (
        module(samples, lengths, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    # White noise of this deviation: variance * sum of the squared window * sum of each filter.
    taper = torch.hann_window(400)
    expected = 1e-6 * taper.square().sum() * mel_filters(module.config).sum(dim=0)
    torch.testing.assert_close(first.exp().mean(dim=(0, 1)), expected, rtol=0.25, atol=0)
    with pytest.raises(ConfigError, match="generator"):
        module(samples, lengths)
    still, _ = module.eval()(samples, lengths)
    assert torch.equal(still, torch.full_like(still, math.log(1e-10)))


def test_the_arguments_are_not_changed_and_no_gradient_flows() -> None:
    samples = torch.from_numpy(voice(4000))[None].requires_grad_()
    before = samples.detach().clone()
    features, _ = front_end(preemphasis=0.0)(samples, torch.tensor([4000]))
    assert torch.equal(samples.detach(), before) and not features.requires_grad


def test_autocast_does_not_lower_the_precision() -> None:
    module = front_end()
    expected, _ = run(module, voice(8000))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, _ = run(module, voice(8000))
    assert features.dtype == torch.float32 and torch.equal(features, expected)


@pytest.mark.parametrize(
    ("samples", "lengths", "message"),
    [
        (torch.zeros(4000), torch.tensor([4000]), r"\(batch, max_samples\)"),
        (torch.zeros(0, 4000), torch.zeros(0, dtype=torch.int64), "batch at least 1"),
        (torch.zeros(1, 4000, dtype=torch.float64), torch.tensor([4000]), "float32"),
        (torch.zeros(2, 4000), torch.tensor([4000]), r"lengths must be \(2,\)"),
        (torch.zeros(1, 4000), torch.tensor([4000.0]), "int64"),
        (torch.zeros(2, 4000), torch.tensor([4000, 399]), "utterance 1 .* 399 samples.* 400"),
        (torch.zeros(1, 4000), torch.tensor([4001]), "4001 samples"),
        (torch.zeros(1, 10), torch.tensor([10]), "10 samples"),
    ],
)
def test_wrong_batches_are_refused(samples: Tensor, lengths: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        front_end()(samples, lengths)


@pytest.mark.parametrize(
    ("options", "name", "message"),
    [
        ({"high_hz": 8001}, "high_hz", "at most half the sample rate"),
        ({"sample_rate_hz": 8000, "high_hz": 5000}, "high_hz", "4000 Hz"),
        ({"low_hz": 300, "high_hz": 300}, "high_hz", "above low_hz"),
        ({"low_hz": 8000}, "low_hz", "below half"),
        ({"hop_ms": 26}, "hop_ms", "at most window_ms"),
        ({"hop_ms": 0.01}, "hop_ms", "at least one sample"),
        ({"window_ms": 0.1, "hop_ms": 0.1}, "window_ms", "at least four samples"),
        ({"num_mels": 200}, "num_mels", "between two FFT bins"),
        ({"num_mels": 0}, "num_mels", "greater than or equal to 1"),
        ({"num_mels": 513}, "num_mels", "less than or equal to 512"),
        ({"window_ms": 201}, "window_ms", "less than or equal to 200"),
        ({"sample_rate_hz": 192_001}, "sample_rate_hz", "less than or equal to 192000"),
        ({"window_ms": math.nan}, "window_ms", "finite"),
        ({"preemphasis": 1.0}, "preemphasis", "less than 1"),
        ({"dither": -1}, "dither", "greater than or equal to 0"),
        ({"floor": 0}, "floor", "must be from 1.2e-38 to 3.4e+38"),
        ({"floor": sys.float_info.min}, "floor", "must be from 1.2e-38 to 3.4e+38"),
        ({"floor": 1e39}, "floor", "must be from 1.2e-38 to 3.4e+38"),
        ({"floor": math.inf}, "floor", "must be from 1.2e-38 to 3.4e+38"),
        ({"scaling": "minmax"}, "scaling", "'symmetric' or 'unit'"),
        ({"hop_msec": 5}, "hop_msec", "did you mean `hop_ms`"),
    ],
)
def test_wrong_settings_are_refused_by_name(
    options: dict[str, object], name: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_options(LogMelConfig, options, "a.toml")
    assert f"`{name}`" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize("floor", [MIN_FLOOR, MAX_FLOOR])
@pytest.mark.parametrize("normalization", ["none", "utterance"])
def test_silence_is_finite_whatever_the_floor(floor: float, normalization: str) -> None:
    samples = np.concatenate([np.zeros(4000, np.float32), voice(4000)])
    features, _ = run(front_end(floor=floor, normalization=normalization), samples)
    assert features.isfinite().all()


@settings(max_examples=150)
@given(
    rate=st.sampled_from([8000, 11025, 16000, 22050, 48000]),
    window_ms=st.floats(5, 60),
    num_mels=st.integers(1, 160),
    low_hz=st.floats(0, 500),
    width_hz=st.floats(10, 3000),
)
def test_filters_are_refused_exactly_when_one_is_empty(
    rate: int, window_ms: float, num_mels: int, low_hz: float, width_hz: float
) -> None:
    options = {
        "sample_rate_hz": rate, "window_ms": window_ms, "hop_ms": 5, "low_hz": low_hz,
        "high_hz": low_hz + width_hz,
    }  # fmt: skip
    fft_size = LogMelConfig.model_validate({**options, "num_mels": 1, "high_hz": None}).fft_size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # librosa warns of empty filters
        outside = librosa.filters.mel(
            sr=rate, n_fft=fft_size, n_mels=num_mels, fmin=low_hz, fmax=low_hz + width_hz,
            htk=True, norm=None, dtype=np.float64,
        )  # fmt: skip
    smallest = outside.max(axis=1).min()
    if smallest > 1e-4:
        config = LogMelConfig.model_validate({**options, "num_mels": num_mels})
        assert (mel_filters(config) > 0).any(dim=0).all()
    elif smallest == 0:
        with pytest.raises(ValidationError, match="between two FFT bins"):
            LogMelConfig.model_validate({**options, "num_mels": num_mels})


def test_derived_sizes() -> None:
    config = LogMelConfig(sample_rate_hz=8000, window_ms=32, hop_ms=16)
    assert (config.window_samples, config.hop_samples, config.fft_size) == (256, 128, 256)
    assert config.frame_rate_hz == 62.5
    assert LogMelConfig().fft_size == 512 and LogMelConfig().frame_rate_hz == 100


@pytest.mark.skipif("ASR_CORPORA" not in os.environ, reason="ASR_CORPORA is not set")
def test_follows_kaldi_on_an_8_khz_corpus() -> None:
    path = sorted((Path(os.environ["ASR_CORPORA"]) / "waves_yesno").glob("*.wav"))[0]
    waveform = read_audio(path)
    assert waveform.sample_rate_hz == 8000
    module = front_end(
        sample_rate_hz=8000, num_mels=23, window="povey", normalization="none", floor=1e-16
    )
    features, _ = run(module, waveform.samples)
    expected = torchaudio.compliance.kaldi.fbank(
        torch.from_numpy(waveform.samples)[None], sample_frequency=8000, num_mel_bins=23,
        dither=0.0, remove_dc_offset=False, window_type="povey",
    )  # fmt: skip
    difference = (features[0] - expected).abs()
    assert difference.median() < 0.05 and difference.max() < 0.6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same() -> None:
    module = front_end()
    samples = torch.from_numpy(np.stack([voice(32000), voice(32000, seed=1)]))
    lengths = torch.tensor([32000, 16000])
    expected, num_frames = module(samples, lengths)
    features, counts = module.cuda()(samples.cuda(), lengths.cuda())
    torch.testing.assert_close(features.cpu(), expected, atol=1e-3, rtol=0)
    assert counts.device == features.device and torch.equal(counts.cpu(), num_frames)
