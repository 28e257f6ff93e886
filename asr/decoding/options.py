"""Settings of the beam search; importing them compiles nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from asr.config import Options
from asr.decoding.calibration import Calibration

MOST_WEIGHT = 1e3
MOST_SCORE = 1e6
"""Far more than any sound weighs, and so little that sums of them stay finite."""


class BeamConfig(Options):
    """How wide to search, and what counts beside the sound. Scores are natural logarithms.

    A weight is at most `MOST_WEIGHT`; bonuses and scores are within `MOST_SCORE` of 0, but for
    `off_grammar_score`, which is charged once.

    Attributes:
        beam_width: Prefixes kept from frame to frame.
        beam_threshold: Prefixes this much worse than the best are dropped; `inf` for none.
        token_threshold: Tokens this much less probable than the best of their frame do not
            lengthen a prefix in it; `inf` for all.
        num_best: At most as many hypotheses are given, distinct as words.
        lm_unit: What the words of the language model are: ``word``, or ``token`` for the tokens
            of the model, a space written ▁.
        lm_weight: Of the language model's log-probabilities.
        word_bonus: Added for every word that the language model is asked about, or, with one of
            tokens, that they spell: it makes up for the price of each. Without one it is nothing.
        vocabulary: ``closed`` allows only the words of the lexicon, ``open`` any.
        unknown_score: Added for a word that the lexicon, or the language model of words, does not
            have; beside what the language model gives `<unk>`, where it has it.
        unknown_letter_score: Added for each character of an unknown word from where no known word
            begins like it any more: long words would be too cheap otherwise, and swallow others.
        off_grammar_score: Added to what no sentence of the grammar begins with, from the first
            character that leaves it; `-inf` allows nothing but sentences of the grammar.
        calibration: From what is known of words to their confidence.
        num_threads: For batches; 0 for as many as there are processors.
    """

    beam_width: int = Field(default=100, ge=1, le=100_000)
    beam_threshold: float = Field(default=12.0, gt=0)
    token_threshold: float = Field(default=7.0, gt=0)
    num_best: int = Field(default=1, ge=1)
    lm_unit: Literal["word", "token"] = "word"
    lm_weight: float = Field(default=0.5, ge=0, le=MOST_WEIGHT, allow_inf_nan=False)
    word_bonus: float = Field(default=1.0, ge=-MOST_SCORE, le=MOST_SCORE, allow_inf_nan=False)
    vocabulary: Literal["open", "closed"] = "open"
    unknown_score: float = Field(default=-10.0, ge=-MOST_SCORE, le=MOST_SCORE, allow_inf_nan=False)
    unknown_letter_score: float = Field(default=-1.0, ge=-MOST_SCORE, le=0, allow_inf_nan=False)
    off_grammar_score: float = Field(default=float("-inf"), le=0)
    calibration: Calibration = Calibration()
    num_threads: int = Field(default=0, ge=0)
