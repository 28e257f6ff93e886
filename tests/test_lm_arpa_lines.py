"""Compiled reading of ARPA lines against the reader's own code: equal models, equal errors."""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lm_files import arpa_text, ngrams_of
from lm_models import Shape, random_ngrams, shapes, words_of

from asr.errors import DataError
from asr.lm.arpa import read_arpa
from asr.lm.arpa_lines import MAX_DIGITS, parse_lines, parse_number, room_for
from asr.lm.word_index import index_words

# Words that look like numbers, like marks of the format, or hold what is white space elsewhere.
WORDS = ["<s>", "</s>", "a", "b", "-1", "0.5", "\\x", "ü", "nan", "\x00a", "\x1f", "\u2003"]
NUMBERS = [
    *("-1", "-0.25", "0", "-0", "+0", "-00.50", "-1.", "-.5", "+.5", ".", "-", "+", "-.", "--1"),
    *("-1e-3", "1e-3", "-2.5E0", "-1e400", "-1e-400", "inf", "-inf", "nan", "-0x1p-1", "-1_0"),
    *("-99", "-1000000", "-1000001", "1000000", "1000000.5", "-1,5", "-٣", "-1.2.3", "-1-"),
    *("-0.123456789012345", "-0.1234567890123456", "-999999999999999", "-9999999999999999"),
    *("-0.000000000000001", "-000000000000000000.5", "-3.4e38", "-1\x00", "-1\x1c", "", "x"),
]
SPACES = [" ", "\t", "  ", " \t ", "\x0b", "\x0c", "\r", "\x00", "\x1c", "\xa0", ""]
LINE_ENDS = ["\n", "\r\n", " \n", "\t \r\n", "\n\n", "\n \n", "\x0b\n", "\x00\n"]


@contextmanager
def compiled_lines_disabled() -> Iterator[None]:
    """Let the reader think that no line is plain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asr.lm.arpa.parse_lines", lambda _index, _text, place, *_: (0, 0, place))
        yield


def outcome(content: bytes, block: int = 1 << 22, room: int = 1 << 16) -> object:
    """The bits of the model that is read, or the message of the error."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr("asr.lm.arpa.BLOCK_BYTES", block)
        patch.setattr("asr.lm.arpa.MAX_ROOM", room)
        path = Path(directory) / "lm.arpa"
        path.write_bytes(content)
        try:
            model = read_arpa(path)
        except DataError as error:
            return error.message.replace(directory, "")
        return model.vocabulary, model.order_ends, model.tables.ints.tobytes()


def file_of(lines: list[str], num_announced: int) -> bytes:
    """An ARPA file of bigrams of WORDS."""
    unigrams = "".join(f"-1 {word} -0.5\n" for word in WORDS)
    counts = f"ngram 1={len(WORDS)}\nngram 2={num_announced}\n"
    bigrams = "".join(lines)
    return f"\\data\\\n{counts}\n\\1-grams:\n{unigrams}\n\\2-grams:\n{bigrams}\\end\\\n".encode()


@st.composite
def bigram_lines(draw: st.DrawFn) -> str:
    """A line with the fields of a bigram, more or fewer, spelled and separated in any way."""
    choice = draw(st.integers(0, 9))
    number = st.sampled_from(NUMBERS) if choice < 3 else st.floats(-9, 0).map(repr)
    word = st.sampled_from(WORDS + (["zzz"] if choice == 0 else []))
    fields = [draw(number), draw(word), draw(word), *draw(st.lists(number, max_size=1))]
    if choice == 1:
        fields = fields[: draw(st.integers(0, 4))] + draw(st.lists(word, max_size=2))
    space = st.sampled_from(SPACES if choice < 2 else SPACES[:4])
    line = "".join(draw(space) + field if i else field for i, field in enumerate(fields))
    return line + draw(st.sampled_from(LINE_ENDS))


@settings(max_examples=300)
@given(
    st.lists(bigram_lines(), max_size=8),
    st.integers(-1, 1),
    st.sampled_from([1, 7, 50, 1 << 22]),
    st.sampled_from([1, 2, 1 << 16]),
)
@example(["-1\x00a b\n"], 0, 1 << 22, 1 << 16)
def test_compiled_and_plain_reading_agree(
    lines: list[str], too_many: int, block: int, room: int
) -> None:
    """The same bits, or the same message with the same line number."""
    content = file_of(lines, max(0, len(lines) + too_many))
    found = outcome(content, block, room)
    with compiled_lines_disabled():
        assert outcome(content) == found


@settings(max_examples=100)
@given(st.binary(max_size=30), st.integers(0, 400), st.integers(0, 30))
def test_damaged_files_are_refused_alike(patch: bytes, place: int, cut: int) -> None:
    lines = [f"-{i}.{i} {word} a -0.{i}\n" for i, word in enumerate(WORDS, 1)]
    good = file_of(lines, len(lines))
    content = good[: place % len(good)] + patch + good[place % len(good) + cut :]
    found = outcome(content, 64, 3)
    with compiled_lines_disabled():
        assert outcome(content) == found


