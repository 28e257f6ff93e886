"""From the prefixes that are left in a beam to hypotheses: words, times, confidences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from asr.decoding.calibration import Calibration
from asr.decoding.confidence import word_features, word_posteriors
from asr.decoding.fusion import Fusion, Spelling
from asr.decoding.homophones import Writer
from asr.decoding.search import Pruning
from asr.decoding.search_state import (
    Arena,
    Start,
    Workspace,
    new_workspace,
    trace,
    trace_tokens,
)
from asr.decoding.types import Hypothesis, Word
from asr.lm.compiled import compiled

Array = npt.NDArray[Any]

# What the posterior of a word is worked out from: this many of the beam, and none that is less
# probable than the best by more than this (natural log).
NUM_RIVALS = 50
MAX_BEHIND = 12.0

NOTHING = Hypothesis((), (), (), -math.inf, 0.0, -math.inf)
"""Where nothing that was heard can be said."""


@dataclass(frozen=True)
class Script:
    """How tokens become words.

    Attributes:
        frame_s: Seconds from one frame to the next.
        spelling: Of the tokens.
        calibration: From what is known of a word to its confidence.
    """

    writer: Writer
    frame_s: float
    spelling: Spelling
    calibration: Calibration


@dataclass(frozen=True)
class Search:
    """What all utterances of a decoder share; see `BeamDecoder`."""

    script: Script
    pruning: Pruning
    fusion: Fusion
    start: Start
    num_best: int

    @property
    def vocab_size(self) -> int:
        """Number of tokens, with the blank."""
        return len(self.script.writer.tokenizer.vocab)

    def new_workspace(self) -> Workspace:
        """Room for one utterance."""
        return new_workspace(self.pruning.beam_width, self.vocab_size)


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


@compiled
def rivals_of(entries: Array, order: Array, place: int) -> tuple[Array, Array]:
    """What an entry's words are compared with: nodes and ranks, its own first.

    Args:
        entries: With final ranks.
        order: Indices of the best entries, best first.
        place: Where in `order` the entry is.
    """
    num_rivals = min(NUM_RIVALS, order.size)
    nodes, ranks = np.empty(num_rivals + 1, np.int32), np.empty(num_rivals + 1)
    nodes[0], ranks[0] = entries[order[place]].node, entries[order[place]].rank
    count = 1
    for other in range(num_rivals):
        entry = entries[order[other]]
        if other != place and entry.rank >= entries[order[0]].rank - MAX_BEHIND:
            nodes[count], ranks[count] = entry.node, entry.rank
            count += 1
    return nodes[:count], ranks[:count]


@compiled
def posteriors_of(
    arena: Arena, entries: Array, order: Array, place: int, spelling: Spelling
) -> Array:
    """`confidence.word_posteriors` of an entry beside its rivals; arguments as `rivals_of`."""
    nodes, ranks = rivals_of(entries, order, place)
    tokens, first = trace_tokens(arena, nodes)
    return word_posteriors(tokens, first, ranks, spelling)


class Path(NamedTuple):
    """A hypothesis on its best path.

    Fields:
        tokens, starts, ends: Of each token, as of `search_state.trace`.
        spans: Of each word its text, its first token, and one past its last.
        total, partial: Acoustic and other score.
    """

    tokens: list[int]
    starts: list[int]
    ends: list[int]
    spans: list[tuple[str, int, int]]
    total: float
    partial: float


def read_hypotheses(script: Script, beam: FinalBeam, num_best: int) -> list[Hypothesis]:
    """The best hypotheses of a beam, distinct as words: `num_best`, or as many as there are."""
    found: dict[tuple[str, ...], Hypothesis] = {}
    for place in range(len(beam.entries)):
        if beam.entries[place]["rank"] == -math.inf:
            break
        path, features = _read(script, beam, place)
        words = tuple(span[0] for span in path.spans)
        if words not in found:
            confidences = script.calibration.confidence(features)
            found[words] = hypothesis_of(path, confidences.tolist(), script.frame_s)
        if len(found) == num_best:
            break
    return list(found.values())


def read_features(script: Script, beam: FinalBeam) -> Array:
    """(num_words, NUM_FEATURES) `confidence.word_features` of the best hypothesis."""
    return _read(script, beam, 0)[1]


def _read(script: Script, beam: FinalBeam, place: int) -> tuple[Path, Array]:
    """An entry, and the features of its words."""
    entry, order = beam.entries[place], np.arange(len(beam.entries))
    posteriors = posteriors_of(beam.arena, beam.entries, order, place, script.spelling)
    tokens, starts, ends = trace(beam.arena, entry, len(beam.entropies))
    token_list = tokens.tolist()
    spans = script.writer.word_spans(token_list)
    bounds = np.array([span[1:] for span in spans], np.int64).reshape(-1, 2)
    features = word_features(posteriors, beam.entropies, starts, ends, bounds)
    scores = float(entry["total"]), float(entry["partial"])
    return Path(token_list, starts.tolist(), ends.tolist(), spans, *scores), features


def hypothesis_of(path: Path, confidences: Sequence[float], frame_s: float) -> Hypothesis:
    """A hypothesis with the confidences of its words; frames last `frame_s` seconds."""
    tokens, starts, ends, spans, total, partial = path
    words = [
        Word(text, starts[first] * frame_s, ends[last - 1] * frame_s, confidence)
        for (text, first, last), confidence in zip(spans, confidences, strict=True)
    ]
    return Hypothesis(tuple(tokens), tuple(starts), tuple(words), total, partial, total + partial)
