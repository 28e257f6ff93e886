"""Error counts and alignments, against the textbook table, jiwer, and counts done by hand."""

from __future__ import annotations

import math

import jiwer
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from asr.wer import AlignedPair, ErrorCounts, align, count_errors, error_rate, tally

# Few distinct words, so that alignments are ambiguous and hits are common.
tokens = st.lists(st.sampled_from(["a", "b", "c", "B"]), max_size=12)


@given(tokens, tokens)
def test_total_errors_are_the_edit_distance(said: list[str], heard: list[str]) -> None:
    assert count_errors(said, heard).num_errors == reference.edit_distance(said, heard)


@given(tokens, tokens)
def test_counts_add_up_to_both_sides(said: list[str], heard: list[str]) -> None:
    counts = count_errors(said, heard)
    assert counts.num_references == len(said)
    assert counts.hits + counts.substitutions + counts.insertions == len(heard)


@given(tokens, tokens)
def test_alignment_gives_back_both_sides_and_the_counts(said: list[str], heard: list[str]) -> None:
    pairs = align(said, heard)
    assert [pair.reference for pair in pairs if pair.reference is not None] == said
    assert [pair.hypothesis for pair in pairs if pair.hypothesis is not None] == heard
    assert tally(pairs) == count_errors(said, heard)


@given(tokens.filter(bool), tokens)
def test_counts_are_those_of_jiwer(said: list[str], heard: list[str]) -> None:
    theirs = jiwer.process_words(" ".join(said), " ".join(heard))
    counts = count_errors(said, heard)
    assert counts == ErrorCounts(
        theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions
    )
    assert counts.rate == pytest.approx(theirs.wer)


@given(st.text("ab c", max_size=12), st.text("ab c", max_size=12))
def test_characters_count_as_jiwers(said: str, heard: str) -> None:
    theirs = jiwer.process_characters(said.strip(), heard.strip())
    counts = count_errors(list(said.strip()), list(heard.strip()))
    assert (counts.num_errors, counts.hits) == (
        theirs.substitutions + theirs.deletions + theirs.insertions,
        theirs.hits,
    )


@pytest.mark.parametrize(
    ("said", "heard", "expected"),
    [
        # By hand.
        ("one two three", "one two three", ErrorCounts(hits=3)),
        ("one two three", "one three", ErrorCounts(hits=2, deletions=1)),
        ("one two three", "one two two three", ErrorCounts(hits=3, insertions=1)),
        ("one two three", "one too three", ErrorCounts(hits=2, substitutions=1)),
        ("one two", "", ErrorCounts(deletions=2)),
        ("", "one two", ErrorCounts(insertions=2)),
        ("", "", ErrorCounts()),
        ("One", "one", ErrorCounts(substitutions=1)),
    ],
)
def test_counts_by_hand(said: str, heard: str, expected: ErrorCounts) -> None:
    assert count_errors(said.split(), heard.split()) == expected


def test_tokens_with_blanks_stay_whole() -> None:
    assert count_errors(["new york", "a"], ["new york", "b c"]) == ErrorCounts(
        hits=1, substitutions=1
    )


def test_operations_of_an_alignment() -> None:
    # "the" is said, "uh" is heard: one word each that the other side does not have.
    said, heard = "the black cat sat on it", "black cat sad on it uh"
    pairs = align(said.split(), heard.split())
    assert pairs[0] == AlignedPair("the", None)
    assert [pair.operation for pair in pairs] == [
        *("deletion", "hit", "hit", "substitution", "hit", "hit", "insertion")
    ]


@given(tokens, tokens, tokens, tokens)
def test_counts_pool_by_adding(a: list[str], b: list[str], c: list[str], d: list[str]) -> None:
    left, right = count_errors(a, b), count_errors(c, d)
    pooled = left + right
    assert pooled.num_errors == left.num_errors + right.num_errors
    assert pooled.num_references == len(a) + len(c)
    assert pooled.hits == left.hits + right.hits


def test_rates_at_the_edges() -> None:
    assert error_rate(0, 0) == 0.0
    assert error_rate(1, 0) == math.inf
    assert ErrorCounts(insertions=3).rate == math.inf
    assert ErrorCounts().rate == 0.0
    assert ErrorCounts(hits=1, insertions=3).rate == 3.0
