"""Compact models: as near to the original as promised, small, and harmless however damaged."""

from __future__ import annotations

import itertools
import lzma
import math
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_files import GOLDEN
from lm_models import Shape, model_and_reference, shapes, words_of

from asr.errors import DataError, ModelFileError
from asr.lm import compact
from asr.lm.arpa import read_arpa
from asr.lm.binary import model_to_bytes
from asr.lm.compact import (
    CHECKED_FROM,
    FILTERS,
    HEADER,
    MAGIC,
    MAX_BYTES,
    MAX_NGRAMS,
    is_compact,
    model_from_compact,
    model_to_compact,
)
from asr.lm.ngram import NgramModel
from asr.lm.quantizing import NUM_LEVELS, quantize, quantize_model
from asr.lm.renormalising import order_rows
from asr.lm.trie import OrderTable, model_from_tables

MODEL = read_arpa(GOLDEN / "commands.o3.arpa")
GOOD = model_to_compact(MODEL)
# Reads the same, and takes less to write.
QUICK = [FILTERS[0] | {"mode": lzma.MODE_FAST, "mf": lzma.MF_HC3, "depth": 1}]
SENTENCE = ["call", "marta", "unheard", "oh", "zero", "two"]

Values = dict[tuple[str, ...], tuple[float, float]]
"""Log-probability and back-off of every n-gram, by its words."""


def values_of(model: NgramModel) -> Values:
    found: Values = {}
    begin = 1
    for rows, end in zip(order_rows(model), model.order_ends, strict=True):
        for row, node in zip(rows.tolist(), range(begin, end), strict=True):
            inner = node < model.tables.num_inner
            backoff = float(model.tables.backoff[node]) if inner else 0.0
            words = tuple(model.words[word] for word in row)
            found[words] = float(model.tables.log_prob[node]), backoff
        begin = end
    return found


def contents_of(content: bytes) -> tuple[list[int], bytes]:
    """The number of n-grams of each order, and what the stream holds."""
    order = HEADER.unpack_from(content)[3]
    start = HEADER.size + 8 * order
    stream = lzma.decompress(content[start:], lzma.FORMAT_RAW, filters=FILTERS)
    return list(struct.unpack_from(f"<{order}Q", content, HEADER.size)), stream


