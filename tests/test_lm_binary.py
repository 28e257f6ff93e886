"""The mapped binary: equal to what was written, and harmless however it is damaged."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_files import GOLDEN

from asr.errors import DataError, ModelFileError
from asr.lm.arpa import read_arpa
from asr.lm.binary import ALIGNMENT, HEADER, read_binary, write_binary
from asr.lm.files import read_model, write_model
from asr.lm.ngram import NgramModel
from asr.lm.tables import NUM_INNER, NUM_NODES, NUM_SLOTS, UNK_ID, tables_of

MODEL = read_arpa(GOLDEN / "commands.o3.arpa")
WORDS = ["call", "marta", "unheard", "oh", "zero", "two"]


def written() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        write_binary(MODEL, Path(directory) / "lm.bin")
        return (Path(directory) / "lm.bin").read_bytes()


GOOD = written()
BLOCK_BYTES = MODEL.tables.ints.nbytes
BLOCK_START = len(GOOD) - BLOCK_BYTES - -BLOCK_BYTES % ALIGNMENT


def read_bytes(content: bytes) -> object:
    """What reading gives; the sentence is scored, to walk through the arrays."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "lm.bin"
        path.write_bytes(content)
        return read_binary(path).sentence_log_prob(WORDS)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    (tmp_path / "lm.bin").write_bytes(GOOD)
    model = read_model(tmp_path / "lm.bin")
    assert (model.order, model.order_ends, model.words) == (
        MODEL.order,
        MODEL.order_ends,
        MODEL.words,
    )
    assert (model.bos_id, model.eos_id, model.unk_id, model.start_state) == (
        MODEL.bos_id,
        MODEL.eos_id,
        MODEL.unk_id,
        MODEL.start_state,
    )
    np.testing.assert_array_equal(model.tables.ints, MODEL.tables.ints)
    assert model.word_log_probs(WORDS) == MODEL.word_log_probs(WORDS)


@pytest.mark.parametrize("name", ["lm.arpa", "lm.bin"])
def test_files_may_be_named_as_text(tmp_path: Path, name: str) -> None:
    write_model(MODEL, str(tmp_path / name))
    assert read_model(str(tmp_path / name)).words == read_model(tmp_path / name).words


def test_arrays_are_mapped_not_copied(tmp_path: Path) -> None:
    (tmp_path / "lm.bin").write_bytes(GOOD)
    model = read_binary(tmp_path / "lm.bin")
    for array in (model.tables.ints, model.tables.floats, model.tables.word):
        assert not (array.flags.owndata or array.flags.writeable)


@pytest.mark.parametrize("size", [0, 7, HEADER.size - 1, HEADER.size, 500, len(GOOD) - 1])
def test_a_file_cut_short_is_refused(size: int) -> None:
    with pytest.raises(
        ModelFileError, match=r"cannot read|shorter than its header|bytes, expected"
    ):
        read_bytes(GOOD[:size])


def test_a_longer_file_is_refused() -> None:
    with pytest.raises(ModelFileError, match="bytes, expected"):
        read_bytes(GOOD + b"\0")


@pytest.mark.parametrize(
    ("offset", "kind", "value", "problem"),
    [
        (0, "<8s", b"notngram", "does not begin"),
        (8, "<I", 1, "version 1, this program reads 2"),
        (12, "<I", 0, "order 0"),
        (12, "<I", 10**6, "order 1000000"),
        (16, "<Q", 2**60, "bytes, expected"),
        (16, "<Q", 0, "bytes, expected"),
        (24, "<Q", 2**60, "bytes, expected"),
        (BLOCK_START + 4 * UNK_ID, "<i", 93, "<unk> is word 93"),
        (BLOCK_START + 4 * UNK_ID, "<i", -2, "<unk> is word -2"),
        (BLOCK_START + 4 * NUM_NODES, "<i", 2000, "do not add up"),
        (BLOCK_START + 4 * NUM_INNER, "<i", -1, "do not add up"),
        (BLOCK_START + 4 * NUM_SLOTS, "<i", -1, "block is cut short"),
        (BLOCK_START + 4 * NUM_SLOTS, "<i", 2**31 - 1, "block is cut short"),
        (HEADER.size, "<Q", 92, "91 unigrams"),
        (HEADER.size + 8, "<Q", 10**6, "orders overlap"),
        (HEADER.size + 16, "<Q", 10**6, "do not add up"),
    ],
)
def test_a_header_that_lies_is_refused(offset: int, kind: str, value: object, problem: str) -> None:
    content = bytearray(GOOD)
    struct.pack_into(kind, content, offset, value)
    with pytest.raises(ModelFileError, match=problem):
        read_bytes(bytes(content))


