"""A recogniser of tones, trained once for all tests that need a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from tones import tone_config

from asr.config import parse_options
from asr.experiment import ExperimentConfig
from asr.training import train


@dataclass(frozen=True)
class ToneModel:
    """A trained model file and the manifest it was validated on."""

    path: Path
    dev: Path
    run_dir: Path


@pytest.fixture(scope="session")
def tone_model(tmp_path_factory: pytest.TempPathFactory) -> ToneModel:
    directory = tmp_path_factory.mktemp("tone-model")
    values = tone_config(directory, log_every=2)
    config = parse_options(ExperimentConfig, values, "test")
    result = train(config, directory / "run")
    return ToneModel(result.model_path, directory / "dev.jsonl", directory / "run")
