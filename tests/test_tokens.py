"""Tokenizers: text to indices and back, and tokenizers from untrusted values."""

from __future__ import annotations

import base64
import io
import json
import random
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.config import parse_options
from asr.ctc import BLANK
from asr.errors import AsrError, ConfigError, DataError, ModelFileError
from asr.text import TextConfig, normalize
from asr.tokens import (
    BLANK_TOKEN,
    BOUNDARY,
    MAX_PROTO_BYTES,
    Tokenizer,
    TokensConfig,
    build_tokenizer,
    tokenizer_from_dict,
)
from asr.tokens import tokenizers as tokenizers_module

CORPUS = [
    "one two three",
    "the cat sat on the mat",
    "twenty two twelve",
    "नमस्ते दुनिया",
    "q\u0303 sign",
    "",
]
CONFIGS = [
    TokensConfig(kind="char"),
    TokensConfig(kind="word"),
    TokensConfig(kind="bpe", vocab_size=40),
]
KINDS = [config.kind for config in CONFIGS]
EVERY_KIND = pytest.mark.parametrize("tokenizer", CONFIGS, ids=KINDS, indirect=True)


@pytest.fixture(scope="module")
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return build_tokenizer(request.param, CORPUS)


def _texts_of(tokenizer: Tokenizer) -> st.SearchStrategy[str]:
    """Normalised texts that the tokenizer can spell."""
    words = [word for text in CORPUS for word in text.split()]
    if tokenizer.to_dict()["kind"] == "word":
        return st.lists(st.sampled_from(words)).map(" ".join)
    letters = sorted(set("".join(words)))
    return st.text([*letters, " "]).map(lambda text: normalize(text, TextConfig(profile="none")))


@EVERY_KIND
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_decode_inverts_encode(tokenizer: Tokenizer, data: st.DataObject) -> None:
    text = data.draw(_texts_of(tokenizer).filter(lambda text: _spelled(tokenizer, text)))
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert BLANK not in tokens
    assert all(type(token) is int and token < len(tokenizer.vocab) for token in tokens)


def _spelled(tokenizer: Tokenizer, text: str) -> bool:
    """Composition can make a letter that the corpus does not have."""
    try:
        tokenizer.encode(text)
    except DataError:
        return False
    return True


@EVERY_KIND
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_word_spans_cover_any_tokens(tokenizer: Tokenizer, data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(1, len(tokenizer.vocab) - 1)))
    text, spans = tokenizer.decode(tokens), tokenizer.word_spans(tokens)
    assert " ".join(word for word, _, _ in spans) == text == " ".join(text.split())
    covered = [index for _, first, stop in spans for index in range(first, stop)]
    assert len(set(covered)) == len(covered) and covered == sorted(covered)
    left_out = {tokenizer.vocab[tokens[index]] for index in set(range(len(tokens))) - set(covered)}
    assert left_out <= {" ", BOUNDARY}
    for word, first, stop in spans:
        assert first < stop
        assert tokenizer.decode(tokens[first:stop]) == word


@EVERY_KIND
def test_to_dict_survives_json(tokenizer: Tokenizer) -> None:
    values = json.loads(json.dumps(tokenizer.to_dict()))
    copy = tokenizer_from_dict(values)
    assert copy.vocab == tokenizer.vocab
    assert copy.to_dict() == tokenizer.to_dict()
    for text in CORPUS:
        assert copy.encode(text) == tokenizer.encode(text)


@EVERY_KIND
def test_vocabulary_begins_with_the_blank_and_has_no_doubles(tokenizer: Tokenizer) -> None:
    assert tokenizer.vocab[BLANK] == BLANK_TOKEN
    assert len(set(tokenizer.vocab)) == len(tokenizer.vocab)


@pytest.mark.parametrize("config", CONFIGS, ids=KINDS)
def test_building_is_deterministic(config: TokensConfig) -> None:
    first = build_tokenizer(config, CORPUS)
    assert build_tokenizer(config, iter(CORPUS)).to_dict() == first.to_dict()
    if config.kind != "bpe":
        assert build_tokenizer(config, CORPUS[::-1]).to_dict() == first.to_dict()


def test_char_vocabulary_is_sorted_code_points() -> None:
    tokenizer = build_tokenizer(TokensConfig(), ["ba c", "क्षि"])
    assert tokenizer.vocab == (BLANK_TOKEN, " ", "a", "b", "c", "क", "ष", "ि", "्")
    assert tokenizer.encode("ba c") == [3, 2, 1, 4]
    assert tokenizer.word_spans([3, 2, 1, 1, 4, 1]) == [("ba", 0, 2), ("c", 4, 5)]


