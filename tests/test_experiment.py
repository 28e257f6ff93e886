"""One configuration makes one experiment: parts that fit, frames counted as they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
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


@settings(max_examples=40, deadline=None)
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


def test_words_that_training_never_saw_are_refused_by_name(tmp_path: Path) -> None:
    values = tone_config(tmp_path)
    dev = tmp_path / "dev.jsonl"
    dev.write_text(dev.read_text().replace('"text": "', '"text": "zorro ', 1))
    with pytest.raises(DataError, match=r"1 problems in 20 utterances: dev0: .*'zorro'"):
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
