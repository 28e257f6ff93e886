"""Queries from Python, one call at a time: equal to compiled queries, and unharmed by copying."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from lm_files import GOLDEN
from lm_models import Shape, model_and_reference, random_ids

from asr.lm.arpa import read_arpa
from asr.lm.ngram import NgramModel
from asr.lm.tables import advance

SHAPE = Shape(7, 4, 20, (b"</s>", b"<s>", b"<unk>"), 0.4, 0.3, 0.2)
HELDOUT = (GOLDEN / "heldout.txt").read_text().splitlines()


def commands() -> NgramModel:
    return read_arpa(GOLDEN / "commands.o3.arpa")


def test_a_word_a_call_is_advance() -> None:
    model, reference = model_and_reference(SHAPE)
    state = model.start_state
    for word in [*random_ids(SHAPE, reference, 2000, 3), -1, 10**9]:
        expected = advance(model.tables, state, word)
        assert model.score(state, word) == expected
        numpy_state, numpy_word = np.array([state]), np.array([word], np.int32)
        assert model.score(numpy_state[0], numpy_word[0]) == expected
        state = expected[1]


def test_numbers_beyond_64_bits_and_no_numbers_are_refused() -> None:
    model = commands()
    with pytest.raises(OverflowError):
        model.score(0, 2**64)
    with pytest.raises(TypeError):
        model.score(0, [])  # type: ignore[arg-type]


def test_words_that_are_not_there_stay_unknown() -> None:
    """Asking for one does not enter it."""
    model = commands()
    assert [model.id_of("unheard"), model.id_of("unheard")] == [-1, -1]
    assert model.id_of(model.words[5]) == 5


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_copies_of_a_used_model_answer_as_it_does(
    copied: Callable[[NgramModel], NgramModel],
) -> None:
    model = commands()
    expected = [model.text_log_prob(line) for line in HELDOUT], model.score(0, 5), model.id_of("a")
    twin = copied(model)
    del model
    got = [twin.text_log_prob(line) for line in HELDOUT], twin.score(0, 5), twin.id_of("a")
    assert got == expected


def test_calls_keep_and_lose_no_reference_to_the_tables() -> None:
    model = commands()
    model.text_log_prob("call marta"), model.score(0, 5)
    before = sys.getrefcount(model.tables.ints)
    for line in HELDOUT * 20:
        model.text_log_prob(line)
        state = model.start_state
        for word in line.split():
            state = model.score(state, model.id_of(word))[1]
    # Hundreds of calls; a single reference may wait to be given back.
    assert abs(sys.getrefcount(model.tables.ints) - before) < 5


def test_threads_share_a_model_from_its_first_query_on() -> None:
    model = commands()
    alone = [commands().text_log_prob(line) for line in HELDOUT]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(model.text_log_prob, HELDOUT)) == alone
        scores = list(threads.map(lambda word: model.score(0, word), range(len(model.words))))
    assert scores == [advance(model.tables, 0, word) for word in range(len(model.words))]
