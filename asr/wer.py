"""Errors between two token sequences: the counts and the alignment behind every error rate.

The alignment is jiwer's (rapidfuzz underneath): every edit costs 1, so the *total* number of errors
is the Levenshtein distance. Among alignments of equal cost the split into substitutions, deletions
and insertions is not unique; sclite, which weighs them 4, 3 and 3, can split differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import jiwer

Operation = Literal["hit", "substitution", "deletion", "insertion"]


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """How a hypothesis differs from its reference, in tokens (words, characters, …).

    >>> ErrorCounts(hits=8, substitutions=1, deletions=1) + ErrorCounts(insertions=1)
    ErrorCounts(hits=8, substitutions=1, deletions=1, insertions=1)
    """

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def num_errors(self) -> int:
        """Substitutions + deletions + insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def num_references(self) -> int:
        """Tokens in the reference: hits + substitutions + deletions."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors divided by reference tokens, in [0, inf]; insertions can take it above 1.

        Without any reference token it is 0.0 when nothing was inserted and infinite otherwise.
        """
        return error_rate(self.num_errors, self.num_references)

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        """Pool two counts; rates of many utterances come from their pooled counts."""
        return ErrorCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True, slots=True)
class AlignedPair:
    """One column of an alignment; None on the side that has no token there."""

    reference: str | None
    hypothesis: str | None

    @property
    def operation(self) -> Operation:
        """What the column costs: a hit nothing, everything else one error."""
        if self.reference is None:
            return "insertion"
        if self.hypothesis is None:
            return "deletion"
        return "hit" if self.reference == self.hypothesis else "substitution"


def error_rate(num_errors: int, num_references: int) -> float:
    """`num_errors / num_references`; with no reference 0.0 for no errors, infinite for any."""
    if num_references > 0:
        return num_errors / num_references
    return float("inf") if num_errors else 0.0


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Count the errors of one hypothesis.

    Args:
        reference: Tokens said, possibly none; then every hypothesis token is an insertion.
        hypothesis: Tokens recognised, possibly none; then every reference token is a deletion.

    >>> count_errors("one two three".split(), "one too three four".split())
    ErrorCounts(hits=2, substitutions=1, deletions=0, insertions=1)
    """
    output = _process(reference, hypothesis)
    return ErrorCounts(output.hits, output.substitutions, output.deletions, output.insertions)


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[AlignedPair, ...]:
    """Align one hypothesis with its reference; the operations sum to `count_errors`.

    Args:
        reference: Tokens said, possibly none.
        hypothesis: Tokens recognised, possibly none.

    Returns:
        One pair a column: dropping the Nones gives back either side.
    """
    pairs: list[AlignedPair] = []
    for chunk in _process(reference, hypothesis).alignments[0]:
        said: Sequence[str | None] = reference[chunk.ref_start_idx : chunk.ref_end_idx]
        heard: Sequence[str | None] = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "insert":
            said = [None] * len(heard)
        elif chunk.type == "delete":
            heard = [None] * len(said)
        pairs += [AlignedPair(*column) for column in zip(said, heard, strict=True)]
    return tuple(pairs)


def tally(pairs: Sequence[AlignedPair]) -> ErrorCounts:
    """Counts of an alignment.

    >>> tally(align(["a", "b"], ["a"]))
    ErrorCounts(hits=1, substitutions=0, deletions=1, insertions=0)
    """
    operations = [pair.operation for pair in pairs]
    return ErrorCounts(
        hits=operations.count("hit"),
        substitutions=operations.count("substitution"),
        deletions=operations.count("deletion"),
        insertions=operations.count("insertion"),
    )


class _AsTokens(jiwer.AbstractTransform):
    """Hand jiwer token lists as they are; its default splits text at single blanks only."""

    def __call__(self, sentences: Any) -> Any:
        return sentences


_AS_TOKENS = _AsTokens()


def _process(reference: Sequence[str], hypothesis: Sequence[str]) -> jiwer.WordOutput:
    said, heard = cast("Any", [list(reference)]), cast("Any", [list(hypothesis)])
    return jiwer.process_words(said, heard, _AS_TOKENS, _AS_TOKENS)
