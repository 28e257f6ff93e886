"""Slow, obvious versions of what `asr` computes fast; property tests compare the two."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Levenshtein distance by the textbook table: row i, column j holds the distance of prefixes.

    >>> edit_distance("kitten", "sitting")
    3
    """
    rows, columns = len(reference) + 1, len(hypothesis) + 1
    table = [[0] * columns for _ in range(rows)]
    for i in range(rows):
        for j in range(columns):
            if i == 0 or j == 0:
                table[i][j] = i + j
                continue
            differs = reference[i - 1] != hypothesis[j - 1]
            table[i][j] = min(
                table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + differs
            )
    return table[-1][-1]


def runs(frame_tokens: Sequence[int]) -> list[tuple[int, int, int]]:
    """(token, first frame, last frame) of every run of equal tokens, blanks included.

    >>> runs([0, 5, 5, 0])
    [(0, 0, 0), (5, 1, 2), (0, 3, 3)]
    """
    found: list[tuple[int, int, int]] = []
    for frame, token in enumerate(frame_tokens):
        if found and found[-1][0] == token:
            found[-1] = (token, found[-1][1], frame)
        else:
            found.append((token, frame, frame))
    return found


def collapse(frame_tokens: Sequence[int], blank: int = 0) -> tuple[list[int], list[int]]:
    """Tokens and their first frames: one a run, blanks dropped."""
    spoken = [(token, first) for token, first, _ in runs(frame_tokens) if token != blank]
    return [token for token, _ in spoken], [first for _, first in spoken]


def best_path(log_probs: Sequence[Sequence[float]]) -> tuple[list[int], float]:
    """Best token of every frame, lowest index first, and the log-probability of them all."""
    path, total = [], 0.0
    for frame in log_probs:
        best = 0
        for token, value in enumerate(frame):
            if value > frame[best]:
                best = token
        path.append(best)
        total += frame[best]
    return path, total


def word_confidence(log_probs: Sequence[Sequence[float]], path: Sequence[int]) -> float:
    """Geometric mean, over the tokens of a path that is one word, of each run's best posterior."""
    posteriors = [
        max(math.exp(log_probs[frame][token]) for frame in range(first, last + 1))
        for token, first, last in runs(path)
        if token != 0
    ]
    return math.prod(posteriors) ** (1 / len(posteriors))


def log_add(*values: float) -> float:
    """Logarithm of the sum of exponentials; -inf for none.

    >>> log_add(math.log(0.25), math.log(0.5), -math.inf) == math.log(0.75)
    True
    """
    highest = max(values, default=-math.inf)
    if highest == -math.inf:
        return highest
    return highest + math.log(sum(math.exp(value - highest) for value in values))


Transcript = tuple[int, ...]


def all_transcripts(log_probs: Sequence[Sequence[float]]) -> dict[Transcript, float]:
    """Log-probability of every transcript that any path gives: by walking all of the paths."""
    num_tokens = len(log_probs[0]) if log_probs else 0
    totals: dict[Transcript, list[float]] = {}
    for path in itertools.product(range(num_tokens), repeat=len(log_probs)):
        value = sum(frame[token] for frame, token in zip(log_probs, path, strict=True))
        if value > -math.inf:
            totals.setdefault(tuple(collapse(path)[0]), []).append(value)
    return {transcript: log_add(*values) for transcript, values in totals.items()}


def prefix_beam_search(
    log_probs: Sequence[Sequence[float]],
    beam_width: int,
    partial_score: Callable[[Transcript], float] = lambda _: 0.0,
) -> dict[Transcript, float]:
    """Acoustic log-probability of the prefixes left after the last frame, summed over paths.

    Each frame keeps the `beam_width` prefixes whose probability and partial score, together, are
    the highest; a prefix's probability is held apart for paths that end in a blank and for those
    that end in its last token (Hannun et al., 2014, algorithm 1).
    """
    beam = {(): (0.0, -math.inf)}
    for frame in log_probs:
        paths: dict[Transcript, tuple[list[float], list[float]]] = {}
        for prefix, (blank, spoken) in beam.items():
            both = log_add(blank, spoken)
            paths.setdefault(prefix, ([], []))[0].append(both + frame[0])
            for token in range(1, len(frame)):
                begins = both
                if prefix and token == prefix[-1]:
                    paths[prefix][1].append(spoken + frame[token])
                    begins = blank
                longer = paths.setdefault((*prefix, token), ([], []))
                longer[1].append(begins + frame[token])
        sums = {prefix: (log_add(*b), log_add(*s)) for prefix, (b, s) in paths.items()}
        ranks = {prefix: log_add(*both) + partial_score(prefix) for prefix, both in sums.items()}
        best = sorted(ranks, key=lambda prefix: -ranks[prefix])[:beam_width]
        beam = {prefix: sums[prefix] for prefix in best if ranks[prefix] > -math.inf}
    return {prefix: log_add(*both) for prefix, both in beam.items()}
