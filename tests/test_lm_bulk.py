"""Texts scored in lanes against `advance` called word by word."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_models import Shape, model_and_reference, random_ids, shapes

from asr.lm.bulk import (
    MAX_LANES,
    MIN_LANE_WORDS,
    SENTENCE_BREAK,
    SMALL_ITEMS,
    score_words,
    sum_words,
)
from asr.lm.calls import line_setup, sum_line, sum_line_in_turn
from asr.lm.ngram import NgramModel
from asr.lm.tables import advance

LANES, IN_TURN = 0, 1 << 40
SHAPE = Shape(3, 4, 20, (b"</s>", b"<s>", b"<unk>"), 0.4, 0.3, 0.2)
MODEL, REFERENCE = model_and_reference(SHAPE)
EDGES = [
    *(0, 1, 2, MIN_LANE_WORDS - 1, MIN_LANE_WORDS, MIN_LANE_WORDS + 1),
    *(MAX_LANES - 1, MAX_LANES, MAX_LANES + 1),
    *(MAX_LANES * MIN_LANE_WORDS + change for change in (-1, 0, 1)),
    *(700, 1003),
]


def one_by_one(model: NgramModel, ids: list[int]) -> list[float]:
    """What a loop over the words gives."""
    state, found = model.start_state, []
    for word in ids:
        log_prob = 0.0
        if word == SENTENCE_BREAK:
            state = model.start_state
        else:
            log_prob, state = advance(model.tables, state, word)
        found.append(log_prob)
    return found


def scored(model: NgramModel, ids: list[int], small_items: int) -> list[float]:
    """What one call gives, between two numbers that it must not touch."""
    room = np.full(len(ids) + 2, 7.5)
    words = np.array(ids, np.int64)
    score_words(
        model.tables.ints, model.start_state, model.order - 1, words, room[1:-1], small_items
    )
    assert room[0] == room[-1] == 7.5
    values: list[float] = room[1:-1].tolist()
    return values


def joined(sentences: list[list[int]]) -> list[int]:
    return [word for sentence in sentences for word in [*sentence, SENTENCE_BREAK]]


@settings(max_examples=60)
@given(
    shapes,
    st.lists(st.integers(0, 40), max_size=12),
    st.sampled_from([LANES, IN_TURN]),
    st.booleans(),
)
def test_any_text_of_any_model(
    shape: Shape, sizes: list[int], small_items: int, ends_open: bool
) -> None:
    """Sentences of any length, the empty one too; the last may lack its break."""
    model, reference = model_and_reference(shape)
    sentences = [random_ids(shape, reference, size, seed) for seed, size in enumerate(sizes)]
    ids = joined(sentences)[: -1 if ends_open else None]
    assert scored(model, ids, small_items) == one_by_one(model, ids)


@pytest.mark.parametrize("num_words", EDGES)
def test_where_lanes_begin_and_end(num_words: int) -> None:
    """One sentence, so that every lane but the first needs the words before it."""
    ids = random_ids(SHAPE, REFERENCE, num_words, num_words)
    assert scored(MODEL, ids, LANES) == one_by_one(MODEL, ids)


@pytest.mark.parametrize("distance", range(6))
def test_breaks_near_the_beginning_of_a_lane(distance: int) -> None:
    num_words = MAX_LANES * 2 * MIN_LANE_WORDS
    ids = random_ids(SHAPE, REFERENCE, num_words, 1)
    for first in range(0, num_words, 2 * MIN_LANE_WORDS):
        ids[first - distance] = SENTENCE_BREAK
    assert scored(MODEL, ids, LANES) == one_by_one(MODEL, ids)


def test_a_text_of_breaks_alone_scores_nothing() -> None:
    for size in EDGES:
        assert scored(MODEL, [SENTENCE_BREAK] * size, LANES) == [0.0] * size


def test_size_of_the_block_decides_between_lanes_and_turns() -> None:
    """Exactly so large a block is still scored in turn; either way the words score the same."""
    ids = random_ids(SHAPE, REFERENCE, 300, 5)
    size = MODEL.tables.ints.size
    assert size < SMALL_ITEMS
    assert scored(MODEL, ids, size) == scored(MODEL, ids, size - 1) == one_by_one(MODEL, ids)


@pytest.mark.parametrize("num_words", EDGES)
def test_sums_are_those_of_the_words(num_words: int) -> None:
    ids = random_ids(SHAPE, REFERENCE, num_words, 9)
    total = sum_words(MODEL.tables.ints, MODEL.start_state, 3, np.array(ids, np.int64))
    assert total == pytest.approx(math.fsum(one_by_one(MODEL, ids)), rel=1e-12)


@settings(max_examples=60)
@given(
    shapes,
    st.lists(st.sampled_from(["w0", "w1", "w2", "w9", "<unk>", "<s>", "</s>", "x", "ü", "w"])),
    st.sampled_from([" ", "  ", "\t", " \r", "\x0b\x0c"]),
)
def test_a_line_of_text_scores_its_words_and_its_end(
    shape: Shape, names: list[str], space: str
) -> None:
    model, _ = model_and_reference(shape)
    end = [model.eos_id] if model.eos_id >= 0 else []
    expected = math.fsum(one_by_one(model, [*map(model.id_of, names), *end]))
    setup = line_setup(model.word_index, model.start_state, model.order, model.eos_id)
    for text in (space.join(names), space + space.join(names) + space):
        total = model.text_log_prob(text)
        assert total == pytest.approx(expected, abs=1e-9)
        for sum_of in (sum_line, sum_line_in_turn):
            assert sum_of(model.tables.ints, setup, text.encode()) == total


@pytest.mark.parametrize("text", ["\ud800", "w1 \udcff w2", "\ud83d\ude00"])
def test_text_that_utf8_cannot_hold_is_unknown_words(text: str) -> None:
    assert MODEL.text_log_prob(text) == pytest.approx(MODEL.sentence_log_prob(text.split()))


def test_a_text_of_thousands_of_sentences() -> None:
    generator = np.random.default_rng(4)
    sizes = generator.integers(0, 15, 2000)
    sentences = [generator.integers(-1, len(MODEL.words), size).tolist() for size in sizes.tolist()]
    ids = joined(sentences)
    assert scored(MODEL, ids, LANES) == one_by_one(MODEL, ids)
    assert MODEL.score_ids(np.array(ids)).tolist() == one_by_one(MODEL, ids)
