"""Random changes of one utterance's waveform, composed; runs in the data workers."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from asr.augment import effects
from asr.augment.config import AugmentConfig
from asr.augment.noise import NoiseLibrary
from asr.augment.seeds import draw_generators, draw_uniform
from asr.errors import ConfigError, DataError

SamplesT = TypeVar("SamplesT", np.ndarray, Tensor)


class WaveformAugment:
    """Speed, quiet around, reverberation, noise, gain, telephone: each with its own probability.

    They come in this order. A call takes six seeds from the generator, one for each stage, whatever
    is on; a stage draws whether it applies first, then its parameters, all from its own seed. So a
    change of one stage's settings never changes what another one draws, and raising a probability
    keeps the parameters of the utterances that had the stage before. (A stage still works on what
    those before it made.)

    The result is finite. Where it would leave [-1, 1], the whole waveform is scaled down to a
    peak of 1 instead of clipped: the spectrum and the signal-to-noise ratio stay as drawn, at the
    cost of less gain than drawn. An utterance to which no stage applies is returned as it came.

    Instances can be pickled (worker processes of any start method); cached noise is left behind.

    Args:
        config: What may happen, and how often. `spec` is not used here.

    Raises:
        DataError: Noise is on, and its directory holds no audio.
        ConfigError: Noise is on without a directory.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config
        self._noise: NoiseLibrary | None = None
        if config.noise.probability > 0:
            if config.noise.directory is None:
                raise ConfigError("noise.probability is above 0 and noise.directory is not set")
            self._noise = NoiseLibrary(
                config.noise.directory, config.noise.max_cached_s, config.noise.files
            )

    def __call__(
        self, samples: SamplesT, sample_rate_hz: int, generator: torch.Generator
    ) -> SamplesT:
        """Augment one utterance; the argument is not changed.

        Args:
            samples: (num_samples,) float32 in [-1, 1], a NumPy array or a tensor on the CPU.
            sample_rate_hz: Its rate; noise is brought to it.
            generator: Source of every draw, on the CPU.

        Returns:
            (num_new_samples,) float32 of the same kind; the length changes by speed and quiet, see
            `SpeedConfig` and `QuietConfig`.

        Raises:
            DataError: `samples` has another shape or type, or a noise file cannot be read.
        """
        if samples.ndim != 1 or samples.dtype not in (np.float32, torch.float32):
            raise DataError(
                "samples must be (num_samples,) float32, "
                f"got shape {tuple(samples.shape)} {samples.dtype}"
            )
        seeded = draw_generators(generator, 6)
        for_speed, for_reverb, for_noise, for_gain, for_line, for_quiet = seeded
        original = samples if isinstance(samples, Tensor) else _as_tensor(samples)
        changed = self._change_speed(original, for_speed)
        changed = self._surround(changed, sample_rate_hz, for_quiet)
        changed = self._reverberate(changed, sample_rate_hz, for_reverb)
        changed = self._add_noise(changed, sample_rate_hz, for_noise)
        changed = self._change_gain(changed, for_gain)
        changed = self._narrow(changed, sample_rate_hz, for_line)
        if changed is original:
            return samples
        changed = effects.limit_peak(changed)
        return changed.numpy() if isinstance(samples, np.ndarray) else changed

    def _change_speed(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        if not _happens(self.config.speed.probability, generator):
            return samples
        factors = self.config.speed.factors
        index = int(torch.randint(len(factors), (), generator=generator))
        return effects.change_speed(samples, factors[index])

    def _surround(self, samples: Tensor, sample_rate_hz: int, generator: torch.Generator) -> Tensor:
        config = self.config.quiet
        if not _happens(config.probability, generator):
            return samples
        before, after = (
            int(draw_uniform(generator, 0, config.max_s) * sample_rate_hz) for _ in range(2)
        )
        ratio_db = draw_uniform(generator, config.low_db, config.high_db)
        noise = torch.randn(before + after, generator=generator)
        return effects.surround(samples, noise, before, ratio_db)

    def _reverberate(
        self, samples: Tensor, sample_rate_hz: int, generator: torch.Generator
    ) -> Tensor:
        config = self.config.reverb
        if not _happens(config.probability, generator):
            return samples
        rt60_s = draw_uniform(generator, config.low_rt60_s, config.high_rt60_s)
        drr_db = draw_uniform(generator, config.low_drr_db, config.high_drr_db)
        rt60_samples = rt60_s * sample_rate_hz
        tail = torch.randn(max(1, int(rt60_samples)), generator=generator)
        return effects.convolve(samples, effects.room_response(tail, rt60_samples, drr_db))

    def _add_noise(
        self, samples: Tensor, sample_rate_hz: int, generator: torch.Generator
    ) -> Tensor:
        config = self.config.noise
        if self._noise is None or not _happens(config.probability, generator):
            return samples
        snr_db = draw_uniform(generator, config.low_snr_db, config.high_snr_db)
        noise = self._noise.excerpt(len(samples), sample_rate_hz, generator)
        return effects.mix_noise(samples, noise, snr_db)

    def _change_gain(self, samples: Tensor, generator: torch.Generator) -> Tensor:
        config = self.config.gain
        if not _happens(config.probability, generator):
            return samples
        return effects.apply_gain(samples, draw_uniform(generator, config.low_db, config.high_db))

    def _narrow(self, samples: Tensor, sample_rate_hz: int, generator: torch.Generator) -> Tensor:
        config = self.config.telephone
        if not _happens(config.probability, generator):
            return samples
        if _happens(config.line_share, generator):
            return effects.telephone(effects.limit_peak(samples), sample_rate_hz)
        limit_hz = draw_uniform(generator, config.low_limit_hz, config.high_limit_hz)
        return effects.band_pass(samples, sample_rate_hz, 0.0, limit_hz)


def _happens(probability: float, generator: torch.Generator) -> bool:
    return draw_uniform(generator, 0, 1) < probability


def _as_tensor(samples: np.ndarray) -> Tensor:
    # A tensor can not share read-only memory, such as a memory-mapped cache, without a warning.
    return torch.from_numpy(samples if samples.flags.writeable else samples.copy())
