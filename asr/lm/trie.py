"""From lists of n-grams, in any order of lines, to the arrays of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import DataError
from asr.lm.compiled import compiled, kernel
from asr.lm.ngram import NgramModel, freeze_model, unk_index
from asr.lm.tables import Array, fill_links, int64, tables_of_trie

# 32 bits number twice as many slots, and one more.
MAX_NODES = 2**30 - 1


@dataclass(frozen=True)
class OrderTable:
    """The n-grams of one order.

    Attributes:
        ids: (num_ngrams, order) int32 word ids.
        log_probs: (num_ngrams,) float32, natural.
        backoffs: (num_ngrams,) float32, natural; 0 where there is none.
    """

    ids: Array
    log_probs: Array
    backoffs: Array


@dataclass(frozen=True)
class _Level:
    """One order of the trie; `parents` counts within the order below, from 0."""

    words: Array
    parents: Array
    log_probs: Array
    backoffs: Array


class DuplicateNgramError(DataError):
    """The same n-gram twice; `rows` says where in its table."""

    def __init__(self, order: int, rows: tuple[int, int]) -> None:
        super().__init__(f"the same {order}-gram is listed twice")
        self.order, self.rows = order, rows


def model_from_tables(words: Sequence[bytes], tables: Sequence[OrderTable]) -> NgramModel:
    """Build a model.

    Args:
        words: The vocabulary by id; distinct. Unigram w of the first table is word w.
        tables: One per order, from unigrams on; rows in any order. An n-gram whose first words
            are not listed themselves is kept: queries go through a node of probability as backed
            off and back-off weight 1.

    Raises:
        DuplicateNgramError: An n-gram is listed twice.
        DataError: More n-grams than 32 bits count.
    """
    complete = _with_prefixes(tables)
    check_num_nodes(1 + sum(len(table.ids) for table in complete))
    levels: list[_Level] = []
    for table in complete:
        levels.append(_level(table, levels))
    return _assemble(words, levels)


def check_num_nodes(num_nodes: int) -> None:
    """Refuse a model of more nodes than 32 bits number.

    Raises:
        DataError: There are more.
    """
    if num_nodes > MAX_NODES:
        raise DataError(
            f"the language model has {num_nodes - 1} n-grams, more than {MAX_NODES - 1}",
            hint="prune it, or choose a lower order",
        )


def _with_prefixes(tables: Sequence[OrderTable]) -> list[OrderTable]:
    """The tables, and the missing beginnings of their n-grams with log-probability NaN."""
    complete = list(tables)
    for index in range(len(tables) - 1, 1, -1):
        longer, shorter = complete[index], complete[index - 1]
        prefixes = _distinct_rows(longer.ids[:, :-1])
        missing = prefixes[~_contains(shorter.ids, prefixes)]
        if len(missing):
            complete[index - 1] = OrderTable(
                np.concatenate([shorter.ids, missing]),
                np.concatenate([shorter.log_probs, np.full(len(missing), np.nan, np.float32)]),
                np.concatenate([shorter.backoffs, np.zeros(len(missing), np.float32)]),
            )
    return complete


def _sort_order(ids: Array) -> Array:
    """Row order that sorts by the first word, then the second, and so on; stable."""
    if are_sorted(ids):
        return np.arange(len(ids))
    return np.lexsort(tuple(ids[:, column] for column in reversed(range(ids.shape[1]))))


def _distinct_rows(ids: Array) -> Array:
    """The rows, each once, sorted."""
    ids = ids if are_sorted(ids) else ids[_sort_order(ids)]
    return ids[np.concatenate([[True], (ids[1:] != ids[:-1]).any(axis=1)])] if len(ids) else ids


def merged_rows(parts: Sequence[Array]) -> Array:
    """The distinct rows of all parts, sorted; each part is (num_rows, order) of distinct rows."""
    merged = parts[0][_sort_order(parts[0])]
    for part in parts[1:]:
        ids = part[_sort_order(part)]
        new = ids[~in_sorted(merged, ids)]
        if len(new):
            merged = np.concatenate([merged, new])
            merged = merged[_sort_order(merged)]
    return merged


def _contains(ids: Array, wanted: Array) -> Array:
    """(num_wanted,) bool: whether each row of `wanted`, which is sorted, is one of `ids`."""
    return in_sorted(ids if are_sorted(ids) else ids[_sort_order(ids)], wanted)


@kernel
def compare_rows(ids: Array, row: int, others: Array, other: int) -> int:
    """Below 0, 0 or above 0 as a row comes before another, equals it or comes after it."""
    for column in range(ids.shape[1]):
        difference: int = int64(ids[row, column]) - int64(others[other, column])
        if difference != 0:
            return difference
    return 0


@kernel
def are_sorted(ids: Array) -> bool:
    """Whether no row comes before the row above it, as in the files of this project's writer."""
    row = int64(1)
    while row < ids.shape[0] and compare_rows(ids, row - 1, ids, row) <= 0:
        row += 1
    return bool(row >= ids.shape[0])


@compiled
def in_sorted(ids: Array, wanted: Array) -> Array:
    """(num_wanted,) bool: whether each row is one of `ids`; both are sorted."""
    found = np.zeros(wanted.shape[0], np.bool_)
    row = int64(0)
    for index in range(wanted.shape[0]):
        while row < ids.shape[0] and compare_rows(ids, row, wanted, index) < 0:
            row += 1
        found[index] = row < ids.shape[0] and compare_rows(ids, row, wanted, index) == 0
    return found


def _level(table: OrderTable, levels: Sequence[_Level]) -> _Level:
    order_length = table.ids.shape[1]
    order = np.arange(len(table.ids)) if order_length == 1 else _sort_order(table.ids)
    ids = table.ids[order]
    equal = np.flatnonzero((ids[1:] == ids[:-1]).all(axis=1))
    if equal.size:
        rows = (int(order[equal[0]]), int(order[equal[0] + 1]))
        raise DuplicateNgramError(order_length, rows)
    parents = np.zeros(len(ids), np.int64)
    for depth, level in enumerate(levels):
        keys = (level.parents << 32) | level.words
        parents = np.searchsorted(keys, (parents << 32) | ids[:, depth])
    return _Level(
        ids[:, -1].astype(np.int64), parents, table.log_probs[order], table.backoffs[order]
    )


def _assemble(words: Sequence[bytes], levels: Sequence[_Level]) -> NgramModel:
    ends = np.cumsum([1] + [level.words.size for level in levels])
    starts = [0, *ends[:-1].tolist()]
    parents = np.concatenate(
        [[0]] + [level.parents + starts[depth] for depth, level in enumerate(levels)]
    ).astype(np.int32)
    num_inner = int(ends[-2])
    children = np.bincount(parents[1:], minlength=num_inner)
    log_probs = np.concatenate([[0.0]] + [level.log_probs for level in levels])
    is_blank = np.isnan(log_probs)
    words_of_nodes = np.concatenate([[-1]] + [level.words for level in levels])
    tables = tables_of_trie(words_of_nodes, children, unk_index(words))
    tables.log_prob[:] = np.where(is_blank, 0.0, log_probs)
    if len(levels) > 1:
        tables.backoff[1:] = np.concatenate([level.backoffs for level in levels[:-1]])
    fill_links(tables, parents, is_blank)
    return freeze_model(tables, [int(end) for end in ends[1:]], words)
