"""One configuration makes one experiment: parts that fit, frames counted as they come."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tones import tone_config, write_tones

from asr.config import load_options, parse_options
from asr.errors import ConfigError, DataError
from asr.experiment import (
    ExperimentConfig,
    build_front_end,
    build_model,
    num_output_frames,
    output_frame_s,
)
from asr.manifest import read_manifest
from asr.training.data import (
    check_corpus,
    encode_all,
    fit_tokenizer,
    load_corpus,
    open_audio,
    plain_batches,
)

SMALL = {"num_layers": 1, "units": 4, "conv_channels": 2}


def config_with(**sections: dict[str, Any]) -> ExperimentConfig:
    return parse_options(ExperimentConfig, sections, "test")


def test_a_configuration_survives_the_model_file() -> None:
    config = config_with(data={"train": "x/y.jsonl"}, augment={"speed": {"factors": [0.9, 1.1]}})
    stored = json.loads(json.dumps(config.model_dump(mode="json")))
    assert parse_options(ExperimentConfig, stored, "model") == config


@pytest.mark.parametrize(
    ("section", "name", "most", "too_much"),
    [
        ("training", "seed", 2**63 - 1, 2**63),
        ("training", "num_threads", 512, 513),
        ("batching", "num_workers", 64, 65),
        ("optim", "learning_rate", 1e30, 1e300),
        ("optim", "learning_rate", 1e-9, math.nan),
        ("optim", "weight_decay", 1e9, math.inf),
        ("optim", "l1", 1e9, math.inf),
    ],
)
def test_settings_beyond_every_use_are_refused(
    section: str, name: str, most: float, too_much: float
) -> None:
    config_with(**{section: {name: most}})
    with pytest.raises(ConfigError, match=rf"setting `{section}\.{name}` in test: .*, got "):
        config_with(**{section: {name: too_much}})


@pytest.mark.parametrize(
    ("given", "paths", "stored"),
    [
        (None, (), None),
        ("a,b.jsonl", (Path("a,b.jsonl"),), "a,b.jsonl"),
        (["a.jsonl"], (Path("a.jsonl"),), "a.jsonl"),
        (["a.jsonl", "b.jsonl"], (Path("a.jsonl"), Path("b.jsonl")), ["a.jsonl", "b.jsonl"]),
    ],
)
def test_manifests_are_one_path_or_a_list_and_stored_as_such(
    given: object, paths: tuple[Path, ...], stored: object
) -> None:
    config = config_with(data={"train": given})
    assert config.data.train == paths
    document = json.loads(json.dumps(config.model_dump(mode="json")))
    assert document["data"] == {"train": stored, "dev": None}
    assert parse_options(ExperimentConfig, document, "model") == config


def test_manifests_from_a_file_and_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[data]\ntrain = ["a.jsonl", "b.jsonl"]\ndev = "d.jsonl"\n')
    data = load_options(ExperimentConfig, path).data
    assert (data.train, data.dev) == ((Path("a.jsonl"), Path("b.jsonl")), (Path("d.jsonl"),))
    data = load_options(ExperimentConfig, path, ["data.dev=[x.jsonl, y.jsonl]"]).data
    assert data.dev == (Path("x.jsonl"), Path("y.jsonl"))


@settings(max_examples=40)
@given(
    num_samples=st.integers(0, 6000),
    subsampling=st.integers(1, 4),
    kind=st.sampled_from(["conv", "stack"]),
    rate=st.sampled_from([8000, 11025, 16000]),
)
def test_frames_are_counted_as_the_model_gives_them(
    num_samples: int, subsampling: int, kind: str, rate: int
) -> None:
    config = config_with(
        features={"sample_rate_hz": rate, "num_mels": 10},
        model={**SMALL, "subsampling": subsampling, "subsampling_kind": kind},
    )
    front_end, model = build_front_end(config).eval(), build_model(config, 5).eval()
    counted = num_output_frames(front_end, model, num_samples)
    if num_samples < config.features.window_samples:
        assert counted == 0
        return
    samples = torch.zeros(1, num_samples)
    features, lengths = front_end(samples, torch.tensor([num_samples]))
    assert counted == int(model(features, lengths).lengths)


@pytest.mark.parametrize(("hop_ms", "subsampling", "frame_s"), [(10.0, 4, 0.04), (5.0, 1, 0.005)])
def test_a_frame_of_output_lasts_so_long(hop_ms: float, subsampling: int, frame_s: float) -> None:
    config = config_with(features={"hop_ms": hop_ms}, model={**SMALL, "subsampling": subsampling})
    model = build_model(config, 5)
    assert output_frame_s(build_front_end(config), model) == pytest.approx(frame_s)


def test_one_seed_builds_one_model() -> None:
    config = config_with(model=SMALL)
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(build_model(config, 5).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_corpus_is_checked_and_summed_up(tmp_path: Path) -> None:
    config = parse_options(ExperimentConfig, tone_config(tmp_path), "test")
    first, second = check_corpus(config)
    assert first.startswith("train: 60 utterances, ")
    assert second.startswith("dev: 20 utterances, ")
    assert second.endswith("43 words, 4 tokens: all usable")


def with_second_manifest(values: dict[str, Any], directory: Path, name: str) -> ExperimentConfig:
    """The same experiment with more training data, in a manifest of its own."""
    more = write_tones(directory, name, 7, seed=3)
    data = {**values["data"], "train": [values["data"]["train"], str(more)]}
    return parse_options(ExperimentConfig, {**values, "data": data}, "test")


def test_several_manifests_are_one_set_in_the_order_given(tmp_path: Path) -> None:
    values: dict[str, Any] = tone_config(tmp_path)
    config = with_second_manifest(values, tmp_path, "more")
    alone = load_corpus(parse_options(ExperimentConfig, values, "test"))
    corpus = load_corpus(config)
    assert corpus.dev == alone.dev
    assert corpus.train[:60] == alone.train
    assert [one.id for one in corpus.train[60:]] == [f"more{index}" for index in range(7)]


def test_each_of_several_manifests_is_summed_up(tmp_path: Path) -> None:
    config = with_second_manifest(tone_config(tmp_path), tmp_path, "more")
    lines = check_corpus(config)
    assert [line.split(" utterances, ")[0] for line in lines] == [
        "train: 67",
        f"  {tmp_path}/train.jsonl: 60",
        f"  {tmp_path}/more.jsonl: 7",
        "dev: 20",
    ]
    words = [int(line.split(" words")[0].split()[-1]) for line in lines]
    assert words[0] == words[1] + words[2]
    minutes = [float(line.split(" min")[0].split()[-1]) for line in lines]
    assert minutes[0] == pytest.approx(minutes[1] + minutes[2], abs=0.11)


def test_long_corpora_are_summed_up_in_hours(tmp_path: Path) -> None:
    values: dict[str, Any] = tone_config(tmp_path)
    manifest = tmp_path / "train.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    audio = tmp_path / "long.wav"
    soundfile.write(audio, np.zeros(8000 * 90, np.float32), 8000)
    for row in rows:
        row.update(audio_path="long.wav", duration_s=90.0)
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, _ = check_corpus(parse_options(ExperimentConfig, values, "test"))
    assert first.startswith("train: 60 utterances, 1.50 h, ")


def test_an_id_in_two_manifests_is_named_with_both(tmp_path: Path) -> None:
    values: dict[str, Any] = tone_config(tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError) as caught:
        load_corpus(with_second_manifest(values, tmp_path / "other", "train"))
    message = str(caught.value)
    assert f"the id 'train0' is in {tmp_path}/train.jsonl and in {tmp_path}/other/train" in message


def test_words_that_training_never_saw_are_refused_by_name(tmp_path: Path) -> None:
    values = tone_config(tmp_path)
    dev = tmp_path / "dev.jsonl"
    dev.write_text(dev.read_text().replace('"text": "', '"text": "zorro ', 1))
    with pytest.raises(DataError, match=r"1 problem in 20 utterances of dev: dev0: .*'zorro'"):
        check_corpus(parse_options(ExperimentConfig, values, "test"))


def test_both_manifests_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no train manifest given"):
        load_corpus(load_options(ExperimentConfig, None))


def test_plain_batches_hold_everything_in_order_of_length(tmp_path: Path) -> None:
    manifest = write_tones(tmp_path, "x", 15, seed=4)
    utterances = read_manifest(manifest)
    config = parse_options(ExperimentConfig, tone_config(tmp_path), "test")
    tokenizer = fit_tokenizer(config, load_corpus(config))
    targets = encode_all(utterances, config, tokenizer)
    audio = open_audio(utterances, config, tmp_path / "cache")
    batches = list(plain_batches(utterances, audio, targets, config.batching))
    lengths = [int(length) for batch in batches for length in batch.sample_lengths]
    assert lengths == sorted(lengths)
    by_id = {one.id: one.text for one in utterances}
    for batch in batches:
        for row, name in enumerate(batch.ids):
            tokens = batch.targets[row, : int(batch.target_lengths[row])].tolist()
            assert tokenizer.decode(tokens) == by_id[name]