class SlowReader:
    """The format read byte by byte, as the docstring of `compact` has it."""

    def __init__(self, stream: bytes) -> None:
        self._bytes = iter(stream)

    def byte(self) -> int:
        return next(self._bytes)

    def number(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self.byte()
            value += (byte % 128) << shift
            if byte < 128:
                return value
            shift += 7

    def values(self, count: int) -> list[float]:
        levels = [
            struct.unpack("<f", bytes(self.byte() for _ in range(4)))[0]
            for _ in range(self.number())
        ]
        return [levels[self.byte()] for _ in range(count)]

    def word(self, before: bytes, length: int) -> bytes:
        word = before[:length]
        while (byte := self.byte()) != ord("\n"):
            word += bytes([byte])
        return word


def read_slowly(content: bytes) -> Values:
    num_ngrams, stream = contents_of(content)
    reader = SlowReader(stream)
    lengths = [reader.byte() for _ in range(num_ngrams[0])]
    words = list(itertools.accumulate(lengths, reader.word, initial=b""))[1:]
    probs = reader.values(num_ngrams[0])
    ranked = sorted(zip(probs, words, strict=True), key=lambda pair: (-pair[0], pair[1]))
    names = [word.decode() for _, word in ranked]
    levels: list[list[tuple[str, ...]]] = [[(name,) for name in names]]
    log_probs = [[prob for prob, _ in ranked]]
    continued: list[list[bool]] = []
    for count in num_ngrams[1:]:
        counts = [reader.number() for _ in levels[-1]]
        continued.append([number > 0 for number in counts])
        level = []
        for beginning, number in zip(levels[-1], counts, strict=True):
            word = -1
            for _ in range(number):
                word += 1 + reader.number()
                level.append((*beginning, names[word]))
        assert len(level) == count
        levels.append(level)
        log_probs.append(reader.values(count))
    found = {}
    for depth, level in enumerate(levels):
        backoffs = dict.fromkeys(level, 0.0)
        if depth + 1 < len(levels):
            flags = dict(zip(level, continued[depth], strict=True))
            first = sorted(level, key=lambda ngram: not flags[ngram])
            backoffs = dict(zip(first, reader.values(len(level)), strict=True))
        for ngram, log_prob in zip(level, log_probs[depth], strict=True):
            found[ngram] = log_prob, backoffs[ngram]
    assert next(reader._bytes, None) is None
    return found


def with_any_values(model: NgramModel, seed: int) -> NgramModel:
    """The same n-grams with values of which no two are equal; zeros stay."""
    generator = np.random.default_rng(seed)
    tables, begin = [], 1
    for rows, end in zip(order_rows(model), model.order_ends, strict=True):
        backoffs = np.zeros(end - begin, np.float32)
        if end <= model.tables.num_inner:
            zero = model.tables.backoff[begin:end] == 0
            backoffs = np.where(zero, 0, -generator.gamma(1, 1, end - begin)).astype(np.float32)
        log_probs = -generator.gamma(2, 2, end - begin).astype(np.float32)
        tables.append(OrderTable(rows, log_probs, backoffs))
        begin = end
    return model_from_tables(model.vocabulary.split(b"\n"), tables)


def wide_model(seed: int, num_words: int = 400) -> NgramModel:
    """More values in each order than there are levels, and distances of more than a byte."""
    generator = np.random.default_rng(seed)
    words = [b"<s>", b"</s>", b"<unk>", *(b"w%d" % index for index in range(num_words))]
    pairs = np.unique(generator.integers(0, len(words), (1500, 2)), axis=0).astype(np.int32)
    tables = [np.arange(len(words), dtype=np.int32)[:, np.newaxis], pairs]
    blank = [OrderTable(ids, *np.zeros((2, len(ids)), np.float32)) for ids in tables]
    for table in blank:
        table.backoffs[::2] = 1
    return with_any_values(model_from_tables(words, blank), seed)


@settings(max_examples=40)
@given(shapes)
def test_few_values_come_back_exactly(shape: Shape) -> None:
    model, _ = model_and_reference(shape)
    again = model_from_compact(model_to_compact(model), "lm")
    assert values_of(again) == values_of(model)
    assert sorted(again.words) == sorted(words_of_text(shape))


def words_of_text(shape: Shape) -> list[str]:
    return [word.decode() for word in words_of(shape)]


@settings(max_examples=40)
@given(shapes, st.integers(0, 99))
def test_what_is_read_is_the_quantised_model_bit_for_bit(shape: Shape, seed: int) -> None:
    model = with_any_values(model_and_reference(shape)[0], seed)
    content = model_to_compact(model)
    again, quantised = model_from_compact(content, "lm"), quantize_model(model)
    np.testing.assert_array_equal(again.tables.ints, quantised.tables.ints)
    assert (again.vocabulary, again.order_ends) == (quantised.vocabulary, quantised.order_ends)
    assert model_to_compact(again) == content
    assert read_slowly(content) == values_of(again)


@pytest.mark.parametrize("seed", range(3))
def test_a_large_model_is_as_near_as_its_levels(seed: int) -> None:
    model = wide_model(seed)
    content = model_to_compact(model)
    again = model_from_compact(content, "lm")
    assert read_slowly(content) == values_of(again)
    before, after = values_of(model), values_of(again)
    assert before.keys() == after.keys()
    for order in range(2):
        ngrams = [ngram for ngram in before if len(ngram) == order + 1]
        for place in range(2):
            old = np.array([before[ngram][place] for ngram in ngrams])
            new = np.array([after[ngram][place] for ngram in ngrams])
            assert np.unique(new).size <= NUM_LEVELS
            # As many levels at equal distances would do.
            assert np.abs(old - new).max() <= np.ptp(old) / (2 * (NUM_LEVELS - 2))
            np.testing.assert_array_equal(old == 0, new == 0)


def test_words_are_numbered_by_falling_probability() -> None:
    quantised = quantize_model(wide_model(0))
    log_probs = quantised.tables.log_prob[1 : len(quantised.words) + 1]
    assert (np.diff(log_probs) <= 0).all()
    keys = [(-p, w.encode()) for p, w in zip(log_probs.tolist(), quantised.words, strict=True)]
    assert keys == sorted(keys)


def test_a_text_scores_as_before() -> None:
    again = model_from_compact(GOOD, "lm")
    steps = np.abs(np.subtract(again.word_log_probs(SENTENCE), MODEL.word_log_probs(SENTENCE)))
    assert steps.max() < 0.02
    assert again.unk_id == again.id_of("<unk>") >= 0
    assert again.start_state == again.bos_id + 1


def test_it_is_smaller_than_the_mapped_binary() -> None:
    model = wide_model(1)
    assert len(model_to_compact(model)) < len(model_to_bytes(model)) / 4


def test_only_compact_bytes_are_taken_for_them() -> None:
    assert is_compact(GOOD)
    assert not is_compact(model_to_bytes(MODEL))


def least_error(values: list[float], num_levels: int) -> float:
    """Half the width of the widest of so many runs of the sorted values, the best way to cut."""
    ordered = sorted(set(values))
    cuts = range(1, len(ordered))
    return min(
        max(ordered[end - 1] - ordered[begin] for begin, end in itertools.pairwise(bounds)) / 2
        for chosen in itertools.combinations(cuts, min(num_levels, len(ordered)) - 1)
        for bounds in [(0, *chosen, len(ordered))]
    )


@settings(max_examples=150)
@given(st.lists(st.floats(-20, 0, width=32), min_size=1, max_size=9), st.integers(1, 5))
def test_no_other_levels_have_a_smaller_largest_error(values: list[float], num: int) -> None:
    levels, codes = quantize(np.array(values, np.float32), num)
    assert levels.size <= num
    assert levels.dtype == np.float32
    assert (np.diff(levels) >= 0).all()
    error = np.abs(levels[codes].astype(np.float64) - np.array(values)).max()
    assert error <= least_error(values, num) + 2e-6


def test_an_outlier_has_a_level_of_its_own() -> None:
    values = np.append(np.linspace(-8, 0, 5000), -228.0)
    levels, codes = quantize(values)
    assert levels[codes[-1]] == -228.0
    assert np.abs(levels[codes] - values).max() <= 8 / 254 / 2


def test_of_nothing_there_are_no_levels() -> None:
    levels, codes = quantize(np.zeros(0, np.float32))
    assert levels.size == codes.size == 0


def test_a_model_too_large_to_be_read_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "MAX_NGRAMS", 100)
    with pytest.raises(DataError, match=r"n-grams in \d+ bytes; its compact form may have 100 in"):
        model_to_compact(MODEL)


