"""Networks of words to minimal tables of characters, against simulation and double reversal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from random import Random

import numba
import numpy as np
import pytest
from grammar_reference import arcs_of, is_between_words, num_distinguishable, read
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoding import automaton
from asr.decoding.automaton import (
    AutomatonTables,
    Budget,
    Dfa,
    Network,
    find_arc,
    minimal_dfa,
    spell_out,
)
from asr.errors import DataError

Arc = tuple[int, int, int]
NUM_SYMBOLS, NUM_STATES, LENGTH = 2, 6, 6
EMPTY = NUM_SYMBOLS
START, END = 0, 1

# (source, symbol or EMPTY, target)
arc_lists = st.lists(
    st.tuples(
        st.integers(0, NUM_STATES - 1), st.integers(0, EMPTY), st.integers(0, NUM_STATES - 1)
    ),
    max_size=14,
)


def network_of(arcs: Iterable[Arc]) -> Network:
    network = Network(Budget("test"))
    for _ in range(NUM_STATES):
        network.add_state()
    for source, symbol, target in arcs:
        if symbol == EMPTY:
            network.empty[source].append(target)
        else:
            network.arcs[source].append((symbol, target))
    return network


def step(arcs: Sequence[Arc], states: frozenset[int], symbol: int) -> frozenset[int]:
    """States that reading a symbol, then nothing any number of times, leads to."""
    reached = {target for source, label, target in arcs if source in states and label == symbol}
    return with_empty(arcs, frozenset(reached))


def with_empty(arcs: Sequence[Arc], states: frozenset[int]) -> frozenset[int]:
    reached = set(states)
    for _ in range(NUM_STATES):
        reached |= {
            target for source, label, target in arcs if source in reached and label == EMPTY
        }
    return frozenset(reached)


def network_reads(arcs: Sequence[Arc], word: Sequence[int]) -> bool:
    states = with_empty(arcs, frozenset({START}))
    for symbol in word:
        states = step(arcs, states, symbol)
    return END in states


def dfa_reads(dfa: Dfa, word: Sequence[int]) -> bool:
    state = 0
    for symbol in word:
        if symbol not in dfa.arcs[state]:
            return False
        state = dfa.arcs[state][symbol]
    return dfa.is_final[state]


def num_states_by_double_reversal(arcs: Sequence[Arc]) -> int:
    """Of the minimal automaton without dead states: determinise backwards, then forwards.

    Brzozowski (1962): the deterministic automaton of the reverse of a deterministic automaton
    whose states are all reached is minimal.
    """
    backwards = [(target, label, source) for source, label, target in arcs]
    first = subsets(backwards, frozenset({END}))
    names = {subset: index for index, subset in enumerate(first)}
    arcs_of_first = [
        (names[step(backwards, subset, symbol)], symbol, names[subset])
        for subset in first
        for symbol in range(NUM_SYMBOLS)
    ]
    finals = frozenset(names[subset] for subset in first if START in subset)
    second = subsets(arcs_of_first, finals)
    return len([subset for subset in second if subset])  # the empty subset is the dead state


def subsets(arcs: Sequence[Arc], start: frozenset[int]) -> list[frozenset[int]]:
    found = [with_empty(arcs, start)]
    for subset in found:
        following = [step(arcs, subset, symbol) for symbol in range(NUM_SYMBOLS)]
        found += [new for new in dict.fromkeys(following) if new not in found]
    return found


@settings(max_examples=300)
@given(arc_lists)
def test_minimal_dfa_reads_what_the_network_reads(arcs: list[Arc]) -> None:
    dfa = minimal_dfa(network_of(arcs), START, END)
    for length in range(LENGTH + 1):
        for word in product(range(NUM_SYMBOLS), repeat=length):
            assert dfa_reads(dfa, word) == network_reads(arcs, word)


@settings(max_examples=300)
@given(arc_lists)
def test_minimal_dfa_has_as_few_states_as_possible(arcs: list[Arc]) -> None:
    dfa = minimal_dfa(network_of(arcs), START, END)
    assert len(dfa.arcs) == len(dfa.is_final) == max(1, num_states_by_double_reversal(arcs))


@given(arc_lists, st.permutations(range(2, NUM_STATES)), st.randoms())
def test_numbering_depends_on_the_language_alone(
    arcs: list[Arc], order: list[int], random: Random
) -> None:
    renamed = [START, END, *order]
    other = [(renamed[source], symbol, renamed[target]) for source, symbol, target in arcs]
    random.shuffle(other)
    assert minimal_dfa(network_of(arcs), START, END) == minimal_dfa(network_of(other), START, END)


def test_empty_language_is_a_start_that_leads_nowhere() -> None:
    assert minimal_dfa(network_of([(0, 0, 2), (2, 1, 2)]), START, END) == ([{}], [False])
    assert minimal_dfa(network_of([(0, 0, 2), (0, EMPTY, 1)]), START, END) == ([{}], [True])


def test_empty_arcs_may_form_cycles() -> None:
    network = network_of([(0, EMPTY, 2), (2, EMPTY, 3), (3, EMPTY, 0), (3, 0, 1)])
    assert network.closure([2]) == {0, 2, 3}
    assert minimal_dfa(network, START, END) == ([{0: 1}, {}], [False, True])


def spelled(words: Sequence[Sequence[int]], boundary: int = 0) -> AutomatonTables:
    """The automaton that reads one of the words."""
    dfa = Dfa([dict.fromkeys(range(len(words)), 1), {}], [False, True])
    return spell_out(dfa, words, boundary, Budget("test"))


@given(
    st.sets(st.lists(st.sampled_from([1, 3, 4]), min_size=1, max_size=5).map(tuple), min_size=1),
    st.sampled_from([0, 2, 9]),
)
def test_spelling_reads_the_words_and_no_other(words: set[tuple[int, ...]], boundary: int) -> None:
    tables = spelled(list(words), boundary)
    for length in range(1, 6):
        for word in product([1, 3, 4], repeat=length):
            assert (read(tables, [*word, boundary]) == 1) == (word in words)
    assert tables.is_final.tolist() == [False, True] + [False] * (len(tables.is_final) - 2)
    labels = [list(arcs_of(tables, state)) for state in range(len(tables.is_final))]
    assert all(of_state == sorted(of_state) for of_state in labels)


def test_endings_are_shared_and_states_between_words_come_first() -> None:
    # working, walking, walk: w (ork|alk) (ing|), by hand: after w, wo, wor, wa, wal, work, walk,
    # and then after -i, -in, -ing, beside the two between words.
    letters = {letter: index for index, letter in enumerate("aginklorw", start=1)}
    words = [[letters[c] for c in word] for word in ("working", "walking", "walk")]
    tables = spelled(words)
    assert len(tables.is_final) == 2 + 7 + 3
    assert is_between_words(tables) == [True, True] + [False] * 10
    assert num_distinguishable(tables) == 12


def test_inside_of_a_word_is_never_between_words() -> None:
    # After the `a` of `ab` what follows is the same as after the word `a`: b and a boundary.
    dfa = Dfa([{0: 1, 1: 2}, {2: 2}, {}], [False, False, True])
    tables = spell_out(dfa, [[1], [1, 2], [2]], 0, Budget("test"))
    inside, after_word = read(tables, [1]), read(tables, [1, 0])
    assert after_word == 1
    assert inside >= 3
    assert read(tables, [1, 2, 0]) == read(tables, [1, 0, 2, 0]) == 2


def test_number_of_states_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automaton, "MAX_STATES", 5)
    assert len(spelled([[1, 1, 1]]).is_final) == 5
    with pytest.raises(DataError, match=r"^test: the grammar is too large.* more than 5 states"):
        spelled([[1, 1, 1, 1]])
    with pytest.raises(DataError, match="more than 5 states"):
        network_of([])


def test_budget_is_spent_to_the_last_step() -> None:
    budget = Budget("my.gram", steps_left=5)
    budget.spend(2)
    budget.spend(3)
    with pytest.raises(DataError, match=r"^my\.gram: the grammar is too large") as caught:
        budget.spend(1)
    assert caught.value.hint is not None


def test_spelling_and_subsets_spend_the_budget() -> None:
    with pytest.raises(DataError, match="steps of work"):
        spell_out(Dfa([{0: 1}, {}], [False, True]), [[1, 2]], 0, Budget("test", steps_left=2))
    network = network_of([(0, 0, 2), (2, 0, 3), (3, 0, 1)])
    network.budget.steps_left = 4
    with pytest.raises(DataError, match="steps of work"):
        minimal_dfa(network, START, END)


@numba.njit
def walk(tables: AutomatonTables, labels: np.ndarray) -> int:
    state = 0
    for label in labels:
        state = find_arc(tables, state, label)
        if state < 0:
            break
    return state


@given(st.lists(st.integers(0, 5), max_size=8))
def test_compiled_code_walks_the_tables(labels: list[int]) -> None:
    tables = spelled([[1], [1, 2], [3, 4, 5], [5, 4], [2, 4]])
    assert walk(tables, np.array(labels, np.int32)) == read(tables, labels)
