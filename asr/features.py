"""Log-mel front end: waveforms in, natural-log mel energies out, batched, on the model's device."""

from __future__ import annotations

import math
from typing import Literal, TypeVar

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from asr.config import Options
from asr.errors import ConfigError, DataError
from asr.normalizing import (
    MIN_STD,
    Prior,
    heard_frames,
    normalize_utterances_,
    scale_utterances_,
    valid_frames,
)

# Frames transformed at a time. On a CPU 512 frames of 512 floats fill a level-2 cache of 1 MiB
# (measured: 6 ms instead of 20 ms a minute of audio); a GPU wants few, large kernels. Either way
# an hour of audio never has all its frames and spectra in memory at once.
_CPU_CHUNK_FRAMES = 512
_GPU_CHUNK_FRAMES = 65536

# Neighbouring mel filters multiplied together: they share a narrow range of FFT bins, so blocks
# skip most of the zeros of the filter matrix, and 16 columns fill one vector register.
_MELS_PER_BLOCK = 16

# Far beyond what speech asks for. The filters are a matrix of FFT bins by mels: within these, the
# settings of a model file, which may come from anyone, take 0.4 GB at most.
MAX_RATE_HZ = 192_000
MAX_WINDOW_MS = 200.0
MAX_MELS = 512

# What energies, which are float32, can be raised to: below it they would be zero, above infinite.
MIN_FLOOR, MAX_FLOOR = 1.2e-38, 3.4e38

IntOrTensor = TypeVar("IntOrTensor", int, Tensor)