def test_combining_marks_are_tokens_of_their_own() -> None:
    text = unicodedata.normalize("NFC", "q\u0303 n\u0303")
    tokenizer = build_tokenizer(TokensConfig(), [text])
    assert set(tokenizer.vocab[1:]) == {" ", "q", "\u0303", "ñ"}
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_word_vocabulary() -> None:
    tokenizer = build_tokenizer(TokensConfig(kind="word"), ["go left", "go right"])
    assert tokenizer.vocab == (BLANK_TOKEN, "go", "left", "right")
    assert tokenizer.word_spans([3, 1]) == [("right", 0, 1), ("go", 1, 2)]


def test_bpe_vocabulary_has_the_size_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    tokenizer = build_tokenizer(TokensConfig(kind="bpe", vocab_size=45), CORPUS)
    assert len(tokenizer.vocab) == 45
    assert any(len(piece) > 2 for piece in tokenizer.vocab[1:])
    assert capfd.readouterr() == ("", "")


def test_bpe_has_no_normalisation_of_its_own() -> None:
    # NFKC, sentencepiece's default, would turn each of these into something else.
    text = "ﬁ ½ Ａ ① x² \u0301a"
    tokenizer = build_tokenizer(TokensConfig(kind="bpe", vocab_size=14), [text])
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_bpe_learns_from_texts_of_any_length() -> None:
    # sentencepiece would drop sentences above 4,192 bytes in silence.
    text = "ab " * 3000 + "z"
    tokenizer = build_tokenizer(TokensConfig(kind="bpe", vocab_size=6), [text, "a"])
    assert tokenizer.decode(tokenizer.encode("z ab")) == "z ab"


@EVERY_KIND
def test_unknown_symbols_are_named_with_their_text(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError) as caught:
        tokenizer.encode("one ß%& two")
    assert "'one ß%& two'" in caught.value.message
    if tokenizer.to_dict()["kind"] == "word":
        assert "words not in the vocabulary: 'ß%&'" in caught.value.message
    else:
        assert "characters not in the vocabulary: '%', '&', 'ß' (U+00DF)" in caught.value.message


def test_many_unknown_symbols_are_counted() -> None:
    tokenizer = build_tokenizer(TokensConfig(), ["a"])
    with pytest.raises(DataError, match=r"'b', 'c', .* and 10 more"):
        tokenizer.encode("abcdefghijklmnopqrs")


@EVERY_KIND
@pytest.mark.parametrize("token", [BLANK, -1, 10**6])
def test_tokens_outside_the_vocabulary_are_refused(tokenizer: Tokenizer, token: int) -> None:
    with pytest.raises(ValueError, match="token must be 1 to"):
        tokenizer.decode([1, token])
    with pytest.raises(ValueError, match="token must be 1 to"):
        tokenizer.word_spans([token])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_texts_without_text_are_refused(kind: str, texts: list[str]) -> None:
    with pytest.raises(DataError, match="no transcript holds any text"):
        build_tokenizer(parse_options(TokensConfig, {"kind": kind}, "test"), texts)


def test_bpe_vocabulary_that_does_not_fit_the_texts_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vocab_size 3 is too small: .* at least 5"):
        build_tokenizer(TokensConfig(kind="bpe", vocab_size=3), ["abc"])
    with pytest.raises(ConfigError, match=r"vocab_size 500 is too large: .* at most 11"):
        build_tokenizer(TokensConfig(kind="bpe", vocab_size=500), ["abc"])


@pytest.mark.parametrize("symbol", ["\u2581", "\u2585", "\0", "\n"])
def test_bpe_refuses_what_sentencepiece_would_drop(symbol: str) -> None:
    with pytest.raises(DataError, match="cannot spell"):
        build_tokenizer(TokensConfig(kind="bpe", vocab_size=20), ["some text", f"a{symbol}b"])


