"""The block of a model against a dictionary of tuples: children, links, states, probabilities."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_models import (
    EOS_NAME,
    UNK_NAME,
    Shape,
    model_and_reference,
    model_of_ids,
    random_ids,
    random_ngrams,
    shapes,
    words_of,
)
from lm_reference import IdNgrams

from asr.errors import DataError
from asr.lm.ngram import BOS, NgramModel
from asr.lm.tables import (
    EMPTY_SLOT,
    FEW,
    HEADER,
    NODE_ITEMS,
    SLOTS_PER_CHILD,
    UNKNOWN_LOG_PROB,
    advance,
    find_child,
    is_state,
    num_items,
    slot_of,
)
from asr.lm.trie import MAX_NODES, check_num_nodes

SETTINGS = settings(max_examples=50)
# Orders 1 to 6, histories of many and of few children, words that never follow: the corners.
DENSE = Shape(7, 4, 25, (b"</s>", b"<s>", UNK_NAME), 0.5, 0.2, 0.3)
SPARSE = Shape(8, 6, 12, (), 0.0, 0.6, 0.3)
UNIGRAMS = Shape(9, 1, 5, (b"<s>",), 0.0, 0.0, 0.0)
CORNERS = pytest.mark.parametrize("shape", [DENSE, SPARSE, UNIGRAMS], ids=["4", "6", "1"])


def nodes_of(model: NgramModel) -> dict[tuple[int, ...], int]:
    """The node of every n-gram, from the children that the block lists."""
    tables = model.tables
    found: dict[tuple[int, ...], int] = {(): 0}
    paths: list[tuple[int, ...]] = [()]
    for node in range(tables.num_inner):
        for child in range(tables.first_child[node], tables.first_child[node + 1]):
            paths.append((*paths[node], int(tables.word[child])))
            found[paths[child]] = child
    return found


def walk(model: NgramModel, words: list[int], state: int = 0) -> tuple[list[float], int]:
    """What `advance` gives for each word, and the last state."""
    log_probs = []
    for word in words:
        log_prob, state = advance(model.tables, state, word)
        log_probs.append(log_prob)
    return log_probs, state


@SETTINGS
@given(shapes)
def test_block_lists_every_ngram_and_no_other(shape: Shape) -> None:
    model, reference = model_and_reference(shape)
    nodes = nodes_of(model)
    assert set(nodes) - {()} == set(reference.listed)
    for ngram, (log_prob, backoff) in reference.listed.items():
        assert model.tables.log_prob[nodes[ngram]] == log_prob, ngram
        if len(ngram) < shape.order:
            assert model.tables.backoff[nodes[ngram]] == backoff, ngram
    sizes = [sum(len(ngram) == n for ngram in nodes) for n in range(1, shape.order + 1)]
    assert list(model.num_ngrams) == sizes
    assert model.tables.num_nodes == len(nodes) == model.order_ends[-1]


@SETTINGS
@given(shapes)
def test_any_child_is_found_and_no_other(shape: Shape) -> None:
    model, reference = model_and_reference(shape)
    nodes = nodes_of(model)
    for history, node in list(nodes.items())[:: max(1, len(nodes) // 60)]:
        if len(history) < shape.order:
            words = range(-3, reference.num_words + 3)
            expected = [nodes.get((*history, word), -1) for word in words]
            assert [find_child(model.tables, node, word) for word in words] == expected


@SETTINGS
@given(shapes)
def test_links_lead_to_the_longest_ending_that_matters(shape: Shape) -> None:
    model, reference = model_and_reference(shape)
    nodes = nodes_of(model)
    for ngram, node in nodes.items():
        assert model.tables.link[node] == nodes[reference.state(ngram[1:])], ngram
        if ngram:
            assert is_state(model.tables, node) == reference.matters(ngram), ngram


@SETTINGS
@given(shapes, st.integers(0, 99))
def test_any_walk_gives_the_probabilities_and_states_of_the_definition(
    shape: Shape, seed: int
) -> None:
    model, reference = model_and_reference(shape)
    words = random_ids(shape, reference, 40, seed)
    start = (model.bos_id,) if model.bos_id >= 0 else ()
    nodes = nodes_of(model)
    assert model.start_state == nodes[reference.state(start)]
    for first, node in (((), 0), (start, model.start_state)):
        log_probs, state = walk(model, words, node)
        # Exact: the values are 16ths, but for the price of unknown words.
        assert log_probs == pytest.approx(reference.log_probs(first, words), abs=1e-12)
        assert state == nodes[reference.state((*first, *words))]


@SETTINGS
@given(shapes, st.integers(0, 99))
def test_histories_of_one_state_have_one_future(shape: Shape, seed: int) -> None:
    """The reference is asked with whole histories, and knows nothing of states."""
    model, reference = model_and_reference(shape)
    texts = [random_ids(shape, reference, size, seed + size) for size in range(12)]
    by_state: dict[int, list[list[int]]] = defaultdict(list)
    for text in texts:
        for end in range(len(text) + 1):
            by_state[walk(model, text[:end])[1]].append(text[:end])
    for state, histories in by_state.items():
        following = random_ids(shape, reference, 2 * shape.order, seed)
        futures = [
            reference.log_probs(tuple(map(reference.known, history)), following)
            for history in histories
        ]
        assert all(future == pytest.approx(futures[0], abs=1e-12) for future in futures)
        assert walk(model, following, state)[0] == pytest.approx(futures[0], abs=1e-12)


@CORNERS
def test_a_search_meets_no_empty_slot_before_the_child(shape: Shape) -> None:
    tables = model_and_reference(shape)[0].tables
    num_hashed = 0
    for node in range(1, tables.num_inner):
        begin, end = tables.first_child[node : node + 2]
        for child in range(begin, end) if end - begin > FEW else ():
            slot = slot_of(tables, node, int(tables.word[child]))
            while tables.slots[slot] != child:
                assert tables.slots[slot] != EMPTY_SLOT
                slot = (slot + 1) % tables.slots.size
            num_hashed += 1
    assert (tables.slots != EMPTY_SLOT).sum() == num_hashed < tables.slots.size
    assert (num_hashed > 0) == (shape is DENSE)


@CORNERS
def test_block_has_one_place_for_each_item(shape: Shape) -> None:
    """Writing an item through its view changes nothing else, and the views fill the block."""
    tables = model_and_reference(shape)[0].tables
    sizes = tables.num_nodes, tables.num_inner, tables.slots.size
    assert tables.ints.size == num_items(*sizes)
    views = [tables.word, tables.log_prob, tables.link, tables.first_child, tables.backoff]
    places = [
        (view.__array_interface__["data"][0] - tables.ints.__array_interface__["data"][0]) // 4
        + np.arange(view.size) * view.strides[0] // 4
        for view in [*views, tables.slots]
    ]
    used = np.concatenate(places)
    assert np.unique(used).size == used.size
    # The back-off beside the end of the last node's children is nobody's.
    assert used.size == tables.ints.size - HEADER - 1
    assert places[0][0] == HEADER
    assert places[3][0] == HEADER + NODE_ITEMS * tables.num_nodes


def test_unknown_words_pay_the_back_offs_on_the_way() -> None:
    ngrams = {(0,): (-1.0, -0.5), (1,): (-2.0, -0.25), (0, 1): (-0.5, -0.125)}
    model = model_of_ids(ngrams, 3, [b"a", b"b"])
    state = walk(model, [0, 1])[1]
    assert advance(model.tables, state, 2) == (UNKNOWN_LOG_PROB - 0.125 - 0.25, 0)
    assert advance(model.tables, state, -1) == advance(model.tables, state, 2**31)
    with_unknown = model_of_ids(ngrams | {(2,): (-3.0, 0.0)}, 3, [b"a", b"b", UNK_NAME])
    state = walk(with_unknown, [0, 1])[1]
    assert advance(with_unknown.tables, state, 7) == (-3.0 - 0.125 - 0.25, 0)


def test_what_follows_an_unknown_word_can_be_listed() -> None:
    unknown, a = 1, 0
    ngrams = {(a,): (-1.0, 0.0), (unknown,): (-2.0, -0.5), (unknown, a): (-0.25, 0.0)}
    model = model_of_ids(ngrams, 2, [b"a", UNK_NAME])
    assert walk(model, [99, a])[0] == [-2.0, -0.25]
    assert walk(model, [99, -5])[0] == [-2.0, -2.5]


def test_a_history_with_a_back_off_but_no_children_is_a_state() -> None:
    model = model_of_ids({(0,): (-1.0, -0.5), (1,): (-1.0, 0.0)}, 2, [b"a", b"b"])
    assert walk(model, [0])[1] == 1
    assert walk(model, [1])[1] == 0


@pytest.mark.parametrize("num_children", [FEW - 1, FEW, FEW + 1, 5 * FEW])
def test_few_and_many_children_are_found_alike(num_children: int) -> None:
    words = [b"%d" % index for index in range(50)]
    ngrams: IdNgrams = {(word,): (-1.0, 0.0) for word in range(50)}
    chosen = range(3, 3 + num_children)
    ngrams |= {(49, word): (-word / 16, 0.0) for word in chosen}
    model = model_of_ids(ngrams, 2, words)
    for word in range(-1, 51):
        child = find_child(model.tables, 50, word)
        assert (child >= 0) == (word in chosen)
        assert child < 0 or model.tables.log_prob[child] == -word / 16
    assert (model.tables.slots.size > 1) == (num_children > FEW)


def test_numbers_of_the_largest_model_fit_into_items() -> None:
    """Slots are the most numerous: so many for each child of nodes that have more than a few."""
    largest = np.iinfo(np.int32).max
    assert largest >= SLOTS_PER_CHILD * (MAX_NODES - 1) + 1
    check_num_nodes(MAX_NODES)
    with pytest.raises(DataError, match="the language model has 1073741823 n-grams, more than"):
        check_num_nodes(MAX_NODES + 1)


@SETTINGS
@given(shapes)
def test_order_of_lines_does_not_matter(shape: Shape) -> None:
    ngrams, words = random_ngrams(shape), words_of(shape)
    first, second = (model_of_ids(ngrams, shape.order, words, seed) for seed in (1, 2))
    np.testing.assert_array_equal(first.tables.ints, second.tables.ints)


@SETTINGS
@given(shapes)
def test_a_sentence_is_its_words_and_its_end(shape: Shape) -> None:
    model, reference = model_and_reference(shape)
    ids = [word for word in random_ids(shape, reference, 12, shape.seed) if word >= 0]
    names = [model.words[word] if word < len(model.words) else "other" for word in ids]
    start = (model.bos_id,) if BOS in model.words else ()
    end = [model.eos_id] if EOS_NAME.decode() in model.words else []
    expected = reference.log_probs(start, [*ids, *end])
    assert model.word_log_probs(names) == pytest.approx(expected, abs=1e-12)
    assert model.sentence_log_prob(names) == pytest.approx(sum(expected), abs=1e-9)
    assert model.text_log_prob(" ".join(names)) == model.sentence_log_prob(names)
    last = walk(model, ids, model.start())[1]
    assert model.finish(last) == pytest.approx(expected[-1] if end else 0.0, abs=1e-12)
