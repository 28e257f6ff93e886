"""A back-off n-gram model of tokens as tensors, asked for many prefixes and tokens at once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr.decoding import BeamConfig, Knowledge
from asr.decoding.knowledge import Groundwork
from asr.lm.ngram import NgramModel
from asr.tokens import Tokenizer


@dataclass(frozen=True)
class TokenLm:
    """What a model of tokens adds, and the words they spell; its nodes are those of `NgramTables`.

    Attributes:
        order: Length of the longest n-grams.
        lm_weight, word_bonus: See `BeamConfig`.
        start: State before the first token.
        eos: Word id of `</s>`, or -1.
        num_words: Words of the model.
        word: (vocab_size,) int64, word id of each token; of no use for the blank.
        has_text, begins_word, leaves_open: (vocab_size,) bool: a token has characters; they belong
            to a new word in any case; their word goes on with the next token's.
        keys: (num_nodes - 1,) int64, parent × num_words + last word of nodes 1 and up, rising.
        log_prob: (num_nodes,) float64, natural log.
        backoff: (num_inner,) float64, natural log; 0 for node 0.
        link: (num_nodes,) int64, where backing off leads; from node 0 to itself.
        next_state: (num_nodes,) int64, the state of a history that ends in a node.
    """

    order: int
    lm_weight: float
    word_bonus: float
    start: int
    eos: int
    num_words: int
    word: Tensor
    has_text: Tensor
    begins_word: Tensor
    leaves_open: Tensor
    keys: Tensor
    log_prob: Tensor
    backoff: Tensor
    link: Tensor
    next_state: Tensor

    def to(self, device: torch.device) -> TokenLm:
        """The same on another device."""
        moved: dict[str, Any] = {
            one.name: getattr(self, one.name).to(device)
            for one in fields(self)
            if isinstance(getattr(self, one.name), Tensor)
        }
        return replace(self, **moved)

    def extend(self, states: Tensor, last: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """What each token adds to each prefix, a word's bonus as soon as it begins.

        Args:
            states: (batch, beam_width) int64.
            last: (batch, beam_width) int64, last tokens; the blank where there is none.
            tokens: (batch, num_tokens) int64.

        Returns:
            (batch, beam_width, num_tokens): scores, float64, and the states after, int64.
        """
        log_probs, after = self.advance(states, self.word[tokens])
        begins = self.begins_word[tokens][:, None] | ~self.leaves_open[last][..., None]
        begins &= self.has_text[tokens][:, None]
        scores = log_probs * self.lm_weight
        return torch.where(begins, scores + self.word_bonus, scores), after

    def finish(self, states: Tensor) -> Tensor:
        """What the end of the utterance adds to prefixes: (batch, beam_width) float64."""
        ends = torch.full_like(states[:, :1], self.eos)
        return self.advance(states, ends)[0][..., 0] * self.lm_weight

    def advance(self, states: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """The walk of `asr.lm.tables.advance`, for many at once and in a fixed number of steps.

        Every child of every node has a place in the rising `keys`, where one binary search finds
        it; unigrams need none.

        Args:
            states: (batch, beam_width) int64.
            words: (batch, num_words) int64.

        Returns:
            (batch, beam_width, num_words): natural log-probabilities, float64, and the states
            after, int64.
        """
        # Histories from the longest to the empty one, and what backing off that far has cost.
        histories = [(states, torch.zeros_like(states, dtype=torch.float64))]
        for _ in range(self.order - 1):
            state, cost = histories[-1]
            histories.append((self.link[state], cost + self.backoff[state]))
        asked = words[:, None, :].expand(-1, states.shape[1], -1)
        node = asked + 1
        total = histories.pop()[1][..., None].expand_as(node)
        for state, cost in reversed(histories):
            key = state[..., None] * self.num_words + asked
            place = torch.searchsorted(self.keys, key).clamp_(max=len(self.keys) - 1)
            is_found = self.keys[place] == key
            node = torch.where(is_found, place + 1, node)
            total = torch.where(is_found, cost[..., None], total)
        return total + self.log_prob[node], self.next_state[node]


def build_token_lm(
    tokenizer: Tokenizer, lm: NgramModel, lm_weight: float, word_bonus: float
) -> TokenLm:
    """The tensors of a model, on the CPU.

    Raises:
        DataError: The model lacks tokens and has no `<unk>`, or lacks all of them.
    """
    fusion, start, _ = Groundwork(tokenizer, "token", Knowledge(lm=lm)).build(
        BeamConfig(lm_unit="token")
    )
    tables, spelling = lm.tables, fusion.spelling
    num_inner, num_words = tables.backoff.size, int(tables.first_child[1]) - 1
    num_children = np.diff(tables.first_child)
    parents = np.repeat(np.arange(num_inner), num_children)
    link, backoff = tables.link.astype(np.int64), tables.backoff.astype(np.float64)
    link[0], backoff[0] = 0, 0.0
    is_state = (num_children > 0) | (backoff != 0)
    next_state = link.copy()
    next_state[:num_inner][is_state] = np.flatnonzero(is_state)
    has_text = np.diff(spelling.first) > 0
    words = np.where(fusion.token_ids < 0, lm.unk_id, fusion.token_ids)
    return TokenLm(
        order=lm.order,
        lm_weight=lm_weight,
        word_bonus=word_bonus,
        start=start.lm_state,
        eos=lm.eos_id,
        num_words=num_words,
        word=torch.tensor(words),
        has_text=torch.tensor(has_text),
        begins_word=torch.tensor(spelling.closes_before),
        leaves_open=torch.tensor(has_text & ~spelling.closes_after),
        keys=torch.tensor(parents * num_words + tables.word[1:]),
        log_prob=torch.tensor(tables.log_prob, dtype=torch.float64),
        backoff=torch.tensor(backoff),
        link=torch.tensor(link),
        next_state=torch.tensor(next_state),
    )
