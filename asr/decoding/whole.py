"""Whole utterances in one compiled call, several of them at a time.

Short utterances take less time to search than Python takes to go from step to step, and threads
that take turns in Python hinder each other. So what `BeamStream` does step by step is done here
without returning to Python: the same functions, and so the same results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from asr.decoding.calibration import fill_confidences
from asr.decoding.confidence import fill_spans, run_entropies, word_features
from asr.decoding.fusion import Fusion
from asr.decoding.reading import (
    NOTHING,
    NUM_RIVALS,
    Path,
    Script,
    Search,
    hypothesis_of,
    posteriors_of,
)
from asr.decoding.search import Pruning, advance_frames, finish_all
from asr.decoding.search_state import (
    Arena,
    Start,
    Workspace,
    begin,
    collect,
    trace,
)
from asr.decoding.types import Hypothesis
from asr.lm.compiled import compiled, direct, int64

Array = npt.NDArray[Any]


class Plan(NamedTuple):
    """What all utterances share.

    Fields:
        coefficients: Of `Calibration.coefficients`.
    """

    fusion: Fusion
    pruning: Pruning
    start: Start
    coefficients: Array


class Found(NamedTuple):
    """The best hypothesis of each utterance, one after the other.

    Fields:
        runs: (3, num_frames) int32, tokens, starts and ends as of `search_state.trace`; those of
            utterance u in the columns first[0, u] … first[0, u + 1] - 1.
        confidences: (num_frames,) float64, one a word; those of utterance u are
            confidences[first[1, u]:first[1, u + 1]].
        first: (2, num_utterances + 1) int64.
        scores: (2, num_utterances) float64, acoustic and other; -inf where nothing may end.
    """

    runs: Array
    confidences: Array
    first: Array
    scores: Array


def new_found(num_frames: int, num_utterances: int) -> Found:
    """Room for what is found."""
    return Found(
        runs=np.empty((3, num_frames), np.int32),
        confidences=np.empty(num_frames),
        first=np.zeros((2, num_utterances + 1), np.int64),
        scores=np.empty((2, num_utterances)),
    )


@compiled
def search_utterances(
    workspace: Workspace, plan: Plan, log_probs: Array, first: Array, found: Found
) -> Arena:
    """Decode utterances one after the other.

    Args:
        workspace: Room to work in; its arena is of no further use.
        plan: What is known and how wide to search.
        log_probs: (num_frames, vocab_size) float64 of all utterances.
        first: (num_utterances + 1,) int64, frames of utterance u are first[u] … first[u + 1] - 1.
        found: Of `new_found`, overwritten.

    Returns:
        The arena to use next, which may be a larger one.
    """
    beam, arena = workspace.beam, workspace.arena
    for index in range(first.size - 1):
        frames = log_probs[first[index] : first[index + 1]]
        begin(beam, arena, plan.start)
        done = advance_frames(beam, arena, plan.fusion, plan.pruning, frames)
        while done < len(frames):
            arena = collect(arena, beam)
            done += advance_frames(beam, arena, plan.fusion, plan.pruning, frames[done:])
        for kind in range(2):
            found.first[kind, index + 1] = found.first[kind, index]
            found.scores[kind, index] = -np.inf
        entries = beam.entries[beam.now[0], : beam.now[1]]
        if finish_all(plan.fusion, entries, beam.candidates) > 0:
            _keep_best(arena, entries, plan, frames, (found, index))
    return arena


@compiled
def _keep_best(
    arena: Arena, entries: Array, plan: Plan, log_probs: Array, place: tuple[Found, int]
) -> None:
    """Write what the finished entries say of an utterance: where, and as which, `place` says."""
    found, index = place
    spelling = plan.fusion.spelling
    order = best_first(entries, NUM_RIVALS)
    best = entries[order[0]]
    tokens, starts, ends = trace(arena, best, len(log_probs))
    spans = np.empty((tokens.size, 2), np.int64)
    num_words = fill_spans(tokens, spelling, spans)
    features = word_features(
        posteriors_of(arena, entries, order, int64(0), spelling),
        run_entropies(log_probs, starts, ends),
        starts,
        ends,
        spans[:num_words],
    )
    token, word = found.first[0, index], found.first[1, index]
    for column in range(tokens.size):
        found.runs[0, token + column] = tokens[column]
        found.runs[1, token + column] = starts[column]
        found.runs[2, token + column] = ends[column]
    confidences = found.confidences[word : word + num_words]
    fill_confidences(plan.coefficients, features, confidences)
    found.first[0, index + 1], found.first[1, index + 1] = token + tokens.size, word + num_words
    found.scores[0, index], found.scores[1, index] = best.total, best.partial


@compiled
def best_first(entries: Array, count: int) -> Array:
    """Indices of the `count` best entries by rank; of equal ones the first comes first."""
    order = np.empty(min(count, entries.size), np.int64)
    limit, last = np.inf, -1
    for place in range(order.size):
        best = -1
        for index in range(entries.size):
            rank = entries[index].rank
            is_left = rank < limit or (rank == limit and index > last)
            if is_left and (best < 0 or rank > entries[best].rank):
                best = index
        order[place] = best
        limit, last = entries[best].rank, best
    return order


class WholeSearch:
    """Decodes whole utterances.

    Args:
        search: With any `num_best`; one hypothesis is given.
    """

    def __init__(self, search: Search) -> None:
        self._script = search.script
        coefficients = search.script.calibration.coefficients()
        self._plan = Plan(search.fusion, search.pruning, search.start, coefficients)
        self._run: Callable[..., Arena] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What copies are made of: compiled code is looked up anew."""
        return self.__dict__ | {"_run": None}

    def decode(
        self, workspace: Workspace, log_probs: Array, lengths: Sequence[int]
    ) -> tuple[list[Hypothesis], Workspace]:
        """The best hypothesis of each utterance, and the workspace to use next.

        Args:
            workspace: Of this search; of no further use.
            log_probs: (num_frames, vocab_size) float64 of all utterances, checked.
            lengths: Frames of each utterance.
        """
        first = np.fromiter(accumulate(lengths, initial=0), np.int64, len(lengths) + 1)
        found = new_found(len(log_probs), len(lengths))
        arguments = (workspace, self._plan, log_probs, first, found)
        if self._run is None:
            self._run = direct(search_utterances, *arguments)
        arena = self._run(*arguments)
        return _read(self._script, found), Workspace(workspace.beam, arena)


def _read(script: Script, found: Found) -> list[Hypothesis]:
    """What was found, as Python's values; arrays are turned into them once, which is faster."""
    first_tokens, first_words = found.first.tolist()
    tokens, starts, ends = found.runs[:, : first_tokens[-1]].tolist()
    confidences = found.confidences[: first_words[-1]].tolist()
    hypotheses = []
    for one, (total, partial) in enumerate(found.scores.T.tolist()):
        if total == -math.inf:
            hypotheses.append(NOTHING)
            continue
        here = slice(first_tokens[one], first_tokens[one + 1])
        words = confidences[first_words[one] : first_words[one + 1]]
        said = tokens[here]
        spans = script.writer.word_spans(said)
        path = Path(said, starts[here], ends[here], spans, total, partial)
        hypotheses.append(hypothesis_of(path, words, script.frame_s))
    return hypotheses
