"""What every language model keeps to; a new one joins the list."""

from __future__ import annotations

from typing import Any

import pytest
from lm_files import GOLDEN

from asr.lm import LanguageModel, ZeroLM
from asr.lm.arpa import read_arpa

MODELS: list[LanguageModel[Any]] = [ZeroLM(), read_arpa(GOLDEN / "commands.o3.arpa")]
SEQUENCES: list[tuple[int, ...]] = [(), (1,), (3, 1, 1, 2)]


def walk(model: LanguageModel[Any], tokens: tuple[int, ...]) -> tuple[list[float], Any]:
    state, log_probs = model.start(), []
    for token in tokens:
        log_prob, state = model.score(state, token)
        log_probs.append(log_prob)
    return log_probs, state


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("tokens", SEQUENCES)
class TestEveryLanguageModel:
    def test_scores_are_log_probabilities(
        self, model: LanguageModel[Any], tokens: tuple[int, ...]
    ) -> None:
        log_probs, state = walk(model, tokens)
        assert all(log_prob <= 0 for log_prob in [*log_probs, model.finish(state)])

    def test_equal_histories_give_equal_hashable_states(
        self, model: LanguageModel[Any], tokens: tuple[int, ...]
    ) -> None:
        first, second = walk(model, tokens), walk(model, tokens)
        assert first == second
        assert hash(first[1]) == hash(second[1])

    def test_scoring_leaves_a_state_as_it_was(
        self, model: LanguageModel[Any], tokens: tuple[int, ...]
    ) -> None:
        _, state = walk(model, tokens)
        before = hash(state), model.finish(state)
        model.score(state, 1)
        assert (hash(state), model.finish(state)) == before


def test_zero_lm_adds_nothing() -> None:
    log_probs, state = walk(ZeroLM(), (1, 2, 3))
    assert log_probs == [0.0, 0.0, 0.0]
    assert ZeroLM().finish(state) == 0.0
