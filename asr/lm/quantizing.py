"""Models whose values are rounded to few levels, so that each takes a byte or less."""

from __future__ import annotations

import numpy as np

from asr.lm.ngram import NgramModel
from asr.lm.renormalising import order_rows
from asr.lm.tables import Array
from asr.lm.trie import OrderTable, model_from_tables

NUM_LEVELS = 256
# Each halves what is not known of the width of an interval.
NUM_BISECTIONS = 50


def quantize_model(model: NgramModel) -> NgramModel:
    """A model with at most `NUM_LEVELS` log-probabilities in each order, and as many back-offs.

    Levels are those of `quantize`; a back-off of 0 stays 0. Probabilities after a history add up to
    1 about, as near as the levels are. Words get new ids, by falling probability, and by their
    bytes where that is equal.
    """
    rows, begin = order_rows(model), 1
    tables: list[OrderTable] = []
    for ids, end in zip(rows, model.order_ends, strict=True):
        log_probs = _rounded(model.tables.log_prob[begin:end])
        backoffs = np.zeros(end - begin, np.float32)
        if len(tables) + 1 < model.order:
            backoffs = _rounded_backoffs(model.tables.backoff[begin:end])
        tables.append(OrderTable(ids, log_probs, backoffs))
        begin = end
    words = model.vocabulary.split(b"\n")
    by_bytes = np.array(sorted(range(len(words)), key=words.__getitem__))
    order = by_bytes[by_falling_value(tables[0].log_probs[by_bytes])]
    ranks = np.empty(len(words), np.int32)
    ranks[order] = np.arange(len(words))
    unigrams = OrderTable(
        ranks[order][:, np.newaxis], tables[0].log_probs[order], tables[0].backoffs[order]
    )
    longer = [OrderTable(ranks[one.ids], one.log_probs, one.backoffs) for one in tables[1:]]
    return model_from_tables([words[index] for index in order.tolist()], [unigrams, *longer])


def by_falling_value(values: Array) -> Array:
    """Indices that sort by falling value; equal ones stay in order."""
    return np.argsort(-values, kind="stable")


def quantize(values: Array, num_levels: int = NUM_LEVELS) -> tuple[Array, Array]:
    """Levels whose largest error is least, and which of them each value gets.

    The distinct values are covered by intervals of equal width, of the least width for which
    `num_levels` are enough, and each is rounded to the middle of its interval's values. Covering
    from the left takes the fewest intervals of a width; the least width is found by bisection.

    Args:
        values: (num_values,) finite.
        num_levels: The most levels there may be, at least 1.

    Returns:
        (num_used,) ascending float32 levels, and (num_values,) the codes of the values. The error
        is 0 where `num_levels` are enough for that.

    References:
        The one-dimensional k-centre problem (Hochbaum & Shmoys 1985 have the general one).

    >>> levels, codes = quantize(np.array([0.0, 1.0, 7.0, 8.0]), 2)
    >>> levels.tolist(), codes.tolist()
    ([0.5, 7.5], [0, 0, 1, 1])
    """
    distinct = np.unique(values).astype(np.float64)
    if distinct.size <= num_levels:
        return distinct.astype(np.float32), np.searchsorted(distinct, values)
    narrow, wide = 0.0, float(distinct[-1] - distinct[0])
    for _ in range(NUM_BISECTIONS):
        middle = (narrow + wide) / 2
        if len(_covering(distinct, middle, num_levels)) <= num_levels:
            wide = middle
        else:
            narrow = middle
    first = np.array(_covering(distinct, wide, num_levels))
    last = np.append(first[1:], distinct.size) - 1
    levels = ((distinct[first] + distinct[last]) / 2).astype(np.float32)
    return levels, np.searchsorted(distinct[first], values, "right") - 1


def _covering(distinct: Array, width: float, most: int) -> list[int]:
    """Where each interval of a width begins, from the left; gives up at more than `most`."""
    starts: list[int] = []
    index = 0
    while index < distinct.size and len(starts) <= most:
        starts.append(index)
        index = int(np.searchsorted(distinct, distinct[index] + width, "right"))
    return starts


def _rounded(values: Array) -> Array:
    levels, codes = quantize(values)
    return levels[codes]


def _rounded_backoffs(values: Array) -> Array:
    """0 has a level of its own: it makes the difference whether a history is a state."""
    rounded = np.zeros_like(values)
    others = values != 0
    levels, codes = quantize(values[others], NUM_LEVELS - 1)
    rounded[others] = levels[codes]
    return rounded
