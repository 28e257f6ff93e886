"""Reading tables and folders: exact line numbers, no guesses about encodings."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_files import write_audio_file, write_lines

from asr.corpora.layout import (
    RAW_SUFFIXES,
    corpus_root,
    find_audio,
    parse_lines,
    parse_named,
    path_id,
    read_pairs,
    read_rows,
    read_text,
)
from asr.errors import DataError


def number(line: str) -> int:
    if not line.isdigit():
        raise ValueError(f"not a number: {line}")
    return int(line)


def test_text_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffgrüß".encode())
    assert read_text(tmp_path / "a.txt") == "grüß"


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("grüß".encode("latin-1"))
    with pytest.raises(DataError, match=r"is not UTF-8 \(byte 2\)") as caught:
        read_text(tmp_path / "a.txt")
    assert caught.value.hint is not None and "iconv" in caught.value.hint


def test_missing_text_file_and_directory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*nothing.*No such file"):
        read_text(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"cannot read .*directory"):
        read_text(tmp_path)


def test_lines_end_at_line_feeds_only_and_blank_ones_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("one\u2028still one\r\n\n  \ntwo".encode())
    assert parse_lines(path, str) == ["one\u2028still one", "two"]


def test_malformed_lines_are_named_by_number(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", "1", "", "x", "2", "y")
    with pytest.raises(DataError) as caught:
        parse_lines(path, number)
    assert caught.value.message == f"{path}: line 3: not a number: x; line 5: not a number: y"


def test_many_malformed_lines_are_counted(tmp_path: Path) -> None:
    for letters, more in (("abcdefgh", "3 more lines"), ("abcdef", "1 more line")):
        path = write_lines(tmp_path / "a.txt", *letters)
        with pytest.raises(DataError, match=f"line 5: not a number: e; and {more}$"):
            parse_lines(path, number)


def test_a_name_twice_is_malformed(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.txt", "a x", "b y", "a z")
    with pytest.raises(DataError, match="line 3: 'a' occurs a second time"):
        parse_named(path, lambda line: (line[0], line))


def test_pairs_keep_the_value_and_allow_none(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "text", "utt1\tHELLO  THERE ", "utt2", "utt3 A")
    assert read_pairs(path) == {"utt1": "HELLO  THERE", "utt2": "", "utt3": "A"}


def test_quoted_rows_span_lines_and_keep_their_number(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.csv", "a,b", '1,"x, ""y""', 'z"', "2,w")
    columns, rows = read_rows(path, ",", quoted=True)
    assert columns == ["a", "b"]
    assert rows == [(3, {"a": "1", "b": 'x, "y"\nz'}), (4, {"a": "2", "b": "w"})]


def test_unquoted_rows_take_quotes_as_they_are(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.tsv", "a\tb", '"Yes\t"no" he said')
    assert read_rows(path, "\t", quoted=False)[1] == [(2, {"a": '"Yes', "b": '"no" he said'})]


def test_rows_of_another_width_are_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.csv", "a,b", "1,2", "3", "4,5,6")
    expected = "line 3: 1 cells where the header has 2; line 4: 3 cells where the header has 2"
    with pytest.raises(DataError, match=expected):
        read_rows(path, ",", quoted=True)


def test_broken_headers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty; expected a header line"):
        read_rows(write_lines(tmp_path / "a.csv"), ",", quoted=True)
    with pytest.raises(DataError, match="a column name twice: a, a"):
        read_rows(write_lines(tmp_path / "b.csv", "a,a", "1,2"), ",", quoted=True)


def test_a_cell_without_end_is_refused(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.csv", "a,b", '1,"' + "x" * 200_000)
    with pytest.raises(DataError, match=r"a.csv: line \d: field larger than field limit"):
        read_rows(path, ",", quoted=True)
    path = write_lines(tmp_path / "b.csv", "a,b", '1,"two', "3,four")
    with pytest.raises(DataError, match=r"b.csv: line 3: unexpected end of data"):
        read_rows(path, ",", quoted=True)


def test_audio_is_found_at_any_depth_sorted_and_not_hidden(tmp_path: Path) -> None:
    for name in ("b/x.WAV", "a.flac", "b/c.wav/y.ogg"):
        write_audio_file(tmp_path / name)
    write_lines(tmp_path / "notes.txt", "x")
    (tmp_path / "b/._x.wav").write_bytes(b"resource fork")
    (tmp_path / "b/z.raw").write_bytes(b"")
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio(tmp_path)]
    assert found == ["a.flac", "b/c.wav/y.ogg", "b/x.WAV"]
    assert [path.name for path in find_audio(tmp_path, RAW_SUFFIXES)] == ["z.raw"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/c/a.wav", "a"), ("/c/x/y/a.b.wav", "x-y-a.b"), ("/c/x y/a  b.wav", "x_y-a_b")],
)
def test_path_id(path: str, expected: str) -> None:
    assert path_id(Path(path), Path("/c")) == expected


def test_corpus_root_is_the_folder_or_the_one_in_it(tmp_path: Path) -> None:
    write_lines(tmp_path / "an4/etc/list", "x")
    assert corpus_root(tmp_path, "an4", "etc/list", "AN4") == tmp_path / "an4"
    assert corpus_root(tmp_path / "an4", "an4", "etc/list", "AN4") == tmp_path / "an4"
    with pytest.raises(DataError, match=r"is not AN4: neither it nor .* holds etc/other"):
        corpus_root(tmp_path, "an4", "etc/other", "AN4")
