"""Utterances without words: accepted, counted, and learnt as silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tones import RATE_HZ, config_of, tone_config, tone_utterance
from torch import Tensor

from asr.audio import Waveform, write_audio
from asr.batching import Example, collate
from asr.errors import DataError
from asr.manifest import Utterance, write_manifest
from asr.model import Emissions
from asr.recognizer import Recognizer
from asr.training import train
from asr.training.data import check_corpus
from asr.training.denominator import fit_trigram
from asr.training.losses import Objective


def buzz(seed: int) -> np.ndarray:
    """(num_samples,) float32: as long as three tones, of a pitch that no word has."""
    generator = np.random.default_rng(seed)
    tones = tone_utterance(["ba", "do", "mi"], generator)
    pitch_hz = generator.uniform(2400, 3600)
    wave = 0.3 * np.sin(2 * np.pi * pitch_hz * np.arange(len(tones)) / RATE_HZ)
    return (wave * np.hanning(len(wave))).astype(np.float32)


def write_buzzes(folder: Path, count: int) -> Path:
    utterances = []
    for number in range(count):
        waveform = Waveform(buzz(number), RATE_HZ)
        path = folder / f"buzz{number}.wav"
        write_audio(path, waveform)
        utterances.append(Utterance(f"buzz{number}", path, waveform.duration_s, ""))
    write_manifest(folder / "buzzes.jsonl", utterances)
    return folder / "buzzes.jsonl"


def with_buzzes(values: dict[str, Any], folder: Path, count: int) -> dict[str, Any]:
    data = values["data"]
    return {**values, "data": {**data, "train": [data["train"], write_buzzes(folder, count)]}}


def num_words_heard(model: Path) -> int:
    recognizer = Recognizer.load(model, "cpu")
    waveforms = [Waveform(buzz(1000 + number), RATE_HZ) for number in range(20)]
    return sum(len(recognizer.transcribe(waveform).text.split()) for waveform in waveforms)


@pytest.mark.parametrize("optim", [{}, {"mmi": 0.5, "consistency": 0.2}])
def test_a_model_learns_to_hear_nothing(tmp_path: Path, optim: dict[str, float]) -> None:
    values: dict[str, Any] = tone_config(tmp_path)
    values["optim"] = {**values["optim"], **optim}
    words_alone = train(config_of(values), tmp_path / "alone")
    taught = train(config_of(with_buzzes(values, tmp_path, 20)), tmp_path / "taught")
    assert taught.validation.wer <= words_alone.validation.wer + 0.05
    assert num_words_heard(taught.model_path) < num_words_heard(words_alone.model_path) / 2


def test_they_are_counted_before_training(tmp_path: Path) -> None:
    values = with_buzzes(tone_config(tmp_path), tmp_path, 3)
    first, words, buzzes, *_ = check_corpus(config_of(values))
    assert first.startswith("train: 63 utterances (3 of them without words), ")
    assert "without" not in words
    assert "3 utterances (3 of them without words), 0.0 min, 0 words" in buzzes


def test_nothing_else_is_refused(tmp_path: Path) -> None:
    values: dict[str, Any] = tone_config(tmp_path)
    values["data"]["dev"] = write_buzzes(tmp_path, 3)
    with pytest.raises(DataError, match="all 3 utterances of dev have an empty transcript"):
        train(config_of(values), tmp_path / "run")


def with_a_short_clip(values: dict[str, Any], folder: Path, num_samples: int) -> dict[str, Any]:
    waveform = Waveform(buzz(0)[:num_samples], RATE_HZ)
    write_audio(folder / "short.wav", waveform)
    utterance = Utterance("short", folder / "short.wav", waveform.duration_s, "")
    write_manifest(folder / "short.jsonl", [utterance])
    data = values["data"]
    return {**values, "data": {**data, "train": [data["train"], folder / "short.jsonl"]}}


def test_one_shorter_than_a_window_is_refused_before_training(tmp_path: Path) -> None:
    values = with_a_short_clip(tone_config(tmp_path), tmp_path, RATE_HZ // 50)
    with pytest.raises(DataError, match=r"short: 0\.020 s give no frame: too short for the model"):
        train(config_of(values), tmp_path / "run")


def test_one_of_a_frame_is_not_sped_up_to_none(tmp_path: Path) -> None:
    values = with_a_short_clip(tone_config(tmp_path, epochs=1), tmp_path, RATE_HZ * 26 // 1000)
    values["augment"] = {"speed": {"probability": 1.0, "factors": [1.15]}}
    assert train(config_of(values), tmp_path / "run").model_path.exists()


def examples(targets: list[tuple[int, ...]]) -> list[Example]:
    samples = np.zeros(10, dtype=np.float32)
    return [Example(str(number), samples, own) for number, own in enumerate(targets)]


def brute_force_silence(log_probs: Tensor) -> float:
    """Nothing is said when every frame is blank."""
    return -float(log_probs[:, 0].sum())


def test_the_loss_of_silence_is_that_of_blanks_alone() -> None:
    generator = torch.Generator().manual_seed(4)
    log_probs = torch.randn(3, 6, 4, generator=generator).log_softmax(dim=2)
    lengths = torch.tensor([6, 4, 6])
    batch = collate(examples([(), (), (1, 2)]))
    losses = Objective().losses(Emissions(log_probs, lengths), batch)
    for row in (0, 1):
        blanks = brute_force_silence(log_probs[row, : lengths[row]])
        assert float(losses[row]) == pytest.approx(blanks, rel=1e-5)


def test_silence_competes_with_what_could_be_said() -> None:
    """A model sure of blanks loses nothing by mutual information but what the trigram has."""
    trigram = fit_trigram([(), (), (1,)], vocab_size=3)
    sure = torch.full((1, 5, 3), -40.0)
    sure[..., 0] = 0.0
    batch = collate(examples([()]))
    losses = Objective(1.0, trigram).losses(Emissions(sure, torch.tensor([5])), batch)
    assert float(losses[0]) == pytest.approx(0.0, abs=1e-4)
    unsure = torch.full((1, 5, 3), 1 / 3).log()
    worse = Objective(1.0, trigram).losses(Emissions(unsure, torch.tensor([5])), batch)
    assert float(worse[0]) > 1.0


def test_a_mean_counts_an_utterance_without_tokens_as_one() -> None:
    assert int(collate(examples([(), (), (1, 2, 1)])).num_tokens) == 5
    assert int(collate(examples([()])).num_tokens) == 1
