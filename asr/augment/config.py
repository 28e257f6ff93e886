"""Settings of every augmentation; all are off by default."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from asr.config import Options

NoiseFiles = Literal["all", "even", "odd"]

SPEED_STEP = 0.01
"""Speed factors are whole multiples of it, which bounds the resampling kernels to 100 phases."""


def _at_least_low(high: float, info: ValidationInfo) -> float:
    low_name = str(info.field_name).replace("high_", "low_", 1)
    low = info.data.get(low_name)
    if low is not None and high < low:
        raise ValueError(f"must be at least {low_name} ({low:g})")
    return high


class SpeedConfig(Options):
    """Speed perturbation: pitch and tempo together, as a tape played faster or slower.

    Attributes:
        probability: Share of utterances for which a factor is drawn.
        factors: One is drawn, all equally likely. `f` divides the duration by `f` (1.1 is faster
            and shorter): `num_samples` becomes ceil(num_samples / f). From 0.5 to 2 in steps of
            0.01; 1.0 leaves the utterance alone.

    References:
        Ko et al. (2015), Audio augmentation for speech recognition.
    """

    probability: float = Field(default=0.0, ge=0, le=1)
    factors: tuple[float, ...] = Field(default=(0.9, 1.0, 1.1), min_length=1)

    @field_validator("factors")
    @classmethod
    def _check_factors(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        for factor in factors:
            if not 0.5 <= factor <= 2:
                raise ValueError(f"every factor must be from 0.5 to 2, not {factor:g}")
            if abs(factor / SPEED_STEP - round(factor / SPEED_STEP)) > 1e-6:
                raise ValueError(f"every factor must be a multiple of {SPEED_STEP}, not {factor:g}")
        return factors


class QuietConfig(Options):
    """Quiet before and after the utterance, as in a recording that began early and ended late.

    White noise far below the speech. Where features are normalised over the utterance, quiet that
    training never had moves those of every other frame.

    Attributes:
        probability: Share of utterances that get it.
        max_s: Greatest duration on each side; the two are drawn separately, uniformly from 0.
        low_db: Least ratio of the utterance's mean energy to that of the quiet.
        high_db: Greatest such ratio; drawn uniformly between the two.
    """

    probability: float = Field(default=0.0, ge=0, le=1)
    max_s: float = Field(default=3.0, ge=0, le=60)
    low_db: float = Field(default=25.0, ge=0, le=120)
    high_db: float = Field(default=60.0, ge=0, le=120)

    _check_range = field_validator("high_db")(_at_least_low)


class ReverbConfig(Options):
    """Reverberation of a synthetic room: the direct sound, then exponentially decaying noise.

    Attributes:
        probability: Share of utterances that get it.
        low_rt60_s: Least time in which the tail decays by 60 dB.
        high_rt60_s: Greatest such time; drawn uniformly between the two.
        low_drr_db: Least direct-to-reverberant energy ratio.
        high_drr_db: Greatest such ratio; drawn uniformly between the two.
    """

    probability: float = Field(default=0.0, ge=0, le=1)
    low_rt60_s: float = Field(default=0.1, ge=0.01, le=5)
    high_rt60_s: float = Field(default=0.5, ge=0.01, le=5)
    low_drr_db: float = Field(default=0.0, ge=-30, le=60)
    high_drr_db: float = Field(default=15.0, ge=-30, le=60)

    _check_range = field_validator("high_rt60_s", "high_drr_db")(_at_least_low)


class NoiseConfig(Options):
    """Additive noise from a directory of recordings, at a drawn signal-to-noise ratio.

    Attributes:
        probability: Share of utterances that get it.
        directory: Searched for audio files at any depth; needed when `probability` is above 0.
        files: `all` of them, or those at `even` or at `odd` places, sorted by path and counted
            from 0: what trains with one half can be tested with the other.
        low_snr_db: Least ratio of speech to noise energy over the utterance.
        high_snr_db: Greatest such ratio; drawn uniformly between the two.
        max_cached_s: Seconds of decoded noise kept in memory by each worker process. A longer
            file is never held whole: the range it lends is read when it is drawn.
    """

    probability: float = Field(default=0.0, ge=0, le=1)
    directory: Path | None = None
    files: NoiseFiles = "all"
    low_snr_db: float = Field(default=5.0, ge=-50, le=100)
    high_snr_db: float = Field(default=20.0, ge=-50, le=100)
    max_cached_s: float = Field(default=1800.0, ge=0, allow_inf_nan=False)

    @field_validator("directory")
    @classmethod
    def _check_directory(cls, directory: Path | None, info: ValidationInfo) -> Path | None:
        if directory is None and info.data.get("probability", 0) > 0:
            raise ValueError("must name a directory of noise when noise.probability is above 0")
        return directory

    _check_range = field_validator("high_snr_db")(_at_least_low)


class GainConfig(Options):
    """A change of level.

    Attributes:
        probability: Share of utterances that get it.
        low_db: Least gain.
        high_db: Greatest gain; drawn uniformly between the two.
    """

    probability: float = Field(default=0.0, ge=0, le=1)
    low_db: float = Field(default=-12.0, ge=-100, le=60)
    high_db: float = Field(default=6.0, ge=-100, le=60)

    _check_range = field_validator("high_db")(_at_least_low)


class TelephoneConfig(Options):
    """A narrow channel: a telephone line, or only the loss of high frequencies.

    Attributes:
        probability: Share of utterances that get it.
        line_share: Share of these that pass a telephone line (300 to 3400 Hz, 8 bit µ-law codes at
            8 kHz). The others lose what lies above a limit, as in a recorder or codec of less
            bandwidth.
        low_limit_hz: Least such limit.
        high_limit_hz: Greatest such limit; drawn uniformly between the two. Limits from half the
            sampling rate on change nothing.
    """

    probability: float = Field(default=0.0, ge=0, le=1)
    line_share: float = Field(default=0.5, ge=0, le=1)
    low_limit_hz: float = Field(default=3400.0, ge=1000, le=24000)
    high_limit_hz: float = Field(default=7000.0, ge=1000, le=24000)

    _check_range = field_validator("high_limit_hz")(_at_least_low)


class WarpConfig(Options):
    """Vocal tract length perturbation: frequencies scaled, duration kept.

    Attributes:
        probability: Share of utterances that get it.
        max_change: A factor is drawn uniformly from 1 - max_change to 1 + max_change.

    References:
        Jaitly & Hinton (2013), Vocal tract length perturbation (VTLP) improves speech recognition;
        their factors are from 0.9 to 1.1.
    """

    probability: float = Field(default=0.0, ge=0, le=1)
    max_change: float = Field(default=0.1, ge=0, le=0.3)


class SpecAugmentConfig(Options):
    """Masks over time and frequency of the features.

    Attributes:
        num_time_masks: Masks over time of each utterance.
        frames_per_time_mask: With a number, an utterance gets one time mask for every so many
            frames, at most `num_time_masks`; None gives all of them to every utterance.
        max_time_frames: Greatest width of a time mask, drawn uniformly from 0.
        max_time_fraction: A time mask covers at most this share of its utterance.
        num_frequency_masks: Masks over frequency of each utterance.
        max_frequency_mels: Greatest width of a frequency mask, drawn uniformly from 0.
        value: What masked values become: `zero`, which is the mean of each mel after `utterance`
            or `global` normalisation without scaling, or the `mean` over all mels and frames of
            the utterance, for features whose zero means something else.

    References:
        Park et al. (2019), SpecAugment; Park et al. (2020), SpecAugment on large scale datasets,
        for masks that grow in number with the length.
    """

    num_time_masks: int = Field(default=0, ge=0, le=1000)
    frames_per_time_mask: int | None = Field(default=None, ge=1)
    max_time_frames: int = Field(default=50, ge=0)
    max_time_fraction: float = Field(default=0.2, ge=0, le=1)
    num_frequency_masks: int = Field(default=0, ge=0, le=1000)
    max_frequency_mels: int = Field(default=15, ge=0)
    value: Literal["zero", "mean"] = "zero"


class AugmentConfig(Options):
    """All augmentations; they are applied in the order of the fields."""

    speed: SpeedConfig = SpeedConfig()
    quiet: QuietConfig = QuietConfig()
    reverb: ReverbConfig = ReverbConfig()
    noise: NoiseConfig = NoiseConfig()
    gain: GainConfig = GainConfig()
    telephone: TelephoneConfig = TelephoneConfig()
    warp: WarpConfig = WarpConfig()
    spec: SpecAugmentConfig = SpecAugmentConfig()

    @property
    def changes_waveform(self) -> bool:
        """Whether any augmentation of the waveform is on."""
        stages = (self.speed, self.quiet, self.reverb, self.noise, self.gain, self.telephone)
        return any(stage.probability > 0 for stage in stages)

    @property
    def changes_features(self) -> bool:
        """Whether the warp or SpecAugment is on."""
        masks = self.spec.num_time_masks + self.spec.num_frequency_masks
        return self.warp.probability > 0 or masks > 0
