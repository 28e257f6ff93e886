"""The sum over all transcripts, against the enumeration of every path."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.batching import Batch
from asr.ctc import collapse
from asr.errors import ConfigError
from asr.model import Emissions
from asr.training.denominator import MAX_TOKENS, TokenTrigram, fit_trigram, log_partition
from asr.training.losses import Objective

VOCAB = 4
TARGETS = ([1, 2, 3], [2, 2, 1], [3, 1], [], [1])

transcripts = st.lists(st.lists(st.integers(1, VOCAB - 1), max_size=5), min_size=1, max_size=6)


def random_log_probs(batch: int, frames: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, frames, VOCAB, generator=generator)
    return logits.log_softmax(dim=2)


def slow_log_prob(trigram: TokenTrigram, tokens: Sequence[int]) -> float:
    """Step by step, from two beginnings to the end."""
    table = trigram.probabilities.tolist()  # [last, one before, next]
    path = [0, 0, *tokens, 0]
    return sum(
        math.log(table[last][before][token])
        for before, last, token in zip(path, path[1:], path[2:], strict=False)
    )


def batch_of(targets: Sequence[Sequence[int]]) -> Batch:
    longest = max(map(len, targets))
    return Batch(
        ids=tuple(map(str, range(len(targets)))),
        samples=torch.zeros(len(targets), 1),
        sample_lengths=torch.ones(len(targets), dtype=torch.int64),
        targets=torch.tensor([[*one, *[0] * (longest - len(one))] for one in targets]),
        target_lengths=torch.tensor([len(one) for one in targets]),
    )


def slow_partition(log_probs: Tensor, trigram: TokenTrigram) -> float:
    """Every path, one after the other."""
    total = 0.0
    for path in itertools.product(range(VOCAB), repeat=len(log_probs)):
        tokens, _ = collapse(path)
        acoustic = sum(float(log_probs[frame, token]) for frame, token in enumerate(path))
        total += math.exp(acoustic + slow_log_prob(trigram, tokens))
    return math.log(total)


def slow_witten_bell(targets: list[list[int]], history: tuple[int, ...], token: int) -> float:
    """Method C, recursively: seen types of a history count once more, for what is unseen."""
    followers: Counter[int] = Counter()
    for tokens in targets:
        path = [0, 0, *tokens, 0]
        for index in range(2, len(path)):
            if tuple(path[index - len(history) : index]) == history:
                followers[path[index]] += 1
    shorter = slow_witten_bell(targets, history[1:], token) if history else 1 / VOCAB
    if not followers:
        return shorter
    kinds = len(followers)
    return (followers[token] + kinds * shorter) / (followers.total() + kinds)


@given(transcripts)
@settings(max_examples=30)
def test_the_trigram_is_witten_and_bells(targets: list[list[int]]) -> None:
    table = fit_trigram(targets, VOCAB).probabilities
    assert torch.allclose(table.sum(dim=2), torch.ones(VOCAB, VOCAB))
    for before, last, token in itertools.product(range(VOCAB), repeat=3):
        expected = slow_witten_bell(targets, (before, last), token)
        assert float(table[last, before, token]) == pytest.approx(expected, rel=1e-5)


def test_transcripts_are_as_likely_as_their_trigrams() -> None:
    trigram = fit_trigram(TARGETS, VOCAB)
    transcripts = [[2, 1], [], [3, 3, 1, 2]]
    expected = [slow_log_prob(trigram, one) for one in transcripts]
    assert trigram.log_probs(batch_of(transcripts)).tolist() == pytest.approx(expected, rel=1e-5)


@given(transcripts, st.integers(1, 5), st.integers(0, 1000))
@settings(max_examples=30)
def test_it_sums_every_path(targets: list[list[int]], frames: int, seed: int) -> None:
    trigram = fit_trigram(targets, VOCAB)
    log_probs = random_log_probs(1, frames, seed)
    found = log_partition(log_probs, torch.tensor([frames]), trigram)
    assert float(found) == pytest.approx(slow_partition(log_probs[0], trigram), abs=1e-4)


def test_its_gradient_is_that_of_the_enumeration() -> None:
    trigram = fit_trigram(TARGETS, VOCAB)
    log_probs = random_log_probs(1, 4, seed=1).requires_grad_()
    (3 * log_partition(log_probs, torch.tensor([4]), trigram)).sum().backward()
    assert log_probs.grad is not None
    for frame, token in itertools.product(range(4), range(VOCAB)):
        sides = []
        for step in (1e-3, -1e-3):
            moved = log_probs.detach()[0].double()
            moved[frame, token] += step
            sides.append(slow_partition(moved, trigram))
        expected = 3 * (sides[0] - sides[1]) / 2e-3
        assert float(log_probs.grad[0, frame, token]) == pytest.approx(expected, abs=1e-3)


def test_batched_is_as_alone_and_padding_is_never_looked_at() -> None:
    trigram = fit_trigram(TARGETS, VOCAB)
    lengths = torch.tensor([7, 3, 1])
    log_probs = random_log_probs(3, 7, seed=2)
    garbage = log_probs.clone()
    garbage[1, 3:], garbage[2, 1:] = torch.nan, torch.inf
    garbage.requires_grad_()
    found = log_partition(garbage, lengths, trigram)
    found.sum().backward()
    assert garbage.grad is not None
    for row, length in enumerate(lengths.tolist()):
        alone = log_probs[row : row + 1, :length].clone().requires_grad_()
        expected = log_partition(alone, lengths[row : row + 1], trigram)
        expected.sum().backward()
        assert alone.grad is not None
        assert float(found[row].detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
        assert torch.allclose(garbage.grad[row, :length], alone.grad[0], atol=1e-6)
        assert not garbage.grad[row, length:].any()


def test_long_and_unlikely_utterances_neither_vanish_nor_overflow() -> None:
    """2,000 frames whose best token has 0.01 %: a product of 1e-8000."""
    trigram = fit_trigram(TARGETS, VOCAB)
    log_probs = random_log_probs(1, 2000, seed=3) - 9.0
    lengths = torch.tensor([2000])
    shifted = log_partition(log_probs, lengths, trigram)
    plain = log_partition(log_probs + 9.0, lengths, trigram)
    assert float(shifted) == pytest.approx(float(plain) - 18000, rel=1e-5)


def test_the_posteriors_of_all_transcripts_add_up_to_one() -> None:
    """The loss of mutual information alone is the negative logarithm of a posterior."""
    trigram = fit_trigram(TARGETS, VOCAB)
    log_probs = random_log_probs(1, 2, seed=4)
    pairs = [list(pair) for pair in itertools.permutations(range(1, VOCAB), 2)]
    batch = batch_of([[], *([token] for token in range(1, VOCAB)), *pairs])  # all that fits
    count = len(batch.ids)
    emissions = Emissions(log_probs.repeat(count, 1, 1), torch.full((count,), 2))
    losses = Objective(1.0, trigram).losses(emissions, batch)
    assert float((-losses).exp().sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_objective_is_between_ctc_and_the_posterior(share: float) -> None:
    trigram = fit_trigram(TARGETS, VOCAB)
    batch = batch_of(TARGETS)
    emissions = Emissions(random_log_probs(5, 6, seed=5), torch.tensor([6, 5, 6, 4, 3]))
    ctc = Objective().losses(emissions, batch)
    posterior = Objective(1.0, trigram).losses(emissions, batch)
    found = Objective(share, trigram).losses(emissions, batch)
    assert torch.allclose(found, (1 - share) * ctc + share * posterior, atol=1e-4)
    assert (posterior > 0).all()


def test_a_large_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"optim.mmi needs at most 128 tokens, and there are 129"):
        fit_trigram(TARGETS, MAX_TOKENS + 1)
