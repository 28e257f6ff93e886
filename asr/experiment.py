"""One experiment: every setting of it in one value, and the parts built from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from asr.augment import AugmentConfig
from asr.batching import BatchConfig
from asr.config import Options
from asr.features import LogMel, LogMelConfig
from asr.model import AcousticModel, ModelConfig
from asr.optim import OptimConfig
from asr.tensor_decoding import TensorBeamConfig
from asr.text import TextConfig
from asr.tokens import TokensConfig


def _as_list(value: object) -> object:
    """A path that stands alone, as a list of one; nothing as none."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str | Path) else value


def _as_written(paths: tuple[Path, ...]) -> str | list[str] | None:
    names = [str(path) for path in paths]
    return names if len(names) > 1 else next(iter(names), None)


Manifests = Annotated[
    tuple[Path, ...], BeforeValidator(_as_list), PlainSerializer(_as_written, when_used="json")
]


class DataConfig(Options):
    """Manifests of the experiment; relative paths start at the working directory.

    Each is one path or a list: `train = ["a.jsonl", "b.jsonl"]` in TOML, and on the command line
    `--set "data.train=[a.jsonl, b.jsonl]"`. A comma outside brackets is part of a name. Utterances
    stand in the order given, and no two manifests of a list may share an id.
    """

    train: Manifests = ()
    """JSONL manifests to train on."""
    dev: Manifests = ()
    """JSONL manifests that choose checkpoints and stop training; never the test set."""


class ValidationConfig(Options):
    """How the development set is decoded while training; on the device of the model."""

    decoder: Literal["greedy", "beam"] = "greedy"
    """`beam`: checkpoints are chosen by what a beam search over tensors makes of them."""
    beam: TensorBeamConfig = TensorBeamConfig()
    """Settings of that search."""
    lm: Path | None = None
    """N-gram model of tokens for it, ARPA or binary; the space is written ▁."""


class TrainingConfig(Options):
    """Length of the run, its seed and device, and how often it looks up from its work."""

    epochs: int = Field(default=60, ge=1)
    start_from: Path | None = None
    """Model file, or model of the package, whose weights training starts from. What [text],
    [tokens], [features] and [model] do not say is taken from it, and the statistics of its
    features; tokens in both vocabularies keep what it knows. None: random weights."""
    seed: int = Field(default=0, ge=0, lt=2**63)
    device: str = "auto"
    """`auto` (CUDA where present), `cpu`, `cuda` or `cuda:1`."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 autocast on CUDA, float32 elsewhere."""
    num_threads: int = Field(default=0, ge=0, le=512)
    """CPU threads; 0 leaves PyTorch's choice. Bit-equal reruns need the same number."""
    deterministic: bool = True
    """Ask PyTorch for deterministic algorithms; on CPU two runs then agree bit for bit. On CUDA
    the gradient of CTC's loss has none, and two runs agree only nearly."""
    validate_every: int = Field(default=1, ge=1)
    """Epochs between validations; the last epoch is always validated."""
    patience: int = Field(default=0, ge=0)
    """Validations without a better development WER before training stops; 0 for never."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between checkpoints inside an epoch; each epoch end has one too."""
    keep_best: int = Field(default=3, ge=1)
    """Best validated weights kept on disk; raised to `optim.average_best` where that is more."""
    collapse_steps: int = Field(default=2000, ge=1)
    """Steps of nothing but blanks before the collapse is explained."""
    log_every: int = Field(default=10, ge=1)
    """Steps between lines of `metrics.jsonl`."""


class ExperimentConfig(Options):
    """All settings of one run; written to the run directory and into the model file."""

    data: DataConfig = DataConfig()
    text: TextConfig = TextConfig()
    tokens: TokensConfig = TokensConfig()
    features: LogMelConfig = LogMelConfig()
    augment: AugmentConfig = AugmentConfig()
    batching: BatchConfig = BatchConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    validation: ValidationConfig = ValidationConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _check_warp(self) -> ExperimentConfig:
        if self.augment.warp.probability > 0 and self.features.num_mels < 2:
            raise ValueError(
                "augment.warp moves what is in one mel to others and needs features.num_mels of at "
                f"least 2, got {self.features.num_mels}; set augment.warp.probability to 0"
            )
        return self


def build_front_end(config: ExperimentConfig) -> LogMel:
    """The log-mel front end of an experiment."""
    return LogMel(config.features)


def build_model(config: ExperimentConfig, vocab_size: int) -> AcousticModel:
    """The acoustic model of an experiment, freshly initialised."""
    return AcousticModel(config.model, config.features.num_mels, vocab_size)


def output_frame_s(front_end: LogMel, model: AcousticModel) -> float:
    """Seconds of audio between two frames of emissions."""
    return model.subsampling / front_end.config.frame_rate_hz


def num_output_frames(front_end: LogMel, model: AcousticModel, num_samples: int) -> int:
    """Frames of emissions for so many samples; 0 when shorter than one window."""
    num_frames = int(front_end.num_frames(num_samples))
    return int(model.output_lengths(num_frames)) if num_frames > 0 else 0
