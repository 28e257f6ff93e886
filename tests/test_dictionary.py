"""Pronunciation dictionaries as people have them; every refusal names the line."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import DataError
from asr.text import TextConfig, normalize
from asr.tokens import BLANK_TOKEN, dictionary
from asr.tokens.dictionary import (
    LEXICON_COMMENTS,
    MAX_LINE_CHARACTERS,
    numbered_lines,
    read_dictionary,
    without_variant,
)

CMUDICT = """;;; # CMUdict
READ  R EH1 D
READ(2)  R IY1 D
  # mine
ZERO  Z IY1 R OW0 # a digit
Read  R EH1 D
(2)  T UW1
"""


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def letters(word: str) -> str:
    return normalize(word, TextConfig(profile="letters"))


def test_a_file_in_the_manner_of_cmudict(tmp_path: Path) -> None:
    path = written(tmp_path / "d", CMUDICT)
    assert read_dictionary(path) == {
        "READ": (("R", "EH1", "D"), ("R", "IY1", "D")),
        "ZERO": (("Z", "IY1", "R", "OW0"),),
        "Read": (("R", "EH1", "D"),),
        "(2)": (("T", "UW1"),),
    }
    assert list(read_dictionary(path, str.lower)) == ["read", "zero", "(2)"]
    assert read_dictionary(path, str.lower)["read"] == (("R", "EH1", "D"), ("R", "IY1", "D"))


def test_a_file_in_the_manner_of_kaldi(tmp_path: Path) -> None:
    path = written(tmp_path / "d", "\ufeffçay\ttʃ a j\r\n\r\n\tsu  s u\ndağ\td a ː")
    assert read_dictionary(path) == {
        "çay": (("tʃ", "a", "j"),),
        "su": (("s", "u"),),
        "dağ": (("d", "a", "ː"),),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a EY\nb\n", "d, line 2: the word 'b' has no phones; write them after it"),
        ("a # nothing\n", "d, line 1: the word 'a' has no phones"),
        ("a <blank> EY\n", "d, line 1: the phone '<blank>' is reserved"),
        ("a EY\n?? K\n", "d, line 2: '??' is not one word in transcripts but ''; leave the line"),
        ("twenty-one T\n", "d, line 1: 'twenty-one' is not one word in transcripts but 'twenty "),
        (b"a EY\nb\xe9 B IY\n", "d, line 2: not UTF-8; convert it first"),
        (b"a EY\nb\xe9", "d, line 2: not UTF-8"),
        ("# nothing\n\n;;; a EY\n", "d holds no word; write a word and its phones"),
        ("", "d holds no word"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_dictionary(written(tmp_path / "d", content), letters)
    assert message in str(caught.value)


@pytest.mark.parametrize("path", ["none", "."])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match="cannot read "):
        read_dictionary(tmp_path / path)


@pytest.mark.parametrize("character", ["a", "ä", "𐍈"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_line_may_be_long_but_not_longer(tmp_path: Path, character: str, end: str) -> None:
    head, tail = "\nb B\nw ", end and f"{end}c C{end}"
    longest = character * (MAX_LINE_CHARACTERS - 2)
    found = read_dictionary(written(tmp_path / "d", head + longest + tail))
    assert found["w"] == ((longest,),)
    assert ("c" in found) == bool(end)
    for more in (1, 2, 50_000):
        path = written(tmp_path / "d", head + longest + more * character + tail)
        with pytest.raises(DataError, match="d, line 3: longer than 10,000 characters"):
            read_dictionary(path)


def test_a_file_may_have_many_lines_but_not_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dictionary, "MAX_LINES", 3)
    path = written(tmp_path / "d", "\n# x\na EY\n")
    assert list(numbered_lines(path, LEXICON_COMMENTS)) == [(3, "a EY")]
    with pytest.raises(DataError, match="has more than 3 lines"):
        list(numbered_lines(written(path, "\n# x\na EY\n\n"), LEXICON_COMMENTS))


@pytest.mark.parametrize(
    ("written_word", "word"),
    [("read(2)", "read"), ("read(12)", "read"), ("read()", "read()"), ("(2)", "(2)"), ("a", "a")],
)
def test_variants(written_word: str, word: str) -> None:
    assert without_variant(written_word) == word


PHONES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=3).filter(
    lambda text: len(text.split()) == 1 and text == text.split()[0] and text != "#"
)
ENTRIES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "çay", "x(y"]), st.lists(PHONES, min_size=1, max_size=4)),
    min_size=1,
    max_size=8,
)


@given(ENTRIES, st.sampled_from(["\t", "  "]), st.booleans())
def test_what_is_written_is_read(
    entries: list[tuple[str, list[str]]], blank: str, numbered: bool
) -> None:
    """Against the plainest account: a list of ways for each word, without repetitions."""
    expected: dict[str, list[tuple[str, ...]]] = {}
    lines = []
    for word, phones in entries:
        ways = expected.setdefault(word, [])
        if tuple(phones) not in ways:
            ways.append(tuple(phones))
        number = f"({len(ways)})" if numbered and len(ways) > 1 else ""
        lines.append(f"{word}{number}{blank}{' '.join(phones)}\n")
    with tempfile.TemporaryDirectory() as directory:
        path = written(Path(directory) / "d", "".join(lines))
        assert read_dictionary(path) == {word: tuple(ways) for word, ways in expected.items()}


@pytest.mark.parametrize("normalized", [str, letters])
@given(content=st.binary(max_size=80) | st.text("ab(2)#;\r\n\t <blank>\xa0").map(str.encode))
def test_any_bytes_are_read_or_refused(normalized: Callable[[str], str], content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = written(Path(directory) / "d", content)
        try:
            found = read_dictionary(path, normalized)
        except DataError as error:
            assert str(path) in error.message
            return
        assert found
        for word, ways in found.items():
            assert word.split() == [word]
            assert len(set(ways)) == len(ways) > 0
            assert all(way and BLANK_TOKEN not in way for way in ways)
            assert all(phone.split() == [phone] for way in ways for phone in way)
