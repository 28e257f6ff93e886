"""Fine-tuning: training that starts from a model file, perhaps of another vocabulary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tones import config_of, write_tones

from asr.checkpoint import MODEL_KIND, load_tensors
from asr.errors import ConfigError, ModelFileError
from asr.experiment import build_front_end, build_model
from asr.recognizer import Recognizer
from asr.tokens import Tokenizer, tokenizer_from_dict
from asr.training import TrainingResult, train
from asr.training.warm_start import adopt_settings, start_from


@pytest.fixture(scope="module")
def learnt(tones: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(config_of(tones), tmp_path_factory.mktemp("learnt"))


def words(*vocab: str) -> Tokenizer:
    return tokenizer_from_dict({"kind": "word", "vocab": ["<blank>", *vocab]})


def test_fine_tuning_begins_with_what_the_model_knows(
    tones: dict[str, Any], learnt: TrainingResult, tmp_path: Path
) -> None:
    """One epoch at a rate too low to learn anything scores as well as the model it began with."""
    training = {**tones["training"], "epochs": 1, "start_from": str(learnt.model_path), "seed": 9}
    values = {**tones, "training": training, "optim": {"learning_rate": 1e-7}}
    result = train(config_of(values), tmp_path)
    assert result.validation.errors == learnt.validation.errors
    untrained = {**values, "training": {**training, "start_from": None}}
    assert train(config_of(untrained), tmp_path / "random").validation.wer > 0.5


def test_the_moving_average_begins_with_it_too(
    tones: dict[str, Any], learnt: TrainingResult, tmp_path: Path
) -> None:
    training = {**tones["training"], "epochs": 1, "start_from": str(learnt.model_path)}
    optim = {"learning_rate": 1e-9, "ema_decay": 0.999, "weight_decay": 0.0}
    result = train(config_of({**tones, "training": training, "optim": optim}), tmp_path)
    before, after = (
        load_tensors(path, MODEL_KIND)[0] for path in (learnt.model_path, result.model_path)
    )
    for name, tensor in before.items():
        assert torch.allclose(tensor, after[name], atol=1e-5), name


def test_tokens_of_both_vocabularies_keep_their_weights_wherever_they_stand(
    tones: dict[str, Any], learnt: TrainingResult
) -> None:
    config = config_of(tones)
    old = Recognizer.load(learnt.model_path, "cpu")
    tokenizer = words("mi", "new", "ba")
    model = build_model(config, 4)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    start_from(learnt.model_path, config, tokenizer, build_front_end(config), model)
    state, known = model.state_dict(), old.model.state_dict()
    for index, token in enumerate(tokenizer.vocab):
        for name in ("head.weight", "head.bias"):
            there = old.tokenizer.vocab.index(token) if token in old.tokenizer.vocab else None
            expected = fresh[name][index] if there is None else known[name][there]
            assert torch.equal(state[name][index], expected), (token, name)
    others = [name for name in state if not name.startswith("head.")]
    assert others
    assert all(torch.equal(state[name], known[name]) for name in others)


def test_what_is_not_said_of_the_model_is_taken_from_the_file(
    tones: dict[str, Any], learnt: TrainingResult, tmp_path: Path
) -> None:
    training = {**tones["training"], "epochs": 1, "start_from": str(learnt.model_path)}
    values = {"data": tones["data"], "training": training, "model": {"dropout": 0.4}}
    found = Recognizer.load(train(config_of(values), tmp_path).model_path, "cpu").config
    known = config_of(tones)
    assert (found.features, found.tokens, found.text) == (known.features, known.tokens, known.text)
    assert found.model.units == known.model.units != config_of({}).model.units
    assert found.model.dropout == 0.4 != known.model.dropout
    assert found.optim == config_of({}).optim


def test_a_prior_of_the_features_may_come_in(
    tones: dict[str, Any], learnt: TrainingResult, tmp_path: Path
) -> None:
    training = {**tones["training"], "epochs": 1, "start_from": str(learnt.model_path)}
    values = {"data": tones["data"], "training": training, "features": {"prior_s": 0.1}}
    result = train(config_of(values), tmp_path)
    found = Recognizer.load(result.model_path, "cpu")
    assert found.config.features.prior_s == 0.1
    assert found.config.features.num_mels == config_of(tones).features.num_mels
    assert bool(found.front_end.std.all())
    assert result.validation.wer < 0.5


@pytest.mark.parametrize("features", [{"prior_s": 1.0}, {"normalization": "global"}])
def test_features_stay_what_the_weights_know(
    tones: dict[str, Any], tmp_path: Path, features: dict[str, Any]
) -> None:
    """Statistics are those the model was trained with, however little it is trained on now."""
    values = {**tones, "features": {**tones["features"], **features}}
    learnt = train(config_of(values), tmp_path / "learnt")
    before = Recognizer.load(learnt.model_path, "cpu").front_end
    assert before.has_statistics
    few = write_tones(tmp_path, "few", 2, seed=7)
    training = {**tones["training"], "epochs": 1, "start_from": str(learnt.model_path)}
    again = {"data": {**tones["data"], "train": str(few)}, "training": training}
    after = Recognizer.load(train(config_of(again), tmp_path / "few").model_path, "cpu").front_end
    assert torch.equal(after.mean, before.mean)
    assert torch.equal(after.std, before.std)


def test_without_a_model_to_start_from_nothing_is_taken_over(tones: dict[str, Any]) -> None:
    config = config_of(tones)
    assert adopt_settings(config) is config


@pytest.mark.parametrize(
    ("section", "setting", "value", "message"),
    [
        ("features", "low_hz", 4500.0, r"`low_hz` in \[features\], the rest of it from .*half the"),
        ("model", "projection", 200, r"^\[model\], the rest of it from .*below `units` \(24\)"),
    ],
)
def test_what_does_not_go_with_the_file_is_refused_with_the_cure(
    learnt: TrainingResult, section: str, setting: str, value: float, message: str
) -> None:
    training = {"start_from": str(learnt.model_path)}
    config = config_of({"training": training, section: {setting: value}})
    with pytest.raises(ConfigError, match=message) as caught:
        adopt_settings(config)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(f"leave {section}.{setting} out: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": {"units": 23, "dropout": 0.3, "subsampling": 3}},
            r"of another shape than \[model\]: model.units is 24 there and 23 here; "
            "leave model.units out: what",
        ),
        (
            {"model": {"num_layers": 4, "layer_norm": True}},
            r"\[model\]: model.num_layers is 1 there and 4 here, model.layer_norm is False there "
            "and True here; leave model.num_layers and model.layer_norm out: what",
        ),
        (
            {"features": {"num_mels": 21}},
            "features.num_mels is 20 there and 21 here; leave features.num_mels out: what",
        ),
    ],
)
def test_another_shape_is_refused_by_name(
    tones: dict[str, Any], learnt: TrainingResult, changes: dict[str, Any], message: str
) -> None:
    values = {key: {**tones.get(key, {}), **changes.get(key, {})} for key in tones.keys() | changes}
    config = config_of(values)
    model = build_model(config, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ConfigError, match=message):
        start_from(
            learnt.model_path, config, words("ba", "do", "mi"), build_front_end(config), model
        )
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_file_that_is_no_model_is_refused_before_training(
    tones: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text(json.dumps({}))
    training = {**tones["training"], "start_from": str(path)}
    with pytest.raises(ModelFileError, match="not a safetensors file"):
        train(config_of({**tones, "training": training}), tmp_path / "run")


def test_a_model_of_the_package_may_be_named(
    tones: dict[str, Any],
    learnt: TrainingResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(learnt.model_path, tmp_path / "tones.safetensors")
    monkeypatch.setattr("asr.shipped.MODELS_DIR", tmp_path)
    config = config_of({"training": {"start_from": "tones"}})
    assert adopt_settings(config).model == config_of(tones).model
