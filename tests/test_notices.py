"""What is said of a corpus before training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tones import config_of, tone_config

from asr.errors import DataError
from asr.experiment import ExperimentConfig
from asr.training import train
from asr.training.data import Corpus, check_corpus, load_corpus
from asr.training.notices import notices


@pytest.fixture
def config(tmp_path: Path) -> ExperimentConfig:
    return config_of(tone_config(tmp_path))


def saying(text: str, corpus: Corpus) -> Corpus:
    return replace(corpus, train=tuple(replace(one, text=text) for one in corpus.train))


def test_what_is_as_usual_needs_no_word(config: ExperimentConfig) -> None:
    corpus = load_corpus(config)
    assert not list(notices(corpus, config))
    assert not list(
        notices(saying("ann\u2019s co-op o'clock, no \u0930\u093e\u092e", corpus), letters(config))
    )


def letters(config: ExperimentConfig, **changes: str) -> ExperimentConfig:
    text = config.text.model_copy(update={"profile": "letters", **changes})
    return config.model_copy(update={"text": text})


def test_development_utterances_that_are_trained_on_are_counted(config: ExperimentConfig) -> None:
    corpus = load_corpus(config)
    shared = replace(corpus, dev=(*corpus.dev, *(replace(one, id="x") for one in corpus.train[:3])))
    (said,) = notices(shared, config)
    assert said.startswith("3 of 23 development utterances are training utterances too")


def test_punctuation_is_shown(config: ExperimentConfig) -> None:
    corpus = saying("Five, please. O'Neill-five!", load_corpus(config))
    (said,) = notices(corpus, config)
    assert "counted like letters: ! , .; text.profile=letters" in said
    many = saying("""! " # % & ( ) * , . / :""", corpus)
    assert 'letters: ! " # % & ( ) * …;' in next(notices(many, config))


def test_turkish_letters_need_their_language(config: ExperimentConfig) -> None:
    corpus = saying("\u0130ki", load_corpus(config))
    (said,) = notices(corpus, letters(config))
    assert said.endswith("say text.language=tr or az")
    assert not list(notices(corpus, letters(config, language="tr")))


def test_they_are_said_as_training_begins(
    tones: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {**tones, "data": {"train": tones["data"]["train"], "dev": tones["data"]["train"]}}
    values["training"] = {**tones["training"], "epochs": 1}
    train(config_of(values), tmp_path)
    assert "note: 60 of 60 development utterances are training utt" in capsys.readouterr().err


def test_unknown_words_that_differ_by_punctuation_have_their_own_cure(tmp_path: Path) -> None:
    values = tone_config(tmp_path)
    dev = tmp_path / "dev.jsonl"
    plain = dev.read_text()
    dev.write_text(plain.replace('"}', '."}'))
    with pytest.raises(DataError, match="problems in 20 utterances of dev: ") as caught:
        check_corpus(config_of(values))
    assert str(caught.value.hint).startswith("text.profile=letters leaves punctuation out")
    dev.write_text(plain.replace('"}', ' zorro"}', 1))
    with pytest.raises(DataError, match="1 problem in") as caught:
        check_corpus(config_of(values))
    assert "text.profile" not in str(caught.value.hint)
