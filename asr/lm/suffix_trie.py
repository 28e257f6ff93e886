"""The n-grams of a text as a trie of endings, with adjusted counts; and that trie turned round.

Nodes are numbered as in `tables`: 0 is the empty n-gram, w + 1 the unigram of word w, then the
orders one after another. Each order is in suffix order, so the nodes that extend a node to the
left stand together, sorted by their first word.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from asr.lm.compiled import compiled, lower_bound
from asr.lm.counting import BOS_ID, UNK_ID, NgramCounts
from asr.lm.ngram import SMALLEST_PROB, NgramModel, freeze_model
from asr.lm.tables import LINK, Array, NgramTables, node_place, state_of, tables_of_trie
from asr.lm.trie import check_num_nodes


class SuffixTrie(NamedTuple):
    """Arrays over nodes, usable inside compiled functions.

    Fields:
        first: (num_nodes,) int32, first word.
        suffix: (num_nodes,) int32, node of the n-gram without its first word.
        context: (num_nodes,) int32, node of the n-gram without its last word.
        counts: (num_nodes,) int64, adjusted count: occurrences at the highest order and after
            `<s>`, else the number of different words that come before.
        is_pruned: (num_nodes,) bool, whether it occurs too rarely to be in the model.
        starts: (order + 1,) int64, the first node of each order, and the number of nodes.
    """

    first: Array
    suffix: Array
    context: Array
    counts: Array
    is_pruned: Array
    starts: Array

    @property
    def num_inner(self) -> int:
        """Number of nodes below the highest order."""
        return int(self.starts[-2])


def suffix_trie(counts: NgramCounts, thresholds: Array) -> SuffixTrie:
    """Find the n-grams of all orders in those of the highest; their contexts are still empty.

    Args:
        counts: N-grams of the highest order.
        thresholds: (order,) the occurrences up to which an n-gram is pruned.

    Raises:
        DataError: More n-grams than 32 bits count.
    """
    sizes = count_suffixes(counts.rows)
    sizes[0] = len(counts.words)
    starts = np.cumsum(np.concatenate([[1], sizes])).astype(np.int64)
    num_nodes = int(starts[-1])
    check_num_nodes(num_nodes)
    trie = SuffixTrie(
        first=np.zeros(num_nodes, np.int32),
        suffix=np.zeros(num_nodes, np.int32),
        context=np.zeros(num_nodes, np.int32),
        counts=np.zeros(num_nodes, np.int64),
        is_pruned=np.zeros(num_nodes, np.bool_),
        starts=starts,
    )
    trie.first[1 : starts[1]] = np.arange(sizes[0])
    fill_suffixes(counts.rows, counts.counts, thresholds, trie)
    return trie


@compiled
def num_equal_last(rows: Array, row: int) -> int:
    """How many last words a row shares with the row before it."""
    order = rows.shape[1]
    same = 0
    while (
        row > 0 and same < order and rows[row, order - 1 - same] == rows[row - 1, order - 1 - same]
    ):
        same += 1
    return same


@compiled
def longest_ending(rows: Array, row: int) -> int:
    """Length of the row's n-gram without the `<s>` that only fill: at most one `<s>` in front."""
    order = rows.shape[1]
    length = 1
    while length < order and rows[row, order - length] != BOS_ID:
        length += 1
    return length


@compiled
def count_suffixes(rows: Array) -> Array:
    """(order,) number of distinct n-grams of each order in rows in suffix order."""
    sizes = np.zeros(rows.shape[1], np.int64)
    for row in range(rows.shape[0]):
        for index in range(num_equal_last(rows, row), longest_ending(rows, row)):
            sizes[index] += 1
    return sizes


@compiled
def fill_suffixes(rows: Array, counts: Array, thresholds: Array, trie: SuffixTrie) -> None:
    """Fill first, suffix, counts and is_pruned."""
    order = rows.shape[1]
    nodes = np.zeros(order + 1, np.int64)
    nodes[1:] = trie.starts[:-1] - 1
    occurrences = np.zeros(order + 1, np.int64)
    for row in range(rows.shape[0]):
        same, length = num_equal_last(rows, row), longest_ending(rows, row)
        for n in range(same + 1, length + 1):
            nodes[n] = nodes[n] + 1 if n > 1 else rows[row, order - 1] + 1
            occurrences[n] = 0
            trie.first[nodes[n]] = rows[row, order - n]
            trie.suffix[nodes[n]] = nodes[n - 1]
            # One more word that comes before the ending that is shorter by one.
            trie.counts[nodes[n - 1]] += 1
        trie.counts[nodes[length]] = counts[row]
        for n in range(1, length + 1):
            occurrences[n] += counts[row]
            trie.is_pruned[nodes[n]] = occurrences[n] <= thresholds[n - 1]


