"""What all share of connectionist temporal classification: two rules, and frames that last.

A CTC path gives one token, or the blank, to every frame; a transcript is what is left after
runs of one token become one and blanks are dropped (Graves et al., 2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from asr.errors import ConfigError

BLANK = 0
"""Index of the blank in every vocabulary of this package."""


def check_frame_s(frame_s: float) -> None:
    """Refuse frames that last no time.

    Args:
        frame_s: Seconds from one frame to the next.

    Raises:
        ConfigError: It is not a positive number.
    """
    if not (math.isfinite(frame_s) and frame_s > 0):
        raise ConfigError(f"frame_s must be a positive number of seconds, got {frame_s}")


def min_frames(targets: Sequence[int]) -> int:
    """Fewest frames a CTC path for `targets` can have.

    One frame a token, and one blank between two equal neighbours, which would merge without it.

    Args:
        targets: (num_tokens,) token indices without blanks.

    Examples:
        >>> min_frames([3, 1, 1, 2])
        5
    """
    return len(targets) + sum(left == right for left, right in pairwise(targets))


def collapse(
    frame_tokens: Sequence[int] | np.ndarray, blank: int = BLANK
) -> tuple[list[int], list[int]]:
    """Transcript of one CTC path.

    Args:
        frame_tokens: (num_frames,) index of the token, or blank, of each frame.
        blank: Index of the blank.

    Returns:
        The tokens, and for each the first frame of its run; both (num_tokens,).

    Raises:
        ValueError: `frame_tokens` is not one-dimensional.

    Examples:
        >>> collapse([0, 5, 5, 0, 5, 2])
        ([5, 5, 2], [1, 4, 5])
    """
    path = np.asarray(frame_tokens)
    if path.ndim != 1:
        raise ValueError(f"frame_tokens must be (num_frames,), got shape {path.shape}")
    begins = np.ones(len(path), dtype=bool)
    begins[1:] = path[1:] != path[:-1]
    frames = np.flatnonzero(begins & (path != blank))
    return path[frames].tolist(), frames.tolist()