def test_the_name_of_the_blank_is_no_word() -> None:
    with pytest.raises(DataError, match="reserved"):
        build_tokenizer(TokensConfig(kind="word"), [f"a {BLANK_TOKEN}"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "bep"}, "kind"),
        ({"vocab_size": 1}, "vocab_size"),
        ({"vocab_sise": 5}, "did you mean `vocab_size`"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_options(TokensConfig, values, "train.toml")


def _char(**changes: Any) -> dict[str, Any]:
    return {"kind": "char", "vocab": [BLANK_TOKEN, "a", "b"], **changes}


def _bpe(**changes: Any) -> dict[str, Any]:
    return {**build_tokenizer(CONFIGS[2], CORPUS).to_dict(), **changes}


HOSTILE: list[tuple[Callable[[], Any], str]] = [
    (lambda: None, "must be a table"),
    (lambda: [], "must be a table"),
    (lambda: {}, "unknown kind"),
    (lambda: _char(kind="phoneme"), "known: char, word, bpe, phone"),
    (lambda: _char(kind=["char"]), "unknown kind"),
    (lambda: _char(extra=1), "must have kind, vocab"),
    (lambda: {"kind": "char"}, "must have kind, vocab"),
    (lambda: _char(vocab="<blank>a"), "list of strings"),
    (lambda: _char(vocab=[BLANK_TOKEN, 1]), "list of strings"),
    (lambda: _char(vocab=None), "list of strings"),
    (lambda: _char(vocab=[]), "'<blank>' first"),
    (lambda: _char(vocab=[BLANK_TOKEN]), "'<blank>' first"),
    (lambda: _char(vocab=["a", "b"]), "'<blank>' first"),
    (lambda: _char(vocab=["a", BLANK_TOKEN]), "'<blank>' first"),
    (lambda: _char(vocab=[BLANK_TOKEN, "a", "a"]), "'a' more than once"),
    (lambda: _char(vocab=[BLANK_TOKEN, "\ud800"]), "surrogate"),
    (lambda: _char(vocab=[BLANK_TOKEN, "ab"]), "not one character"),
    (lambda: _char(vocab=[BLANK_TOKEN, ""]), "not one character"),
    (lambda: _char(kind="word", vocab=[BLANK_TOKEN, "a b"]), "not one word"),
    (lambda: _char(kind="word", vocab=[BLANK_TOKEN, ""]), "not one word"),
    (lambda: _char(kind="bpe"), "sentencepiece"),
    (lambda: _bpe(sentencepiece="?!"), "base64"),
    (lambda: _bpe(sentencepiece=3), "base64"),
    (lambda: _bpe(sentencepiece="ü"), "base64"),
    (lambda: _bpe(sentencepiece=""), "damaged|special"),
    (lambda: _bpe(sentencepiece=base64.b64encode(b"garbage").decode()), "damaged"),
    (lambda: _bpe(sentencepiece="A" * (MAX_PROTO_BYTES * 2 + 1)), "more than"),
    (lambda: _bpe(sentencepiece="A" * ((MAX_PROTO_BYTES + 6) // 3 * 4)), "more than"),
    (lambda: _bpe(vocab=[BLANK_TOKEN, "a"]), "not that of its sentencepiece model"),
]


@pytest.mark.parametrize(("make", "message"), HOSTILE)
def test_hostile_values_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        tokenizer_from_dict(make())


def test_huge_vocabularies_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizers_module, "MAX_VOCAB_SIZE", 2)
    with pytest.raises(ModelFileError, match="2 to 2 tokens"):
        tokenizer_from_dict(_char())


def test_sentencepiece_models_with_other_rules_are_refused() -> None:
    foreign = [
        {"unk_id": 1, "bos_id": 0},
        {"unk_id": 0, "bos_id": 1},
        {"unk_id": 0, "byte_fallback": True, "vocab_size": 300},
        {"unk_id": 0, "user_defined_symbols": ["a b"]},
        {"unk_id": 0, "add_dummy_prefix": False},
        {"unk_id": 0, "treat_whitespace_as_suffix": True},
    ]
    for options in foreign:
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["one two", "ﬁ"]),
            model_writer=model,
            minloglevel=3,
            hard_vocab_limit=False,
            **{
                "model_type": "bpe",
                "vocab_size": 12,
                "bos_id": -1,
                "eos_id": -1,
                "normalization_rule_name": "identity",
                **options,
            },
        )
        proto = base64.b64encode(model.getvalue()).decode()
        with pytest.raises(ModelFileError, match="special tokens or a normalisation"):
            tokenizer_from_dict(_bpe(sentencepiece=proto))


def test_damaged_sentencepiece_models_never_crash() -> None:
    values = _bpe()
    proto = base64.b64decode(values["sentencepiece"])
    generator = random.Random(1)
    for _ in range(300):
        damaged = bytearray(proto)
        for _ in range(generator.choice((1, 3, 20))):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        values["sentencepiece"] = base64.b64encode(bytes(damaged)).decode()
        try:
            tokenizer = tokenizer_from_dict(values)
        except ModelFileError:
            continue
        # Damage to a score leaves a model that still spells everything.
        assert tokenizer.decode(tokenizer.encode("one two")) == "one two"


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(st.sampled_from(["kind", "vocab", "sentencepiece", "x"]), inner),
        ),
        max_leaves=8,
    )
)
def test_any_value_is_a_tokenizer_or_an_error(values: Any) -> None:
    for candidate in (values, {"kind": "char", "vocab": values}, {"kind": "word", "vocab": values}):
        try:
            tokenizer_from_dict(candidate)
        except AsrError as error:
            assert isinstance(error, ModelFileError)