def damaged(path: Path, name: str, places: list[int], value: int) -> None:
    """Write the model with items of one array replaced by the bits of a number."""
    tables = tables_of(MODEL.tables.ints.copy())
    array = getattr(tables, name)
    array[places] = np.full(len(places), value, np.int32).view(array.dtype)
    write_binary(NgramModel(MODEL.order, tables, MODEL.order_ends, MODEL.vocabulary), path)


MINUS_INFINITY = int(np.float32(-np.inf).view(np.int32))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("word", "link", "first_child") for value in (-(2**31), 2**30)],
        *[
            (name, value)
            for name in ("log_prob", "backoff")
            for value in (2**31 - 1, MINUS_INFINITY)
        ],
        ("slots", -2),
        ("slots", sum(MODEL.num_ngrams) + 1),
    ],
)
@pytest.mark.parametrize("node", [1, 60, 150])
def test_arrays_that_lead_outside_are_refused(
    tmp_path: Path, name: str, value: int, node: int
) -> None:
    damaged(tmp_path / "lm.bin", name, [node], value)
    with pytest.raises(ModelFileError, match="arrays are damaged"):
        read_binary(tmp_path / "lm.bin")


def test_a_link_that_goes_in_circles_is_refused(tmp_path: Path) -> None:
    damaged(tmp_path / "lm.bin", "link", [60], 60)
    with pytest.raises(ModelFileError, match="arrays are damaged"):
        read_binary(tmp_path / "lm.bin")


def test_slots_without_an_end_of_search_are_refused(tmp_path: Path) -> None:
    damaged(tmp_path / "lm.bin", "slots", list(range(MODEL.tables.slots.size)), 5)
    with pytest.raises(ModelFileError, match="arrays are damaged"):
        read_binary(tmp_path / "lm.bin")


def test_a_block_without_words_is_refused() -> None:
    content = bytearray(GOOD[:BLOCK_START])
    struct.pack_into("<Q", content, 16, 16)
    with pytest.raises(ModelFileError, match="has no words"):
        read_bytes(bytes(content) + bytes(64))


def test_a_vocabulary_that_is_no_text_is_refused() -> None:
    place = GOOD.index(b"marta")
    with pytest.raises(ModelFileError, match="not UTF-8"):
        read_bytes(GOOD[:place] + b"\xff" + GOOD[place + 1 :])
    with pytest.raises(ModelFileError, match="93 words, but 92 unigrams"):
        read_bytes(GOOD[:place] + b"\n" + GOOD[place + 1 :])


@settings(max_examples=150)
@given(
    st.integers(0, len(GOOD) - 1) | st.integers(0, 200),
    st.binary(min_size=1, max_size=9),
    st.none() | st.integers(0, len(GOOD)),
)
def test_any_damage_is_an_error_or_does_no_harm(place: int, patch: bytes, cut: int | None) -> None:
    content = (GOOD[:place] + patch + GOOD[place + len(patch) :])[:cut]
    try:
        read_bytes(content)
    except ModelFileError as error:
        assert "lm.bin" in error.message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot read"):
        read_binary(tmp_path / "missing.bin")
    with pytest.raises(DataError, match="cannot read"):
        read_model(tmp_path / "missing.bin")
