"""Words of a text to ids in compiled code, against `bytes.split` and a dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_files import GOLDEN

from asr.lm.arpa import read_arpa
from asr.lm.word_index import encode_text, find_word, hash_word, index_words

WORDS = [
    b"a",
    b"ab",
    b"abc",
    b"b",
    b"\xc3\xbc",
    b"\x1c",
    b"a\x00",
    b"<s>",
    *[b"w%d" % i for i in range(99)],
]
INDEX = index_words(b"\n".join(WORDS))
END, BREAK = 7, -2


def expected_ids(text: bytes, end: int) -> list[int]:
    """By Python: a sentence a line; what follows the last line feed has no end."""
    ids = {word: index for index, word in enumerate(WORDS)}
    *lines, rest = text.split(b"\n")
    found: list[int] = []
    for line in lines:
        found += [ids.get(word, -1) for word in line.split()]
        found += [end, BREAK] if end >= 0 else [BREAK]
    return found + [ids.get(word, -1) for word in rest.split()]


def encoded(text: bytes, end: int = END) -> list[int]:
    ids: list[int] = encode_text(INDEX, np.frombuffer(text, np.uint8), end, BREAK).tolist()
    return ids


texts = st.lists(
    st.sampled_from(
        [*WORDS[:12], b" ", b"\t", b"\n", b"\r\n", b"\x0b", b"  ", b"zz", b"w", b"\xff"]
    )
).map(b"".join) | st.binary(max_size=40)


@settings(max_examples=200, deadline=None)
@given(texts, st.sampled_from([END, -1]))
def test_ids_are_those_of_split_and_a_dictionary(text: bytes, end: int) -> None:
    assert encoded(text, end) == expected_ids(text, end)


@pytest.mark.parametrize("text", [b"", b"\n\n\n", b"a", b"a\n", b"a a a a", b"\na\n\nb\n "])
def test_as_many_ids_as_fit_into_so_many_bytes(text: bytes) -> None:
    assert encoded(text) == expected_ids(text, END)


def test_every_word_is_found_and_no_other() -> None:
    for number, word in enumerate(WORDS):
        text = np.frombuffer(b"xx" + word + b" yy", np.uint8)
        end, mixed = hash_word(text, 2)
        assert end == 2 + len(word)
        assert find_word(INDEX, text, 2, end, np.uint64(mixed)) == number
        assert find_word(INDEX, text, 1, end, np.uint64(mixed)) == -1, "of another length"
        other = text.copy()
        other[2] ^= 64
        assert find_word(INDEX, other, 2, end, np.uint64(mixed)) == -1, "of the same hash"


@pytest.mark.parametrize("text", ["", "call marta", "  call\tunheard \r", "call\nmarta oh oh"])
def test_text_scores_what_its_words_score(text: str) -> None:
    model = read_arpa(GOLDEN / "commands.o3.arpa")
    assert model.text_log_prob(text) == pytest.approx(
        model.sentence_log_prob(text.split()), rel=1e-12
    )


def test_text_in_a_model_without_sentence_end() -> None:
    whole = read_arpa(GOLDEN / "commands.o1.arpa")
    names = whole.vocabulary.replace(b"</s>", b"other")
    model = type(whole)(whole.order, whole.tables, whole.order_ends, names)
    assert model.text_log_prob("call") == pytest.approx(model.word_log_probs(["call"])[0])
