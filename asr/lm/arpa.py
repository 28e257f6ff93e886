"""ARPA files of back-off n-gram models: any order, plain or gzip.

The format has log10 values; they become natural logarithms here, once. Reading takes what KenLM,
SRILM, IRSTLM and MITLM write: any text before `\\data\\`, `<unk>` or not, missing back-offs; and a
byte-order mark, as some editors add. It checks the rest, and names the line that is wrong.

References:
    ngram-format(5) of SRILM; Heafield (2011).
"""

from __future__ import annotations

import codecs
import math
import re
from array import array
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from asr.errors import DataError
from asr.lm.arpa_lines import NgramLines, parse_lines, room_for
from asr.lm.ngram import NgramModel
from asr.lm.opening import Opened, opened
from asr.lm.trie import DuplicateNgramError, OrderTable, model_from_tables
from asr.lm.word_index import WordIndex, index_words

LN_10 = math.log(10.0)
MAX_ORDER = 32
# A longer line is no n-gram; the bound keeps a hostile file from filling memory with one line.
MAX_LINE_BYTES = 1 << 20
BLOCK_BYTES = 1 << 22
# N-grams are distinct: their text packs to a fourth; to a twentieth if all values are equal. A
# gzip file that unpacks to more is made to fill memory; small files may, they cannot.
MAX_GZIP_RATIO = 64
FREE_BYTES = 1 << 26
# SRILM writes -99 for a probability of 0; a value far beyond says the file is damaged.
MIN_LOG10 = -1e6
# N-grams read at a time.
MAX_ROOM = 1 << 16
COUNT_LINE = re.compile(rb"ngram\s+(\d{1,3})\s*=\s*(\d{1,18})")


@dataclass
class _Section:
    """What one `\\n-grams:` section holds."""

    order: int
    num_announced: int
    ids: array[int] = field(default_factory=lambda: array("i"))
    log_probs: array[float] = field(default_factory=lambda: array("f"))
    backoffs: array[float] = field(default_factory=lambda: array("f"))
    lines: array[int] = field(default_factory=lambda: array("q"))

    def add(self, room: NgramLines, num_ngrams: int, num_lines_before: int) -> None:
        """Append the first n-grams of a room."""
        self.ids.frombytes(room.ids[:num_ngrams].tobytes())
        self.log_probs.frombytes(room.log_probs[:num_ngrams].tobytes())
        self.backoffs.frombytes(room.backoffs[:num_ngrams].tobytes())
        self.lines.frombytes((room.lines[:num_ngrams] + num_lines_before + 1).tobytes())

    def table(self) -> OrderTable:
        """The section as arrays in natural logarithms."""
        return OrderTable(
            np.array(self.ids, np.int32).reshape(-1, self.order),
            (np.array(self.log_probs) * LN_10).astype(np.float32),
            (np.array(self.backoffs) * LN_10).astype(np.float32),
        )


def read_arpa(path: Path) -> NgramModel:
    """Read an ARPA file; gzip is recognised by its first bytes.

    Raises:
        DataError: The file cannot be read, or is malformed; the message has the line number.
    """
    with opened(path) as source:
        return read_opened_arpa(source)


def read_opened_arpa(source: Opened) -> NgramModel:
    """Read the ARPA file that was opened, within the block of `opened`.

    Raises:
        DataError: It is malformed; the message has the line number.
    """
    return _ArpaReader(source).read()


