"""Lines scored an order at a time against `advance` called word by word."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_models import Shape, model_and_reference, random_ids, shapes

from asr.lm.ngram import NgramModel
from asr.lm.orders import MAX_LINE_WORDS, sum_ids
from asr.lm.tables import advance

MODEL_SHAPE = Shape(3, 4, 20, (b"</s>", b"<s>"), 0.4, 0.3, 0.2)
MODEL, REFERENCE = model_and_reference(MODEL_SHAPE)


def one_by_one(model: NgramModel, ids: list[int]) -> float:
    """What a loop over the words adds up to."""
    state, total = model.start_state, 0.0
    for word in ids:
        log_prob, state = advance(model.tables, state, word)
        total += log_prob
    return total


def by_order(model: NgramModel, ids: list[int]) -> float:
    return sum_ids(model.tables.ints, model.start_state, model.order, np.array(ids, np.int64))


@settings(max_examples=200)
@given(shapes, st.integers(0, 30), st.integers(0, 1000))
def test_any_line_of_any_model(shape: Shape, size: int, seed: int) -> None:
    """Models with n-grams whose own endings they lack, with and without marks and `<unk>`."""
    model, reference = model_and_reference(shape)
    ids = random_ids(shape, reference, size, seed)
    assert by_order(model, ids) == one_by_one(model, ids)


@pytest.mark.parametrize("change", [-1, 0, 1, 50])
def test_longer_lines_score_the_same(change: int) -> None:
    ids = random_ids(MODEL_SHAPE, REFERENCE, MAX_LINE_WORDS + change, 3)
    assert by_order(MODEL, ids) == pytest.approx(one_by_one(MODEL, ids), rel=1e-12)


@pytest.mark.parametrize("known", [0, 1, 2, 3])
def test_words_the_model_does_not_know(known: int) -> None:
    """Without `<unk>`, no history goes past them."""
    words = [MODEL.id_of(f"w{number}") for number in range(known)]
    ids = [*words, -1, *words, -1, -1, 10**9, *words]
    assert MODEL.unk_id < 0
    assert by_order(MODEL, ids) == one_by_one(MODEL, ids)
