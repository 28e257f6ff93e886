"""The slow beam search against the walk through all paths, before it judges the fast one."""

from __future__ import annotations

import math

import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

EVERYTHING = 10**6
emissions = st.integers(2, 4).flatmap(
    lambda vocab_size: st.lists(
        st.lists(st.integers(0, 9), min_size=vocab_size, max_size=vocab_size).filter(any),
        max_size=5,
    )
)


def normalised(weights: list[list[int]]) -> list[list[float]]:
    return [
        [math.log(weight / sum(frame)) if weight else -math.inf for weight in frame]
        for frame in weights
    ]


@given(weights=emissions)
def test_summing_prefixes_equals_walking_all_paths(weights: list[list[int]]) -> None:
    log_probs = normalised(weights)
    expected = reference.all_transcripts(log_probs)
    assert reference.prefix_beam_search(log_probs, EVERYTHING) == pytest.approx(expected)


@given(weights=emissions)
def test_all_transcripts_share_all_of_the_probability(weights: list[list[int]]) -> None:
    totals = reference.all_transcripts(normalised(weights))
    assert sum(map(math.exp, totals.values())) == pytest.approx(1.0)


def test_by_hand() -> None:
    # Two frames of blank 0.6 and "a" 0.4: nothing is 0.36, "a" is 0.4·0.4 + 2·0.24 = 0.64.
    totals = reference.all_transcripts([[math.log(0.6), math.log(0.4)]] * 2)
    assert {k: math.exp(v) for k, v in totals.items()} == pytest.approx({(): 0.36, (1,): 0.64})


def test_a_beam_of_one_loses_what_comes_later() -> None:
    log_probs = [[math.log(0.6), math.log(0.4)]] * 2
    (prefix,) = reference.prefix_beam_search(log_probs, 1)
    assert prefix == ()
