"""Readers of models against hostile files: an error with a reason, or a model that does no harm.

Compiled queries do not check bounds, so whatever a reader lets through must keep them inside the
block and let them end. `assert_harmless` says in Python what that takes; then queries run.
"""

from __future__ import annotations

import gzip
import os
import struct
import tempfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_files import GOLDEN, Ngrams, arpa_text
from lm_models import Shape, model_and_reference, model_of_ids, random_ngrams, shapes, words_of
from lm_reference import IdNgrams

from asr.errors import AsrError, DataError, ModelFileError
from asr.lm.arpa import MAX_LINE_BYTES, read_arpa
from asr.lm.binary import (
    ALIGNMENT,
    HEADER,
    model_from_bytes,
    model_to_bytes,
    read_binary,
    write_binary,
)
from asr.lm.counting import text_blocks
from asr.lm.files import read_model, write_model
from asr.lm.ngram import NgramModel
from asr.lm.tables import EMPTY_SLOT, UNK_ID, advance, num_items, tables_of
from asr.lm.tables import HEADER as BLOCK_HEADER

MIB = 1 << 20


def assert_harmless(model: NgramModel) -> None:
    """Every index in the block is inside it, links go down, searches end, and queries do too."""
    tables, num_words = model.tables, len(model.words)
    nodes, inner = tables.num_nodes, tables.num_inner
    assert tables.ints.size == num_items(nodes, inner, tables.slots.size)
    assert 0 < inner <= nodes == model.order_ends[-1]
    assert -1 <= tables.unk_id < num_words
    assert 0 <= model.start_state < inner
    first = tables.first_child
    assert (first[0], first[1], first[-1]) == (1, num_words + 1, nodes)
    assert (np.diff(first) >= 0).all()
    assert ((tables.word[1:] >= 0) & (tables.word[1:] < num_words)).all()
    assert (tables.word[1 : num_words + 1] == np.arange(num_words)).all()
    assert ((tables.link[1:] >= 0) & (tables.link[1:] < np.arange(1, nodes))).all()
    assert (tables.link[1:] < inner).all()
    assert ((tables.slots >= EMPTY_SLOT) & (tables.slots < nodes)).all()
    assert (tables.slots == EMPTY_SLOT).any()
    assert np.isfinite(tables.log_prob[1:]).all()
    assert np.isfinite(tables.backoff).all()
    generator = np.random.default_rng(0)
    ids = generator.integers(-2, num_words + 1, 300)
    assert np.isfinite(model.score_ids(ids)).all()
    for state in range(0, inner, max(1, inner // 50)):
        log_prob, following = advance(tables, state, int(ids[state % ids.size]))
        assert np.isfinite(log_prob)
        assert 0 <= following < inner
    assert np.isfinite(model.text_log_prob(" ".join(model.words[:5]) + " zzz"))


def read_bytes(content: bytes, read: Callable[[Path], NgramModel] = read_model) -> bool:
    """Whether a file is read; it is harmless then, and the error names the file otherwise."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "lm.file"
        path.write_bytes(content)
        try:
            model = read(path)
        except AsrError as error:
            assert isinstance(error, DataError | ModelFileError)
            assert "lm.file" in error.message
            return False
        assert_harmless(model)
        return True


def read_within(path: Path) -> NgramModel:
    """Read a binary as part of another file."""
    return model_from_bytes(path.read_bytes(), "lm.file")


def written(model: NgramModel, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        write_model(model, Path(directory) / f"lm{suffix}")
        return (Path(directory) / f"lm{suffix}").read_bytes()


SHAPE = Shape(11, 4, 20, (b"</s>", b"<s>", b"<unk>"), 0.3, 0.3, 0.2)
MODEL = model_and_reference(SHAPE)[0]
FILES = {suffix: written(MODEL, suffix) for suffix in (".arpa", ".arpa.gz", ".bin")}
BLOCK_START = len(FILES[".bin"]) - MODEL.tables.ints.nbytes
BLOCK_START -= BLOCK_START % ALIGNMENT


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with bits flipped, pieces cut out, repeated or overwritten, or its end lost."""
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        size = draw(st.sampled_from([0, 1, 2, 4, 8, 50]))
        before, middle, after = content[:place], content[place : place + size], content[place:]
        after = after[size:]
        kind = draw(st.sampled_from(["flip", "cut", "repeat", "overwrite", "insert", "end"]))
        if kind == "flip" and middle:
            middle = bytes([middle[0] ^ 1 << draw(st.integers(0, 7))]) + middle[1:]
        elif kind == "cut":
            middle = b""
        elif kind == "repeat":
            middle *= draw(st.integers(2, 5))
        elif kind == "overwrite":
            middle = draw(st.binary(min_size=size, max_size=size))
        elif kind == "insert":
            middle += draw(st.binary(max_size=9))
        elif kind == "end":
            after = b""
        content = before + middle + after
    return content


@pytest.mark.parametrize("suffix", FILES)
def test_whole_files_are_read(suffix: str) -> None:
    assert read_bytes(FILES[suffix])


@settings(max_examples=100)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x1f\x8b\x08", b"asrngram\2\0\0\0"]))
def test_any_bytes(content: bytes, magic: bytes) -> None:
    assert not read_bytes(magic + content)


@settings(max_examples=200)
@given(damaged(FILES[".arpa"]))
def test_damaged_arpa(content: bytes) -> None:
    read_bytes(content, read_arpa)


@settings(max_examples=100)
@given(damaged(FILES[".arpa.gz"]))
def test_damaged_gzip_is_never_read(content: bytes) -> None:
    """Unless the damage is undone or behind the data, the checksum is wrong."""
    if read_bytes(content, read_arpa):
        assert gzip.decompress(content) == FILES[".arpa"]


@settings(max_examples=60)
@given(damaged(FILES[".arpa"]))
def test_damage_before_packing(content: bytes) -> None:
    assert read_bytes(gzip.compress(content, 1)) == read_bytes(content, read_arpa)


@settings(max_examples=200)
@given(damaged(FILES[".bin"]))
def test_damaged_binary(content: bytes) -> None:
    read_bytes(content, read_binary)


# What damaged numbers are likely to be, near every bound of the block.
BOUNDS = [
    *(0, -1, -2, 1, 2**31 - 1, -(2**31), 2**30, 0x7FC00000, 0x7F800000, -0x800000, 0x4CBEBC20),
    *(bound + change for bound in MODEL.order_ends for change in (-1, 0, 1)),
    *(MODEL.tables.num_inner - 1, MODEL.tables.ints.size, len(MODEL.words), len(MODEL.words) - 1),
]


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 30) | st.integers(0, MODEL.tables.ints.size - 1),
            st.sampled_from(BOUNDS) | st.integers(-(2**31), 2**31 - 1),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_binary_with_any_items_replaced(changes: list[tuple[int, int]]) -> None:
    content = bytearray(FILES[".bin"])
    for item, value in changes:
        struct.pack_into("<i", content, BLOCK_START + 4 * item, value)
    is_read = read_bytes(bytes(content), read_binary)
    # A model within another file is judged alike.
    assert read_bytes(bytes(content), read_within) == is_read


NODES, INNER, LARGEST = MODEL.tables.num_nodes, MODEL.tables.num_inner, 2**31 - 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("word", value) for value in (-1, len(MODEL.words), LARGEST)],
        *[("link", value) for value in (-1, INNER, NODES, LARGEST)],
        *[("first_child", value) for value in (0, -1, NODES + 1, LARGEST)],
        *[("slots", value) for value in (EMPTY_SLOT - 1, NODES, LARGEST)],
        *[(name, value) for name in ("log_prob", "backoff") for value in (np.nan, np.inf, -1e30)],
    ],
)
def test_no_item_of_the_block_goes_unchecked(tmp_path: Path, name: str, value: float) -> None:
    """Each one alone, set to what would lead just outside, or far."""
    # Node 0 has neither word, link nor probability; queries do not ask for them.
    size, begin = getattr(MODEL.tables, name).size, int(name in ("word", "link", "log_prob"))
    for item in range(begin, size, 1 if size < 200 else 13):
        tables = tables_of(MODEL.tables.ints.copy())
        getattr(tables, name)[item] = value
        model = NgramModel(MODEL.order, tables, MODEL.order_ends, MODEL.vocabulary)
        write_binary(model, tmp_path / "lm.bin")
        with pytest.raises(ModelFileError, match="arrays are damaged"):
            read_binary(tmp_path / "lm.bin")