@settings(max_examples=40)
@given(shapes)
def test_whole_models_are_read_alike_and_with_all_their_ngrams(shape: Shape) -> None:
    words = [word.decode() for word in words_of(shape)]
    ngrams = {
        tuple(words[word] for word in ngram): (min(0.0, log_prob), backoff)
        for ngram, (log_prob, backoff) in random_ngrams(shape).items()
    }
    content = arpa_text(ngrams, shape.order).encode()
    found = outcome(content, 300, 16)
    assert isinstance(found, tuple), found
    with compiled_lines_disabled():
        assert outcome(content) == found
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "lm.arpa").write_bytes(content)
        listed = ngrams_of(read_arpa(Path(directory) / "lm.arpa"))
    for ngram, values in ngrams.items():
        assert listed[ngram] == pytest.approx(values, abs=1e-6)


def is_plain(number: str) -> bool:
    """By the definition in the module: sign, digits, at most one point, at most so many digits."""
    return bool(re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)", number, re.ASCII)) and (
        sum(letter.isdigit() for letter in number) <= MAX_DIGITS
    )


def long_number(seed: int) -> str:
    """A number of 14 to 18 digits: those from 16 on floating point may have to round."""
    generator = np.random.default_rng(seed)
    digits = "".join(map(str, generator.integers(0, 10, generator.integers(14, 19))))
    place = generator.integers(0, len(digits) + 1)
    return f"-{digits[:place]}.{digits[place:]}"


numbers = st.one_of(
    st.sampled_from(NUMBERS),
    st.from_regex(r"[-+]?[0-9]{0,9}\.?[0-9]{0,9}", fullmatch=True),
    st.builds(long_number, st.integers(0, 2**32 - 1)),
    st.text("0123456789+-.eE_xn ", max_size=12),
)


@settings(max_examples=400)
@given(
    st.one_of(numbers, st.text("0123456789+-.eE_xn ", max_size=12)), st.sampled_from(" \t\r\n\x0b")
)
def test_a_number_is_python_s_bit_for_bit_or_left_to_it(number: str, after: str) -> None:
    text = (number + after + "7\n").encode()
    field = re.split(r"[ \t\r\n\x0b\x0c]", number + after)[0]
    end, found = parse_number(np.frombuffer(text, np.uint8), 0)
    assert is_plain(field) == (not np.isnan(found)), field
    if is_plain(field):
        assert end == len(field.encode())
        assert struct.pack("d", found) == struct.pack("d", float(field))


@pytest.mark.parametrize("letter", sorted({*range(256)} - {*b" \t\n\r\x0b\x0c", *b"0123456789."}))
def test_a_number_ends_at_white_space_only(letter: int) -> None:
    text = np.frombuffer(b"-1" + bytes([letter]) + b"a\n", np.uint8)
    assert np.isnan(parse_number(text, 0)[1])


def test_rows_lines_and_places_are_counted() -> None:
    index = index_words(b"a\nb")
    text = b"\n-1 a b\n \n-2 b a -0.5\r\n-3 zzz a\n-4 a a\n"
    room = room_for(9, 2)
    letters = np.frombuffer(text, np.uint8)
    assert parse_lines(index, letters, 0, -9.0, 99, room) == (2, 4, text.index(b"-3"))
    assert room.ids[:2].tolist() == [[0, 1], [1, 0]]
    assert room.log_probs[:2].tolist() == [-1.0, -2.0]
    assert room.backoffs[:2].tolist() == [0.0, -0.5]
    assert room.lines[:2].tolist() == [1, 3]
    begin = text.index(b"-4")
    assert parse_lines(index, letters, begin, -9.0, 99, room) == (1, 1, len(text))
    assert parse_lines(index, letters, begin, -3.5, 99, room) == (0, 0, begin), "too small a log10"
    assert parse_lines(index, letters, begin, -9.0, 6, room) == (1, 1, len(text))
    assert parse_lines(index, letters, begin, -9.0, 5, room) == (0, 0, begin), "too long a line"
    assert parse_lines(index, letters, 0, -9.0, 99, room_for(1, 2)) == (1, 3, text.index(b"-2"))


@pytest.mark.parametrize("block", [1, 100, 999, 1000, 1001, 1500, 1 << 22])
@pytest.mark.parametrize("before", [0, 1, 700])
@pytest.mark.parametrize("section", ["\\data\\", "\\1-grams:", "\\2-grams:"])
@pytest.mark.parametrize("line", ["-1 a {} ", "{}", "-1 {} b"], ids=["plain", "blank", "other"])
def test_too_long_a_line_is_refused_wherever_blocks_end(
    monkeypatch: pytest.MonkeyPatch, block: int, before: int, section: str, line: str
) -> None:
    monkeypatch.setattr("asr.lm.arpa.MAX_LINE_BYTES", 1000)
    content = file_of([" " * before + "\n", *["-1 a b\n"] * 2], 3).decode()
    number = content[: content.index(section)].count("\n") + 2
    fill = "x" if line == "-1 {} b" else " "

    def with_line_of(num_bytes: int) -> str:
        text = line.format(fill * (num_bytes - len(line) + 2))
        return str(outcome(content.replace(section, f"{section}\n{text}").encode(), block))

    assert f"line {number}: a line of more than 1000 bytes" in with_line_of(1001)
    assert "a line of more" not in with_line_of(1000)


def test_an_error_before_too_long_a_line_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.lm.arpa.MAX_LINE_BYTES", 1000)
    content = file_of(["-1 a zzz\n", " " * 5000], 1)
    for block in (1, 900, 1 << 22):
        assert "'zzz' is not among" in str(outcome(content, block))
