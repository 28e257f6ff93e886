"""Slow, obvious versions of what `asr` computes fast; property tests compare the two."""

from __future__ import annotations

import math
from collections.abc import Sequence


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