def test_header_of_the_block_is_where_the_test_thinks() -> None:
    header = struct.unpack_from(f"<{UNK_ID + 1}i", FILES[".bin"], BLOCK_START)
    assert header == tuple(MODEL.tables.ints[: UNK_ID + 1])
    assert BLOCK_HEADER > UNK_ID


@settings(max_examples=60)
@given(shapes)
def test_any_model_comes_back_from_its_binary(shape: Shape) -> None:
    """Also where missing beginnings and back-offs above 1 give a node a probability above 1."""
    model, _ = model_and_reference(shape)
    with tempfile.TemporaryDirectory() as directory:
        write_binary(model, Path(directory) / "lm.bin")
        again = read_binary(Path(directory) / "lm.bin")
        assert (Path(directory) / "lm.bin").read_bytes() == model_to_bytes(model)
        assert again.tables.ints.tobytes() == model.tables.ints.tobytes()
        assert (again.order, again.order_ends, again.vocabulary) == (
            model.order,
            model.order_ends,
            model.vocabulary,
        )
        assert_harmless(again)


@settings(max_examples=60)
@given(shapes)
def test_any_model_comes_back_from_its_text(shape: Shape) -> None:
    model, _ = model_and_reference(shape)
    with tempfile.TemporaryDirectory() as directory:
        write_model(model, Path(directory) / "lm.arpa")
        again = read_model(Path(directory) / "lm.arpa")
    np.testing.assert_array_equal(again.tables.word, model.tables.word)
    np.testing.assert_array_equal(again.tables.link, model.tables.link)
    np.testing.assert_allclose(again.tables.backoff, model.tables.backoff, atol=1e-6)
    expected = np.minimum(model.tables.log_prob, 0.0)
    np.testing.assert_allclose(again.tables.log_prob, expected, atol=1e-6)


