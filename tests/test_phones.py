"""Phones as tokens: from words to phones and back, and dictionaries from untrusted files."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.ctc import BLANK
from asr.errors import ConfigError, DataError, ModelFileError
from asr.tokens import (
    BLANK_TOKEN,
    PhoneTokenizer,
    TokensConfig,
    build_tokenizer,
    tokenizer_from_dict,
)
from asr.tokens import phones as phones_module

DICTIONARY = """# likelier words first
to  t uː
two t uː
read r iː d
read(2) r ɛ d
red r ɛ d
tea t iː
"""
PHONES = ("d", "iː", "r", "t", "uː", "ɛ")


@pytest.fixture
def tokenizer(tmp_path: Path) -> PhoneTokenizer:
    path = tmp_path / "lexicon.txt"
    path.write_text(DICTIONARY, encoding="utf-8")
    config = TokensConfig(kind="phone", pronunciations=path)
    built = build_tokenizer(config, ["two red"], str.lower)
    assert isinstance(built, PhoneTokenizer)
    return built


def tokens_of(tokenizer: PhoneTokenizer, text: str) -> list[int]:
    """By the names of the phones, `|` between words."""
    return [tokenizer.vocab.index(" " if name == "|" else name) for name in text.split()]


def test_the_vocabulary_is_the_blank_the_space_and_the_phones(tokenizer: PhoneTokenizer) -> None:
    assert tokenizer.vocab == (BLANK_TOKEN, " ", *PHONES)
    assert len(tokenizer.texts) == len(tokenizer.vocab)
    assert tokenizer.texts[BLANK] == "" and tokenizer.texts[1] == " "
    assert tokenizer.words == ("to", "two", "read", "red", "tea")


def test_a_text_is_learnt_as_the_usual_pronunciations(tokenizer: PhoneTokenizer) -> None:
    assert tokenizer.encode("two  read") == tokens_of(tokenizer, "t uː | r iː d")
    assert tokenizer.encode("") == []


def test_what_sounds_alike_is_written_as_the_first_word(tokenizer: PhoneTokenizer) -> None:
    tokens = tokens_of(tokenizer, "| t uː | r ɛ d | t iː |")
    assert tokenizer.word_spans(tokens) == [("to", 1, 3), ("read", 4, 7), ("tea", 8, 10)]
    assert tokenizer.decode(tokens) == "to read tea"


def test_spellings_and_readings_are_inverse(tokenizer: PhoneTokenizer) -> None:
    assert [len(tokenizer.spellings(word)) for word in ("to", "read", "thee")] == [1, 2, 0]
    assert tokenizer.readings(tokenizer.spellings("two")[0]) == ("to", "two")
    assert tokenizer.readings(tokenizer.spellings("read")[1]) == ("read", "red")
    for word in tokenizer.words or ():
        assert all(word in tokenizer.readings(one) for one in tokenizer.spellings(word))


def test_what_is_no_word_is_written_as_it_sounds(tokenizer: PhoneTokenizer) -> None:
    tokens = tokens_of(tokenizer, "d uː t | t iː")
    assert tokenizer.decode(tokens) == "/duːt/ tea"


def test_words_without_pronunciation_are_named(tokenizer: PhoneTokenizer) -> None:
    with pytest.raises(DataError, match=r"without pronunciation.*'kiwi', 'pear'.*asr pronounce"):
        tokenizer.encode("two pear kiwi")


def test_words_can_be_added(tokenizer: PhoneTokenizer) -> None:
    more = tokenizer.with_words({"rude": [("r", "uː", "d")], "tea": [("t", "ɛ")]})
    assert more.vocab == tokenizer.vocab
    assert more.decode(tokens_of(more, "r uː d | t ɛ | t iː | t uː")) == "rude tea /tiː/ to"
    assert tokenizer.decode(tokens_of(tokenizer, "r uː d")) == "/ruːd/"


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3),
        st.lists(
            st.lists(st.sampled_from(["p", "tʃ", "uː", "EY1"]), min_size=1, max_size=3).map(tuple),
            min_size=1,
            max_size=2,
            unique=True,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_a_model_file_keeps_the_dictionary(dictionary: dict[str, list[tuple[str, ...]]]) -> None:
    tokenizer = PhoneTokenizer(("EY1", "p", "tʃ", "uː"), dictionary)
    copy = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert copy.to_dict() == tokenizer.to_dict()
    assert copy.words == tokenizer.words == tuple(dictionary)
    for word in dictionary:
        assert copy.spellings(word) == tokenizer.spellings(word)
        assert copy.encode(word) == tokenizer.encode(word)
        assert tokenizer.decode(tokenizer.encode(word)) in dictionary


def test_phones_need_a_dictionary() -> None:
    with pytest.raises(ConfigError, match=r"need tokens\.pronunciations.*asr pronounce"):
        build_tokenizer(TokensConfig(kind="phone"), ["two"])


def test_words_of_the_dictionary_are_normalised(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text("TWO T UW\n", encoding="utf-8")
    config = TokensConfig(kind="phone", pronunciations=path)
    assert build_tokenizer(config, [], str.lower).words == ("two",)


def packed(text: str | bytes) -> str:
    data = text if isinstance(text, bytes) else text.encode()
    return base64.b64encode(zlib.compress(data)).decode()


def values(**changes: Any) -> dict[str, Any]:
    vocab = [BLANK_TOKEN, " ", "p", "q"]
    return {"kind": "phone", "vocab": vocab, "dictionary": packed("a\t\ue000\ue001")} | changes


HOSTILE = [
    (lambda: values(vocab=[BLANK_TOKEN, "p", "q"]), "blank, the space, and names of phones"),
    (lambda: values(vocab=[BLANK_TOKEN, " "]), "blank, the space, and names of phones"),
    (lambda: values(vocab=[BLANK_TOKEN, " ", "p q"]), "blank, the space, and names of phones"),
    (lambda: values(dictionary=3), "dictionary of the tokenizer is damaged"),
    (lambda: values(dictionary="?!"), "is damaged"),
    (lambda: values(dictionary=base64.b64encode(b"plain").decode()), "is damaged"),
    (lambda: values(dictionary=packed("a\t\ue000")[:-8]), "is damaged"),
    (lambda: values(dictionary=packed(b"\xff\t\xff")), "is damaged"),
    (lambda: values(dictionary=packed("")), "damaged at ''"),
    (lambda: values(dictionary=packed("a")), "damaged at 'a'"),
    (lambda: values(dictionary=packed("a\t")), "damaged at 'a'"),
    (lambda: values(dictionary=packed("a\t\ue002")), "damaged at 'a'"),
    (lambda: values(dictionary=packed("a\tp")), "damaged at 'a'"),
    (lambda: values(dictionary=packed("a b\t\ue000")), "damaged at 'a b'"),
    (lambda: values(dictionary=packed("a\t\ue000\na\t\ue001")), "damaged at 'a'"),
]


@pytest.mark.parametrize(("make", "message"), HOSTILE)
def test_damaged_dictionaries_are_refused(make: Callable[[], Any], message: str) -> None:
    assert isinstance(tokenizer_from_dict(values()), PhoneTokenizer)
    with pytest.raises(ModelFileError, match=message):
        tokenizer_from_dict(make())


def test_a_dictionary_does_not_unpack_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phones_module, "MAX_DICTIONARY_BYTES", 1000)
    with pytest.raises(ModelFileError, match="is damaged"):
        tokenizer_from_dict(values(dictionary=packed("a\t" + "\ue000" * 1000)))


@given(st.text(max_size=40))
def test_any_packed_text_is_read_or_refused(text: str) -> None:
    try:
        tokenizer = tokenizer_from_dict(values(dictionary=packed(text)))
    except (ModelFileError, UnicodeEncodeError):
        return
    assert tokenizer.words