class LogMelConfig(Options):
    """Settings of the log-mel front end.

    Attributes:
        sample_rate_hz: Rate of the samples given to the front end, at most `MAX_RATE_HZ`.
        window_ms: Length of the analysis window, at least four samples, at most `MAX_WINDOW_MS`.
        hop_ms: Step between windows, at most `window_ms`, at least one sample.
        low_hz: Lower edge of the first mel filter.
        high_hz: Upper edge of the last mel filter, at most half the rate; None means half the rate.
        num_mels: Number of filters, at most `MAX_MELS`; refused when one would lie between two FFT
            bins and stay empty.
        window: `hann` (periodic, as in torchaudio and librosa) or `povey` (Kaldi: hann ** 0.85).
        preemphasis: `a` in y[n] = x[n] - a * x[n - 1], over the whole waveform, x[-1] = x[0].
        dither: Standard deviation of Gaussian noise added to the samples while training, in units
            of the samples (Kaldi's 1.0 on 16-bit samples is 1 / 32768 here); never in `eval()`.
        floor: Energies below it are raised to it before the logarithm. The default is about what
            the rounding noise of 16-bit samples leaves in one filter.
        normalization: Per mel, to mean 0 and standard deviation 1: over the `utterance`, with the
            statistics of a corpus (`global`, see `LogMel.set_statistics`), or `none`. What does not
            count in an utterance, however long it is, and ends up far below 0: frames at the floor
            in every mel (digital silence: a closed noise gate, a muted microphone), and quiet that
            lies more than half a second before its first sound or after its last.
        prior_s: What `utterance` measures counts together with the training set's mean and
            deviation within utterances, as if so many seconds more had been heard that had them, at
            the utterance's own level: half a second of one word says little of a microphone. With
            0, the default, the utterance alone counts.
        scaling: After normalisation, map the least and greatest value of each utterance (one pair
            for all mels) to [-1, 1] (`symmetric`) or [0, 1] (`unit`); a constant utterance maps to
            the low end.
    """

    sample_rate_hz: int = Field(default=16000, ge=1, le=MAX_RATE_HZ)
    window_ms: float = Field(default=25.0, gt=0, le=MAX_WINDOW_MS, allow_inf_nan=False)
    hop_ms: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    low_hz: float = Field(default=20.0, ge=0, allow_inf_nan=False)
    high_hz: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    num_mels: int = Field(default=80, ge=1, le=MAX_MELS)
    window: Literal["hann", "povey"] = "hann"
    preemphasis: float = Field(default=0.97, ge=0, lt=1)
    dither: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    floor: float = 1e-8
    normalization: Literal["none", "utterance", "global"] = "utterance"
    prior_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    scaling: Literal["none", "symmetric", "unit"] = "none"

    @field_validator("window_ms")
    @classmethod
    def _check_window(cls, window_ms: float, info: ValidationInfo) -> float:
        rate = info.data.get("sample_rate_hz")
        if rate is not None and round(window_ms * rate / 1000) < 4:
            raise ValueError(f"must be at least four samples at {rate} Hz ({4000 / rate:g} ms)")
        return window_ms

    @field_validator("hop_ms")
    @classmethod
    def _check_hop(cls, hop_ms: float, info: ValidationInfo) -> float:
        window_ms, rate = info.data.get("window_ms"), info.data.get("sample_rate_hz")
        if window_ms is not None and hop_ms > window_ms:
            raise ValueError(f"must be at most window_ms ({window_ms:g}), or samples are skipped")
        if rate is not None and round(hop_ms * rate / 1000) < 1:
            raise ValueError(f"must be at least one sample at {rate} Hz ({1000 / rate:g} ms)")
        return hop_ms

    @field_validator("low_hz")
    @classmethod
    def _check_low(cls, low_hz: float, info: ValidationInfo) -> float:
        rate = info.data.get("sample_rate_hz")
        if rate is not None and low_hz >= rate / 2:
            raise ValueError(f"must be below half the sample rate ({rate / 2:g} Hz)")
        return low_hz

    @field_validator("high_hz")
    @classmethod
    def _check_high(cls, high_hz: float | None, info: ValidationInfo) -> float | None:
        rate, low_hz = info.data.get("sample_rate_hz"), info.data.get("low_hz")
        if high_hz is not None and rate is not None and high_hz > rate / 2:
            raise ValueError(f"must be at most half the sample rate ({rate / 2:g} Hz)")
        if high_hz is not None and low_hz is not None and high_hz <= low_hz:
            raise ValueError(f"must be above low_hz ({low_hz:g})")
        return high_hz

    @field_validator("num_mels")
    @classmethod
    def _check_num_mels(cls, num_mels: int, info: ValidationInfo) -> int:
        needed = ("sample_rate_hz", "window_ms", "low_hz", "high_hz")
        if any(name not in info.data for name in needed):
            return num_mels  # one of them is wrong and reported already
        rate = info.data["sample_rate_hz"]
        bin_hz = rate / _fft_size(round(info.data["window_ms"] * rate / 1000))
        edges = _mel_edges_hz(info.data["low_hz"], info.data["high_hz"] or rate / 2, num_mels)
        for mel in range(num_mels):
            first_bin_hz = (math.floor(edges[mel] / bin_hz) + 1) * bin_hz
            if first_bin_hz >= edges[mel + 2]:
                raise ValueError(
                    f"filter {mel} ({edges[mel]:.0f} to {edges[mel + 2]:.0f} Hz) lies between two "
                    f"FFT bins ({bin_hz:g} Hz apart); lower num_mels or raise window_ms"
                )
        return num_mels

    @field_validator("floor")
    @classmethod
    def _check_floor(cls, floor: float) -> float:
        if not MIN_FLOOR <= floor <= MAX_FLOOR:
            raise ValueError(f"must be from {MIN_FLOOR:g} to {MAX_FLOOR:g}, as energies are")
        return floor

    @field_validator("prior_s")
    @classmethod
    def _check_prior(cls, prior_s: float, info: ValidationInfo) -> float:
        if prior_s > 0 and info.data.get("normalization") in ("none", "global"):
            raise ValueError("must be 0 unless normalization is `utterance`")
        return prior_s

    @property
    def needs_statistics(self) -> bool:
        """Whether normalisation takes statistics of a corpus."""
        return self.normalization == "global" or self.prior_s > 0

    @property
    def window_samples(self) -> int:
        """Length of the analysis window in samples."""
        return round(self.window_ms * self.sample_rate_hz / 1000)

    @property
    def hop_samples(self) -> int:
        """Step between windows in samples."""
        return round(self.hop_ms * self.sample_rate_hz / 1000)

    @property
    def fft_size(self) -> int:
        """Length of the Fourier transform: the power of two at or above the window."""
        return _fft_size(self.window_samples)

    @property
    def centres_hz(self) -> list[float]:
        """Centre frequency of each mel filter."""
        high_hz = self.high_hz or self.sample_rate_hz / 2
        return _mel_edges_hz(self.low_hz, high_hz, self.num_mels)[1:-1]

    @property
    def frame_rate_hz(self) -> float:
        """Feature frames per second, exact (the hop is a whole number of samples)."""
        return self.sample_rate_hz / self.hop_samples


