"""Running text: cut where a speaker would pause, however its lines are wrapped."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import DataError
from asr.prose import MAX_SENTENCE_CHARACTERS, sentences, write_sentences
from asr.text import TextConfig, normalize

LETTERS = TextConfig(profile="letters")

WORDS = st.sampled_from(["He", "saw", "don't", "it's", "a.m", "3.5", "well-known", "Żółć"])
MARKS = st.sampled_from(["", "", "", ".", "!", "?", "...", "?!", ";", ":", ".'", ' "', " -", " —"])


@st.composite
def running_text(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Text on one line, and its sentences, cut by hand as it is put together."""
    pieces, found, sentence = [], [], []
    for word, mark in draw(st.lists(st.tuples(WORDS, MARKS), max_size=20)):
        pieces.append(word + mark)
        sentence.append(word)
        if mark:
            found.append(" ".join(sentence))
            sentence = []
    return " ".join(pieces), [*found, " ".join(sentence)] if sentence else found


@given(running_text(), st.randoms(use_true_random=False))
def test_line_breaks_do_not_matter(text: tuple[str, list[str]], random: object) -> None:
    running, expected = text
    assert list(sentences([running])) == expected
    lines = running.split(" ")
    assert list(sentences(lines)) == expected
    assert list(sentences([*lines, "", *lines])) == expected * 2


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Mr. Smith left."], ["Mr", "Smith left"]),
        (['"No," he said, "I won\'t."'], ["No,", "he said,", "I won't."]),
        (["It was—so he", "thought--over."], ["It was", "so he thought", "over"]),
        (["well-", "known facts"], ["well- known facts"]),
        (["\ufeffA heading", "", "A paragraph"], ["A heading", "A paragraph"]),
        (["a 3.5 km walk"], ["a 3.5 km walk"]),
        (["", "  ", "..."], []),
        ([], []),
    ],
)
def test_where_sentences_end(lines: list[str], expected: list[str]) -> None:
    assert list(sentences(lines)) == expected


def test_a_list_of_words_does_not_pile_up() -> None:
    """Without any mark a piece ends by its length, so the work grows with the text alone."""
    lines = ["word"] * 100_000
    found = list(sentences(lines))
    assert " ".join(found).split() == lines
    assert max(map(len, found)) <= MAX_SENTENCE_CHARACTERS + len("word ")
    assert len(found) < 1000


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_no_letter_is_lost(text: str) -> None:
    """Cutting changes nothing but where lines end: the words are those of the whole text."""
    lines = text.split("\n")
    found = " ".join(normalize(one, LETTERS) for one in sentences(lines)).split()
    whole = " ".join(normalize(line.strip("\ufeff \t\r\n"), LETTERS) for line in lines).split()
    assert re.sub("['\u200c\u200d]", "", "".join(found)) == re.sub(
        "['\u200c\u200d]", "", "".join(whole)
    )


@pytest.mark.parametrize("name", ["book.txt", "book.txt.gz"])
@pytest.mark.parametrize(
    ("profile", "expected"), [("lower", "it's done\nyes\n"), ("upper", "IT'S DONE\nYES\n")]
)
def test_sentences_are_written_as_transcripts_are(
    tmp_path: Path, name: str, profile: str, expected: str
) -> None:
    content = "\ufeff“It’s\r\n_done_!” – 'Yes!'\n".encode()
    source = tmp_path / name
    source.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    write_sentences(source, tmp_path / "out.txt", TextConfig(profile=profile))
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == expected


def test_the_language_decides_the_case(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("ISI. IŞIK", encoding="utf-8")
    write_sentences(tmp_path / "a", tmp_path / "b", TextConfig(language="tr"))
    assert (tmp_path / "b").read_text(encoding="utf-8") == "ısı\nışık\n"


def test_blocks_of_a_long_text_are_joined(tmp_path: Path) -> None:
    """Longer than what is read at a time (4 MiB): nothing changes where blocks meet."""
    (tmp_path / "a").write_text("one two\nthree. " * 400_000, encoding="utf-8")
    write_sentences(tmp_path / "a", tmp_path / "b", LETTERS)
    assert (tmp_path / "b").read_text(encoding="utf-8") == "one two three\n" * 400_000


def test_what_cannot_be_read_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"fine\n\xff\n")
    with pytest.raises(DataError, match="a, line 2: not UTF-8"):
        write_sentences(tmp_path / "a", tmp_path / "b", LETTERS)
    with pytest.raises(DataError, match=r"cannot read .*absent"):
        write_sentences(tmp_path / "absent", tmp_path / "b", LETTERS)
    assert not (tmp_path / "b").exists()
