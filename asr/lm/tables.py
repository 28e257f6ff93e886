"""The flat arrays of a back-off n-gram model and the one function that walks them.

Every n-gram is a node of a trie. Node 0 is the empty n-gram; nodes 1 … num_words are the unigrams,
node w + 1 that of word w; then the bigrams, the trigrams and so on, each order sorted by (parent,
last word). The nodes below the highest order, 0 … num_inner - 1, can have children.

A *state* is a node whose words are the longest part of the history that can still matter: a node
with children, or with a back-off other than 0, or node 0. Leaving out the others makes histories
with equal futures equal states, so that a beam can join them (Heafield 2011, section 4.1).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from asr.lm.compiled import compiled

Array = npt.NDArray[Any]

# What KenLM gives a word that a model without <unk> does not know: log10 of 1e-100.
UNKNOWN_LOG_PROB = -100.0 * math.log(10.0)


class NgramTables(NamedTuple):
    """Arrays of one model, usable inside compiled functions; read-only.

    Fields:
        word: (num_nodes,) int32, last word of each node; -1 for node 0.
        log_prob: (num_nodes,) float32, natural log-probability of the last word after the others.
        backoff: (num_inner,) float32, natural log of the back-off weight.
        link: (num_nodes,) int32, the longest proper suffix of the node that is a state.
        first_child: (num_inner + 1,) int32; the children of node i are first_child[i] …
            first_child[i + 1] - 1.
        unk_id: id of `<unk>`, or -1.
    """

    word: Array
    log_prob: Array
    backoff: Array
    link: Array
    first_child: Array
    unk_id: int


@compiled
def find_child(tables: NgramTables, node: int, word: int) -> int:
    """Node of the n-gram `node` extended by `word` on the right, or -1."""
    if node == 0:
        return word + 1 if 0 <= word < tables.first_child[1] - 1 else -1
    low, high = tables.first_child[node], tables.first_child[node + 1]
    end = high
    while low < high:
        middle = (low + high) >> 1
        if tables.word[middle] < word:
            low = middle + 1
        else:
            high = middle
    return low if low < end and tables.word[low] == word else -1


@compiled
def is_state(tables: NgramTables, node: int) -> bool:
    """Whether the future of a history that ends in this node can depend on all of its words."""
    if node >= tables.backoff.size:
        return False
    has_children = tables.first_child[node] < tables.first_child[node + 1]
    return node == 0 or has_children or tables.backoff[node] != 0.0


@compiled
def advance(tables: NgramTables, state: int, word: int) -> tuple[float, int]:
    """Natural log-probability of `word` after `state`, and the state after it.

    Args:
        tables: The model.
        state: A state this function returned, or the model's `start_state`, or 0.
        word: Id of a word; one outside the vocabulary, such as -1, counts as `<unk>`, and where
            the model has none scores `UNKNOWN_LOG_PROB` plus the back-offs on the way.

    References:
        Katz (1987) back-off; as interpolated models are stored in ARPA files.
    """
    num_words = tables.first_child[1] - 1
    if word < 0 or word >= num_words:
        word = tables.unk_id
    total = 0.0
    node = -1
    while state != 0:
        node = find_child(tables, state, word)
        if node >= 0:
            break
        total += tables.backoff[state]
        state = tables.link[state]
    if node < 0:
        if word < 0:
            return total + UNKNOWN_LOG_PROB, 0
        node = word + 1
    total += tables.log_prob[node]
    if is_state(tables, node):
        return total, node
    return total, tables.link[node]


@compiled
def score_words(
    tables: NgramTables, state: int, words: Array, log_probs: Array, states: Array
) -> None:
    """`advance` over (num_words,) ids; fills log-probability and state after each word.

    A word of -2 sets the state back to `state`: sentences follow each other with -2 between.
    """
    current = state
    for index in range(words.size):
        if words[index] == -2:
            current = state
            log_probs[index] = 0.0
        else:
            log_probs[index], current = advance(tables, current, words[index])
        states[index] = current


@compiled
def fill_links(tables: NgramTables, parents: Array, is_blank: Array) -> None:
    """Fill `link`, and `log_prob` of blank nodes, in a trie that is complete otherwise.

    Args:
        tables: Writeable arrays.
        parents: (num_nodes,) int32.
        is_blank: (num_nodes,) bool: nodes the file does not list though it lists n-grams that
            begin with them; each gets the probability that backing off would give.
    """
    num_nodes, num_words = tables.word.size, tables.first_child[1] - 1
    suffixes = np.zeros(num_nodes, np.int32)
    for node in range(num_words + 1, num_nodes):
        parent, word = parents[node], tables.word[node]
        backoff = 0.0
        while True:
            backoff += tables.backoff[parent]
            parent = suffixes[parent]
            suffix = find_child(tables, parent, word)
            if suffix >= 0:
                break
        suffixes[node] = suffix
        tables.link[node] = suffix if is_state(tables, suffix) else tables.link[suffix]
        if is_blank[node]:
            tables.log_prob[node] = backoff + tables.log_prob[suffix]
