"""The block of memory that is a back-off n-gram model, and the one function that walks it.

Every n-gram is a node of a trie. Node 0 is the empty n-gram; nodes 1 … num_words are the unigrams,
node w + 1 that of word w; then the bigrams, the trigrams and so on, each order sorted by (parent,
last word). The nodes below the highest order, 0 … num_inner - 1, can have children.

A *state* is a node whose words are the longest part of the history that can still matter: a node
with children, or with a back-off other than 0, or node 0. Leaving out the others makes histories
with equal futures equal states, so that a beam can join them (Heafield 2011, section 4.1).

A query in a large model costs what its cache misses cost. So what is needed together lies together,
and one block holds, in 32-bit items from `HEADER` on:

* for each node its last word, log-probability and link: what a found n-gram gives;
* for each inner node and one more its first child and back-off: what a history asks of itself;
* the slots of a hash table of the children of nodes that have more than `FEW`. The others' are few
  enough to look through. A slot holds a child, or -1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from asr.lm.compiled import compiled, kernel

Array = npt.NDArray[Any]
int64: Any = numba.int64

# What KenLM gives a word that a model without <unk> does not know: log10 of 1e-100.
UNKNOWN_LOG_PROB = -100.0 * math.log(10.0)

# Items before the first node; of these the first four are used. 64 bytes: a line of the cache.
HEADER = 16
NUM_NODES, NUM_INNER, NUM_SLOTS, UNK_ID = 0, 1, 2, 3
# Items of a node, and of an inner node, and where in them each value is.
NODE_ITEMS, WORD, LOG_PROB, LINK = 3, 0, 1, 2
INNER_ITEMS, FIRST_CHILD, BACKOFF = 2, 0, 1
# Eight nodes are 96 bytes, one or two lines of the cache: as far as looking through them is quick.
FEW = 8
SLOTS_PER_CHILD = 2
EMPTY_SLOT = -1
# Odd numbers near 2**64 / golden ratio and 2**64 / sqrt(2): multiplying spreads all bits upwards.
SPREAD_STATE, SPREAD_WORD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xB504F333F9DE6485)
HALF_BITS = np.uint64(32)


class NgramTables(NamedTuple):
    """One model, usable inside compiled functions; read-only once the model is finished.

    Fields:
        ints: (num_items,) int32, the block.
        floats: (num_items,) float32, the same memory.
        unk_id: Id of `<unk>`, or -1.

    The properties are views of the block, for numpy; compiled functions ask `word_of` and the like.
    """

    ints: Array
    floats: Array
    unk_id: int

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return int(self.ints[NUM_NODES])

    @property
    def num_inner(self) -> int:
        """Number of nodes that can have children."""
        return int(self.ints[NUM_INNER])

    @property
    def word(self) -> Array:
        """(num_nodes,) int32, last word of each node; -1 for node 0."""
        return self._nodes(self.ints, WORD)

    @property
    def log_prob(self) -> Array:
        """(num_nodes,) float32, natural log-probability of the last word after the others."""
        return self._nodes(self.floats, LOG_PROB)

    @property
    def link(self) -> Array:
        """(num_nodes,) int32, the longest proper suffix of the node that is a state."""
        return self._nodes(self.ints, LINK)

    @property
    def first_child(self) -> Array:
        """(num_inner + 1,) int32; node i's are first_child[i] … first_child[i + 1] - 1."""
        return self._inner(self.ints, FIRST_CHILD)

    @property
    def backoff(self) -> Array:
        """(num_inner,) float32, natural log of the back-off weight."""
        return self._inner(self.floats, BACKOFF)[:-1]

    @property
    def slots(self) -> Array:
        """(num_slots,) int32, the hash table."""
        return self.ints[self.ints.size - int(self.ints[NUM_SLOTS]) :]

    def _nodes(self, items: Array, place: int) -> Array:
        return items[HEADER + place : HEADER + NODE_ITEMS * self.num_nodes : NODE_ITEMS]

    def _inner(self, items: Array, place: int) -> Array:
        begin = HEADER + NODE_ITEMS * self.num_nodes
        return items[begin + place : begin + INNER_ITEMS * (self.num_inner + 1) : INNER_ITEMS]


def num_items(num_nodes: int, num_inner: int, num_slots: int) -> int:
    """Size of the block in items of 4 bytes."""
    return HEADER + NODE_ITEMS * num_nodes + INNER_ITEMS * (num_inner + 1) + num_slots


