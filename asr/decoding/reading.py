"""From the prefixes that are left in a beam to hypotheses: words, times, confidences."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from asr.decoding.calibration import Calibration
from asr.decoding.confidence import word_features, word_posteriors
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
def _confidences(
    arena: Arena,
    entries: Array,
    index: int,
    spelling: Spelling,
    words: WordFrames,
    calibration: tuple[float, float, float],
) -> Array:
    """Of each word of entry `index`, beside its rivals; as `Calibration.confidence`."""
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
    features = word_features(posteriors, words.entropies, words.starts, words.ends, words.spans)
    bias, posterior_weight, entropy_weight = calibration
    log_odds = bias + posterior_weight * features[:, 0] + entropy_weight * features[:, 1]
    return 1.0 / (1.0 + np.exp(-log_odds))


def _read(script: Script, beam: FinalBeam, index: int) -> Hypothesis:
    entry, frame_s = beam.entries[index], script.frame_s
    traced = trace(beam.arena, entry, len(beam.entropies))
    tokens, starts, ends = (array.tolist() for array in traced)
    spans = script.tokenizer.word_spans(tokens)
    confidences: list[float] = []
    if spans:
        calibration = script.calibration
        confidences = _confidences(
            beam.arena,
            beam.entries,
            index,
            script.spelling,
            WordFrames(beam.entropies, *traced[1:], np.array([span[1:] for span in spans])),
            (calibration.bias, calibration.posterior_weight, calibration.entropy_weight),
        ).tolist()
    words = tuple(
        Word(text, starts[first] * frame_s, ends[last - 1] * frame_s, confidence)
        for (text, first, last), confidence in zip(spans, confidences, strict=True)
    )
    acoustic_log_prob, lm_log_prob = float(entry["total"]), float(entry["partial"])
    score = acoustic_log_prob + lm_log_prob
    return Hypothesis(tuple(tokens), tuple(starts), words, acoustic_log_prob, lm_log_prob, score)