@pytest.mark.parametrize("suffix", [".arpa", ".bin"])
@pytest.mark.parametrize("log10", [-1e6, 1e6])
def test_extreme_values_come_back(tmp_path: Path, suffix: str, log10: float) -> None:
    """The largest back-offs the reader takes, 30 of which make up the value of one blank node."""
    least, backoff = -1e6 * np.log(10), log10 * np.log(10)
    ngrams: IdNgrams = {(word,): (least, backoff) for word in range(32)}
    ngrams |= {tuple(range(first, 30)): (least, backoff) for first in range(29)}
    ngrams[tuple(range(32))] = (least, 0.0)
    model = model_of_ids(ngrams, 32, [b"%d" % word for word in range(32)])
    assert abs(model.tables.log_prob).max() > 28 * abs(least)
    write_model(model, tmp_path / f"lm{suffix}")
    again = read_model(tmp_path / f"lm{suffix}")
    assert again.num_ngrams == model.num_ngrams
    assert_harmless(again)
    assert again.tables.backoff[1] == pytest.approx(backoff)


@pytest.mark.parametrize("suffix", [".arpa", ".bin"])
def test_a_probability_above_one_comes_back_or_becomes_one(tmp_path: Path, suffix: str) -> None:
    """The beginning of `a b c` is missing, and the back-off of a makes b likelier than certain."""
    a, b, c = range(3)
    ngrams = {(a,): (-1.0, 0.5), (b,): (-0.25, 0.0), (c,): (-1.0, 0.0), (a, b, c): (-0.5, 0.0)}
    model = model_of_ids(ngrams, 3, [b"a", b"b", b"c"])
    write_model(model, tmp_path / f"lm{suffix}")
    again = read_model(tmp_path / f"lm{suffix}")
    after_a = again.score(0, a)[1]
    assert model.score(after_a, b)[0] == 0.25
    assert again.score(after_a, b)[0] == (0.25 if suffix == ".bin" else 0.0)


