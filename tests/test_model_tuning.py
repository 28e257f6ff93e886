"""`asr tune` from a manifest to a model file that needs nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import ToneModel
from test_cli_decoding import asr, decoding_line
from tones import RATE_HZ, tone_utterance

from asr.checkpoint import MODEL_KIND, load_tensors, read_documents, save_tensors
from asr.decoder_setup import DecodingChoice, parse_stored
from asr.errors import AsrError, ConfigError, DataError
from asr.manifest import read_manifest
from asr.model_tuning import TuneRequest, emissions_of, tune_model
from asr.recognizer import LM_TENSOR, Recognizer

BIAS = 4.0
"""Added to the output of one word, natural log: enough that it is heard where another is said."""


@dataclass(frozen=True)
class Repairable:
    """A model that hears a word too often, data where it is never said, and words to tell it."""

    model: Path
    dev: Path
    lm: Path

    def copy_to(self, directory: Path) -> Path:
        return Path(shutil.copy(self.model, directory / "m.safetensors"))


@pytest.fixture(scope="module")
def repairable(tone_model: ToneModel, tmp_path_factory: pytest.TempPathFactory) -> Repairable:
    directory = tmp_path_factory.mktemp("repairable")
    generator = np.random.default_rng(5)
    lines, texts = [], []
    for index in range(20):
        words = [str(word) for word in generator.choice(["ba", "do"], generator.integers(1, 5))]
        samples = tone_utterance(words, generator)
        soundfile.write(directory / f"{index}.wav", samples, RATE_HZ)
        texts.append(" ".join(words))
        row: dict[str, object] = {
            "id": f"u{index}",
            "audio_path": f"{index}.wav",
            "text": texts[-1],
        }
        row["duration_s"] = len(samples) / RATE_HZ
        lines.append(json.dumps(row) + "\n")
    (directory / "dev.jsonl").write_text("".join(lines))
    (directory / "text").write_text("\n".join(texts))
    lm = directory / "lm.arpa"
    asr("lm", "build", directory / "text", "-o", lm, "--order", 2)
    tensors, documents = load_tensors(tone_model.path, MODEL_KIND)
    tensors["model.head.bias"] = tensors["model.head.bias"] + torch.tensor([0.0, 0.0, 0.0, BIAS])
    save_tensors(directory / "m.safetensors", MODEL_KIND, tensors, documents)
    return Repairable(directory / "m.safetensors", directory / "dev.jsonl", lm)


@pytest.fixture(scope="module")
def lm(repairable: Repairable) -> Path:
    return repairable.lm


@pytest.fixture
def model(tone_model: ToneModel, tmp_path: Path) -> Path:
    return Path(shutil.copy(tone_model.path, tmp_path / "model.safetensors"))


def stored_in(model: Path) -> dict[str, object]:
    document = read_documents(model, MODEL_KIND)["decoding"]
    assert isinstance(document, dict)
    return document


def test_tune_stores_what_later_commands_use(tone_model: ToneModel, model: Path, lm: Path) -> None:
    before, _ = load_tensors(model, MODEL_KIND)
    output = asr("tune", model, tone_model.dev, "--lm", lm)
    lines = output.splitlines()
    assert lines[0].startswith("greedy: %WER ")
    assert lines[1].startswith("beam:   %WER ")
    picture = model.with_name("model.tuning.png")
    assert f"error surface: {picture}" in lines
    assert picture.read_bytes().startswith(b"\x89PNG")
    stored = parse_stored(stored_in(model), model)
    assert lines[-1] == f"stored in {model}: {stored.decoder} decoding is its default"
    development = stored.development
    assert (development.manifest, development.utterances, development.words) == (
        "dev.jsonl",
        20,
        43,
    )
    assert development.errors <= development.greedy_errors
    after, _ = load_tensors(model, MODEL_KIND)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    evaluated = asr("evaluate", model, tone_model.dev)
    assert f"[ {development.errors} / 43," in evaluated
    assert (decoding_line(evaluated) == "greedy") == (stored.decoder == "greedy")


def test_several_manifests_are_one_development_set(repairable: Repairable, tmp_path: Path) -> None:
    lines = repairable.dev.read_text().splitlines(keepends=True)
    parts = []
    for name, part in (("near", lines[:5]), ("far", lines[5:])):
        (tmp_path / name).mkdir()
        parts.append(tmp_path / name / "dev.jsonl")
        rows = [json.loads(line) for line in part]
        for row in rows:
            row["audio_path"] = str(repairable.dev.parent / row["audio_path"])
        parts[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = repairable.copy_to(tmp_path)
    asr("tune", model, *parts, "--lm", repairable.lm)
    development = parse_stored(stored_in(model), model).development
    assert development.manifest == "near/dev.jsonl, far/dev.jsonl"
    assert development.utterances == 20
    whole = repairable.copy_to(tmp_path)
    asr("tune", whole, repairable.dev, "--lm", repairable.lm)
    assert (
        development.greedy_errors == parse_stored(stored_in(whole), whole).development.greedy_errors
    )


def test_what_the_beam_repairs_is_stored_with_its_language_model(
    repairable: Repairable, tmp_path: Path
) -> None:
    model, dev, lm = repairable.copy_to(tmp_path), repairable.dev, repairable.lm
    tuned = tune_model(TuneRequest(model, [dev], DecodingChoice(lms=[lm]), device="cpu"))
    assert tuned.result.decoder == "beam", tuned.result.lines()
    assert tuned.stored.development.errors < tuned.stored.development.greedy_errors
    assert tuned.stored.lm == "embedded"
    assert LM_TENSOR in load_tensors(model, MODEL_KIND)[0]
    development = tuned.stored.development
    evaluated = asr("evaluate", model, dev)
    assert f"[ {development.errors} / {development.words}," in evaluated
    assert "2-gram language model of the model file" in decoding_line(evaluated)
    evaluated = asr("evaluate", model, dev, "--decoder", "greedy")
    assert f"[ {development.greedy_errors} / {development.words}," in evaluated


@pytest.mark.parametrize("picture", [".", "p.png"])  # known before and after the work
def test_a_picture_that_cannot_be_written_leaves_the_model_as_it_was(
    repairable: Repairable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: str
) -> None:
    def fail(*_: object) -> None:
        raise DataError("cannot write the picture")

    monkeypatch.setattr("asr.model_tuning.plot_surface", fail)
    model = repairable.copy_to(tmp_path)
    before = model.read_bytes()
    with pytest.raises(DataError, match="cannot write"):
        asr("tune", model, repairable.dev, "--lm", repairable.lm, "--plot", tmp_path / picture)
    assert model.read_bytes() == before


def test_a_language_model_left_out_must_be_named_later(
    repairable: Repairable, tmp_path: Path
) -> None:
    model, dev, lm = repairable.copy_to(tmp_path), repairable.dev, repairable.lm
    said = asr("tune", model, dev, "--lm", lm, "--no-embed", "--plot", tmp_path / "p.png")
    assert "beam decoding is its default where --lm names the language model" in said
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert LM_TENSOR not in load_tensors(model, MODEL_KIND)[0]
    assert stored_in(model)["lm"] == "elsewhere"
    assert decoding_line(asr("evaluate", model, dev)) == "greedy"
    assert "2-gram lm.arpa" in decoding_line(asr("evaluate", model, dev, "--lm", lm))
    with pytest.raises(ConfigError, match="tuned with a language model that it does not hold"):
        asr("evaluate", model, dev, "--decoder", "beam")


def test_tuning_again_starts_from_the_defaults_with_the_stored_language_model(
    repairable: Repairable, tmp_path: Path
) -> None:
    model = repairable.copy_to(tmp_path)
    asr("tune", model, repairable.dev, "--lm", repairable.lm)
    first = load_tensors(model, MODEL_KIND)
    asr("tune", model, repairable.dev)
    again = load_tensors(model, MODEL_KIND)
    assert again[1] == first[1]
    assert torch.equal(again[0][LM_TENSOR], first[0][LM_TENSOR])


def test_a_lexicon_is_stored_normalised_and_used(repairable: Repairable, tmp_path: Path) -> None:
    model = repairable.copy_to(tmp_path)
    (tmp_path / "words").write_text("BA B AA\nDO D UW\n")
    output = asr("tune", model, repairable.dev, "--lexicon", tmp_path / "words")
    assert "error surface" not in output
    assert stored_in(model)["lexicon"] == ["ba", "do"]
    assert "lexicon of 2 words" in decoding_line(asr("evaluate", model, repairable.dev))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hotword", "ba"], "--hotword is not tuned: it belongs to single runs"),
        (["--grammar", "g"], "--grammar is not tuned: it belongs to single runs"),
        (["--decoder", "greedy"], "--decoder greedy is not tuned: it belongs to single runs"),
        (["--set", "num_best=3"], "num_best is not tuned: it belongs to single runs"),
        (["--beam", "20"], "beam_width is what tuning finds; leave it out here"),
        (["--set", "beam_threshold=9"], "beam_threshold is what tuning finds"),
        (["--set", "token_threshold=9"], "token_threshold is what tuning finds"),
        (["--set", "calibration.bias=1"], "calibration is what tuning finds"),
        (["--plot", "x.png"], "nothing to draw in x.png: the error surface is over the weights of"),
        (["--plot", "x.pdf"], "x.pdf would be a picture, PNG; name it .png"),
        (["--lm", "/none"], "cannot read /none"),
        (["--set", "vocabulary=closed"], "a closed vocabulary needs words"),
        (["--time-limit", "-5"], "--time-limit must be a number of seconds above 0, got -5"),
        (["--time-limit", "0"], "--time-limit must be a number of seconds above 0, got 0"),
        (["--time-limit", "nan"], "--time-limit must be a number of seconds above 0, got nan"),
        (["--time-limit", "inf"], "--time-limit must be a number of seconds above 0, got inf"),
    ],
)
def test_what_cannot_be_tuned_is_refused_and_the_model_stays(
    tone_model: ToneModel, model: Path, options: list[str], message: str
) -> None:
    before = model.read_bytes()
    with pytest.raises(AsrError) as caught:
        asr("tune", model, tone_model.dev, *options)
    assert message in str(caught.value)
    assert model.read_bytes() == before


def test_help_says_where_the_search_begins() -> None:
    said = " ".join(asr("tune", "--help").split())
    assert "lm_weight, word_bonus and unknown_score are where the search begins" in said


def test_unreadable_audio_is_named(tone_model: ToneModel, model: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in tone_model.dev.read_text().splitlines()]
    for line in lines:
        line["audio_path"] = str(tone_model.dev.parent / line["audio_path"])
    for index in (3, 5):
        lines[index]["audio_path"] = "/nowhere.wav"
    manifest = tmp_path / "dev.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    named = "dev3: there is no file /nowhere.wav; dev5: there is no file /nowhere.wav;"
    with pytest.raises(DataError, match=f"^2 of 20 utterances cannot be used: {named} mend"):
        asr("tune", model, manifest, "--lm", "would-be-read-later.arpa")


def test_emissions_are_those_of_each_utterance_alone(tone_model: ToneModel) -> None:
    recognizer = Recognizer.load(tone_model.path, "cpu")
    utterances = read_manifest(tone_model.dev)
    together = emissions_of(recognizer, utterances)
    for utterance, log_probs in zip(utterances, together, strict=True):
        alone = recognizer.emissions([recognizer.read(utterance.audio_path)])[0]
        np.testing.assert_allclose(alone, log_probs, atol=1e-4)