class _ArpaReader:
    def __init__(self, source: Opened) -> None:
        self._source = source
        self._line_number = 0
        self._ids: dict[bytes, int] = {}
        self._stream = source.unpacked()
        self._num_bytes = 0
        # Whole lines, of which those from `_place` on are still to be read; then the next's begin.
        self._text, self._place, self._rest = b"", 0, b""

    def read(self) -> NgramModel:
        sections = self._read_header()
        for section in sections:
            following = self._read_section(section)
            last = section.order == len(sections)
            expected = b"\\end\\" if last else b"\\%d-grams:" % (section.order + 1)
            if following != expected:
                raise self._error(f"expected {expected.decode()}, got {_shown(following)}")
        words = list(self._ids)
        try:
            return model_from_tables(words, [section.table() for section in sections])
        except DuplicateNgramError as error:
            section = sections[error.order - 1]
            first, second = sorted(section.lines[row] for row in error.rows)
            raise self._error(f"the {error.order}-gram of line {first} again", second) from None

    def _fill(self) -> bool:
        """Take in the next lines, once all are read; False at the end of the file."""
        self._place = 0
        while True:
            self._check_length(len(self._rest), self._line_number + 1)
            if not (block := self._stream.read(BLOCK_BYTES)):
                break
            if self._num_bytes == 0:
                block = block.removeprefix(codecs.BOM_UTF8)
            self._num_bytes += len(block)
            # What was read so far bounds it, as the size of a pipe is not known.
            max_bytes = FREE_BYTES + MAX_GZIP_RATIO * self._source.num_bytes
            if self._num_bytes > max_bytes:
                raise self._error(f"unpacks to more than {max_bytes} bytes")
            lines, line_feed, rest = block.rpartition(b"\n")
            self._text = self._rest + lines + line_feed if line_feed else b""
            self._rest = rest if line_feed else self._rest + rest
            if line_feed:
                return True
        self._text, self._rest = self._rest + b"\n" if self._rest else b"", b""
        self._line_number += not self._text
        return bool(self._text)

    def _check_length(self, num_bytes: int, line: int) -> None:
        if num_bytes > MAX_LINE_BYTES:
            raise self._error(f"a line of more than {MAX_LINE_BYTES} bytes", line)

    def _error(self, problem: str, line: int | None = None) -> DataError:
        return DataError(
            f"{self._source.path}, line {line or self._line_number}: {problem}",
            hint="expected an n-gram model in ARPA format",
        )

    def _next_line(self, if_none: str = "the file ends too early") -> bytes:
        """The next line that is not blank, stripped.

        Raises:
            DataError: There is none.
        """
        while self._place < len(self._text) or self._fill():
            end = self._text.index(b"\n", self._place)
            self._line_number += 1
            self._check_length(end - self._place, self._line_number)
            line = self._text[self._place : end].strip()
            self._place = end + 1
            if line:
                return line
        raise self._error(if_none)

    def _read_header(self) -> list[_Section]:
        none = "the file ends without a line \\data\\: it is no ARPA model"
        while self._next_line(none) != b"\\data\\":
            pass
        sections: list[_Section] = []
        while match := COUNT_LINE.fullmatch(line := self._next_line()):
            order, count = int(match[1]), int(match[2])
            if order != len(sections) + 1 or order > MAX_ORDER:
                raise self._error(f"expected `ngram {len(sections) + 1}=…`, got {_shown(line)}")
            sections.append(_Section(order, count))
        if not sections:
            raise self._error(f"expected `ngram 1=…`, got {_shown(line)}")
        if line != b"\\1-grams:":
            raise self._error(f"expected \\1-grams:, got {_shown(line)}")
        return sections

    def _read_section(self, section: _Section) -> bytes:
        """Fill one section; returns the line after it, which begins with a backslash."""
        index = index_words(b"\n".join(self._ids)) if section.order > 1 else None
        while not (line := self._next_section_line(section, index)).startswith(b"\\"):
            if len(section.lines) == section.num_announced:
                raise self._error(
                    f"more {section.order}-grams than the {section.num_announced} announced"
                )
            try:
                self._read_ngram(line, section)
            except ValueError:
                raise self._error(f"cannot read a number in {_shown(line)}") from None
            section.lines.append(self._line_number)
        if len(section.lines) != section.num_announced:
            raise self._error(
                f"{len(section.lines)} {section.order}-grams where {section.num_announced} were "
                "announced"
            )
        if not self._ids:
            raise self._error("expected at least one 1-gram, got none")
        return line

    def _next_section_line(self, section: _Section, index: WordIndex | None) -> bytes:
        """The next line that is not plain; those before it go into the section."""
        while index is not None:
            if self._place == len(self._text) and not self._fill():
                raise self._error("the file ends too early")
            text = np.frombuffer(self._text, np.uint8)
            num_left = section.num_announced - len(section.lines)
            room = room_for(min(num_left, MAX_ROOM), section.order)
            num_ngrams, num_lines, self._place = parse_lines(
                index, text, self._place, MIN_LOG10, MAX_LINE_BYTES, room
            )
            section.add(room, num_ngrams, self._line_number)
            self._line_number += num_lines
            if self._place < len(self._text) and num_ngrams < MAX_ROOM:
                break
        return self._next_line()

    def _read_ngram(self, line: bytes, section: _Section) -> None:
        order = section.order
        fields = line.split()
        if len(fields) not in (order + 1, order + 2):
            raise self._error(f"expected a number and {order} words, got {_shown(line)}")
        log_prob = float(fields[0])
        backoff = float(fields[order + 1]) if len(fields) == order + 2 else 0.0
        if not MIN_LOG10 <= log_prob <= 0:
            raise self._error(f"{log_prob} is not the logarithm of a probability")
        if not MIN_LOG10 <= backoff <= -MIN_LOG10:
            raise self._error(f"{backoff} is not the logarithm of a back-off weight")
        if order == 1:
            self._add_word(fields[1], section)
        try:
            section.ids.extend([self._ids[word] for word in fields[1 : order + 1]])
        except KeyError as error:
            raise self._error(f"{_shown(error.args[0])} is not among the unigrams") from None
        section.log_probs.append(log_prob)
        section.backoffs.append(backoff)

    def _add_word(self, word: bytes, section: _Section) -> None:
        if word in self._ids:
            first = section.lines[self._ids[word]]
            raise self._error(f"the unigram {_shown(word)} of line {first} again")
        try:
            word.decode("utf-8")
        except UnicodeDecodeError:
            raise self._error(f"{_shown(word)} is not UTF-8") from None
        self._ids[word] = len(self._ids)


def _shown(text: bytes) -> str:
    shown = text[:60].decode("utf-8", errors="backslashreplace")
    return repr(shown + "…" if len(text) > 60 else shown)
