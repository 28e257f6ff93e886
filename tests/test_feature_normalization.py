"""Normalisation of features: over the utterance or a corpus, what counts, and scaling."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from front_end import MEAN, SMALL, STD, front_end, run, voice
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.errors import ConfigError, DataError
from asr.features import LogMel
from asr.normalizing import estimate_statistics


def test_utterance_normalization_gives_mean_0_and_deviation_1() -> None:
    features, (_, count) = run(front_end(), voice(32000), voice(20000, seed=1) * 0.01)
    short = features[1, :count]
    torch.testing.assert_close(short.mean(dim=0), torch.zeros(80), atol=1e-4, rtol=0)
    torch.testing.assert_close(short.std(dim=0, correction=0), torch.ones(80), atol=1e-4, rtol=0)


def test_digital_silence_alone_is_the_floor() -> None:
    """Not the mean, 0, where a model knows sounds: a muted recording must not become words."""
    features, _ = run(front_end(), np.zeros(4000, np.float32))
    torch.testing.assert_close(features, torch.full_like(features, math.log(1e-8)))


@pytest.mark.parametrize("num_silent", [1600, 160000])
def test_digital_silence_around_an_utterance_does_not_count(num_silent: int) -> None:
    silence = np.zeros(num_silent, np.float32)
    samples = np.concatenate([silence, voice(16000), silence])
    (plain,), _ = run(front_end(normalization="none"), samples)
    heard = (plain > math.log(1e-8) + 1e-3).any(dim=1)
    assert 98 <= heard.sum() <= 102
    features, (_, count) = run(front_end(), np.zeros(2 * len(samples), "f4"), samples)
    inner = plain[heard]
    expected = (plain - inner.mean(dim=0)) / inner.std(dim=0, correction=0)
    torch.testing.assert_close(features[1, :count], expected, atol=1e-3, rtol=1e-4)
    assert features[1, :count][~heard].max() < -3


def normalized(plain: Tensor, counted: slice) -> Tensor:
    """Features normalised by a range of their frames."""
    inner = plain[counted]
    return (plain - inner.mean(dim=0)) / inner.std(dim=0, correction=0)


def noise(duration_s: float, peak: float) -> np.ndarray:
    samples = np.random.default_rng(1).uniform(-peak, peak, round(16000 * duration_s))
    return samples.astype(np.float32)


@pytest.mark.parametrize("peak", [1e-4, 7e-4])
@pytest.mark.parametrize("quiet_s", [0.4, 2.0, 20.0])
def test_quiet_far_from_the_utterance_does_not_count(peak: float, quiet_s: float) -> None:
    """Half a second of it does."""
    samples = np.concatenate([noise(quiet_s, peak), voice(16000), noise(quiet_s, peak)])
    (plain,), _ = run(front_end(normalization="none"), samples)
    # The first window of 25 ms that the voice fills, and the last.
    first, last = round(100 * quiet_s), round(100 * quiet_s) + 97
    assert (plain.amax(dim=1)[: first - 3] < plain.amax(dim=1)[first : last + 1].median() - 6).all()
    found = []
    for begin in range(max(0, first - 53), max(0, first - 50) + 1):
        for end in range(last + 50, last + 54):
            found.append(normalized(plain, slice(begin, end + 1)))
    features, (_, count) = run(front_end(), np.zeros(2 * len(samples), "f4"), samples)
    errors = [(features[1, :count] - one).abs().max() for one in found]
    assert min(errors) < 1e-3


def test_quiet_inside_an_utterance_counts() -> None:
    samples = np.concatenate([voice(16000), noise(3.0, 1e-4), voice(16000, seed=1)])
    (plain,), _ = run(front_end(normalization="none"), samples)
    (features,), _ = run(front_end(), samples)
    torch.testing.assert_close(features, normalized(plain, slice(None)), atol=1e-3, rtol=1e-4)


def test_a_click_is_not_what_the_rest_is_quiet_beside() -> None:
    """A tenth of a second, 60 dB louder than the voice two seconds later."""
    samples = np.concatenate([noise(0.1, 1.0), noise(2.0, 1e-5), voice(16000) * 1e-3])
    (plain,), _ = run(front_end(normalization="none"), samples)
    (features,), _ = run(front_end(), samples)
    torch.testing.assert_close(features, normalized(plain, slice(None)), atol=1e-3, rtol=1e-4)


def test_global_normalization_applies_the_statistics() -> None:
    plain, _ = run(front_end(**SMALL, normalization="none"), voice(500, 1000))
    module = front_end(**SMALL, normalization="global")
    module.set_statistics(MEAN, STD)
    features, _ = run(module, voice(500, 1000))
    torch.testing.assert_close(features, (plain - MEAN) / STD)


def with_prior(prior_s: float, **options: object) -> LogMel:
    """A front end that knows 6 mels of other utterances."""
    module = front_end(**SMALL, prior_s=prior_s, **options)
    module.set_statistics(MEAN, STD)
    return module


def by_hand(plain: np.ndarray, num_prior: float) -> np.ndarray:
    """Features (num_frames, 6) normalised with `num_prior` frames of MEAN and STD, mel by mel."""
    level = plain.mean() - MEAN.numpy().mean()
    columns = []
    for mel, values in enumerate(plain.T):
        known_mean, known_variance = MEAN[mel].item() + level, STD[mel].item() ** 2
        total = len(values) + num_prior
        mean = (values.sum() + num_prior * known_mean) / total
        deviations = ((values - values.mean()) ** 2).sum()
        columns.append((values - mean) / np.sqrt((deviations + num_prior * known_variance) / total))
    return np.stack(columns, axis=1)


@settings(max_examples=30)
@given(st.lists(st.integers(60, 3000), min_size=1, max_size=3), st.sampled_from([0.02, 1.0, 50.0]))
def test_a_prior_counts_as_so_many_seconds_more(lengths: list[int], prior_s: float) -> None:
    waveforms = [voice(length, 1000, seed) for seed, length in enumerate(lengths)]
    plain, num_frames = run(front_end(**SMALL, normalization="none"), *waveforms)
    features, _ = run(with_prior(prior_s), *waveforms)
    for row, count in enumerate(num_frames.tolist()):
        expected = by_hand(plain[row, :count].double().numpy(), 100 * prior_s)
        np.testing.assert_allclose(features[row, :count], expected, atol=2e-3)


def test_a_prior_takes_no_side_between_loud_and_quiet() -> None:
    module = with_prior(2.0, floor=1e-20)
    loud, _ = run(module, voice(1000, 1000))
    quiet, _ = run(module, voice(1000, 1000) * 0.01)
    torch.testing.assert_close(loud, quiet, atol=2e-3, rtol=0)


def test_digital_silence_alone_is_the_floor_with_a_prior_too() -> None:
    features, _ = run(with_prior(1.0), np.zeros(400, np.float32))
    torch.testing.assert_close(features, torch.full_like(features, math.log(1e-8)))


def test_a_prior_needs_statistics_and_the_utterance() -> None:
    with pytest.raises(ConfigError, match="statistics are not set"):
        run(front_end(**SMALL, prior_s=1.0), voice(500, 1000))
    for normalization in ("none", "global"):
        with pytest.raises(ValueError, match="must be 0 unless normalization is `utterance`"):
            front_end(**SMALL, normalization=normalization, prior_s=1.0)


def test_what_does_not_count_is_not_in_the_statistics() -> None:
    samples = np.concatenate([np.zeros(16000, np.float32), voice(16000)])
    batch, lengths = torch.from_numpy(samples)[None], torch.tensor([32000])
    (plain,), _ = front_end().log_energies(batch, lengths)
    (counted,) = front_end().counted_energies(batch, lengths)
    assert torch.equal(counted, plain[(plain > math.log(1e-8) + 1e-3).any(dim=1)])
    (everything,) = front_end(normalization="global").counted_energies(batch, lengths)
    assert torch.equal(everything, plain)


def test_deviations_within_utterances_know_nothing_of_their_levels() -> None:
    rng = np.random.default_rng(0)
    parts = [torch.from_numpy(rng.standard_normal((n, 3))) for n in (5, 1, 40)]
    mean, std = estimate_statistics([part + 100 * n for n, part in enumerate(parts)], within=True)
    own = np.concatenate([part - part.mean(dim=0) for part in parts])
    np.testing.assert_allclose(std, np.sqrt((own**2).mean(axis=0)), rtol=1e-5)
    everything = np.concatenate([part + 100 * n for n, part in enumerate(parts)])
    np.testing.assert_allclose(mean, everything.mean(axis=0), rtol=1e-6)


def test_statistics_travel_in_the_state() -> None:
    module = front_end(**SMALL, normalization="global")
    module.set_statistics(MEAN, STD)
    assert set(module.state_dict()) == {"mean", "std"}
    other = front_end(**SMALL, normalization="global")
    with pytest.raises(ConfigError, match="statistics are not set"):
        run(other, voice(500, 1000))
    other.load_state_dict(module.state_dict())
    assert torch.equal(run(other, voice(500, 1000))[0], run(module, voice(500, 1000))[0])


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (torch.zeros(5), torch.ones(6)),
        (torch.zeros(6), torch.ones(1, 6)),
        (torch.full((6,), math.nan), torch.ones(6)),
        (torch.zeros(6), torch.tensor([1.0, 1, 1, 0, 1, 1])),
        (torch.zeros(6), -torch.ones(6)),
    ],
)
def test_statistics_that_do_not_fit_are_refused(mean: Tensor, std: Tensor) -> None:
    with pytest.raises(DataError, match="feature statistics"):
        front_end(**SMALL).set_statistics(mean, std)


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any),
    st.sampled_from([0.0, 1e4, -1e6]),
)
def test_statistics_equal_those_of_all_frames_at_once(counts: list[int], offset: float) -> None:
    rng = np.random.default_rng(sum(counts))
    parts = [rng.standard_normal((n, 3)) * [0.5, 1, 4] + offset for n in counts]
    mean, std = estimate_statistics(torch.from_numpy(part) for part in parts)
    everything = np.concatenate(parts)
    np.testing.assert_allclose(mean, everything.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std, np.maximum(everything.std(axis=0), 1e-3), rtol=1e-5)
    assert mean.dtype == std.dtype == torch.float32


def test_statistics_make_a_corpus_mean_0_and_deviation_1() -> None:
    corpus = [voice(9000, seed=seed) * 0.3**seed for seed in range(4)]
    module = front_end(normalization="global")
    energies = (
        module.log_energies(torch.from_numpy(x)[None], torch.tensor([9000]))[0][0] for x in corpus
    )
    module.set_statistics(*estimate_statistics(energies))
    frames = torch.cat([run(module, samples)[0][0] for samples in corpus])
    torch.testing.assert_close(frames.mean(dim=0), torch.zeros(80), atol=1e-3, rtol=0)
    torch.testing.assert_close(frames.std(dim=0, correction=0), torch.ones(80), atol=1e-3, rtol=0)


def test_statistics_of_nothing_or_of_nan_are_refused() -> None:
    with pytest.raises(DataError, match="no frame"):
        estimate_statistics([torch.zeros(0, 4)])
    with pytest.raises(DataError, match="finite"):
        estimate_statistics([torch.full((2, 4), math.nan)])


@pytest.mark.parametrize(("scaling", "low"), [("unit", 0.0), ("symmetric", -1.0)])
@pytest.mark.parametrize("normalization", ["none", "utterance"])
def test_scaling_fills_its_range_in_every_utterance(
    scaling: str, low: float, normalization: str
) -> None:
    module = front_end(scaling=scaling, normalization=normalization)
    plain = front_end(normalization=normalization)
    waveforms = voice(16000), voice(8000, seed=1) * 0.01
    features, num_frames = run(module, *waveforms)
    unscaled, _ = run(plain, *waveforms)
    for row, count in enumerate(num_frames.tolist()):
        valid, before = features[row, :count], unscaled[row, :count]
        assert abs(valid.min() - low) < 1e-6 and abs(valid.max() - 1) < 1e-6
        unit = (before - before.min()) / (before.max() - before.min())
        torch.testing.assert_close(valid, low + (1 - low) * unit, atol=1e-5, rtol=0)


def test_scaling_of_a_constant_utterance_is_its_low_end() -> None:
    features, _ = run(front_end(scaling="symmetric", normalization="none"), np.zeros(800, "f4"))
    assert torch.equal(features, torch.full_like(features, -1.0))
