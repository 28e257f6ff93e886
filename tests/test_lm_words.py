"""Words of a text to ids in compiled code, against `bytes.split` and a dictionary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_files import GOLDEN

from asr.lm.arpa import read_arpa
from asr.lm.word_index import (
    EMPTY,
    WordIndex,
    encode_text,
    find_word,
    first_slot,
    hash_word,
    index_words,
)

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


def expected_ids(text: bytes, end: int, words: Sequence[bytes] = tuple(WORDS)) -> list[int]:
    """By Python: a sentence a line; what follows the last line feed has no end."""
    ids = {word: index for index, word in enumerate(words)}
    *lines, rest = text.split(b"\n")
    found: list[int] = []
    for line in lines:
        found += [ids.get(word, -1) for word in line.split()]
        found += [end, BREAK] if end >= 0 else [BREAK]
    return found + [ids.get(word, -1) for word in rest.split()]


def encoded(text: bytes, end: int = END, index: WordIndex = INDEX) -> list[int]:
    ids: list[int] = encode_text(index, np.frombuffer(text, np.uint8), end, BREAK).tolist()
    return ids


texts = st.lists(
    st.sampled_from(
        [*WORDS[:12], b" ", b"\t", b"\n", b"\r\n", b"\x0b", b"  ", b"zz", b"w", b"\xff"]
    )
).map(b"".join) | st.binary(max_size=40)


@settings(max_examples=200)
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


def fnv1a(word: bytes) -> int:
    """FNV-1a of 64 bits as its authors write it; then both halves are mixed."""
    mixed = 0xCBF29CE484222325
    for letter in word:
        mixed = (mixed ^ letter) * 0x100000001B3 % 2**64
    mixed = (mixed ^ mixed >> 32) * 0x9E3779B97F4A7C15 % 2**64
    return mixed ^ mixed >> 32


@settings(max_examples=100)
@given(st.binary(max_size=30), st.integers(0, 9))
def test_hash_is_that_of_the_word_alone(text: bytes, before: int) -> None:
    """Whatever stands around the word; up to white space, which bytes.split knows."""
    word = (text.split() or [b""])[0] if not text[:1].isspace() else b""
    letters = np.frombuffer(b"x" * before + text, np.uint8)
    end, mixed = hash_word(letters, before)
    assert (end, int(mixed)) == (before + len(word), fnv1a(word))


# A word is what bytes.split makes of text: no ASCII white space, but any other character.
any_words = st.text(
    st.characters(exclude_characters=" \t\n\r\x0b\x0c", exclude_categories=["Cs"]), min_size=1
).map(str.encode)


@settings(max_examples=150)
@given(
    st.lists(any_words, min_size=1, max_size=30, unique=True),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.data(),
)
def test_any_vocabulary_and_any_unicode_text(
    words: list[bytes], other: str, data: st.DataObject
) -> None:
    pieces = st.sampled_from([*words, b" ", b"\n", b"\t\t", b"\r\n", other.encode(), b"\xa0"])
    text = b"".join(data.draw(st.lists(pieces, max_size=30)))
    index = index_words(b"\n".join(words))
    assert encoded(text, END, index) == expected_ids(text, END, words)
    assert encoded(text, -1, index) == expected_ids(text, -1, words)
    assert encoded(b"\n".join(words), -1, index)[::2] == list(range(len(words)))


def colliding(num_words: int, of_slots: int) -> list[bytes]:
    """Words whose search begins in the last two of so many slots, so that it wraps around."""
    slots = np.full(of_slots, EMPTY)
    index = WordIndex(np.zeros(0, np.uint8), np.zeros(1, np.int64), slots)
    found: list[bytes] = []
    candidates = (b"%d" % number for number in range(10**6))
    while len(found) < num_words:
        word = next(candidates)
        if first_slot(index, np.uint64(fnv1a(word))) >= of_slots - 2:
            found.append(word)
    return found


@pytest.mark.parametrize("num_words", [1, 2, 3, 20])
def test_words_that_begin_at_one_slot(num_words: int) -> None:
    words = colliding(2 * num_words, 2 * num_words + 1)
    known, unknown = words[:num_words], words[num_words:]
    index = index_words(b"\n".join(known))
    assert index.slots.size == 2 * num_words + 1
    assert encoded(b" ".join(known), -1, index) == list(range(num_words))
    assert encoded(b" ".join(unknown), -1, index) == [-1] * num_words


def test_words_of_one_letter_are_not_neighbours() -> None:
    """As names of letters are, in a vocabulary of a hundred words: few searches go on."""
    letters = [chr(letter).encode() for letter in range(ord("a"), ord("z") + 1)]
    index = index_words(b"\n".join([*letters, *[b"w%d" % number for number in range(75)]]))
    mixed = [hash_word(np.frombuffer(letter, np.uint8), 0)[1] for letter in letters]
    begins = {first_slot(index, np.uint64(number)) for number in mixed}
    # At random 26 words begin at some 24 of 203 slots.
    assert len(begins) > 18


def pairs_of_one_tag() -> Iterator[tuple[bytes, bytes]]:
    """Words with equal 31 upper bits of the hash, all that a slot keeps of it."""
    by_tag: dict[int, list[bytes]] = defaultdict(list)
    for number in range(200_000):
        word = b"%d" % number
        mixed = hash_word(np.frombuffer(word, np.uint8), 0)[1]
        by_tag[int(mixed) >> 33].append(word)
    yield from ((words[0], words[1]) for words in by_tag.values() if len(words) > 1)


def test_words_of_one_tag_are_told_apart_by_their_letters() -> None:
    num_pairs = 0
    for known, other in pairs_of_one_tag():
        # One word has three slots, so the other's search meets it one time in three.
        assert encoded(b" ".join([other, known]), -1, index_words(known)) == [-1, 0]
        assert encoded(b" ".join([other, known]), -1, index_words(known + b"\n" + other)) == [1, 0]
        num_pairs += 1
    assert num_pairs > 3


@pytest.mark.parametrize("size", [1, 255, 70_000, 1 << 20])
def test_words_as_long_as_texts(size: int) -> None:
    word = b"ab" * size
    index = index_words(b"\n".join([word[:-1], word, word + b"a"]))
    text = b" ".join([word + b"a", word, word[:-1], word + b"b", word[1:]])
    assert encoded(text, -1, index) == [2, 1, 0, -1, -1]


@pytest.mark.parametrize("space", [9, 10, 11, 12, 13, 32])
def test_every_ascii_white_space_separates(space: int) -> None:
    text = b"a" + bytes([space]) + b"ab"
    assert [word for word in encoded(text, -1) if word != BREAK] == [0, 1]


@pytest.mark.parametrize("letter", sorted({*range(256)} - {9, 10, 11, 12, 13, 32}))
def test_no_other_byte_separates(letter: int) -> None:
    assert len(encoded(b"a" + bytes([letter]) + b"ab", -1)) == 1


def test_vocabulary_of_one_empty_word_finds_nothing() -> None:
    assert encoded(b"a \n", -1, index_words(b"")) == [-1, BREAK]
