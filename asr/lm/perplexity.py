"""How well a model predicts a text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.errors import DataError
from asr.lm.counting import refuse_marks, text_blocks
from asr.lm.ngram import SENTENCE_BREAK, NgramModel
from asr.lm.tables import Array
from asr.lm.word_index import encode_text


@dataclass(frozen=True)
class Perplexity:
    """What a model says of a text; sentence ends that it scores count as words.

    Attributes:
        num_sentences: Lines.
        num_words: Words, without the sentence ends.
        num_ends: Sentence ends that are scored: all, or none where the model has no `</s>`.
        num_unknown: Words outside the vocabulary.
        log_prob: Natural log-probability of the words and these ends.
        unknown_log_prob: The part of it that is due to unknown words.
    """

    num_sentences: int
    num_words: int
    num_ends: int
    num_unknown: int
    log_prob: float
    unknown_log_prob: float

    @property
    def including_unknown(self) -> float:
        """Perplexity per word and sentence end; it hangs on what the model gives `<unk>`."""
        return _exp(-self.log_prob / (self.num_words + self.num_ends))

    @property
    def excluding_unknown(self) -> float:
        """Perplexity over the words the model knows, and sentence ends; NaN where there is none."""
        num_known = self.num_words + self.num_ends - self.num_unknown
        if not num_known:
            return math.nan
        return _exp((self.unknown_log_prob - self.log_prob) / num_known)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def measure_perplexity(model: NgramModel, paths: Sequence[Path]) -> Perplexity:
    """Score texts: one sentence a line.

    Raises:
        DataError: A text cannot be read, holds a sentence mark, or there is nothing to score.
    """
    num_sentences = num_words = num_unknown = 0
    log_prob = unknown_log_prob = 0.0
    for letters in text_letters(paths):
        ids = text_ids(model, letters)
        log_probs = model.score_ids(ids)
        is_unknown = ids == -1
        num_sentences += int((ids == SENTENCE_BREAK).sum())
        num_words += int(((ids != SENTENCE_BREAK) & (ids != model.eos_id) | is_unknown).sum())
        num_unknown += int(is_unknown.sum())
        log_prob += float(log_probs.sum())
        unknown_log_prob += float(log_probs[is_unknown].sum())
    num_ends = num_sentences if model.eos_id >= 0 else 0
    if not num_words + num_ends:
        raise DataError(f"no text in {', '.join(map(str, paths))}")
    return Perplexity(num_sentences, num_words, num_ends, num_unknown, log_prob, unknown_log_prob)


def text_ids(model: NgramModel, letters: Array) -> Array:
    """A text as ids for `NgramModel.score_ids`.

    Args:
        model: Whose ids they are.
        letters: (num_bytes,) uint8, whole lines.

    Returns:
        (num_ids,) int64; -1 for words the model lacks and for `<unk>`; each sentence ends in
        `</s>`, where the model has it, and `SENTENCE_BREAK`.
    """
    return encode_text(model.word_index, letters, model.eos_id, SENTENCE_BREAK)


def text_letters(paths: Sequence[Path]) -> Iterator[Array]:
    """The bytes of texts, a block of whole lines at a time.

    Yields:
        (num_bytes,) uint8.

    Raises:
        DataError: A text cannot be read or holds a sentence mark.
    """
    for path in paths:
        for block, first_line in text_blocks(path):
            refuse_marks(path, block, first_line)
            yield np.frombuffer(block, np.uint8)
