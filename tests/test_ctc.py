"""The rules of CTC: collapsing a path, and the fewest frames of a transcript."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from asr.ctc import BLANK, collapse, min_frames

PATHS = st.lists(st.integers(0, 3), max_size=30)
TARGETS = st.lists(st.integers(1, 3), max_size=12)


@given(PATHS, st.integers(0, 3))
def test_collapse_equals_the_obvious_version(path: list[int], blank: int) -> None:
    assert collapse(path, blank) == reference.collapse(path, blank)
    assert collapse(np.array(path, dtype=np.int32), blank) == reference.collapse(path, blank)


@given(PATHS)
def test_collapse_gives_the_first_frame_of_each_token(path: list[int]) -> None:
    tokens, frames = collapse(path)
    assert BLANK not in tokens
    assert [path[frame] for frame in frames] == tokens
    assert frames == sorted(set(frames))
    assert all(frame == 0 or path[frame - 1] != path[frame] for frame in frames)


def test_collapse_gives_plain_integers() -> None:
    tokens, frames = collapse(np.array([0, 2, 2, 1], dtype=np.int64))
    assert {type(value) for value in tokens + frames} == {int}


def test_collapse_refuses_a_batch() -> None:
    with pytest.raises(ValueError, match=r"must be \(num_frames,\), got shape \(2, 3\)"):
        collapse(np.zeros((2, 3), dtype=np.int64))


def test_nothing_collapses_to_nothing() -> None:
    assert collapse([]) == ([], [])
    assert collapse([0, 0]) == ([], [])
    assert min_frames([]) == 0


def _shortest_path(targets: list[int]) -> list[int]:
    """Each token once, with a blank before it where it repeats the one before."""
    path: list[int] = []
    for token in targets:
        path += [BLANK, token] if path and path[-1] == token else [token]
    return path


@given(TARGETS)
def test_a_path_of_min_frames_exists(targets: list[int]) -> None:
    path = _shortest_path(targets)
    assert len(path) == min_frames(targets)
    assert collapse(path)[0] == targets


@pytest.mark.parametrize("targets", [[1], [1, 1], [1, 2, 1], [2, 2, 2], [1, 1, 2]])
def test_no_path_is_shorter_than_min_frames(targets: list[int]) -> None:
    for num_frames in range(min_frames(targets)):
        paths = product(range(3), repeat=num_frames)
        assert all(collapse(path)[0] != targets for path in paths)
