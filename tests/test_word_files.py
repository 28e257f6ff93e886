"""Lexicons and hotwords as people have them; every refusal names the line and the cure."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import DataError
from asr.text import TextConfig
from asr.tokens import BLANK_TOKEN, CharTokenizer, PhoneTokenizer
from asr.word_files import (
    HOTWORD_WEIGHT,
    normalize_text_file,
    parse_hotwords,
    read_hotwords,
    read_lexicon,
)

LOWER, LETTERS = TextConfig(profile="lower"), TextConfig(profile="letters")
ASCII = CharTokenizer((BLANK_TOKEN, " ", *"abcdefghijklmnopqrstuvwxyz'"))


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one\ntwo\n\n  three  \none\n", ["one", "two", "three"]),
        (";;; CMUdict\nDON'T  D OW1 N T\nREAD  R EH1 D\nREAD(2)  R IY1 D\n", ["don't", "read"]),
        ("# Kaldi\nYES Y EH S\nNO\tN OW\n", ["yes", "no"]),
        ("\ufeffone\r\ntwo 7\r\n", ["one", "two"]),
    ],
)
def test_lexicons_as_people_have_them(tmp_path: Path, text: str, words: list[str]) -> None:
    assert read_lexicon(written(tmp_path / "l", text), LOWER, ASCII) == (words, None)


def test_what_normalisation_cuts_in_two_is_two_words(tmp_path: Path) -> None:
    path = written(tmp_path / "l", "Twenty-One\n")
    assert read_lexicon(path, LETTERS, ASCII)[0] == ["twenty", "one"]


def test_words_that_the_model_cannot_write_are_reported(tmp_path: Path) -> None:
    path = written(tmp_path / "l", "<eps> 0\nyes 1\ncafé 2\n#0 3\n")
    words, left_out = read_lexicon(path, LOWER, ASCII)
    assert words == ["yes"]
    assert left_out == f"{path}, line 1: the model cannot write the word '<eps>' and 1 more"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n\n", "l holds no word; give one word a line, in what the model writes"),
        ("\n北京\n", "l, line 2: the model cannot write the word '北京'"),
        (b"one\ntw\xf6\n", "l, line 2: not UTF-8"),
    ],
)
def test_lexicons_of_no_use_are_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_lexicon(written(tmp_path / "l", text), LOWER, ASCII)
    assert message in str(caught.value)


def test_hotwords_with_and_without_weights(tmp_path: Path) -> None:
    path = written(tmp_path / "h", "# names\nGuadalupe  Street\nAnn\t-2.5\n x\ty\t3\r\n")
    assert read_hotwords(path, LOWER, ASCII) == {
        "guadalupe street": HOTWORD_WEIGHT,
        "ann": -2.5,
        "x y": 3.0,
    }
    assert parse_hotwords(["New York", "ann=1", "ANN=2e0"], LOWER, ASCII) == {
        "new york": HOTWORD_WEIGHT,
        "ann": 2.0,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "h holds no phrase; write one a line"),
        ("ann\nbob\nAnn\t3\n", "h, line 3: the phrase 'ann' is there twice"),
        ("ann\ten\n", "h, line 1: the weight must be a number such as 4.5, got 'en'"),
        ("ann\tinf\n", "line 1: the weight must be a number"),
        ("ok\nroute 66\n", "line 2: 'route 66' cannot be recognised: the model writes no '6'"),
        ("\t3\n", "line 1: '' cannot be recognised: it is empty"),
        (b"\xff\n", "h, line 1: not UTF-8"),
    ],
)
def test_bad_hotwords_are_refused_by_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_hotwords(written(tmp_path / "h", text), LOWER, ASCII)
    assert message in str(caught.value)


def test_words_without_pronunciation_are_refused_with_the_cure() -> None:
    phones = PhoneTokenizer(("AA", "N"), {"ann": [("AA", "N")]})
    assert parse_hotwords(["Ann ann"], LOWER, phones) == {"ann ann": HOTWORD_WEIGHT}
    with pytest.raises(DataError, match=r"no pronunciation of 'bob'; .*--pronunciations"):
        parse_hotwords(["ann bob"], LOWER, phones)


def test_bad_hotwords_of_the_command_line_are_refused() -> None:
    with pytest.raises(DataError, match=r"the hotword 'ann=x': the weight must be a number"):
        parse_hotwords(["ann=x"], LOWER, ASCII)


@pytest.mark.parametrize("read", [read_lexicon, read_hotwords])
def test_missing_files_are_named(tmp_path: Path, read: object) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none: No such file"):
        read(tmp_path / "none", LOWER, ASCII)  # type: ignore[operator]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_text_is_normalised_line_by_line(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    source = written(tmp_path / "t", pack("Go  HOME!\r\n\n“Twenty-one”\tO’clock".encode()))
    normalize_text_file(source, tmp_path / "out", LETTERS)
    assert (tmp_path / "out").read_text() == "go home\n\ntwenty one o'clock\n"


def test_a_text_that_is_not_utf8_is_refused_by_line(tmp_path: Path) -> None:
    source = written(tmp_path / "t", b"one\ntwo\nthr\xe9e\n")
    with pytest.raises(DataError, match="t, line 3: not UTF-8; convert it first"):
        normalize_text_file(source, tmp_path / "out", LOWER)
    assert not (tmp_path / "out").exists()


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = written(Path(directory) / "f", content)
        for read in (read_lexicon, read_hotwords):
            try:
                found = read(path, LOWER, ASCII)
            except DataError:
                continue
            words = found[0] if isinstance(found, tuple) else list(found)
            assert words
            assert all(set(word) <= set(ASCII.texts) for word in words)