@compiled
def fill_contexts(trie: SuffixTrie) -> None:
    """Fill context: the context's own suffix is the suffix's context, so look to the left of it."""
    num_inner = trie.starts[-2]
    first_left = np.zeros(num_inner + 1, np.int64)
    for node in range(1, trie.suffix.size):
        first_left[trie.suffix[node] + 1] += 1
    first_left[0] = 1
    for node in range(num_inner):
        first_left[node + 1] += first_left[node]
    for node in range(trie.starts[1], trie.suffix.size):
        inner = trie.context[trie.suffix[node]]
        begin, end = first_left[inner], first_left[inner + 1]
        trie.context[node] = lower_bound(trie.first, begin, end, trie.first[node])


def forward_model(trie: SuffixTrie, probs: Array, gammas: Array, words: list[bytes]) -> NgramModel:
    """The kept n-grams with their probabilities, as a model.

    Args:
        trie: The n-grams; `first` and `counts` are not looked at.
        probs: (num_nodes,) float32 probability of each.
        gammas: (num_inner,) float32 back-off weight of each.
        words: The vocabulary by id.
    """
    kept = ~trie.is_pruned
    sizes = [int(kept[begin:end].sum()) for begin, end in pairwise(trie.starts.tolist())]
    ends = np.cumsum([1, *sizes])
    words_of_nodes = np.full(int(ends[-1]), -1, np.int32)
    num_children = np.zeros(int(ends[-2]), np.int32)
    places = turn_round(trie, words_of_nodes, num_children)
    tables = tables_of_trie(words_of_nodes, num_children, UNK_ID)
    tables.log_prob[places[kept]] = np.log(probs[kept])
    inner = kept[: trie.num_inner]
    # A discount of 0, which few counts can give, leaves nothing for other words.
    left_over = np.maximum(gammas[inner].astype(np.float64), SMALLEST_PROB)
    tables.backoff[places[: trie.num_inner][inner]] = np.log(left_over)
    fill_state_links(trie, places, tables)
    return freeze_model(tables, ends[1:].tolist(), words)


@compiled
def turn_round(trie: SuffixTrie, words: Array, num_children: Array) -> Array:
    """Place the kept nodes: a stable counting sort of each order by the place of the context.

    Within an order the last words ascend, for it is in suffix order; so each context's children
    come out sorted.

    Args:
        trie: The n-grams.
        words: (num_nodes of the model,) to be filled with the last word of each.
        num_children: (num_inner of the model,) to be filled.

    Returns:
        (num_nodes,) int32 node of the model for each kept node.
    """
    places = np.zeros(trie.suffix.size, np.int32)
    parents_begin, parents_end = 0, 1
    for n in range(trie.starts.size - 1):
        begin, end = trie.starts[n], trie.starts[n + 1]
        next_child = np.zeros(parents_end - parents_begin + 1, np.int64)
        next_child[0] = parents_end
        for node in range(begin, end):
            if not trie.is_pruned[node]:
                next_child[places[trie.context[node]] - parents_begin + 1] += 1
        for index in range(next_child.size - 1):
            next_child[index + 1] += next_child[index]
        for parent in range(parents_begin, parents_end):
            index = parent - parents_begin
            num_children[parent] = next_child[index + 1] - next_child[index]
        children_end = next_child[-1]
        for node in range(begin, end):
            if not trie.is_pruned[node]:
                parent = places[trie.context[node]] - parents_begin
                place = next_child[parent]
                next_child[parent] += 1
                places[node] = place
                suffix = places[trie.suffix[node]]
                words[place] = node - 1 if n == 0 else words[suffix]
        parents_begin, parents_end = parents_end, children_end
    return places


@compiled
def fill_state_links(trie: SuffixTrie, places: Array, tables: NgramTables) -> None:
    """Fill link from the suffixes."""
    for node in range(trie.starts[1], trie.suffix.size):
        if not trie.is_pruned[node]:
            suffix = places[trie.suffix[node]]
            tables.ints[node_place(places[node]) + LINK] = state_of(tables, suffix)
