"""Whole utterances in one compiled call, several of them at a time.

Short utterances take less time to search than Python takes to go from step to step, and threads
that take turns in Python hinder each other. So what `BeamStream` does step by step is done here
without returning to Python: the same functions, and so the same results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from asr.decoding.confidence import frame_entropies, word_features
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
    Beam,
    Start,
    Workspace,
    begin,
    collect,
    trace,
)
from asr.decoding.types import Hypothesis, LogProbs
from asr.lm.compiled import compiled

Array = npt.NDArray[Any]


class Plan(NamedTuple):
    """What all utterances share."""

    fusion: Fusion
    pruning: Pruning
    start: Start


class Found(NamedTuple):
    """The best hypothesis of each utterance, one after the other.

    Fields:
        tokens, starts, ends: (num_frames,) int32, as of `search_state.trace`, of utterance u from
            `first_token[u]` to `first_token[u + 1]`.
        posteriors: (num_frames,) float64 of `confidence.word_posteriors`, from `first_word[u]` on.
        first_token, first_word: (num_utterances + 1,) int64.
        totals, partials: (num_utterances,) float64, acoustic and other score; -inf and 0 where
            nothing may end.
    """

    tokens: Array
    starts: Array
    ends: Array
    posteriors: Array
    first_token: Array
    first_word: Array
    totals: Array
    partials: Array


def new_found(num_frames: int, num_utterances: int) -> Found:
    """Room for what is found; every utterance is as if nothing could end."""
    return Found(
        tokens=np.empty(num_frames, np.int32),
        starts=np.empty(num_frames, np.int32),
        ends=np.empty(num_frames, np.int32),
        posteriors=np.empty(num_frames),
        first_token=np.zeros(num_utterances + 1, np.int64),
        first_word=np.zeros(num_utterances + 1, np.int64),
        totals=np.full(num_utterances, -np.inf),
        partials=np.zeros(num_utterances),
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
        _keep_best(beam, arena, plan.fusion, found, index)
    return arena


@compiled
def _keep_best(beam: Beam, arena: Arena, fusion: Fusion, found: Found, index: int) -> None:
    """Write what the beam says of utterance `index`."""
    row, num_entries, num_frames = beam.now
    token_place, word_place = found.first_token[index], found.first_word[index]
    found.first_token[index + 1], found.first_word[index + 1] = token_place, word_place
    entries = beam.entries[row, :num_entries]
    if finish_all(fusion, entries, beam.candidates) == 0:
        return
    order = best_first(entries, NUM_RIVALS)
    best = entries[order[0]]
    tokens, starts, ends = trace(arena, best, num_frames)
    posteriors = posteriors_of(arena, entries, order, 0, fusion.spelling)
    for place in range(tokens.size):
        found.tokens[token_place + place] = tokens[place]
        found.starts[token_place + place] = starts[place]
        found.ends[token_place + place] = ends[place]
    for place in range(posteriors.size):
        found.posteriors[word_place + place] = posteriors[place]
    found.first_token[index + 1] = token_place + tokens.size
    found.first_word[index + 1] = word_place + posteriors.size
    found.totals[index], found.partials[index] = best.total, best.partial


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


def search_whole(
    search: Search, workspace: Workspace, group: Sequence[LogProbs]
) -> tuple[list[Hypothesis], Workspace]:
    """The best hypothesis of each utterance, and the workspace to use next.

    Args:
        search: With any `num_best`; one hypothesis is given.
        workspace: Of this search; of no further use.
        group: Checked log-probabilities, (num_frames, vocab_size) each.
    """
    first = np.zeros(len(group) + 1, np.int64)
    np.cumsum([len(one) for one in group], out=first[1:])
    log_probs = np.empty((first[-1], group[0].shape[1]))
    for index, one in enumerate(group):
        log_probs[first[index] : first[index + 1]] = one
    plan = Plan(search.fusion, search.pruning, search.start)
    found = new_found(len(log_probs), len(group))
    arena = search_utterances(workspace, plan, log_probs, first, found)
    paths = [_path(search.script, found, index) for index in range(len(group))]
    confidences = _confidences(search.script, found, log_probs, (first, paths))
    hypotheses = []
    for index, path in enumerate(paths):
        words = slice(found.first_word[index], found.first_word[index + 1])
        is_possible = found.totals[index] > -np.inf
        said = hypothesis_of(path, confidences[words], search.script.frame_s)
        hypotheses.append(said if is_possible else NOTHING)
    return hypotheses, Workspace(workspace.beam, arena)


def _path(script: Script, found: Found, index: int) -> Path:
    here = slice(found.first_token[index], found.first_token[index + 1])
    tokens = found.tokens[here].tolist()
    return Path(
        tokens,
        found.starts[here].tolist(),
        found.ends[here].tolist(),
        script.writer.word_spans(tokens),
        float(found.totals[index]),
        float(found.partials[index]),
    )


def _confidences(
    script: Script, found: Found, log_probs: Array, utterances: tuple[Array, list[Path]]
) -> list[float]:
    """(num_words,) in [0, 1], of all utterances; these are given by first frames and paths."""
    first, paths = utterances
    bounds = [
        (begin + before, end + before)
        for path, before in zip(paths, found.first_token[:-1].tolist(), strict=True)
        for _, begin, end in path.spans
    ]
    num_tokens = found.first_token[-1]
    frames_before = np.repeat(first[:-1], np.diff(found.first_token))
    features = word_features(
        found.posteriors[: found.first_word[-1]],
        frame_entropies(log_probs),
        found.starts[:num_tokens] + frames_before,
        found.ends[:num_tokens] + frames_before,
        np.array(bounds, np.int64).reshape(-1, 2),
    )
    confidences: list[float] = script.calibration.confidence(features).tolist()
    return confidences
