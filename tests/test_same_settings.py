"""What of a run's settings may have changed since it was started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tones import config_of, tone_config

from asr.errors import ConfigError
from asr.experiment import ExperimentConfig
from asr.training import require_same_settings


def require(stored: Any, config: ExperimentConfig, ignored: tuple[str, ...] = ()) -> None:
    require_same_settings(Path("runs/a"), stored, config, "name another", ignored)


@pytest.fixture
def config(tmp_path: Path) -> ExperimentConfig:
    return config_of(tone_config(tmp_path))


@pytest.fixture
def stored(config: ExperimentConfig) -> Any:
    return config.model_dump(mode="json")


def test_the_first_that_differ_are_named(config: ExperimentConfig, stored: Any) -> None:
    require(stored, config)
    stored["model"]["units"] = 7
    stored["training"]["seed"] = 1
    message = r"runs/a was .*: model\.units \(7 then, \d+ now\), training\.seed \(1 then, 0 now\)"
    with pytest.raises(ConfigError, match=message):
        require(stored, config)
    with pytest.raises(ConfigError, match=r"settings: training\.seed"):
        require(stored, config, ("model",))
    require(stored, config, ("model.units", "training.seed"))


def test_what_an_earlier_release_did_not_know_has_its_default(
    config: ExperimentConfig, stored: Any
) -> None:
    del stored["features"]["prior_s"]
    require(stored, config)
    features = config.features.model_copy(update={"prior_s": 1.0})
    with pytest.raises(ConfigError, match=r"features\.prior_s \(0\.0 then, 1\.0 now\)"):
        require(stored, config.model_copy(update={"features": features}))


def test_what_this_release_does_not_know_is_named(config: ExperimentConfig, stored: Any) -> None:
    stored["model"]["wings"] = 2
    with pytest.raises(ConfigError, match=r"settings: model\.wings \(2 then, None now\)"):
        require(stored, config)


def test_of_a_path_that_is_gone_the_name_counts(
    config: ExperimentConfig, stored: Any, tmp_path: Path
) -> None:
    stored["data"]["dev"] = str(tmp_path / "gone" / Path(stored["data"]["dev"]).name)
    stored["data"]["train"] = [str(tmp_path / "gone" / "train.jsonl")]
    require(stored, config)
    for other in (tmp_path / "gone" / "other.jsonl", tmp_path / "there" / "train.jsonl"):
        (tmp_path / "there").mkdir(exist_ok=True)
        (tmp_path / "there" / "train.jsonl").touch()
        stored["data"]["train"] = [str(other)]
        with pytest.raises(ConfigError, match=r"settings: data\.train"):
            require(stored, config)
