"""What a beam search holds between frames: flat arrays that compiled code reads and writes.

Prefixes are nodes of a tree, so that a long utterance shares its past: `Arena.parent` and
`Arena.token` spell a node backwards. The best path of a prefix is a chain of records, one a token,
which tells when each token was said. Nodes and records that no prefix in the beam needs are
collected when the arrays fill up (`collect`), so memory follows what the beam shares, not
beam × frames. A node keeps its identity as long as it is needed, also while the prefix itself is
out of the beam but a longer one is in: two ways to one prefix always meet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from asr.ctc import BLANK
from asr.lm.compiled import compiled, kernel

Array = npt.NDArray[Any]
int64: Any = numba.int64

NONE = -1
ROOT = 0
# More would spare thinning out, and cost memory that the processor has to reach for.
CANDIDATES_PER_PREFIX = 4
FIRST_CAPACITY = 4096

# What is known about a prefix beside the sound; a function of its tokens alone.
KNOWLEDGE_FIELDS = [
    ("lm_score", np.float64),  # finished words and tokens, weighted
    ("hot_score", np.float64),  # finished hotwords
    ("lm_state", np.int64),
    ("lexicon_node", np.int32),  # 0 between words, NONE inside an unknown word
    ("hot_node", np.int32),
    ("grammar_state", np.int32),  # NONE for what no sentence begins with
]

# One prefix of the beam. `blank` and `spoken` sum its paths that end in a blank, and in its last
# token, `total` both, `rank` adds what is known beside the sound (`partial`). `best_blank` and
# `best_spoken` are the best of the paths, whose times the rest describes: the record of the last
# token and the frame after its run.
ENTRY = np.dtype(
    [
        *KNOWLEDGE_FIELDS,
        ("blank", np.float64),
        ("spoken", np.float64),
        ("total", np.float64),
        ("partial", np.float64),
        ("rank", np.float64),
        ("best_blank", np.float64),
        ("best_spoken", np.float64),
        ("node", np.int32),
        ("blank_record", np.int32),
        ("spoken_record", np.int32),
        ("blank_end", np.int32),
        ("extended_from", np.int32),  # entry whose extension is the best spoken path; or NONE
    ],
    align=True,
)
# One prefix that a frame would add: `parent` (an entry) extended by `token`.
CANDIDATE = np.dtype(
    [
        *KNOWLEDGE_FIELDS,
        ("spoken", np.float64),
        ("partial", np.float64),
        ("rank", np.float64),
        ("parent", np.int32),
        ("token", np.int32),
    ],
    align=True,
)


class Start(NamedTuple):
    """States of language model and hotwords before the first token."""

    lm_state: int
    hot_node: int


class Arena(NamedTuple):
    """Nodes and records, with room for `capacity` of each.

    Fields:
        parent, token: (capacity,) int32, of each node; the root has parent NONE and the blank.
        entry: (capacity,) int32, where in the beam a node is; or NONE.
        slots: (power of two ≥ 2 × capacity,) int32, nodes by hash of parent and token; or NONE.
        record_parent, record_start, record_end: (capacity,) int32, of each record: the record of
            the token before, the first frame, and one past the last frame of the token before.
        used: (2,) int64, numbers of nodes and of records.
    """

    parent: Array
    token: Array
    entry: Array
    slots: Array
    record_parent: Array
    record_start: Array
    record_end: Array
    used: Array


class Beam(NamedTuple):
    """The prefixes kept, and room to work out the next frame.

    Fields:
        entries: (2, beam_width + 1) ENTRY; the beam of this frame and that of the next, in turns.
        candidates: (CANDIDATES_PER_PREFIX × beam_width,) CANDIDATE, thinned out when full.
        ranks: (beam_width + 1 + size of `candidates`,) float64, scratch.
        in_beam: (beam_width + 1, vocab_size) bool, scratch: an extension that is in the beam.
        kept: (vocab_size,) int32, scratch: tokens that survive pruning.
        now: (3,) int64: which row of `entries` holds, the number of entries, the number of frames.
    """

    entries: Array
    candidates: Array
    ranks: Array
    in_beam: Array
    kept: Array
    now: Array


class Workspace(NamedTuple):
    """Room for one utterance at a time."""

    beam: Beam
    arena: Arena


@compiled
def new_arena(capacity: int) -> Arena:
    """An arena that holds nothing but the root."""
    num_slots = 1
    while num_slots < 2 * capacity:
        num_slots *= 2
    token, entry = np.full(capacity, NONE, np.int32), np.full(capacity, NONE, np.int32)
    token[ROOT], entry[ROOT] = BLANK, 0
    return Arena(
        np.full(capacity, NONE, np.int32),
        token,
        entry,
        np.full(num_slots, NONE, np.int32),
        np.full(capacity, NONE, np.int32),
        np.full(capacity, NONE, np.int32),
        np.full(capacity, NONE, np.int32),
        np.array([1, 0], np.int64),
    )


def new_workspace(beam_width: int, vocab_size: int) -> Workspace:
    """Room for a beam of this width; `begin` makes it ready."""
    beam = Beam(
        np.zeros((2, beam_width + 1), ENTRY),
        np.empty(CANDIDATES_PER_PREFIX * beam_width, CANDIDATE),
        np.empty((CANDIDATES_PER_PREFIX + 1) * beam_width + 1),
        np.zeros((beam_width + 1, vocab_size), np.bool_),
        np.empty(vocab_size, np.int32),
        np.zeros(3, np.int64),
    )
    return Workspace(beam, new_arena(max(FIRST_CAPACITY, 4 * beam_width)))


@kernel
def begin(beam: Beam, arena: Arena, start: Start) -> None:
    """Make the empty prefix, before the first frame, the only one."""
    beam.now[0], beam.now[1], beam.now[2] = 0, 1, 0
    first = beam.entries[0, 0]
    first.lm_score, first.hot_score = 0.0, 0.0
    first.lm_state, first.hot_node = start.lm_state, start.hot_node
    first.lexicon_node, first.grammar_state, first.node = 0, 0, ROOT
    first.blank, first.best_blank, first.total = 0.0, 0.0, 0.0
    first.spoken, first.best_spoken = -np.inf, -np.inf
    first.partial, first.rank = 0.0, 0.0
    first.blank_record, first.spoken_record, first.extended_from = NONE, NONE, NONE
    first.blank_end = 0
    arena.slots[:] = NONE
    arena.used[0], arena.used[1] = 1, 0
    arena.entry[ROOT] = 0


@kernel
def _slot(arena: Arena, parent: int, token: int) -> int:
    """Slot of the node with this parent and token, or the free slot where it belongs."""
    mask = arena.slots.size - 1
    key = (np.uint64(parent) << np.uint64(32)) ^ np.uint64(token)
    key = (key ^ (key >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    slot: int = int64(key >> np.uint64(33)) & mask
    while arena.slots[slot] != NONE:
        node = arena.slots[slot]
        if arena.parent[node] == parent and arena.token[node] == token:
            break
        slot = (slot + 1) & mask
    return slot


@kernel
def child_node(arena: Arena, parent: int, token: int) -> int:
    """Node of `parent` extended by `token`, made if there is none."""
    slot = _slot(arena, parent, token)
    node: int = int64(arena.slots[slot])
    if node != NONE:
        return node
    new: int = arena.used[0]
    arena.used[0] = new + 1
    arena.parent[new], arena.token[new], arena.entry[new] = parent, token, NONE
    arena.slots[slot] = new
    return new


@kernel
def add_record(arena: Arena, parent: int, start: int, end: int) -> int:
    """A record of a token that begins in frame `start`, after the one of `parent`."""
    new: int = arena.used[1]
    arena.used[1] = new + 1
    arena.record_parent[new] = parent
    arena.record_start[new], arena.record_end[new] = start, end
    return new


@kernel
def _number_needed(parent: Array, needed: Array, num_used: int) -> int:
    """Turn marks into new numbers, ancestors marked too; parents stay before their children."""
    for index in range(num_used - 1, -1, -1):
        if needed[index] != NONE and parent[index] != NONE:
            needed[parent[index]] = 0
    count: int = int64(0)
    for index in range(num_used):
        if needed[index] != NONE:
            needed[index] = count
            count += 1
    return count


@compiled
def _collect_nodes(arena: Arena, target: Arena, entries: Array) -> None:
    number = np.full(arena.used[0], NONE, np.int32)
    number[ROOT] = 0
    for index in range(entries.size):
        number[entries[index].node] = 0
    count = _number_needed(arena.parent, number, arena.used[0])
    for node in range(arena.used[0]):
        new = number[node]
        if new != NONE:
            parent = arena.parent[node]
            target.parent[new] = NONE if parent == NONE else number[parent]
            target.token[new], target.entry[new] = arena.token[node], arena.entry[node]
    target.slots[:] = NONE
    for node in range(1, count):
        target.slots[_slot(target, target.parent[node], target.token[node])] = node
    for index in range(entries.size):
        entries[index].node = number[entries[index].node]
    target.used[0] = count


@compiled
def _collect_records(arena: Arena, target: Arena, entries: Array) -> None:
    number = np.full(arena.used[1] + 1, NONE, np.int32)  # the last one stands for NONE
    for index in range(entries.size):
        for record in (entries[index].blank_record, entries[index].spoken_record):
            if record != NONE:
                number[record] = 0
    count = _number_needed(arena.record_parent, number, arena.used[1])
    for record in range(arena.used[1]):
        new = number[record]
        if new != NONE:
            parent = arena.record_parent[record]
            target.record_parent[new] = NONE if parent == NONE else number[parent]
            target.record_start[new] = arena.record_start[record]
            target.record_end[new] = arena.record_end[record]
    for index in range(entries.size):
        entries[index].blank_record = number[entries[index].blank_record]
        entries[index].spoken_record = number[entries[index].spoken_record]
    target.used[1] = count


@compiled
def collect(arena: Arena, beam: Beam) -> Arena:
    """Drop what no prefix in the beam needs; double the arena where most is needed.

    The arrays of `arena` are no longer valid afterwards; entries are renumbered in place.
    """
    row, num_entries, _ = beam.now
    entries = beam.entries[row, :num_entries]
    _collect_nodes(arena, arena, entries)
    _collect_records(arena, arena, entries)
    capacity = arena.parent.size
    if 2 * max(arena.used[0], arena.used[1]) <= capacity:
        return arena
    larger: Arena = new_arena(2 * capacity)
    _collect_nodes(arena, larger, entries)
    _collect_records(arena, larger, entries)
    return larger


@kernel
def _depth(arena: Arena, node: int) -> int:
    """Number of tokens of a prefix."""
    depth: int = int64(0)
    node = int64(node)
    while node != ROOT:
        node, depth = int64(arena.parent[node]), depth + 1
    return depth


@kernel
def _spell_back(arena: Arena, node: int, tokens: Array, begin: int, end: int) -> None:
    """Write the tokens of a prefix to tokens[begin:end]."""
    node = int64(node)
    for place in range(end - 1, begin - 1, -1):
        tokens[place] = arena.token[node]
        node = int64(arena.parent[node])


@compiled
def trace(arena: Arena, entry: Any, num_frames: int) -> tuple[Array, Array, Array]:
    """Tokens of a prefix, and of each on the best path: first frame, and one past its last."""
    num_tokens = _depth(arena, entry.node)
    tokens, starts = np.empty(num_tokens, np.int32), np.empty(num_tokens, np.int32)
    ends = np.empty(num_tokens, np.int32)
    _spell_back(arena, entry.node, tokens, int64(0), num_tokens)
    if entry.best_blank >= entry.best_spoken:
        record, end = int64(entry.blank_record), entry.blank_end
    else:
        record, end = int64(entry.spoken_record), np.int32(num_frames)
    for index in range(num_tokens - 1, -1, -1):
        starts[index], ends[index] = arena.record_start[record], end
        end = arena.record_end[record]
        record = int64(arena.record_parent[record])
    return tokens, starts, ends


@compiled
def trace_tokens(arena: Arena, nodes: Array) -> tuple[Array, Array]:
    """Tokens of some prefixes, one after the other, and where each begins and the last one ends."""
    first = np.empty(nodes.size + 1, np.int64)
    first[0] = 0
    for index in range(nodes.size):
        first[index + 1] = first[index] + _depth(arena, nodes[index])
    tokens = np.empty(first[-1], np.int32)
    for index in range(nodes.size):
        _spell_back(arena, nodes[index], tokens, first[index], first[index + 1])
    return tokens, first