def peak_bytes(content: bytes, tmp_path: Path, problem: str) -> int:
    """Memory it takes to refuse a file, beyond the file."""
    path = tmp_path / "lm.file"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises((DataError, ModelFileError), match=problem):
            read_model(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


HEAD = b"\\data\\\nngram 1=2\nngram 2=%d\n\n\\1-grams:\n-1 a\n-1 b\n\n\\2-grams:\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (HEAD % 10**17, "ends too early"),
        (HEAD % 10**17 + b"-1 a b\n" * 1000 + b"\\end\\\n", "1000 2-grams where 1"),
        (b"\\data\\\nngram 1=999999999999999999\n\n\\1-grams:\n-1 a\n\\end\\\n", "1 1-grams where"),
        (b"\\data\\\nngram 1=1" + b"0" * 5000, r"expected `ngram 1="),
        (gzip.compress(b"x" * (48 * MIB)), "line 1: a line of more than"),
        (gzip.compress(HEAD % 9 + b" " * (48 * MIB)), "line 10: a line of more than"),
        (
            gzip.compress(b"\\data\\\nngram 1=9\n\\1-grams:\n-1 " + b"y" * (48 * MIB)),
            "a line of more",
        ),
        (HEADER.pack(b"asrngram", 2, 3, 2**60, 5) + bytes(200), "bytes, expected"),
        (HEADER.pack(b"asrngram", 2, 3, 5, 2**60) + bytes(200), "bytes, expected"),
        (HEADER.pack(b"asrngram", 2, 2**32 - 1, 5, 5) + bytes(200), "order 4294967295"),
    ],
    ids=range(10),
)
def test_what_a_file_claims_takes_no_memory(tmp_path: Path, content: bytes, problem: str) -> None:
    assert peak_bytes(content, tmp_path, problem) < 24 * MIB


@pytest.mark.parametrize("line", [b" " * 4000 + b"\n", b"-1 a b\n"], ids=["blank", "again"])
def test_a_gzip_bomb_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    """Lines that one could go on reading for ever, and n-grams that pile up in memory."""
    monkeypatch.setattr("asr.lm.arpa.FREE_BYTES", 8 * MIB)
    bomb = gzip.compress(HEAD % 10**9 + line * (96 * MIB // len(line)))
    assert len(bomb) < MIB // 2
    assert peak_bytes(bomb, tmp_path, "unpacks to more than") < 160 * MIB


def test_text_that_packs_well_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bigrams of equal probabilities in order; of what models look like, what packs best."""
    monkeypatch.setattr("asr.lm.arpa.FREE_BYTES", 0)
    names = [(str(number),) for number in range(300)]
    ngrams: Ngrams = dict.fromkeys(names, (-1.0, 0.0))
    ngrams |= {(*first, *second): (-1.0, 0.0) for first in names for second in names}
    text = arpa_text(ngrams, 2).encode()
    packed = gzip.compress(text, 9)
    assert len(text) > 5 * len(packed)
    (tmp_path / "lm.arpa.gz").write_bytes(packed)
    assert read_arpa(tmp_path / "lm.arpa.gz").num_ngrams == (300, 90_000)


def test_longest_lines_are_read(tmp_path: Path) -> None:
    word = b"w" * (MAX_LINE_BYTES - 6)
    content = b"\\data\\\nngram 1=1\n\n\\1-grams:\n-0.5 %s\n\n\\end\\\n" % word
    (tmp_path / "lm.arpa").write_bytes(content)
    assert read_arpa(tmp_path / "lm.arpa").id_of(word.decode()) == 0


@settings(max_examples=100)
@given(damaged(gzip.compress((GOLDEN / "commands.txt").read_bytes())))
def test_damaged_gzip_of_text(content: bytes) -> None:
    """What models are built from, and measured on."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "text.gz"
        path.write_bytes(content)
        try:
            text = b"".join(block for block, _ in text_blocks(path))
        except DataError as error:
            assert "text.gz" in error.message
        else:
            assert text in (content, content + b"\n") or zlib.crc32(text) == zlib.crc32(
                (GOLDEN / "commands.txt").read_bytes()
            )


@pytest.mark.skipif(os.name != "posix", reason="needs /dev/zero")
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/"])
def test_what_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(DataError, match=r"a line of more than|no ARPA model|cannot read"):
        read_model(Path(path))


@settings(max_examples=40)
@given(shapes, st.data())
def test_damaged_files_of_any_model(shape: Shape, data: st.DataObject) -> None:
    words = [word.decode() for word in words_of(shape)]
    ngrams = {
        tuple(words[word] for word in ngram): (min(0.0, values[0]), values[1])
        for ngram, values in random_ngrams(shape).items()
    }
    read_bytes(data.draw(damaged(arpa_text(ngrams, shape.order).encode())), read_arpa)
    model = model_of_ids(random_ngrams(shape), shape.order, words_of(shape))
    read_bytes(data.draw(damaged(written(model, ".bin"))), read_binary)
