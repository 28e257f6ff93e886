"""The search over tensors where it meets others: its language model, the device, bad input."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beam_reference import model_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_beam import CHARACTERS, FRAME_S, VOCAB_SIZE, random_log_probs
from test_tensor_decoding import (
    HAS_GPU,
    WITHOUT_B,
    check_same,
    every_device,
    padded,
    seeds,
    token_models,
)
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from asr.config import parse_options
from asr.errors import ConfigError, DataError
from asr.lm.ngram import NgramModel
from asr.tensor_decoding import TensorBeamConfig, TensorBeamDecoder
from asr.tensor_decoding.token_lm import build_token_lm


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NgramModel]:
    return token_models(tmp_path_factory)


class HostWaits(TorchDispatchMode):
    """Counts operations that hand a value to the host, or whose shape depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        names = ("local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero")
        self.count += any(name in func.__name__ for name in names)
        if func.__name__.startswith(("index.", "index_put")):
            self.count += any(one is not None and one.dtype == torch.bool for one in args[1])
        return func(*args, **(kwargs or {}))


def test_the_host_waits_as_often_for_many_frames_as_for_few(
    models: dict[str, NgramModel],
) -> None:
    decoder = TensorBeamDecoder(CHARACTERS, FRAME_S, lm=models["char3"])
    counts = []
    for num_frames in (1, 2, 40):
        log_probs = torch.from_numpy(random_log_probs(1, num_frames, VOCAB_SIZE))[None]
        with HostWaits() as waits:
            decoder.decode_tensors(log_probs, torch.tensor([num_frames]))
        counts.append(waits.count)
    assert counts[0] == counts[1] == counts[2] <= 2


@settings(max_examples=50)
@given(
    seed=seeds, name=st.sampled_from(["arpa", "no unk", "no b", "char1", "char2", "char3", "char5"])
)
def test_the_language_model_answers_as_the_compiled_one(
    models: dict[str, NgramModel], seed: int, name: str
) -> None:
    """Random walks through the states of the model; every word asked in each of them."""
    lm = models[name]
    tensors = build_token_lm(CHARACTERS, lm, 1.0, 0.0)
    generator = np.random.default_rng(seed)
    words = torch.arange(len(lm.words)).expand(3, -1)
    states = torch.full((3, 4), lm.start_state)
    for _ in range(6):
        log_probs, after = tensors.advance(states, words)
        for row in np.ndindex(3, 4):
            expected = [lm.score(int(states[row]), word) for word in range(len(lm.words))]
            assert log_probs[row].tolist() == pytest.approx([p for p, _ in expected], abs=1e-12)
            assert after[row].tolist() == [state for _, state in expected]
        choice = torch.from_numpy(generator.integers(0, len(lm.words), (3, 4, 1)))
        states = after.gather(2, choice)[..., 0]


@pytest.mark.skipif(not HAS_GPU, reason="no GPU")
def test_a_gpu_finds_what_a_cpu_finds(models: dict[str, NgramModel]) -> None:
    utterances = [random_log_probs(seed, 40, VOCAB_SIZE) for seed in range(5)]
    decoder = TensorBeamDecoder(CHARACTERS, FRAME_S, lm=models["char3"])
    on_gpu = decoder.decode_batch(*padded(utterances, "cuda"))
    for one, other in zip(on_gpu, decoder.decode_batch(*padded(utterances, "cpu")), strict=True):
        check_same(one, other)


@pytest.mark.skipif(not HAS_GPU, reason="no GPU")
def test_a_gpu_is_waited_for_as_often_for_many_frames_as_for_few(
    models: dict[str, NgramModel],
) -> None:
    decoder = TensorBeamDecoder(CHARACTERS, FRAME_S, lm=models["char3"])
    counts = []
    for num_frames in (2, 2, 40):
        batch = padded([random_log_probs(1, num_frames, VOCAB_SIZE)], "cuda")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                decoder.decode_tensors(*batch)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        counts.append(len(caught))
    assert counts[1] == counts[2]


def batch_of(num_frames: int = 3) -> Tensor:
    return torch.from_numpy(random_log_probs(0, num_frames, VOCAB_SIZE))[None].clone()


@every_device
@pytest.mark.parametrize(
    ("log_probs", "lengths", "message"),
    [
        (batch_of()[0], [3], r"must be \(batch, max_frames, vocab_size\), got shape \(3, 4\)"),
        (batch_of()[..., :3], [3], "with vocab_size 4, got shape"),
        (batch_of().half(), [3], "float32 or float64 tensor, got torch.float16"),
        (batch_of(), [4], r"lengths must be in \[0, 3\]"),
        (batch_of(), [-1], r"lengths must be in \[0, 3\]"),
        (batch_of(), [3, 3], r"lengths must be \(1,\) integers"),
        (batch_of(), [1.5], r"lengths must be \(1,\) integers"),
        (batch_of() * math.nan, [3], r"log_probs holds NaN \(first in frame 0\)"),
        (batch_of().exp(), [3], "must be normalised"),
        (batch_of() + 0.1, [3], "must be normalised"),
    ],
)
def test_input_that_is_refused(
    device: str, log_probs: Tensor, lengths: list[float], message: str
) -> None:
    decoder = TensorBeamDecoder(CHARACTERS, FRAME_S)
    for decode in (decoder.decode_batch, decoder.decode_tensors):
        with pytest.raises(DataError, match=message):
            decode(log_probs.to(device), torch.tensor(lengths, device=device))


def test_settings_and_models_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="frame_s must be a positive number"):
        TensorBeamDecoder(CHARACTERS, 0.0)
    without = WITHOUT_B.replace("-2\t<unk>\t0\n", "").replace("1=5", "1=4")
    with pytest.raises(DataError, match="of tokens lacks the token 'b'"):
        TensorBeamDecoder(CHARACTERS, FRAME_S, lm=model_of(tmp_path, without))
    with pytest.raises(DataError, match="float32 or float64 array"):
        TensorBeamDecoder(CHARACTERS, FRAME_S).decode(np.zeros((2, VOCAB_SIZE), np.int64))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beam_width", 0),
        ("beam_threshold", 0.0),
        ("token_threshold", -1.0),
        ("max_tokens_per_frame", 0),
        ("num_best", 0),
        ("lm_weight", -0.1),
        ("lm_weight", 1e308),
        ("word_bonus", math.inf),
        ("word_bonus", -1e308),
        ("beam_widht", 5),
    ],
)
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        parse_options(TensorBeamConfig, {name: value}, "test")


def test_unnormalised_padding_is_no_matter_but_a_frame_is() -> None:
    decoder = TensorBeamDecoder(CHARACTERS, FRAME_S)
    log_probs = batch_of(5)
    log_probs[0, 3:] = 7.0
    assert decoder.decode_batch(log_probs, [3])[0] == decoder.decode(log_probs[0, :3].numpy())
    for one in (log_probs, log_probs.clone().requires_grad_()):
        with pytest.raises(DataError, match="2 of 5 frames are off"):
            decoder.decode_tensors(one, torch.tensor([5]))