class LogMel(nn.Module):
    """Log-mel features of a batch of waveforms.

    Frame t covers samples [t * hop, t * hop + window); nothing is padded or centred, and the tail
    that does not fill a window is dropped, so the frames of an utterance depend on its own samples
    alone. Whatever lies in the padding of the batch, NaN included, has no influence. No gradient
    flows, and autocast does not lower the precision.

    Args:
        config: Front-end settings.

    Attributes:
        mean: (num_mels,) float32, of a corpus: subtracted when `normalization` is `global`, the
            prior of `prior_s` when it is `utterance`.
        std: (num_mels,) float32, likewise; all zero until `set_statistics` was called.

    References:
        Davis & Mermelstein (1980); mel scale of HTK, 2595 log10(1 + f / 700).
    """

    mean: Tensor
    std: Tensor
    _taper: Tensor
    _filters: Tensor

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.config = config
        filters = mel_filters(config)
        # The spectrum is kept as (real, imaginary, real, …): two equal rows a bin add the squares.
        self.register_buffer("_filters", filters.repeat_interleave(2, dim=0), persistent=False)
        self.register_buffer("_taper", _taper(config), persistent=False)
        self.register_buffer("mean", torch.zeros(config.num_mels))
        self.register_buffer("std", torch.zeros(config.num_mels))
        self._blocks = _filter_blocks(filters)

    @property
    def has_statistics(self) -> bool:
        """Whether `set_statistics` was called, or a state loaded after it was."""
        return bool(self.std.all())

    def num_frames(self, num_samples: IntOrTensor) -> IntOrTensor:
        """Frames that so many samples give; 0 below one window. An int or a tensor of integers."""
        window, hop = self.config.window_samples, self.config.hop_samples
        if isinstance(num_samples, Tensor):
            return ((num_samples - window).div(hop, rounding_mode="floor") + 1).clamp(min=0)
        return max(0, (num_samples - window) // hop + 1)

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Set what `global` normalisation and `prior_s` go by, see `estimate_statistics`.

        Args:
            mean: (num_mels,) finite.
            std: (num_mels,) finite, positive.

        Raises:
            DataError: A shape, or a value, does not fit.
        """
        for name, value in (("mean", mean), ("std", std)):
            if value.shape != self.mean.shape or not bool(value.isfinite().all()):
                raise DataError(
                    f"feature statistics: {name} must be ({self.config.num_mels},) and finite, "
                    f"got shape {tuple(value.shape)}"
                )
        if not bool((std > 0).all()):
            raise DataError("feature statistics: std must be positive in every mel")
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(
        self, samples: Tensor, lengths: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Normalised and scaled features, as the configuration says.

        Args:
            samples: (batch, max_samples) float32 in [-1, 1] at `config.sample_rate_hz`.
            lengths: (batch,) int64, samples of each utterance, at least one window.
            generator: Draws the dither; needed in training mode when `dither` is above 0.

        Returns:
            Features (batch, max_frames, num_mels) float32, zero in the padded frames, and the
            number of frames of each utterance (batch,) int64, both on the device of `samples`.

        Raises:
            DataError: A shape or type does not fit, or an utterance is shorter than one window.
            ConfigError: Statistics or a generator are needed and missing.
        """
        if self.config.needs_statistics and not self.has_statistics:
            raise ConfigError(
                "normalization is `global`, or prior_s above 0, but the statistics are not set",
                hint="estimate them over the training set, or set normalization = `utterance`, "
                "prior_s = 0",
            )
        features, num_frames = self.log_energies(samples, lengths, generator)
        valid = valid_frames(features, num_frames)
        if self.config.normalization == "utterance":
            prior = Prior(self.mean, self.std, self.config.prior_s * self.config.frame_rate_hz)
            normalize_utterances_(features, valid, self._heard(features, valid), prior)
        elif self.config.normalization == "global":
            features.sub_(self.mean).div_(self.std.clamp(min=MIN_STD))
        if self.config.scaling != "none":
            scale_utterances_(features, valid, symmetric=self.config.scaling == "symmetric")
        return features.masked_fill_(~valid, 0.0), num_frames

    @torch.no_grad()
    def log_energies(
        self, samples: Tensor, lengths: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, before normalisation and scaling: natural log of energy, >= log(floor)."""
        samples, lengths = self._check(samples, lengths)
        if self.training and self.config.dither > 0:
            samples = samples + self.config.dither * _draw_noise(samples, generator)
        emphasized = _preemphasize(samples, self.config.preemphasis)
        with torch.autocast(samples.device.type, enabled=False):
            energies = self._energies(emphasized)
        num_frames = self.num_frames(lengths)
        features = energies.clamp_(min=self.config.floor).log_()
        return features.masked_fill_(~valid_frames(features, num_frames), 0.0), num_frames

    def counted_energies(self, samples: Tensor, lengths: Tensor) -> list[Tensor]:
        """As `log_energies`, of each utterance alone the frames that count in its normalisation.

        Returns:
            (num_counted, num_mels) of each utterance: what `estimate_statistics` wants.
        """
        features, num_frames = self.log_energies(samples, lengths)
        counted = valid_frames(features, num_frames)
        if self.config.normalization == "utterance":
            counted = self._heard(features, counted)
        return [row[mask[:, 0]] for row, mask in zip(features, counted, strict=True)]

    def _heard(self, features: Tensor, valid: Tensor) -> Tensor:
        lowest = math.log(self.config.floor)
        return heard_frames(features, valid, lowest, self.config.frame_rate_hz)

    def _check(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        if samples.ndim != 2 or samples.shape[0] == 0 or samples.dtype != torch.float32:
            raise DataError(
                "samples must be (batch, max_samples) float32, batch at least 1, "
                f"got shape {tuple(samples.shape)} {samples.dtype}"
            )
        if lengths.shape != samples.shape[:1] or lengths.dtype != torch.int64:
            raise DataError(
                f"lengths must be ({samples.shape[0]},) int64, one for each row of samples, "
                f"got shape {tuple(lengths.shape)} {lengths.dtype}"
            )
        counts = lengths.tolist()
        window = self.config.window_samples
        for row, count in enumerate(counts):
            if not window <= count <= samples.shape[1]:
                raise DataError(
                    f"utterance {row} of the batch has {count} samples, expected {window} (one "
                    f"window of {self.config.window_ms:g} ms) to {samples.shape[1]} (max_samples)",
                    hint="leave out utterances shorter than one window",
                )
        return samples[:, : max(counts)], lengths.to(samples.device)

    def _energies(self, samples: Tensor) -> Tensor:
        """Mel energies (batch, max_frames, num_mels) of pre-emphasised samples."""
        window, fft_size = self.config.window_samples, self.config.fft_size
        batch, max_frames = samples.shape[0], self.num_frames(samples.shape[1])
        energies = samples.new_empty(batch, max_frames, self.config.num_mels)
        frames = samples.unfold(1, window, self.config.hop_samples)
        chunk_frames = _GPU_CHUNK_FRAMES if samples.is_cuda else _CPU_CHUNK_FRAMES
        step = min(max_frames, max(1, chunk_frames // batch))
        padded = samples.new_zeros(batch, step, fft_size)  # zero beyond the window, throughout
        for start in range(0, max_frames, step):
            part = frames[:, start : start + step]
            current = padded[:, : part.shape[1]]
            torch.mul(part, self._taper, out=current[..., :window])
            squares = torch.view_as_real(torch.fft.rfft(current)).flatten(-2)
            squares.mul_(squares)
            self._apply_filters(squares, energies[:, start : start + step])
        return energies

    def _apply_filters(self, squares: Tensor, energies: Tensor) -> None:
        rows = squares.flatten(0, 1)
        parts = [rows[:, bins] @ self._filters[bins, mels] for mels, bins in self._blocks]
        energies.copy_(torch.cat(parts, dim=1).view_as(energies))


def mel_filters(config: LogMelConfig) -> Tensor:
    """Triangular filters, peak 1, linear in Hz between centres spaced evenly in mel (HTK).

    At an odd sample rate torchaudio takes half the rate rounded down for its last FFT bin, which
    shifts the filters by less than 1 / rate of their frequency.

    Returns:
        (fft_size // 2 + 1, num_mels) float32, non-negative.
    """
    high_hz = config.high_hz or config.sample_rate_hz / 2
    filters: Tensor = melscale_fbanks(
        n_freqs=config.fft_size // 2 + 1,
        f_min=config.low_hz,
        f_max=high_hz,
        n_mels=config.num_mels,
        sample_rate=config.sample_rate_hz,
        norm=None,
        mel_scale="htk",
    )
    return filters


def _fft_size(window_samples: int) -> int:
    return 1 << (window_samples - 1).bit_length()


def _mel_edges_hz(low_hz: float, high_hz: float, num_mels: int) -> list[float]:
    low, high = (2595 * math.log10(1 + hz / 700) for hz in (low_hz, high_hz))
    mels = (low + (high - low) * i / (num_mels + 1) for i in range(num_mels + 2))
    return [700 * (10 ** (mel / 2595) - 1) for mel in mels]


def _taper(config: LogMelConfig) -> Tensor:
    if config.window == "hann":
        return torch.hann_window(config.window_samples)
    # Kaldi's own: goes to zero at the edges like Hann, with a wider top.
    return torch.hann_window(config.window_samples, periodic=False) ** 0.85


def _filter_blocks(filters: Tensor) -> list[tuple[slice, slice]]:
    """(columns, rows) of the interleaved filter matrix that hold all of its non-zero values."""
    blocks = []
    num_mels = filters.shape[1]
    for first in range(0, num_mels, _MELS_PER_BLOCK):
        mels = slice(first, min(first + _MELS_PER_BLOCK, num_mels))
        used = filters[:, mels].any(dim=1).nonzero().flatten().tolist()
        blocks.append((mels, slice(2 * used[0], 2 * used[-1] + 2)))
    return blocks


def _preemphasize(samples: Tensor, coefficient: float) -> Tensor:
    if coefficient == 0:
        return samples
    emphasized = torch.empty_like(samples)
    torch.mul(samples[:, :1], 1 - coefficient, out=emphasized[:, :1])
    torch.sub(samples[:, 1:], samples[:, :-1], alpha=coefficient, out=emphasized[:, 1:])
    return emphasized


def _draw_noise(samples: Tensor, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        raise ConfigError("dither is on and training draws it from a generator; none was passed")
    noise = torch.randn(samples.shape, generator=generator, device=generator.device)
    return noise.to(samples.device)