def sealed(content: bytes) -> bytes:
    """The bytes with the check sum that belongs to them."""
    return MAGIC + struct.pack("<I", zlib.crc32(content[CHECKED_FROM:])) + content[CHECKED_FROM:]


def with_header(**changes: int) -> bytes:
    names = ("magic", "check_sum", "version", "order", "words_size", "size")
    header = dict(zip(names, HEADER.unpack_from(GOOD), strict=True)) | changes
    return sealed(HEADER.pack(*header.values()) + GOOD[HEADER.size :])


def with_counts(*counts: int) -> bytes:
    end = HEADER.size + 8 * len(counts)
    return sealed(GOOD[: HEADER.size] + struct.pack(f"<{len(counts)}Q", *counts) + GOOD[end:])


def with_contents(contents: bytes, size: int | None = None) -> bytes:
    """The good file with other contents, and what it announces of their size."""
    start = HEADER.size + 8 * MODEL.order
    header = list(HEADER.unpack_from(GOOD))
    header[5] = len(contents) if size is None else size
    stream = lzma.compress(contents, lzma.FORMAT_RAW, filters=QUICK)
    return sealed(HEADER.pack(*header) + GOOD[HEADER.size : start] + stream)


COUNTS, CONTENTS = contents_of(GOOD)
WORDS_SIZE = HEADER.unpack_from(GOOD)[4]


def patched(place: int, patch: bytes) -> bytes:
    return with_contents(CONTENTS[:place] + patch + CONTENTS[place + len(patch) :])


def test_the_helpers_change_nothing_by_themselves() -> None:
    assert with_header() == with_counts(*COUNTS) == GOOD
    assert values_of(model_from_compact(with_contents(CONTENTS), "lm")) == read_slowly(GOOD)


def read(content: bytes) -> float:
    """What reading gives; a sentence is scored, to walk through the arrays."""
    return model_from_compact(content, "here").sentence_log_prob(SENTENCE)


