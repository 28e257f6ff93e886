"""Small bytes of a model, to be part of a model file: quantised, delta-coded and compressed.

The bytes, little-endian: the header below, the number of n-grams of each order, and one raw LZMA
stream. In it, one after another:

* the words in the order of their bytes, each without what it begins with in common with the one
  before: the lengths of that, a byte each, then what is left of the words, ended by line feeds;
* for each order, in the order of the nodes (see `tables`): above the first, how many n-grams
  continue each n-gram of the order below, and their last words, each as the distance from the one
  before under the same beginning; then the levels of the log-probabilities (`quantizing`), and the
  code of each. Words are numbered by falling probability, so that most distances are short: one
  byte, others several (LEB128: seven bits a byte, lowest first, the eighth set in all but the
  last). What numbers them are the unigrams' codes, which come in the order of the words;
* for each order but the highest the levels of the back-offs, and the code of each: first of the
  n-grams that others continue, then of the rest, whose back-off is 0 in most models.

With a 3-gram of novels (20,003 words, 276,170 bigrams, 185,397 trigrams) an n-gram takes 1.8 bytes,
in the mapped binary 22.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from asr.errors import DataError
from asr.lm.arpa import MAX_ORDER
from asr.lm.binary import LARGEST
from asr.lm.ngram import NgramModel, freeze_model, unk_index
from asr.lm.quantizing import NUM_LEVELS, by_falling_value, quantize_model
from asr.lm.tables import Array, fill_links, tables_of_trie
from asr.lm.untrusted import DamagedError, damage_named, require, require_utf8

MAGIC = b"asrcmpct"
VERSION = 1
# Magic, check sum of all that follows it, version, order, bytes of the words, bytes of the stream
# once it is decompressed.
HEADER = struct.Struct("<8sIIIQQ")
CHECKED_FROM = 12
# What is read is not trusted: more than this is refused before memory is taken for it.
MAX_NGRAMS = 1 << 22
MAX_BYTES = 1 << 26
MAX_PREFIX = 255
LONGEST_NUMBER = 5
CONTINUES, SEVEN_BITS = 0x80, 0x7F
# A byte is predicted by the two upper bits of the one before; other settings take more room.
FILTERS: list[dict[str, Any]] = [
    {"id": lzma.FILTER_LZMA1, "preset": 9, "dict_size": 1 << 20, "lc": 2, "lp": 0, "pb": 0}
]


def model_to_compact(model: NgramModel) -> bytes:
    """The bytes of `quantize_model` of a model; see the module.

    Raises:
        DataError: The model is larger than `model_from_compact` accepts.
    """
    rounded = quantize_model(model)
    words = _pack_words(rounded)
    contents = words + _pack_ngrams(rounded)
    num_ngrams = sum(rounded.num_ngrams)
    if num_ngrams > MAX_NGRAMS or len(contents) > MAX_BYTES:
        raise DataError(
            f"the language model has {num_ngrams} n-grams in {len(contents)} bytes; its compact "
            f"form may have {MAX_NGRAMS} in {MAX_BYTES}",
            hint="prune it with `asr lm prune`",
        )
    header = HEADER.pack(MAGIC, 0, VERSION, rounded.order, len(words), len(contents))
    header += struct.pack(f"<{rounded.order}Q", *rounded.num_ngrams)
    stream = lzma.compress(contents, lzma.FORMAT_RAW, filters=FILTERS)
    checked = header[CHECKED_FROM:] + stream
    return MAGIC + struct.pack("<I", zlib.crc32(checked)) + checked


def is_compact(content: bytes) -> bool:
    """Whether bytes begin as those of `model_to_compact`."""
    return content.startswith(MAGIC)


def model_from_compact(content: bytes, source: str) -> NgramModel:
    """What `model_to_compact` packed: `quantize_model` of its model, bit for bit.

    Args:
        content: The bytes; untrusted.
        source: What holds them, for errors.

    Raises:
        ModelFileError: The bytes are cut short, of another version or damaged.
    """
    with damage_named(source, "compact"):
        return _parse(content)


def _pack_words(model: NgramModel) -> bytes:
    words = sorted(model.vocabulary.split(b"\n"))
    pairs = zip([b"", *words[:-1]], words, strict=True)
    lengths = [min(_num_common(*pair), MAX_PREFIX) for pair in pairs]
    rests = [word[length:] + b"\n" for word, length in zip(words, lengths, strict=True)]
    return bytes(lengths) + b"".join(rests)


def _num_common(one: bytes, other: bytes) -> int:
    """How many bytes the beginnings of two words have in common."""
    count = 0
    while count < min(len(one), len(other)) and one[count] == other[count]:
        count += 1
    return count


def _pack_ngrams(model: NgramModel) -> bytes:
    """All but the words of what `quantize_model` gave."""
    tables, words = model.tables, model.vocabulary.split(b"\n")
    by_bytes = sorted(range(len(words)), key=words.__getitem__)
    num_children = np.diff(tables.first_child)
    pieces = [_pack_values(tables.log_prob[1 : len(words) + 1][by_bytes])]
    shorter = 1
    for begin, end in pairwise(model.order_ends):
        counts = num_children[shorter:begin]
        pieces.append(_pack_numbers(counts))
        pieces.append(_pack_numbers(_gaps(tables.word[begin:end], counts)))
        pieces.append(_pack_values(tables.log_prob[begin:end]))
        shorter = begin
    for begin, end in pairwise([1, *model.order_ends[:-1]]):
        order = _continued_first(num_children[begin:end])
        pieces.append(_pack_values(tables.backoff[begin:end][order]))
    return b"".join(pieces)


def _continued_first(num_children: Array) -> Array:
    """Indices of the n-grams that others continue, then of the rest."""
    return np.argsort(num_children == 0, kind="stable")


def _gaps(words: Array, counts: Array) -> Array:
    """How many words are left out before each, after the one before or since the beginning.

    Args:
        words: (num_ngrams,) last words, ascending under each beginning.
        counts: (num_beginnings,) how many each beginning has.
    """
    before = np.full(words.size, -1, np.int64)
    before[1:] = words[:-1]
    before[(np.cumsum(counts) - counts)[counts > 0]] = -1
    return np.asarray(words - before - 1)


def _words_of_gaps(gaps: Array, counts: Array) -> Array:
    """The words of `_gaps`."""
    ends = np.cumsum(gaps + 1)
    starts = np.cumsum(counts) - counts
    before = np.concatenate([[0], ends])[starts]
    return np.asarray(ends - 1 - np.repeat(before, counts))


def _pack_values(values: Array) -> bytes:
    """How many levels, the levels, and the code of each value: a byte."""
    levels, codes = np.unique(values, return_inverse=True)
    head = _pack_numbers(np.array([levels.size])) + levels.astype("<f4").tobytes()
    return head + codes.astype(np.uint8).tobytes()


def _pack_numbers(numbers: Array) -> bytes:
    """LEB128 of numbers from 0 to 2**32 - 1."""
    numbers = numbers.astype(np.int64)
    lengths = np.ones(numbers.size, np.int64)
    for k in range(1, LONGEST_NUMBER):
        lengths += numbers >> 7 * k > 0
    starts = np.cumsum(lengths) - lengths
    letters = np.zeros(int(lengths.sum()), np.uint8)
    for k in range(LONGEST_NUMBER):
        longer = lengths > k
        continues = np.where(lengths[longer] > k + 1, CONTINUES, 0)
        letters[starts[longer] + k] = (numbers[longer] >> 7 * k & SEVEN_BITS) | continues
    return letters.tobytes()


class _Reader:
    """Takes one piece after another from the contents of a stream."""

    def __init__(self, contents: bytes) -> None:
        self._letters = np.frombuffer(contents, np.uint8)
        self._place = 0

    @property
    def is_at_end(self) -> bool:
        return self._place == self._letters.size

    def letters(self, size: int) -> Array:
        """(size,) uint8."""
        require(size <= self._letters.size - self._place, "its contents are cut short")
        self._place += size
        return self._letters[self._place - size : self._place]

    def numbers(self, count: int) -> Array:
        """(count,) int64, what `_pack_numbers` packed."""
        window = self._letters[self._place : self._place + LONGEST_NUMBER * count]
        ends = np.flatnonzero(window < CONTINUES)[:count] + 1
        require(ends.size == count, "its numbers are cut short")
        lengths = np.diff(ends, prepend=0)
        require(bool((lengths <= LONGEST_NUMBER).all()), "a number is too long")
        starts, numbers = ends - lengths, np.zeros(count, np.int64)
        for k in range(LONGEST_NUMBER):
            longer = lengths > k
            digits = window[starts[longer] + k].astype(np.int64) & SEVEN_BITS
            numbers[longer] |= digits << 7 * k
        self._place += int(lengths.sum())
        return numbers

    def values(self, count: int) -> Array:
        """(count,) float32, what `_pack_values` packed."""
        num_levels = int(self.numbers(1)[0])
        require(num_levels <= NUM_LEVELS, f"{num_levels} levels")
        levels = np.frombuffer(self.letters(4 * num_levels).tobytes(), "<f4")
        # NaN is not below anything.
        require(bool((abs(levels) < LARGEST).all()), "a level is no usable number")
        codes = self.letters(count)
        require(int(codes.max(initial=0)) < max(num_levels, 1), "a code has no level")
        return np.asarray(levels[codes], np.float32)


def _parse(content: bytes) -> NgramModel:
    require(len(content) >= HEADER.size, "it is shorter than its header")
    magic, check_sum, version, order, words_size, size = HEADER.unpack_from(content)
    require(magic == MAGIC, "it does not begin as one")
    require(version == VERSION, f"version {version}, this program reads {VERSION}")
    require(check_sum == zlib.crc32(content[CHECKED_FROM:]), "its check sum is wrong")
    require(1 <= order <= MAX_ORDER, f"order {order}")
    start = HEADER.size + 8 * order
    require(len(content) >= start, "it is shorter than its header")
    num_ngrams = struct.unpack_from(f"<{order}Q", content, HEADER.size)
    total = sum(num_ngrams)
    require(num_ngrams[0] > 0 and total <= MAX_NGRAMS, f"{total} n-grams")
    # A word has a length and an end at least, an n-gram a code.
    require(2 * num_ngrams[0] <= words_size <= size - total, f"{words_size} bytes of words")
    require(size <= MAX_BYTES, f"{size} bytes of contents")
    reader = _Reader(_decompressed(content[start:], size))
    words = _read_words(reader, num_ngrams[0], words_size)
    model = _read_ngrams(reader, words, num_ngrams)
    require(reader.is_at_end, "something follows its contents")
    return model


def _decompressed(stream: bytes, size: int) -> bytes:
    """The contents of a stream, which must be as many as announced; no more is made of it."""
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS)
    try:
        contents = decompressor.decompress(stream, size)
        # The mark of the end is read only when more is asked for.
        more = b"" if decompressor.eof else decompressor.decompress(b"", 1)
    except lzma.LZMAError:
        raise DamagedError("its stream is damaged") from None
    is_whole = decompressor.eof and not more and not decompressor.unused_data
    require(is_whole and len(contents) == size, "its stream is not as long as announced")
    return contents


def _read_words(reader: _Reader, count: int, size: int) -> list[bytes]:
    """The words in the order of their bytes."""
    lengths = reader.letters(count).tolist()
    rests = reader.letters(size - count).tobytes().split(b"\n")
    require(len(rests) == count + 1 and not rests[-1], f"{len(rests) - 1} words, not {count}")
    words: list[bytes] = []
    before = b""
    for length, rest in zip(lengths, rests[:-1], strict=True):
        require(length <= len(before), "a word begins with more than there was")
        word = before[:length] + rest
        require(not words or before < word, "its words are not in order")
        words.append(word)
        before = word
    require_utf8(b"\n".join(words))
    return words


def _read_ngrams(reader: _Reader, words: Sequence[bytes], num_ngrams: Sequence[int]) -> NgramModel:
    """The model, from what follows the words, which are in the order of their bytes."""
    unigrams = reader.values(len(words))
    order = by_falling_value(unigrams)
    last_words, log_probs = [np.arange(-1, len(words))], [np.zeros(1, np.float32), unigrams[order]]
    num_children = [np.array([len(words)])]
    for shorter, count in pairwise(num_ngrams):
        counts = reader.numbers(shorter)
        require(int(counts.sum()) == count, "its orders do not add up")
        last = _words_of_gaps(reader.numbers(count), counts)
        require(int(last.max(initial=0)) < len(words), "an n-gram has a word there is not")
        num_children.append(counts)
        last_words.append(last)
        log_probs.append(reader.values(count))
    numbered = [words[index] for index in order.tolist()]
    children = np.concatenate(num_children)
    tables = tables_of_trie(np.concatenate(last_words), children, unk_index(numbered))
    tables.log_prob[:] = np.concatenate(log_probs)
    ends = list(accumulate(num_ngrams, initial=1))
    for begin, end in pairwise(ends[:-1]):
        places = begin + _continued_first(children[begin:end])
        tables.backoff[places] = reader.values(end - begin)
    parents = np.concatenate([[0], np.repeat(np.arange(children.size), children)])
    fill_links(tables, parents.astype(np.int32), np.zeros(parents.size, np.bool_))
    return freeze_model(tables, ends[1:], numbered)