def tables_of(block: Array) -> NgramTables:
    """The tables in a block: (num_items,) int32, contiguous."""
    return NgramTables(block, block.view(np.float32), int(block[UNK_ID]))


# Functions that Python calls word by word take the block alone and begin with this: numba needs
# 0.25 µs to accept one array, and 0.8 µs for a named tuple.
compiled_tables_of = compiled(tables_of)


def tables_of_trie(words: Array, num_children: Array, unk_id: int) -> NgramTables:
    """New tables that know their n-grams; probabilities, back-offs and links are still 0.

    Args:
        words: (num_nodes,) last word of each node.
        num_children: (num_inner,) number of children of each node that can have any.
        unk_id: Id of `<unk>`, or -1.
    """
    # The unigrams need no slots: theirs is the node after their number.
    many = num_children[1:][num_children[1:] > FEW]
    num_slots = SLOTS_PER_CHILD * int(many.sum()) + 1
    num_nodes, num_inner = words.size, num_children.size
    block = np.zeros(num_items(num_nodes, num_inner, num_slots), np.int32)
    block[: UNK_ID + 1] = num_nodes, num_inner, num_slots, unk_id
    tables = tables_of(block)
    tables.word[:] = words
    tables.first_child[0] = 1
    np.cumsum(num_children, out=tables.first_child[1:])
    tables.first_child[1:] += 1
    tables.slots[:] = EMPTY_SLOT
    fill_slots(read_only(tables), tables.slots)
    return tables


def empty_tables() -> NgramTables:
    """The tables of a model that knows no word, read-only; of the types of any other's."""
    tables = tables_of_trie(np.array([-1]), np.array([0]), -1)
    freeze_tables(tables)
    return tables


def read_only(tables: NgramTables) -> NgramTables:
    """A view that cannot write: of the type of a finished model's, so functions serve both."""
    block = tables.ints.view()
    block.setflags(write=False)
    return tables_of(block)


def freeze_tables(tables: NgramTables) -> None:
    """Make tables read-only."""
    tables.ints.setflags(write=False)
    tables.floats.setflags(write=False)


@kernel
def node_place(node: int) -> int:
    """Where in the block a node is."""
    place: int = HEADER + NODE_ITEMS * int64(node)
    return place


@kernel
def inner_place(tables: NgramTables, node: int) -> int:
    """Where in the block what only inner nodes have is."""
    num_nodes = int64(tables.ints[NUM_NODES])
    place: int = HEADER + NODE_ITEMS * num_nodes + INNER_ITEMS * int64(node)
    return place


@kernel
def slots_place(tables: NgramTables) -> int:
    """Where in the block the first slot is."""
    place: int = tables.ints.size - int64(tables.ints[NUM_SLOTS])
    return place


@kernel
def word_of(tables: NgramTables, node: int) -> int:
    """Last word of a node."""
    word: int = int64(tables.ints[node_place(node) + WORD])
    return word


@kernel
def log_prob_of(tables: NgramTables, node: int) -> float:
    """Natural log-probability of a node's last word after the others."""
    log_prob: float = tables.floats[node_place(node) + LOG_PROB]
    return log_prob


@kernel
def link_of(tables: NgramTables, node: int) -> int:
    """The longest proper suffix of a node that is a state."""
    link: int = int64(tables.ints[node_place(node) + LINK])
    return link


@kernel
def children_of(tables: NgramTables, node: int) -> tuple[int, int]:
    """The first child of an inner node, and the node after its last."""
    place = inner_place(tables, node) + FIRST_CHILD
    return int64(tables.ints[place]), int64(tables.ints[place + INNER_ITEMS])


@kernel
def backoff_of(tables: NgramTables, node: int) -> float:
    """Natural log of an inner node's back-off weight."""
    backoff: float = tables.floats[inner_place(tables, node) + BACKOFF]
    return backoff


@kernel
def slot_of(tables: NgramTables, node: int, word: int) -> int:
    """The slot at which the search for a child of a node begins."""
    mixed = np.uint64(node) * SPREAD_STATE ^ np.uint64(word) * SPREAD_WORD
    mixed = (mixed ^ (mixed >> HALF_BITS)) * SPREAD_STATE
    num_slots = np.uint64(tables.ints[NUM_SLOTS])
    # The upper half as a fraction of 1, times the number of slots.
    slot: int = int64(((mixed >> HALF_BITS) * num_slots) >> HALF_BITS)
    return slot


