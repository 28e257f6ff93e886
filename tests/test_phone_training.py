"""A recogniser of phones from its dictionary to its words: trained, kept, begun from, extended."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tones import tone_config

from asr.config import parse_options
from asr.cutting import CutOptions, cut_utterances
from asr.decoder_setup import DecoderSource, DecodingChoice, beam_setup
from asr.errors import ConfigError, DataError
from asr.experiment import ExperimentConfig
from asr.manifest import read_manifest
from asr.model_tuning import TuneRequest, tune_model
from asr.recognizer import Recognizer
from asr.text import TextConfig
from asr.tokens import CharTokenizer, PhoneTokenizer
from asr.training import TrainingResult, train
from asr.training.warm_start import adopt_settings

# Each tone of the tones is one sound; `mee` sounds like `mi`, `bado` is never said in training.
DICTIONARY = "ba B\ndo D\nmi M\nmee M\nbado B D\n"


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("phones")
    dictionary = directory / "lexicon.txt"
    dictionary.write_text(DICTIONARY)
    tokens = {"kind": "phone", "pronunciations": str(dictionary)}
    return {**tone_config(directory, epochs=20), "tokens": tokens}


@pytest.fixture(scope="module")
def learnt(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    config = parse_options(ExperimentConfig, values, "test")
    return train(config, tmp_path_factory.mktemp("learnt"))


def test_words_of_the_dictionary_are_learnt(learnt: TrainingResult, values: dict[str, Any]) -> None:
    assert learnt.validation.wer < 0.3
    recognizer = Recognizer.load(learnt.model_path, "cpu", DecodingChoice(decoder="beam"))
    assert recognizer.tokenizer.words == ("ba", "do", "mi", "mee", "bado")
    one = read_manifest(Path(values["data"]["dev"]))[0]
    assert {word.text for word in recognizer.transcribe(one.audio_path).words} <= {
        "ba",
        "do",
        "mi",
        "bado",
    }


@pytest.mark.parametrize(
    ("settings", "expected"), [({}, "closed"), ({"vocabulary": "open"}, "open")]
)
def test_tuning_writes_words_alone_unless_asked_for_others(
    learnt: TrainingResult,
    values: dict[str, Any],
    tmp_path: Path,
    settings: dict[str, Any],
    expected: str,
) -> None:
    """The language model is of use: it alone knows which of two that sound alike is written."""
    source, arpa, dev = Path(values["data"]["dev"]), tmp_path / "lm.arpa", tmp_path / "dev.jsonl"
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    for row in rows:
        row["audio_path"] = str(source.parent / row["audio_path"])
        row["text"] = row["text"].replace("mi", "mee")
    dev.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("<s>", "</s>", "<unk>", "ba", "do", "mee")
    lines = "\n".join(f"-1\t{word}" for word in words)
    arpa.write_text(ARPA.format(n=len(words), lines=lines))
    model = Path(shutil.copy(learnt.model_path, tmp_path / "m.safetensors"))
    choice = DecodingChoice(lms=[arpa], settings=settings)
    tuned = tune_model(TuneRequest(model, [dev], choice, device="cpu"))
    assert tuned.stored.lm == "embedded"
    assert tuned.stored.beam.vocabulary == expected


def test_what_starts_from_it_needs_no_dictionary(
    learnt: TrainingResult, values: dict[str, Any], tmp_path: Path
) -> None:
    training = {**values["training"], "epochs": 1, "start_from": str(learnt.model_path)}
    own = {"data": values["data"], "training": training, "optim": {"learning_rate": 1e-7}}
    config = adopt_settings(parse_options(ExperimentConfig, own, "test"))
    assert config.tokens.kind == "phone" and config.tokens.pronunciations is None
    result = train(config, tmp_path / "run")
    assert result.validation.errors == learnt.validation.errors
    tokenizer = Recognizer.load(result.model_path, "cpu").tokenizer
    assert tokenizer.words == ("ba", "do", "mi", "mee", "bado")


def test_transcripts_without_pronunciation_are_named(
    values: dict[str, Any], tmp_path: Path
) -> None:
    dictionary = tmp_path / "lexicon.txt"
    dictionary.write_text("ba B\ndo D\n")
    tokens = {"kind": "phone", "pronunciations": str(dictionary)}
    config = parse_options(ExperimentConfig, {**values, "tokens": tokens}, "test")
    with pytest.raises(DataError, match=r"words without pronunciation.*'mi'") as caught:
        train(config, tmp_path / "run")
    hint = str(caught.value.hint)
    assert "tokens.pronunciations" in hint and "tokens.kind=char" in hint


def test_pieces_keep_the_words_of_the_transcript(
    learnt: TrainingResult, values: dict[str, Any]
) -> None:
    """Though the phones of `mee` are those of `mi`, which the dictionary prefers."""
    recognizer = Recognizer.load(learnt.model_path, "cpu", DecodingChoice(decoder="greedy"))
    spoken = next(one for one in read_manifest(Path(values["data"]["dev"])) if "mi" in one.text)
    written = replace(spoken, text=spoken.text.replace("mi", "mee"))
    cutting = cut_utterances(recognizer, [written], CutOptions(max_words=1, min_score=0))
    assert [piece.text for piece in cutting.pieces] == written.text.split()


PHONES = PhoneTokenizer(("B", "D", "M"), {"ba": [("B",)], "do": [("D",)]})


def test_words_are_added_for_one_run(tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_text("MID M D\nba B B\n")
    source = DecoderSource(PHONES, 0.04, TextConfig(profile="lower"))
    setup = beam_setup(source, DecodingChoice(pronunciations=more))
    assert setup.tokenizer.words == ("ba", "do", "mid")
    assert len(setup.tokenizer.spellings("mid")) == 1
    assert setup.tokenizer.spellings("ba") != PHONES.spellings("ba")


ARPA = "\\data\\\nngram 1={n}\n\n\\1-grams:\n{lines}\n\n\\end\\\n"


def test_words_of_a_language_model_without_pronunciation_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arpa, more = tmp_path / "lm.arpa", tmp_path / "more.txt"
    words = ("<s>", "</s>", "ba", "do", "mid")
    lines = "\n".join(f"-1\t{word}" for word in words)
    arpa.write_text(ARPA.format(n=len(words), lines=lines))
    more.write_text("mid M D\n")
    source = DecoderSource(PHONES, 0.04, TextConfig(profile="lower"))
    beam_setup(source, DecodingChoice(lms=[arpa]))
    assert "lm.arpa: 1 of 3 words have no pronunciation" in caplog.text
    assert "('mid', say); write its phones into a file for --pronunciations" in caplog.text
    caplog.clear()
    by_word = beam_setup(source, DecodingChoice(lms=[arpa], pronunciations=more))
    assert by_word.tokenizer.words == ("ba", "do", "mid")
    assert by_word.knowledge.lexicon is None  # the words of the language model
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("tokenizer", "text", "error", "message"),
    [
        (PHONES, "mid M I D\n", DataError, r"more.txt: the model has no phone 'I', as in 'mid'"),
        (PHONES, "mid\n", DataError, r"more.txt, line 1"),
        (CharTokenizer(("<blank>", "a")), "a B\n", ConfigError, "needs no pronunciations"),
    ],
)
def test_words_that_cannot_be_added(
    tmp_path: Path,
    tokenizer: PhoneTokenizer,
    text: str,
    error: type[Exception],
    message: str,
) -> None:
    more = tmp_path / "more.txt"
    more.write_text(text)
    source = DecoderSource(tokenizer, 0.04, TextConfig(profile="lower"))
    with pytest.raises(error, match=message):
        beam_setup(source, DecodingChoice(pronunciations=more))
