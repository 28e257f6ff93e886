"""Back-off weights that make the probabilities after every history add up to 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr.lm.arpa_writing import parents_of
from asr.lm.compiled import kernel
from asr.lm.ngram import BOS, NgramModel
from asr.lm.tables import (
    BACKOFF,
    NUM_INNER,
    Array,
    NgramTables,
    advance,
    children_of,
    freeze_tables,
    inner_place,
    link_of,
    log_prob_of,
    tables_of,
    word_of,
)
from asr.lm.trie import OrderTable, model_from_tables

# Rounding of float32 sums: less than this is nothing.
NOTHING = 1e-6


def order_rows(model: NgramModel) -> list[Array]:
    """The n-grams of each order: (num_ngrams, order) int32 word ids, in the order of the nodes."""
    parents, begin = parents_of(model.tables), 1
    rows: list[Array] = []
    for end in model.order_ends:
        last = model.tables.word[begin:end, np.newaxis]
        if rows:
            first = begin - len(rows[-1])
            rows.append(np.concatenate([rows[-1][parents[begin:end] - first], last], axis=1))
        else:
            rows.append(last)
        begin = end
    return rows


def with_backoffs(words: Sequence[bytes], orders: Sequence[OrderTable]) -> NgramModel:
    """A model of listed probabilities whose back-off weights follow from them.

    Args:
        words: The vocabulary by id.
        orders: As for `model_from_tables`; their back-offs are not looked at.
    """
    bare = [
        OrderTable(table.ids, table.log_probs, np.zeros(len(table.ids), np.float32))
        for table in orders
    ]
    model = model_from_tables(words, bare)
    bos_id = words.index(BOS.encode()) if BOS.encode() in words else -1
    tables = tables_of(model.tables.ints.copy())
    fill_backoffs(tables, bos_id)
    freeze_tables(tables)
    return NgramModel(model.order, tables, model.order_ends, model.vocabulary)


@kernel
def left_over(tables: NgramTables, node: int, bos_id: int) -> tuple[float, float]:
    """Probability that the children of a history leave, there and after the shorter history.

    `<s>` is no word that could follow.
    """
    here, shorter = 1.0, 1.0
    begin, end = children_of(tables, node)
    for child in range(begin, end):
        if word_of(tables, child) != bos_id:
            here -= np.exp(log_prob_of(tables, child))
            shorter -= np.exp(advance(tables, link_of(tables, node), word_of(tables, child))[0])
    return here, shorter


@kernel
def fill_backoffs(tables: NgramTables, bos_id: int) -> None:
    """Fill the back-offs, short histories first: the long ones build on them."""
    for node in range(1, tables.ints[NUM_INNER]):
        begin, end = children_of(tables, node)
        if begin < end:
            here, shorter = left_over(tables, node, bos_id)
            if shorter > NOTHING:
                backoff = np.log(max(here, NOTHING) / shorter)
                tables.floats[inner_place(tables, node) + BACKOFF] = backoff
