"""Real emissions: with default settings beam search is never worse than greedy decoding.

`tests/emissions` holds what trained models said of development data, speakers they had not heard
(see `tools/store_emissions.py`). Language models are built from the training transcripts of the
same corpus, so those of corpora need `ASR_CORPORA`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from asr.corpora import prepare
from asr.decoding import BeamConfig, BeamDecoder, Decoder, GreedyDecoder, Knowledge
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.lm.ngram import NgramModel
from asr.text import TextConfig, normalize
from asr.tokens import Tokenizer, tokenizer_from_dict
from asr.wer import count_errors

FOLDER = Path(__file__).parent / "emissions"
STEPS_PER_NAT = 8
SETS = {
    **{"an4-0": "an4", "an4-1": "an4", "an4-2": "an4"},
    **{"digits": "digits", "speechocean762": "speechocean762"},
}
# Share of greedy's errors at most; nothing can be known of random digits.
GAINS = {"an4": 0.9, "digits": 1.0, "speechocean762": 0.9}
CORPORA = os.environ.get("ASR_CORPORA")


@dataclass(frozen=True)
class Stored:
    tokenizer: Tokenizer
    frame_s: float
    emissions: list[npt.NDArray[np.float64]]
    references: list[str]

    def errors(self, decoder: Decoder) -> int:
        """Word errors of its best hypotheses."""
        return sum(
            count_errors(reference.split(), decoder.decode(one)[0].text.split()).num_errors
            for one, reference in zip(self.emissions, self.references, strict=True)
        )


@cache
def stored(name: str) -> Stored:
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as held:
        log_probs = held["steps"] / -STEPS_PER_NAT
        log_probs -= np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
        emissions = np.split(log_probs, np.cumsum(held["lengths"])[:-1])
        tokenizer = tokenizer_from_dict(json.loads(str(held["tokenizer"])))
        references: list[str] = held["references"].tolist()
        return Stored(tokenizer, float(held["frame_s"]), emissions, references)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NgramModel]:
    """A 3-gram of each corpus that is there."""
    texts = {"digits": digit_strings()}
    for corpus in set(SETS.values()) - {"digits"}:
        source = Path(CORPORA or "no corpora") / corpus
        if source.is_dir():
            utterances = prepare(corpus, source, tmp_path_factory.mktemp(corpus), {})["train"]
            texts[corpus] = [normalize(one.text, TextConfig()) for one in utterances]
    return {
        corpus: build(tmp_path_factory.mktemp("lm") / "texts.txt", sentences)
        for corpus, sentences in texts.items()
    }


def digit_strings() -> list[str]:
    """Random strings, as the synthetic corpus has them."""
    digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 8, 1000)
    return [" ".join(generator.choice(digits, length)) for length in lengths]


def build(path: Path, sentences: Sequence[str]) -> NgramModel:
    path.write_text("\n".join(sentences) + "\n", encoding="utf-8")
    return build_model([path], BuildOptions(order=3)).model


@pytest.mark.parametrize("name", SETS)
def test_without_a_language_model_beam_is_never_worse_than_greedy(name: str) -> None:
    data = stored(name)
    greedy = data.errors(GreedyDecoder(data.tokenizer, data.frame_s))
    assert greedy > 0
    assert data.errors(BeamDecoder(data.tokenizer, data.frame_s)) <= greedy


@pytest.mark.parametrize("name", SETS)
def test_with_a_language_model_of_the_training_transcripts_it_is_never_worse(
    models: dict[str, NgramModel], name: str
) -> None:
    if SETS[name] not in models:
        pytest.skip(f"needs {SETS[name]} in ASR_CORPORA, for its transcripts")
    data, knowledge = stored(name), Knowledge(models[SETS[name]])
    greedy = data.errors(GreedyDecoder(data.tokenizer, data.frame_s))
    assert data.errors(BeamDecoder(data.tokenizer, data.frame_s, knowledge=knowledge)) <= (
        GAINS[SETS[name]] * greedy
    )


@pytest.mark.parametrize("name", SETS)
def test_the_default_beam_loses_nothing_to_a_wider_one(
    models: dict[str, NgramModel], name: str
) -> None:
    if SETS[name] not in models:
        pytest.skip(f"needs {SETS[name]} in ASR_CORPORA, for its transcripts")
    data, knowledge = stored(name), Knowledge(models[SETS[name]])
    wide = BeamConfig(beam_width=300, beam_threshold=25.0, token_threshold=15.0)
    errors = [
        data.errors(BeamDecoder(data.tokenizer, data.frame_s, config, knowledge))
        for config in (BeamConfig(), wide)
    ]
    assert errors[0] <= errors[1]
