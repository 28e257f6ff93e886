"""Finite automata: from word networks to minimal deterministic tables of characters.

A network has arcs that read a word, or nothing. It becomes deterministic and minimal while it is
still about words, when it is smallest; then every word is spelled, and endings of words that go on
alike are shared. What results is the smallest deterministic automaton over characters among those
in which a state between words is never also a state inside a word.

References:
    Rabin & Scott (1959), subset construction; Hopcroft (1971), minimisation;
    Daciuk et al. (2000), sorted words to a minimal automaton in one pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from asr.errors import DataError
from asr.lm.compiled import int64, kernel, lower_bound

Array = npt.NDArray[Any]

MAX_STATES = 1_000_000
"""Of the finished automaton, and of the network of words that it is made from."""

MAX_STEPS = 10_000_000
"""Arcs and states handled on the way there: some seconds, and less than 1 GB."""


class AutomatonTables(NamedTuple):
    """A deterministic automaton over labels; state 0 is the start.

    Fields:
        first_arc: (num_states + 1,) int32; arcs of state i are first_arc[i] … first_arc[i + 1] - 1.
        label: (num_arcs,) int32, rising within a state.
        target: (num_arcs,) int32; from every state a final one can be reached.
        is_final: (num_states,) bool: what has been read is a whole sentence. Such a state stands
            after a boundary, or is the start where the empty sentence belongs to the language.
    """

    first_arc: Array
    label: Array
    target: Array
    is_final: Array


@kernel
def find_arc(tables: AutomatonTables, state: int, label: int) -> int:
    """State that `label` leads to from `state`, or -1."""
    end = tables.first_arc[state + 1]
    arc = lower_bound(tables.label, tables.first_arc[state], end, label)
    target: int = int64(tables.target[arc] if arc < end and tables.label[arc] == label else -1)
    return target


@dataclass
class Budget:
    """Bounds the work that an untrusted text can cause.

    Args:
        source: Where the text is from; errors begin with it.
    """

    source: str
    steps_left: int = MAX_STEPS

    def spend(self, num_steps: int) -> None:
        """Count work done.

        Raises:
            DataError: It has become more than MAX_STEPS.
        """
        self.steps_left -= num_steps
        if self.steps_left < 0:
            raise self.exceeded(f"{MAX_STEPS:,} steps of work")

    def exceeded(self, limit: str) -> DataError:
        """The error to raise where a limit is passed."""
        return DataError(
            f"{self.source}: the grammar is too large: its automaton needs more than {limit}",
            hint="repeat with + or * instead of counting, or allow fewer sentences",
        )


@dataclass
class Network:
    """A nondeterministic automaton over symbols, with empty arcs.

    Attributes:
        budget: Bounds the work.
        arcs: For each state the (symbol, target) pairs that leave it.
        empty: For each state the targets of its empty arcs.
    """

    budget: Budget
    arcs: list[list[tuple[int, int]]] = field(default_factory=list)
    empty: list[list[int]] = field(default_factory=list)

    def add_state(self) -> int:
        """A new state without arcs.

        Raises:
            DataError: There are more than MAX_STATES.
        """
        if len(self.arcs) >= MAX_STATES:
            raise self.budget.exceeded(f"{MAX_STATES:,} states")
        self.arcs.append([])
        self.empty.append([])
        return len(self.arcs) - 1

    def closure(self, states: Iterable[int]) -> set[int]:
        """All states that empty arcs lead to, these included."""
        reached = set(states)
        stack = list(reached)
        while stack:
            for target in self.empty[stack.pop()]:
                if target not in reached:
                    reached.add(target)
                    stack.append(target)
        return reached


class Dfa(NamedTuple):
    """A deterministic automaton over symbols; state 0 is the start.

    Fields:
        arcs: For each state a target by symbol.
        is_final: For each state whether a sentence may end in it.
    """

    arcs: list[dict[int, int]]
    is_final: list[bool]


class Sentences(NamedTuple):
    """A deterministic automaton over words as they are written; state 0 is the start.

    Fields:
        arcs: For each state a target by word; from every one a final state can be reached.
        is_final: For each state whether a sentence may end in it.
    """

    arcs: list[dict[str, int]]
    is_final: list[bool]


def minimal_dfa(network: Network, start: int, end: int) -> Dfa:
    """The smallest deterministic automaton that reads what leads from `start` to `end`.

    Its states are numbered in breadth-first order, symbols rising, so that networks of one language
    give one result. The empty language gives a start state that is not final and has no arc.

    Raises:
        DataError: The budget is exhausted.
    """
    return _merge_equivalent(_drop_dead_ends(_determinize(network, start, end)))


def _determinize(network: Network, start: int, end: int) -> Dfa:
    """Subset construction. A subset is known by those of its states that matter afterwards."""
    ids: dict[tuple[int, ...], int] = {}
    ids_of_targets: dict[tuple[int, ...], int] = {}
    subsets: list[tuple[int, ...]] = []

    def identify(targets: tuple[int, ...]) -> int:
        """The number of a subset, by the states that its arcs lead to, sorted."""
        if targets not in ids_of_targets:
            reached = network.closure(targets)
            network.budget.spend(
                len(targets) + sum(1 + len(network.empty[state]) for state in reached)
            )
            subset = tuple(sorted(s for s in reached if network.arcs[s] or s == end))
            ids_of_targets[targets] = ids.setdefault(subset, len(subsets))
            if len(ids) > len(subsets):
                subsets.append(subset)
        return ids_of_targets[targets]

    identify((start,))
    arcs: list[dict[int, int]] = []
    for subset in subsets:  # grows while it is walked
        moves: dict[int, set[int]] = defaultdict(set)
        network.budget.spend(sum(len(network.arcs[state]) for state in subset))
        for state in subset:
            for symbol, target in network.arcs[state]:
                moves[symbol].add(target)
        arcs.append({symbol: identify(tuple(sorted(moves[symbol]))) for symbol in moves})
    return Dfa(arcs, [end in subset for subset in subsets])


def _sources(dfa: Dfa) -> list[list[tuple[int, int]]]:
    """For each state the (symbol, source) pairs of the arcs that lead to it."""
    sources: list[list[tuple[int, int]]] = [[] for _ in dfa.arcs]
    for state, arcs in enumerate(dfa.arcs):
        for symbol, target in arcs.items():
            sources[target].append((symbol, state))
    return sources


def _drop_dead_ends(dfa: Dfa) -> Dfa:
    """Remove arcs to states from which no final one can be reached; the states stay, unreached."""
    sources = _sources(dfa)
    stack = [state for state, is_final in enumerate(dfa.is_final) if is_final]
    alive = set(stack)
    while stack:
        for _, source in sources[stack.pop()]:
            if source not in alive:
                alive.add(source)
                stack.append(source)
    arcs = [{s: t for s, t in leaving.items() if t in alive} for leaving in dfa.arcs]
    return Dfa(arcs, dfa.is_final)


def _merge_equivalent(dfa: Dfa) -> Dfa:
    """Hopcroft's partition refinement; each block becomes a state.

    A missing arc needs no state of its own to lead to, because every block is once a splitter.
    """
    sources = _sources(dfa)
    finals = {state for state, is_final in enumerate(dfa.is_final) if is_final}
    blocks = [finals, set(range(len(dfa.arcs))) - finals]
    block_of = [0 if is_final else 1 for is_final in dfa.is_final]
    pending = {0, 1}
    while pending:
        arriving: dict[int, list[int]] = defaultdict(list)
        for state in blocks[pending.pop()]:
            for symbol, source in sources[state]:
                arriving[symbol].append(source)
        for states in arriving.values():
            _split(blocks, block_of, pending, states)
    return _quotient(dfa, block_of)


def _split(
    blocks: list[set[int]], block_of: list[int], pending: set[int], states: list[int]
) -> None:
    """Part, in each block, those of `states` from the rest; what is new becomes a splitter."""
    touched: dict[int, set[int]] = defaultdict(set)
    for state in states:
        touched[block_of[state]].add(state)
    for index, members in touched.items():
        rest = blocks[index]
        if len(members) == len(rest):
            continue
        rest -= members
        new = len(blocks)
        blocks.append(members)
        for state in members:
            block_of[state] = new
        is_new_smaller = len(members) <= len(rest)
        pending.add(new if index in pending or is_new_smaller else index)


def _quotient(dfa: Dfa, block_of: list[int]) -> Dfa:
    """One state for each block that is reached from the start, in breadth-first order."""
    numbers = {block_of[0]: 0}
    members = [0]
    arcs: list[dict[int, int]] = []
    for member in members:  # grows while it is walked
        leaving: dict[int, int] = {}
        for symbol, target in sorted(dfa.arcs[member].items()):
            block = block_of[target]
            if block not in numbers:
                numbers[block] = len(members)
                members.append(target)
            leaving[symbol] = numbers[block]
        arcs.append(leaving)
    return Dfa(arcs, [dfa.is_final[member] for member in members])


def spell_out(
    dfa: Dfa, spellings: Sequence[Sequence[int]], boundary: int, budget: Budget
) -> AutomatonTables:
    """The automaton over labels of an automaton over words.

    Its first states are those of `dfa`, which stand between words; the others are inside words.

    Args:
        dfa: Minimal; its symbols are indices into `spellings`.
        spellings: Labels of each word, without the boundary; none empty, no two alike.
        boundary: Label read after each word; no spelling holds it.
        budget: Bounds the work.

    Raises:
        DataError: The budget is exhausted, or there are more than MAX_STATES states.
    """
    speller = _Speller(boundary, len(dfa.arcs), budget)
    roots = [
        speller.spell(sorted((tuple(spellings[word]), target) for word, target in leaving.items()))
        for leaving in dfa.arcs
    ]
    arcs = [*roots, *speller.states]  # a dict keeps the order of insertion
    is_final = np.zeros(len(arcs), np.bool_)
    is_final[: len(dfa.is_final)] = dfa.is_final
    flat = np.array([arc for leaving in arcs for arc in leaving], np.int32).reshape(-1, 2)
    return AutomatonTables(
        first_arc=np.cumsum([0, *map(len, arcs)], dtype=np.int32),
        label=flat[:, 0].copy(),
        target=flat[:, 1].copy(),
        is_final=is_final,
    )


Arcs = tuple[tuple[int, int], ...]


class _Speller:
    """Words to states, from the ends of the words on, so that equal endings are one state."""

    def __init__(self, boundary: int, num_roots: int, budget: Budget) -> None:
        self.states: dict[Arcs, int] = {}
        self._boundary = boundary
        self._num_roots = num_roots
        self._budget = budget

    def spell(self, words: list[tuple[tuple[int, ...], int]]) -> Arcs:
        """Arcs of a state that reads these (spelling, state after it) pairs, which are sorted."""
        open_states: list[list[tuple[int, int]]] = [[]]
        previous: tuple[int, ...] = ()
        for spelling, target in words:
            path = (*spelling, self._boundary)
            self._budget.spend(len(path))
            self._close(open_states, previous, _num_shared(previous, path))
            open_states += [[] for _ in range(len(path) - len(open_states))]
            open_states[-1].append((self._boundary, target))
            previous = path
        self._close(open_states, previous, 0)
        return tuple(sorted(open_states[0]))

    def _close(self, open_states: list[list[tuple[int, int]]], path: Sequence[int], k: int) -> None:
        """Finish the states deeper than k on a path."""
        while len(open_states) > k + 1:
            state = self._identify(tuple(sorted(open_states.pop())))
            open_states[-1].append((path[len(open_states) - 1], state))

    def _identify(self, arcs: Arcs) -> int:
        number = self.states.setdefault(arcs, self._num_roots + len(self.states))
        if self._num_roots + len(self.states) > MAX_STATES:
            raise self._budget.exceeded(f"{MAX_STATES:,} states")
        return number


def _num_shared(left: Sequence[int], right: Sequence[int]) -> int:
    """How many labels at their beginnings are the same."""
    count = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        count += 1
    return count