@kernel
def fill_slots(tables: NgramTables, slots: Array) -> None:
    """Enter the children of all nodes but node 0 that have more than `FEW` into the slots."""
    for node in range(1, tables.ints[NUM_INNER]):
        begin, end = children_of(tables, node)
        if end - begin > FEW:
            for child in range(begin, end):
                slot = slot_of(tables, node, word_of(tables, child))
                while slots[slot] != EMPTY_SLOT:
                    slot = slot + 1 if slot + 1 < slots.size else 0
                slots[slot] = child


@kernel
def find_child(tables: NgramTables, node: int, word: int) -> int:
    """Node of the n-gram `node` extended by `word` on the right, or -1."""
    begin, end = children_of(tables, node)
    if node == 0:
        return word + 1 if 0 <= word < end - 1 else -1
    if end - begin > FEW:
        return find_hashed(tables, begin, end, word, slot_of(tables, node, word))
    for child in range(begin, end):
        if tables.ints[node_place(child) + WORD] == word:
            return child
    return -1


@kernel
def find_asked(tables: NgramTables, begin: int, end: int, word: int, slot: int) -> int:
    """As `find_child`, of a node whose children and slot are at hand; it is not node 0."""
    if end - begin > FEW:
        return find_hashed(tables, begin, end, word, slot)
    for child in range(begin, end):
        if tables.ints[node_place(child) + WORD] == word:
            return child
    return -1


@kernel
def find_hashed(tables: NgramTables, begin: int, end: int, word: int, slot: int) -> int:
    """The child between two nodes with a last word, or -1; from the slot given on."""
    slots, num_slots = slots_place(tables), int64(tables.ints[NUM_SLOTS])
    child: int = int64(tables.ints[slots + slot])
    while child != EMPTY_SLOT:
        if begin <= child < end and tables.ints[node_place(child) + WORD] == word:
            return child
        slot = slot + 1 if slot + 1 < num_slots else 0
        child = int64(tables.ints[slots + slot])
    return -1


@kernel
def is_state(tables: NgramTables, node: int) -> bool:
    """Whether the future of a history that ends in this node can depend on all of its words."""
    if node >= tables.ints[NUM_INNER]:
        return False
    begin, end = children_of(tables, node)
    return node == 0 or begin < end or backoff_of(tables, node) != 0.0


@kernel
def state_of(tables: NgramTables, node: int) -> int:
    """The state of a history that ends in this node."""
    state: int = int64(node) if is_state(tables, node) else link_of(tables, node)
    return state


@kernel
def known_word(tables: NgramTables, word: int) -> int:
    """The word, or `<unk>` where it is outside the vocabulary; -1 where there is none."""
    is_known = 0 <= word < children_of(tables, int64(0))[1] - 1
    known: int = int64(word if is_known else tables.unk_id)
    return known


@kernel
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
    word, state = known_word(tables, word), int64(state)
    total = 0.0
    node = int64(-1)
    while state != 0:
        node = int64(find_child(tables, state, word))
        if node >= 0:
            break
        total += backoff_of(tables, state)
        state = link_of(tables, state)
    if node < 0:
        if word < 0:
            return total + UNKNOWN_LOG_PROB, int64(0)
        node = word + 1
    return total + log_prob_of(tables, node), state_of(tables, node)


def fill_links(tables: NgramTables, parents: Array, is_blank: Array) -> None:
    """Fill `link`, and `log_prob` of blank nodes, in a trie that is complete otherwise.

    Args:
        tables: Writeable tables.
        parents: (num_nodes,) int32.
        is_blank: (num_nodes,) bool: nodes the file does not list though it lists n-grams that
            begin with them; each gets the probability that backing off would give.
    """
    _fill_links(read_only(tables), (tables.link, tables.log_prob), parents, is_blank)


@compiled
def _fill_links(
    tables: NgramTables, filled: tuple[Array, Array], parents: Array, is_blank: Array
) -> None:
    links, log_probs = filled
    num_nodes, begin = int64(tables.ints[NUM_NODES]), children_of(tables, int64(0))[1]
    suffixes = np.zeros(num_nodes, np.int32)
    for node in range(begin, num_nodes):
        parent, word = int64(parents[node]), word_of(tables, node)
        backoff = 0.0
        suffix = int64(-1)
        while suffix < 0:
            backoff += backoff_of(tables, parent)
            parent = int64(suffixes[parent])
            suffix = int64(find_child(tables, parent, word))
        suffixes[node] = suffix
        links[node] = state_of(tables, suffix)
        if is_blank[node]:
            log_probs[node] = backoff + log_prob_of(tables, suffix)
