"""A tiny language of tones, so that training can be tested in seconds without any corpus.

Each word is a tone of its own pitch; a model that hears pitch learns it in a few epochs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from asr.config import parse_options
from asr.experiment import ExperimentConfig
from asr.training import train

RATE_HZ = 8000
PITCHES_HZ = {"ba": 400.0, "do": 900.0, "mi": 1800.0}


def tone_utterance(
    words: list[str], generator: np.random.Generator, pitch: float = 1.0
) -> np.ndarray:
    """(num_samples,) float32: one tone of about 0.15 s a word, short silences, faint noise.

    `pitch` is what all are multiplied by: 1 is the voice that models learn.
    """
    parts = []
    for word in words:
        num_samples = int(generator.integers(1000, 1400))
        phase = 2 * np.pi * pitch * PITCHES_HZ[word] * np.arange(num_samples) / RATE_HZ
        parts += [0.3 * np.sin(phase) * np.hanning(num_samples), np.zeros(400)]
    samples = np.concatenate([np.zeros(400), *parts])
    return (samples + 0.001 * generator.standard_normal(len(samples))).astype(np.float32)


def write_tones(directory: Path, name: str, count: int, seed: int, pitch: float = 1.0) -> Path:
    """Write `count` utterances of one to four words and their manifest; returns its path."""
    generator = np.random.default_rng(seed)
    (directory / "audio").mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(count):
        words = [str(word) for word in generator.choice(list(PITCHES_HZ), generator.integers(1, 5))]
        samples = tone_utterance(words, generator, pitch)
        path = directory / "audio" / f"{name}{index}.wav"
        soundfile.write(path, samples, RATE_HZ)
        entry = {
            "id": f"{name}{index}",
            "audio_path": f"audio/{path.name}",
            "duration_s": len(samples) / RATE_HZ,
            "text": " ".join(words),
        }
        lines.append(json.dumps(entry) + "\n")
    manifest = directory / f"{name}.jsonl"
    manifest.write_text("".join(lines), encoding="utf-8")
    return manifest


def tone_config(directory: Path, **training: object) -> dict[str, object]:
    """Nested settings of a model small enough to learn the tones in seconds."""
    return {
        "data": {
            "train": str(write_tones(directory, "train", 60, seed=1)),
            "dev": str(write_tones(directory, "dev", 20, seed=2)),
        },
        "features": {"sample_rate_hz": RATE_HZ, "num_mels": 20},
        "tokens": {"kind": "word"},
        "model": {
            "subsampling": 4,
            "conv_channels": 4,
            "num_layers": 1,
            "units": 24,
            "dropout": 0.1,
        },
        "augment": {
            "speed": {"probability": 0.5},
            "spec": {"num_time_masks": 1, "max_time_frames": 3},
        },
        "batching": {"max_batch_s": 4.0, "num_workers": 0},
        "optim": {"learning_rate": 2e-2, "ema_decay": 0.9},
        "training": {"epochs": 6, "device": "cpu", "num_threads": 1, **training},
    }


def config_of(values: Mapping[str, Any]) -> ExperimentConfig:
    """The experiment of nested settings."""
    return parse_options(ExperimentConfig, values, "test")


def wer_after(values: Mapping[str, Any], run_dir: Path) -> float:
    """Train by nested settings; returns the word error rate on the development set."""
    return train(config_of(values), run_dir).validation.wer
