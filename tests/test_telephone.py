"""Narrow channels: filters against SciPy's, codes against G.711, and what training draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from asr.augment import AugmentConfig, TelephoneConfig, WaveformAugment, effects
from asr.config import parse_options
from asr.errors import ConfigError

RATE_HZ = 16000


def white_noise(num_samples: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(num_samples, generator=generator)


def tone(hz: float, sample_rate_hz: int, num_samples: int) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hz * torch.arange(num_samples) / sample_rate_hz)


def band_power(samples: torch.Tensor, low_hz: float, high_hz: float) -> float:
    """Mean power density between two frequencies, of samples at `RATE_HZ`."""
    frequencies, density = signal.welch(samples.double().numpy(), RATE_HZ, nperseg=1024)
    inside = (frequencies >= low_hz) & (frequencies < high_hz)
    return float(density[inside].mean())


def firwin_band(sample_rate_hz: int, low_hz: float, high_hz: float) -> np.ndarray:
    """The taps as SciPy designs them."""
    num_taps, beta = signal.kaiserord(60, 200 / (sample_rate_hz / 2))
    edges = [hz for hz in (low_hz, high_hz) if 0 < hz < sample_rate_hz / 2]
    if not edges:
        return np.ones(1)
    taps = signal.firwin(
        num_taps | 1,
        edges,
        window=("kaiser", beta),
        pass_zero=low_hz == 0,
        scale=False,
        fs=sample_rate_hz,
    )
    return np.asarray(taps)


@settings(max_examples=40)
@given(
    num_samples=st.integers(1, 3000),
    rate=st.sampled_from([8000, 11025, 16000, 44100]),
    low_hz=st.sampled_from([0.0, 50.0, 300.0, 1000.0]),
    high_hz=st.floats(1200, 24000),
)
def test_band_pass_is_the_filter_that_scipy_designs(
    num_samples: int, rate: int, low_hz: float, high_hz: float
) -> None:
    samples = white_noise(num_samples)
    taps = firwin_band(rate, low_hz, high_hz)
    whole = np.convolve(samples.double().numpy(), taps)
    half = len(taps) // 2
    expected = whole[half : half + num_samples]
    passed = effects.band_pass(samples, rate, low_hz, high_hz)
    assert passed.dtype == torch.float32
    np.testing.assert_allclose(passed.numpy(), expected, atol=2e-6)


@pytest.mark.parametrize(
    ("hz", "gain", "tolerance"),
    [
        (200, 0, 2e-3),
        (300, 0.5, 5e-3),
        (400, 1, 2e-3),
        (3300, 1, 2e-3),
        (3400, 0.5, 5e-3),
        (3500, 0, 2e-3),
    ],
)
def test_band_pass_has_the_response_it_promises(hz: float, gain: float, tolerance: float) -> None:
    samples = tone(hz, RATE_HZ, 8000)
    passed = effects.band_pass(samples, RATE_HZ, 300, 3400)
    middle = slice(1000, -1000)  # away from the edges, where silence comes in
    difference = (passed[middle] - gain * samples[middle]).abs().max()
    assert float(difference) <= 0.3 * tolerance


def g711(level: int) -> int:
    """µ-law there and back as ITU-T G.711 has it: sign, segment of double width, 16 steps in it."""
    magnitude = min(abs(level) // 4, 8158) + 33
    segment = magnitude.bit_length() - 6
    step = (magnitude >> (segment + 1)) & 15
    decoded = 4 * (((2 * step + 33) << segment) - 33)
    return decoded if level > 0 else -decoded


def test_mu_law_is_g711_at_every_level() -> None:
    levels = np.arange(-32768, 32768)
    coded = effects.mu_law(torch.from_numpy(levels.astype(np.float32) / 32768))
    expected = np.array([g711(int(level)) for level in levels])
    np.testing.assert_array_equal(coded.numpy() * 32768, expected)
    assert len(np.unique(expected)) == 255


def test_mu_law_clips_beyond_full_scale_and_keeps_silence() -> None:
    coded = effects.mu_law(torch.tensor([-3.0, 0.0, 3.0]))
    np.testing.assert_array_equal(coded.numpy() * 32768, [-32124, 0, 32124])
    assert len(effects.mu_law(torch.zeros(0))) == 0


@settings(max_examples=30)
@given(num_samples=st.integers(0, 4000), rate=st.sampled_from([8000, 11025, 16000, 22050, 48000]))
def test_a_telephone_keeps_length_and_place(num_samples: int, rate: int) -> None:
    samples = tone(1000, rate, num_samples)
    heard = effects.telephone(samples, rate)
    assert heard.shape == samples.shape and bool(heard.isfinite().all())
    middle = slice(rate // 50, -rate // 50)
    noise = (heard - samples)[middle]
    # 8 bits of µ-law keep about 38 dB between speech and the noise of its steps.
    assert noise.square().sum() <= samples[middle].square().sum() * 10**-3.3


@pytest.mark.parametrize(
    ("hz", "is_heard"), [(150, False), (600, True), (3000, True), (5000, False)]
)
def test_a_telephone_passes_its_band_alone(hz: float, is_heard: bool) -> None:
    heard = effects.telephone(tone(hz, RATE_HZ, 8000), RATE_HZ)[1000:-1000]
    peak = float(heard.abs().max())
    assert (peak > 0.28) if is_heard else (peak < 1e-3)


def test_the_stage_changes_no_draw_of_others() -> None:
    """It has a seed of its own: with it on, gain is drawn as without."""
    gain = {"probability": 1, "low_db": -20, "high_db": -1}
    narrow = {"probability": 1, "line_share": 0, "low_limit_hz": 24000, "high_limit_hz": 24000}
    samples = white_noise(4000).numpy()
    results = []
    for sections in ({"gain": gain}, {"gain": gain, "telephone": narrow}):
        augment = WaveformAugment(parse_options(AugmentConfig, sections, "test"))
        results.append(augment(samples, RATE_HZ, torch.Generator().manual_seed(1)))
    np.testing.assert_allclose(results[0], results[1], atol=1e-6)


def narrowed(seed: int, **values: float) -> torch.Tensor:
    sections = {"telephone": {"probability": 1, **values}}
    augment = WaveformAugment(parse_options(AugmentConfig, sections, "test"))
    return augment(white_noise(16000), RATE_HZ, torch.Generator().manual_seed(seed))


def test_lines_and_limits_are_drawn_at_their_share() -> None:
    lines = 0
    for seed in range(60):
        result = narrowed(seed, line_share=0.25)
        lost_lows = band_power(result, 50, 150) < 0.01 * band_power(result, 600, 3000)
        lines += lost_lows
        assert band_power(result, 7200, 8000) < 1e-3 * band_power(result, 600, 3000)
    assert 5 <= lines <= 27  # 15 expected, standard deviation 3.4


def test_limits_fill_their_range() -> None:
    kept = []
    for seed in range(40):
        result = narrowed(seed, line_share=0, low_limit_hz=4000, high_limit_hz=6000)
        passed = [
            band_power(result, hz, hz + 100) > 0.25 * band_power(result, 500, 3000)
            for hz in range(3500, 6500, 100)
        ]
        kept.append(sum(passed) * 100 + 3500)
    assert min(kept) in range(3900, 4400) and max(kept) in range(5600, 6101)


def test_a_telephone_hears_no_clipping_before_it() -> None:
    """Gain beyond full scale is scaled down, as everywhere, before codes would clip it."""
    sections = {
        "gain": {"probability": 1, "low_db": 20, "high_db": 20},
        "telephone": {"probability": 1, "line_share": 1},
    }
    augment = WaveformAugment(parse_options(AugmentConfig, sections, "test"))
    samples = tone(1000, RATE_HZ, 8000)
    heard = augment(samples, RATE_HZ, torch.Generator().manual_seed(0))[1000:-1000]
    expected = samples[1000:-1000] / 0.3
    assert float((heard - expected).abs().max()) < 0.06


def test_by_default_nothing_happens() -> None:
    assert TelephoneConfig().probability == 0
    config = parse_options(AugmentConfig, {"telephone": {"probability": 0.1}}, "test")
    assert config.changes_waveform and not config.changes_features


def test_limits_the_wrong_way_round_are_refused() -> None:
    values = {"telephone": {"low_limit_hz": 5000, "high_limit_hz": 4000}}
    with pytest.raises(ConfigError, match="at least low_limit_hz"):
        parse_options(AugmentConfig, values, "a.toml")
