"""Back-off n-gram models of words: immutable, queried in compiled code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any, cast

import numpy as np

from asr.errors import DataError
from asr.lm.bulk import SENTENCE_BREAK, SMALL_ITEMS, score_words
from asr.lm.calls import advance_in, line_setup, sum_line, sum_line_in_turn
from asr.lm.compiled import direct
from asr.lm.orders import sum_ids
from asr.lm.tables import Array, NgramTables, advance, freeze_tables, is_state
from asr.lm.word_index import WordIndex, index_words

__all__ = ["SENTENCE_BREAK", "NgramModel", "NgramTables", "advance"]

BOS, EOS, UNK = "<s>", "</s>", "<unk>"
# The smallest log10 that ARPA files hold by convention; a logarithm of 0 would be none.
SMALLEST_PROB = 1e-99
# SRILM and some converters write it in capitals; KenLM reads both too.
UNK_NAMES = (UNK, "<UNK>")


class _Ids(dict[str, int]):
    """Ids of words, of unknown ones too."""

    def __missing__(self, word: str) -> int:
        return -1


@dataclass(frozen=True, eq=False)
class NgramModel:
    """A word n-gram model; its tokens are its own word ids, its states nodes of its tables.

    Attributes:
        order: Length of the longest n-grams, at least 1.
        tables: The arrays, for compiled code.
        order_ends: (order,) For each order, the number of the node after its last.
        vocabulary: The words joined with line feeds, UTF-8; word w is line w.
    """

    order: int
    tables: NgramTables
    order_ends: tuple[int, ...]
    vocabulary: bytes

    def __getstate__(self) -> dict[str, Any]:
        """What copies are made of: what was derived, compiled code too, is derived anew."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Words by id, including the sentence marks and `<unk>` where the model has them."""
        return tuple(self.vocabulary.decode("utf-8").split("\n"))

    @cached_property
    def _ids(self) -> dict[str, int]:
        return _Ids(zip(self.words, range(len(self.words)), strict=True))

    @cached_property
    def id_of(self) -> Callable[[str], int]:
        """id_of(word): id of a word; -1 where the model does not have it."""
        return self._ids.__getitem__

    @cached_property
    def bos_id(self) -> int:
        """Id of `<s>`, or -1."""
        return self.id_of(BOS)

    @cached_property
    def eos_id(self) -> int:
        """Id of `</s>`, or -1."""
        return self.id_of(EOS)

    @property
    def unk_id(self) -> int:
        """Id of `<unk>`, or -1."""
        return self.tables.unk_id

    @cached_property
    def start_state(self) -> int:
        """State at the beginning of a sentence; 0 where the model has no `<s>`."""
        node = self.bos_id + 1
        return node if is_state(self.tables, node) else 0

    @property
    def num_ngrams(self) -> tuple[int, ...]:
        """Number of n-grams of each order, from unigrams on."""
        starts = (1, *self.order_ends[:-1])
        return tuple(end - start for start, end in zip(starts, self.order_ends, strict=True))

    def start(self) -> int:
        """State before the first word."""
        return self.start_state

    @cached_property
    def _advance(self) -> Callable[[Array, int, int], tuple[float, int]]:
        return direct(advance_in, self.tables.ints, 0, 0)

    # What is called word by word and line by line is a function that holds all it needs: a method
    # that looks it up would take half as long again.

    @cached_property
    def score(self) -> Callable[[int, int], tuple[float, int]]:
        """score(state, token): natural log-probability of a word's id, and the state after it."""
        return partial(self._advance, self.tables.ints)

    @cached_property
    def finish(self) -> Callable[[int], float]:
        """finish(state): natural log-probability of `</s>`; 0 where the model has no such word."""
        if self.eos_id < 0:
            return lambda _state: 0.0
        block, step, eos_id = self.tables.ints, self._advance, self.eos_id
        return lambda state: step(block, state, eos_id)[0]

    def word_log_probs(self, words: Sequence[str]) -> list[float]:
        """Natural log-probabilities of the words of one sentence, and last that of its end."""
        return [float(value) for value in self.score_ids(self._sentence_ids(words))]

    def _sentence_ids(self, words: Sequence[str]) -> Array:
        find = self._ids.get
        ids = [find(word, -1) for word in words]
        ids += [self.eos_id] if self.eos_id >= 0 else []
        return np.array(ids, np.int64)

    def score_ids(self, ids: Array) -> Array:
        """Natural log-probability of every word of a text, at compiled speed.

        Args:
            ids: (num_words,) int64 word ids, -1 for unknown; a sentence begins at index 0 and
                after each `SENTENCE_BREAK`, which itself scores 0. Ends are words like others.

        Returns:
            (num_words,) float64.
        """
        log_probs = np.empty(ids.size)
        score_words(self.tables.ints, self.start_state, self.order - 1, ids, log_probs)
        return log_probs

    @cached_property
    def word_index(self) -> WordIndex:
        """The vocabulary for compiled code; made when first asked for."""
        return index_words(self.vocabulary)

    @cached_property
    def text_log_prob(self) -> Callable[[str], float]:
        """text_log_prob(text): natural log-probability of one line of text and its end.

        Words are what ASCII white space separates; a line feed is white space like others.
        """
        block = self.tables.ints
        setup = line_setup(self.word_index, self.start_state, self.order, self.eos_id)
        function = sum_line_in_turn if block.size <= SMALL_ITEMS else sum_line
        sum_of = cast(Callable[[Array, Array, bytes], float], direct(function, block, setup, b""))

        def text_log_prob(text: str) -> float:
            try:
                return sum_of(block, setup, text.encode())
            except UnicodeEncodeError:
                # A lone surrogate, as of an undecodable file name, is part of an unknown word.
                return sum_of(block, setup, text.encode(errors="surrogatepass"))

        return text_log_prob

    def sentence_log_prob(self, words: Sequence[str]) -> float:
        """Natural log-probability of a sentence and its end."""
        ids = self._sentence_ids(words)
        return sum_ids(self.tables.ints, self.start_state, self.order, ids)


def freeze_model(
    tables: NgramTables, order_ends: Sequence[int], words: Sequence[bytes]
) -> NgramModel:
    """A model of finished tables, which are made read-only.

    Raises:
        DataError: A word is not UTF-8.
    """
    freeze_tables(tables)
    vocabulary = b"\n".join(words)
    try:
        vocabulary.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"a word of the language model is not UTF-8: {error}") from None
    return NgramModel(len(order_ends), tables, tuple(order_ends), vocabulary)


def unk_index(words: Sequence[bytes]) -> int:
    """Index of the word for all unknown words, or -1."""
    names = [name.encode() for name in UNK_NAMES]
    return next((words.index(name) for name in names if name in words), -1)
