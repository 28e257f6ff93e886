"""ARPA text: what is read, what is refused and where, and that writing keeps everything."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_files import GOLDEN, assert_same_ngrams, ngrams_of, read_ngrams

from asr.errors import AsrError, DataError
from asr.lm.arpa import read_arpa
from asr.lm.arpa_lines import parse_number
from asr.lm.arpa_writing import write_arpa
from asr.lm.files import read_model, write_model
from asr.lm.trie import are_sorted, in_sorted

GOOD = r"""a comment before the data

\data\
ngram 1=4
ngram  2 = 2

\1-grams:
-99 <s> -0.5
-0.3 </s>
-0.4	a	-0.25
-0.9 b

\2-grams:
-0.1 <s> a
-0.2 a b

\end\
"""


def write(directory: Path, text: str | bytes) -> Path:
    path = directory / "lm.arpa"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_reads_what_other_tools_write(tmp_path: Path) -> None:
    model = read_arpa(write(tmp_path, GOOD.replace("\n", "\r\n")))
    expected = {
        ("<s>",): (-99.0, -0.5),
        ("</s>",): (-0.3, 0.0),
        ("a",): (-0.4, -0.25),
        ("b",): (-0.9, 0.0),
        ("<s>", "a"): (-0.1, 0.0),
        ("a", "b"): (-0.2, 0.0),
    }
    assert_same_ngrams(ngrams_of(model), expected, 1e-5)


def test_reads_gzip_whatever_its_name(tmp_path: Path) -> None:
    packed = write(tmp_path, gzip.compress(GOOD.encode()))
    assert read_arpa(packed).num_ngrams == (4, 2)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_order_mark_is_no_part_of_the_first_line(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    text = "\ufeff" + GOOD[GOOD.index("\\data") :]
    assert read_arpa(write(tmp_path, pack(text.encode()))).num_ngrams == (4, 2)


def test_words_may_hold_any_character_but_white_space(tmp_path: Path) -> None:
    model = read_arpa(write(tmp_path, GOOD.replace("b\n", "ünï\u00a0ç\\ode\n")))
    assert model.words[3] == "ünï\u00a0ç\\ode"


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("\\data\\", "", 18, "ends without a line \\data\\: it is no ARPA model"),
        ("ngram 1=4\n", "ngram 2=4\n", 4, "expected `ngram 1="),
        ("ngram 1=4\nngram  2 = 2\n", "", 5, "expected `ngram 1="),
        ("\\1-grams:", "\\one-grams:", 7, "expected \\1-grams:"),
        ("\\2-grams:", "\\3-grams:", 13, "expected \\2-grams:"),
        ("\\end\\", "\\3-grams:", 17, "expected \\end\\"),
        ("\\end\\\n", "", 17, "ends too early"),
        ("-0.4	a	-0.25", "-0.4x	a	-0.25", 10, "cannot read a number"),
        ("-0.4	a	-0.25", "nan	a	-0.25", 10, "not the logarithm of a probability"),
        ("-0.4	a	-0.25", "0.4	a	-0.25", 10, "not the logarithm of a probability"),
        ("-0.4	a	-0.25", "-0.4	a	inf", 10, "not the logarithm of a back-off"),
        ("-0.4	a	-0.25", "-0.4	a	-0.25 c d", 10, "expected a number and 1 words"),
        ("-0.4	a	-0.25", "-0.4", 10, "expected a number and 1 words"),
        ("-0.4	a	-0.25", "-0.4	b	-0.25", 11, "the unigram 'b' of line 10 again"),
        ("-0.2 a b", "-0.2 a", 15, "expected a number and 2 words"),
        ("-0.2 a b", "-0.2 a c", 15, "'c' is not among the unigrams"),
        ("-0.2 a b", "-0.2 <s> a", 15, "the 2-gram of line 14 again"),
        ("-0.2 a b", "", 17, "1 2-grams where 2 were announced"),
        ("-0.2 a b", "-0.2 a b\n-0.2 b a", 16, "more 2-grams than the 2 announced"),
    ],
)
def test_malformed_files_are_refused_with_their_line(
    tmp_path: Path, old: str, new: str, line: int, problem: str
) -> None:
    assert old in GOOD
    with pytest.raises(DataError) as caught:
        read_arpa(write(tmp_path, GOOD.replace(old, new, 1)))
    assert f"lm.arpa, line {line}: " in caught.value.message
    assert problem in caught.value.message


def test_a_model_without_words_is_none(tmp_path: Path) -> None:
    text = "\\data\\\nngram 1=0\n\n\\1-grams:\n\n\\end\\\n"
    with pytest.raises(DataError, match=r"lm.arpa, line 6: expected at least one 1-gram, got none"):
        read_arpa(write(tmp_path, text))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 10: .*not UTF-8"):
        read_arpa(write(tmp_path, GOOD.encode().replace(b"\ta\t", b"\t\xff\t")))


def test_an_endless_line_is_refused_before_it_fills_memory(tmp_path: Path) -> None:
    bomb = gzip.compress(b"\\data\\\n" + b"x" * (1 << 24))
    with pytest.raises(DataError, match="line 2: a line of more than"):
        read_arpa(write(tmp_path, bomb))


def test_damaged_gzip_and_missing_file(tmp_path: Path) -> None:
    packed = gzip.compress(GOOD.encode() * 50)
    with pytest.raises(DataError, match="damaged gzip"):
        read_arpa(write(tmp_path, packed[:-9]))
    with pytest.raises(DataError, match="cannot read"):
        read_arpa(tmp_path / "missing.arpa")


ARPA_PIECES = st.sampled_from(
    [
        *GOOD.splitlines(keepends=True),
        "ngram 3=999999999999\n",
        "\\3-grams:\n",
        "-1 a b a\n",
        "\x00",
    ]
)


@settings(max_examples=150)
@given(
    st.binary(max_size=80)
    | st.lists(ARPA_PIECES, max_size=25).map(lambda pieces: "".join(pieces).encode())
    | st.tuples(st.integers(0, len(GOOD)), st.integers(0, 9), st.binary(max_size=6)).map(
        lambda edit: GOOD.encode()[: edit[0]] + edit[2] + GOOD.encode()[edit[0] + edit[1] :]
    )
)
def test_any_bytes_give_a_model_or_an_error_with_a_reason(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        try:
            model = read_model(write(Path(directory), content))
        except AsrError as error:
            assert "lm.arpa" in error.message
        else:
            assert model.sentence_log_prob(["a", "b", "zzz"]) <= 1e-3 + 3 * 0.25 * 2.4


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz", "lm.bin"])
@pytest.mark.parametrize("golden", ["o1", "o4", "o3.prune001"])
def test_writing_and_reading_keeps_every_ngram(tmp_path: Path, name: str, golden: str) -> None:
    model = read_arpa(GOLDEN / f"commands.{golden}.arpa")
    write_model(model, tmp_path / name)
    again = read_model(tmp_path / name)
    assert again.words == model.words
    assert_same_ngrams(ngrams_of(again), ngrams_of(model), 1e-6)
    is_gzip = (tmp_path / name).read_bytes()[:2] == b"\x1f\x8b"
    assert is_gzip == name.endswith(".gz")


def test_written_text_is_what_an_independent_reader_expects(tmp_path: Path) -> None:
    model = read_arpa(GOLDEN / "commands.o3.arpa")
    write_arpa(model, tmp_path / "lm.arpa")
    golden = read_ngrams(GOLDEN / "commands.o3.arpa")
    assert_same_ngrams(read_ngrams(tmp_path / "lm.arpa"), golden, 1e-6)
    lines = (tmp_path / "lm.arpa").read_text().splitlines()
    assert lines[:6] == ["\\data\\", "ngram 1=92", "ngram 2=526", "ngram 3=1922", "", "\\1-grams:"]
    assert lines[-2:] == ["", "\\end\\"]


def test_large_numbers_and_long_words_are_written_whole(tmp_path: Path) -> None:
    word = "w" * 40_000
    text = GOOD.replace("-99 <s> -0.5", "-999999.5 <s> 12345.0000001").replace(" b\n", f" {word}\n")
    model = read_arpa(write(tmp_path, text))
    write_arpa(model, tmp_path / "again.arpa")
    again = read_ngrams(tmp_path / "again.arpa")
    assert again[("<s>",)] == pytest.approx((-999999.5, 12345.0), rel=1e-6)
    assert again[("a", word)][0] == pytest.approx(-0.2, abs=1e-6)


@pytest.mark.parametrize(
    "name", ["lm.txt", "lm", "lm.gz", "lm.txt.gz", "lm.bin.gz", "lm.arpa.bz2", ".arpa", "arpa.gz"]
)
def test_a_name_that_says_nothing_is_refused(tmp_path: Path, name: str) -> None:
    model = read_arpa(write(tmp_path, GOOD))
    with pytest.raises(DataError, match="does not say what to write"):
        write_model(model, tmp_path / name)


@pytest.mark.parametrize("name", ["v1.2.arpa", "v1.2.arpa.gz", "lm.gz.arpa", "lm.arpa.bin"])
def test_only_the_end_of_a_name_says_what_to_write(tmp_path: Path, name: str) -> None:
    write_model(read_arpa(write(tmp_path, GOOD)), tmp_path / name)
    assert read_model(tmp_path / name).num_ngrams == (4, 2)


NUMBER_TEXTS = [
    "-1",
    "-0.25",
    "-1.",
    "-.5",
    "-1e-1",
    "-2.5E0",
    "-0",
    "+0",
    "-1_0",
    "-0.1234567890123456789",
]


@settings(max_examples=60)
@given(st.data(), st.integers(1, 40), st.integers(1, 3))
def test_plain_and_other_lines_read_the_same(data: st.DataObject, block: int, room: int) -> None:
    """Whatever the numbers' spelling, the white space and where blocks of the file end."""
    numbers, spaces = st.sampled_from(NUMBER_TEXTS), st.sampled_from([" ", "\t", "  ", " \r"])
    lines, expected = [], {}
    for words in [("<s>", "a"), ("a", "b"), ("b", "a"), ("b", "b")]:
        fields = [data.draw(numbers), *words, *data.draw(st.lists(numbers, max_size=1))]
        line = "".join(field + data.draw(spaces) for field in fields)
        lines.append(data.draw(st.sampled_from(["", "\n", " \r\n"])) + line)
        expected[words] = (float(fields[0]), 0.0)
    text = GOOD.replace("-0.1 <s> a\n-0.2 a b", "\n".join(lines)).replace(" 2 = 2", " 2 = 4")
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr("asr.lm.arpa.BLOCK_BYTES", block)
        patch.setattr("asr.lm.arpa.MAX_ROOM", room)
        found = ngrams_of(read_arpa(write(Path(directory), text)))
    bigrams = {ngram: values for ngram, values in found.items() if len(ngram) == 2}
    assert_same_ngrams(bigrams, expected, 1e-5)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("-0.2 a", "expected a number and 2 words"),
        ("-0.2 a b -1 -1", "expected a number and 2 words"),
        ("-0.2 a c", "'c' is not among the unigrams"),
        ("-0.2- a b", "cannot read a number"),
        ("- a b", "cannot read a number"),
        ("-.  a b", "cannot read a number"),
        ("-0.2 a b -1x", "cannot read a number"),
        ("0.2 a b", "not the logarithm of a probability"),
        ("-0.2 a b 1000001", "not the logarithm of a back-off"),
    ],
)
@pytest.mark.parametrize("block", [1, 17, 1 << 22])
def test_a_bad_line_among_plain_ones_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, problem: str, block: int
) -> None:
    monkeypatch.setattr("asr.lm.arpa.BLOCK_BYTES", block)
    bigrams = ["-1 <s> a", "-1 <s> b", "", "-1 a a", line, "-1 b b", "-1 b a"]
    text = GOOD.replace("-0.1 <s> a\n-0.2 a b", "\n".join(bigrams)).replace(" 2 = 2", " 2 = 6")
    # The first bigram is on line 14.
    with pytest.raises(DataError, match=f"line 18: .*{problem}"):
        read_arpa(write(tmp_path, text))


def test_numbers_are_read_as_python_reads_them() -> None:
    generator = np.random.default_rng(3)
    for _ in range(500):
        value = generator.uniform(0, 10.0 ** generator.integers(-6, 6))
        text = f"-{value:.{generator.integers(0, 9)}f}"
        place, number = parse_number(np.frombuffer(text.encode() + b" ", np.uint8), 0)
        assert (place, number) == (len(text), float(text))


def test_rows_of_any_order_are_sorted_and_searched() -> None:
    generator = np.random.default_rng(4)
    for num_rows in (0, 1, 5, 60):
        ids = generator.integers(0, 4, (num_rows, 3)).astype(np.int32)
        in_order = sorted(map(tuple, ids.tolist()))
        assert are_sorted(ids) == (list(map(tuple, ids.tolist())) == in_order)
        in_rows = np.array(in_order, np.int32).reshape(-1, 3)
        wanted = np.array(
            [[a, b, c] for a in range(4) for b in range(4) for c in range(4)], np.int32
        )
        expected = [tuple(row) in set(in_order) for row in wanted.tolist()]
        assert in_sorted(in_rows, wanted).tolist() == expected