@pytest.mark.parametrize("size", [0, 7, HEADER.size - 1, HEADER.size, 60, 500, len(GOOD) - 1])
def test_bytes_cut_short_are_refused(size: int) -> None:
    with pytest.raises(ModelFileError, match="here is no usable compact language model"):
        read(GOOD[:size])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"notngram" + GOOD[8:], "does not begin as one"),
        (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), "check sum is wrong"),
        (GOOD + b"\0", "check sum is wrong"),
        (sealed(GOOD + b"\0"), "not as long as announced"),
        (sealed(GOOD[:-20]), "not as long as announced"),
        (sealed(GOOD[:70] + b"\xff" * 20 + GOOD[90:]), "stream is damaged|long as announced"),
        (with_header(version=2), "version 2, this program reads 1"),
        (with_header(order=0), "order 0"),
        (with_header(order=10**6), "order 1000000"),
        (sealed(GOOD[: HEADER.size]), "shorter than its header"),
        (with_header(size=len(CONTENTS) - 1), "not as long as announced"),
        (with_header(size=len(CONTENTS) + 1), "not as long as announced"),
        (with_header(size=MAX_BYTES + 1), f"{MAX_BYTES + 1} bytes of contents"),
        (with_header(words_size=2**60), "bytes of words"),
        (with_header(words_size=9), "9 bytes of words"),
        (with_header(words_size=WORDS_SIZE - 1), "words, not"),
        (with_header(words_size=WORDS_SIZE + 1), "words, not"),
        (with_counts(0, *COUNTS[1:]), "n-grams"),
        (with_counts(*COUNTS[:2], MAX_NGRAMS), "n-grams"),
        (with_counts(COUNTS[0] - 1, *COUNTS[1:]), "words, not"),
        (with_counts(COUNTS[0], COUNTS[1] - 1, COUNTS[2]), "orders do not add up"),
        (with_counts(COUNTS[0], COUNTS[1], COUNTS[2] + 1), "orders do not add up"),
        (with_contents(CONTENTS + b"\0"), "something follows its contents"),
        (with_contents(CONTENTS[:-1]), "contents are cut short"),
        (with_contents(bytes([1]) + CONTENTS[1:]), "begins with more than there was"),
        (patched(WORDS_SIZE - 2, b"\xff"), "not UTF-8"),
        (with_contents(CONTENTS.replace(b"call", b"\xffall")), "not in order"),
        (with_contents(CONTENTS.replace(b"\n", b"\xff")), "0 words, not"),
    ],
)
def test_what_lies_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(ModelFileError, match=problem):
        read(content)


def values_place() -> int:
    """Where the unigrams' levels are: after the words and one byte or two of their number."""
    return WORDS_SIZE + 1 + (CONTENTS[WORDS_SIZE] >= 128)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_levels_that_are_no_usable_numbers_are_refused(value: float) -> None:
    with pytest.raises(ModelFileError, match="no usable number"):
        read(patched(values_place(), struct.pack("<f", value)))


def test_codes_and_numbers_that_lead_outside_are_refused() -> None:
    num_levels = np.unique(quantize_model(MODEL).tables.log_prob[1 : COUNTS[0] + 1]).size
    codes = values_place() + 4 * num_levels
    with pytest.raises(ModelFileError, match="a code has no level"):
        read(patched(codes, b"\xff"))
    with pytest.raises(ModelFileError, match=r"\d+ levels"):
        read(patched(WORDS_SIZE, b"\xff\xff\x01"))
    with pytest.raises(ModelFileError, match="a number is too long"):
        read(patched(codes + COUNTS[0], b"\xff" * 6))
    gaps = codes + 2 * COUNTS[0]
    with pytest.raises(ModelFileError, match="a word there is not"):
        read(patched(gaps, b"\x7f"))


def test_a_stream_that_goes_on_and_on_takes_no_memory() -> None:
    start = HEADER.size + 8 * MODEL.order
    bomb = sealed(GOOD[:start] + lzma.compress(bytes(1 << 24), lzma.FORMAT_RAW, filters=QUICK))
    assert len(bomb) < 1 << 16
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match="not as long as announced"):
            read(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The bytes twice, and the dictionary of the stream.
    assert peak < 2 * len(bomb) + FILTERS[0]["dict_size"] + (1 << 19)


@settings(max_examples=150)
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=9), st.booleans())
def test_any_damage_is_an_error_or_does_no_harm(place: int, patch: bytes, seal: bool) -> None:
    content = GOOD[:place] + patch + GOOD[place + len(patch) :]
    try:
        read(sealed(content) if seal else content)
    except ModelFileError as error:
        assert error.message.startswith("here is no usable compact language model")


@settings(max_examples=120)
@given(
    st.integers(0, len(CONTENTS) - 1),
    st.binary(min_size=1, max_size=5),
    st.integers(0, 5),
)
def test_any_contents_are_an_error_or_do_no_harm(place: int, patch: bytes, dropped: int) -> None:
    try:
        read(with_contents(CONTENTS[:place] + patch + CONTENTS[place + dropped :]))
    except ModelFileError as error:
        assert error.message.startswith("here is no usable compact language model")


def test_golden_models_keep_their_perplexity() -> None:
    for path in sorted(Path(GOLDEN).glob("*.arpa"))[:3]:
        model = read_arpa(path)
        again = model_from_compact(model_to_compact(model), "lm")
        words = [word for word in model.words if not word.startswith("<")][:40]
        per_word = abs(again.sentence_log_prob(words) - model.sentence_log_prob(words)) / 41
        assert per_word < 0.01, path
