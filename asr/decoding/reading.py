"""From the prefixes that are left in a beam to hypotheses: words, times, confidences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from asr.decoding.calibration import Calibration
from asr.decoding.confidence import NUM_FEATURES, word_features, word_posteriors
from asr.decoding.fusion import Spelling
from asr.decoding.search_state import Arena, trace, trace_tokens
from asr.decoding.types import Hypothesis, Word
from asr.lm.compiled import compiled
from asr.tokens import Tokenizer

Array = npt.NDArray[Any]

# What the posterior of a word is worked out from: this many of the beam, and none that is less
# probable than the best by more than this (natural log).
NUM_RIVALS = 50
MAX_BEHIND = 12.0


@dataclass(frozen=True)
class Script:
    """How tokens become words.

    Attributes:
        frame_s: Seconds from one frame to the next.
        spelling: Of the tokens of `tokenizer`.
        calibration: From what is known of a word to its confidence.
    """

    tokenizer: Tokenizer
    frame_s: float
    spelling: Spelling
    calibration: Calibration


@dataclass(frozen=True)
class FinalBeam:
    """What a search ends with.

    Attributes:
        arena: The nodes and records of its entries.
        entries: Best first, with final ranks.
        entropies: (num_frames,) of `confidence.frame_entropies`.
    """

    arena: Arena
    entries: Array
    entropies: Array


def read_hypotheses(script: Script, beam: FinalBeam, num_best: int) -> list[Hypothesis]:
    """The best hypotheses of a beam, distinct as words: `num_best`, or as many as there are."""
    found: dict[tuple[str, ...], Hypothesis] = {}
    for index in range(len(beam.entries)):
        if beam.entries[index]["rank"] == -math.inf:
            break
        one = _read(script, beam, index)
        found.setdefault(tuple(word.text for word in one.words), one)
        if len(found) == num_best:
            break
    return list(found.values())


class WordFrames(NamedTuple):
    """Where the words of a hypothesis are; see `confidence.word_features`."""

    entropies: Array
    starts: Array
    ends: Array
    spans: Array


@compiled
def _features(
    arena: Arena, entries: Array, index: int, spelling: Spelling, words: WordFrames
) -> Array:
    """`confidence.word_features` of each word of entry `index`, beside its rivals."""
    num_rivals = min(NUM_RIVALS, entries.size)
    nodes, ranks = np.empty(num_rivals + 1, np.int32), np.empty(num_rivals + 1)
    nodes[0], ranks[0] = entries[index].node, entries[index].rank
    count = 1
    for rival in range(num_rivals):
        if rival != index and entries[rival].rank >= entries[0].rank - MAX_BEHIND:
            nodes[count], ranks[count] = entries[rival].node, entries[rival].rank
            count += 1
    tokens, first = trace_tokens(arena, nodes[:count])
    posteriors = word_posteriors(tokens, first, ranks[:count], spelling)
    return word_features(posteriors, words.entropies, words.starts, words.ends, words.spans)


class _Traced(NamedTuple):
    """Tokens of one entry, their runs of frames, and its words: (text, first token, end)."""

    tokens: list[int]
    starts: Array
    ends: Array
    spans: list[tuple[str, int, int]]


def read_features(script: Script, beam: FinalBeam) -> Array:
    """(num_words, NUM_FEATURES) `confidence.word_features` of the best hypothesis."""
    return _features_of(script, beam, 0, _trace(script, beam, 0))


def _trace(script: Script, beam: FinalBeam, index: int) -> _Traced:
    tokens, starts, ends = trace(beam.arena, beam.entries[index], len(beam.entropies))
    token_list = tokens.tolist()
    return _Traced(token_list, starts, ends, script.tokenizer.word_spans(token_list))


def _features_of(script: Script, beam: FinalBeam, index: int, traced: _Traced) -> Array:
    if not traced.spans:
        return np.empty((0, NUM_FEATURES))
    spans = np.array([span[1:] for span in traced.spans])
    words = WordFrames(beam.entropies, traced.starts, traced.ends, spans)
    return _features(beam.arena, beam.entries, index, script.spelling, words)


def _read(script: Script, beam: FinalBeam, index: int) -> Hypothesis:
    entry, frame_s = beam.entries[index], script.frame_s
    traced = _trace(script, beam, index)
    starts, ends = traced.starts.tolist(), traced.ends.tolist()
    features = _features_of(script, beam, index, traced)
    confidences = script.calibration.confidence(features).tolist()
    words = tuple(
        Word(text, starts[first] * frame_s, ends[last - 1] * frame_s, confidence)
        for (text, first, last), confidence in zip(traced.spans, confidences, strict=True)
    )
    acoustic_log_prob, lm_log_prob = float(entry["total"]), float(entry["partial"])
    score = acoustic_log_prob + lm_log_prob
    return Hypothesis(
        tuple(traced.tokens), tuple(starts), words, acoustic_log_prob, lm_log_prob, score
    )
