"""Model files of untrained models: made in no time, for tests that need no right answers."""

from __future__ import annotations

from pathlib import Path

import torch
from tones import RATE_HZ

from asr.config import parse_options
from asr.decoder_setup import Development, StoredDecoding
from asr.decoding import BeamConfig
from asr.experiment import ExperimentConfig, build_front_end, build_model
from asr.lm.binary import model_to_bytes
from asr.lm.kneser_ney import BuildOptions
from asr.lm.kneser_ney import build_model as build_lm
from asr.recognizer import ModelParts, save_model, store_decoding
from asr.tokens import tokenizer_from_dict

HOME = "/home/somebody"
VALUES = {
    "data": {"train": f"{HOME}/corpus/train.jsonl", "dev": f"{HOME}/corpus/dev.jsonl"},
    "features": {"sample_rate_hz": RATE_HZ, "num_mels": 20},
    "augment": {"noise": {"probability": 0.5, "directory": f"{HOME}/noise"}},
    "model": {"conv_channels": 4, "num_layers": 2, "units": 64},
}
VOCAB = ["<blank>", " ", *"abdimo"]
DEVELOPMENT = Development(manifest="dev.jsonl", utterances=20, words=51, greedy_errors=7, errors=3)


def write_model(path: Path, seed: int = 0) -> Path:
    """A model of letters with random weights, which was trained in somebody's home; its path."""
    config = parse_options(ExperimentConfig, VALUES, "test")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(config, len(VOCAB))
        # Emissions of fresh weights are all but equal; these prefer one letter here, another there.
        model.head.weight.data.mul_(20)
    tokenizer = tokenizer_from_dict({"kind": "char", "vocab": VOCAB})
    state = build_front_end(config).state_dict(), model.state_dict()
    save_model(path, config, tokenizer, ModelParts(*state, {"epochs": 6, "dev_errors": 7}))
    return path


def write_tuned_model(path: Path) -> Path:
    """The same with stored settings of the beam search and a language model; its path."""
    write_model(path)
    text = path.with_suffix(".txt")
    text.write_text("ba do mi\ndo do\nmi ba\n" * 5)
    lm = build_lm([text], BuildOptions(order=2)).model
    beam = BeamConfig(beam_width=11)
    stored = StoredDecoding(decoder="beam", beam=beam, lm="embedded", development=DEVELOPMENT)
    store_decoding(path, stored, model_to_bytes(lm))
    return path
