"""Smaller models: without the n-grams whose loss changes the model least.

References:
    Stolcke (1998), "Entropy-based pruning of backoff language models", equations 3 to 9; SRILM's
    `ngram -prune`. As there, the probability of a history is the model's own, which for
    Kneser-Ney models is coarse (Chelba et al. 2010).
"""

from __future__ import annotations

import numpy as np

from asr.errors import DataError
from asr.lm.compiled import compiled, kernel
from asr.lm.ngram import NgramModel
from asr.lm.renormalising import NOTHING, left_over, order_rows, with_backoffs
from asr.lm.tables import (
    NUM_INNER,
    NUM_NODES,
    Array,
    NgramTables,
    advance,
    children_of,
    int64,
    link_of,
    log_prob_of,
    word_of,
)
from asr.lm.trie import OrderTable
from asr.progress import working


@working("pruning")
def prune(model: NgramModel, threshold: float) -> NgramModel:
    """Drop n-grams above unigrams that change the model's perplexity by less than a threshold.

    Args:
        model: The model.
        threshold: Relative change of the perplexity that one n-gram's loss may cause; at least 0,
            which leaves the model as it is; 1e-8 is mild, 1e-6 strong. Beginnings of kept n-grams
            stay.

    Raises:
        DataError: The threshold is negative.
    """
    if not threshold >= 0:
        raise DataError(f"threshold {threshold}, expected at least 0")
    if threshold == 0:
        return model  # no loss is below it, though rounding makes some so
    is_kept = kept_nodes(model.tables, model.bos_id, threshold)
    rows, begin, tables = order_rows(model), 1, []
    for ids, end in zip(rows, model.order_ends, strict=True):
        kept = is_kept[begin:end]
        log_probs = model.tables.log_prob[begin:end][kept]
        tables.append(OrderTable(ids[kept], log_probs, np.zeros(len(log_probs), np.float32)))
        begin = end
    return with_backoffs(model.vocabulary.split(b"\n"), tables)


@compiled
def kept_nodes(tables: NgramTables, bos_id: int, threshold: float) -> Array:
    """(num_nodes,) bool: unigrams, n-grams worth keeping, and the beginnings of those."""
    num_inner = int64(tables.ints[NUM_INNER])
    history_log_probs = np.zeros(num_inner)
    is_kept = np.ones(tables.ints[NUM_NODES], np.bool_)
    for node in range(num_inner):
        begin, end = children_of(tables, node)
        for child in range(begin, min(end, num_inner)):
            if word_of(tables, child) != bos_id:
                history_log_probs[child] = history_log_probs[node] + log_prob_of(tables, child)
    # Long histories first, so that a beginning knows whether anything still builds on it.
    for node in range(num_inner - 1, 0, -1):
        history = np.exp(history_log_probs[node])
        here, shorter = left_over(tables, node, bos_id)
        begin, end = children_of(tables, node)
        for child in range(begin, end):
            if not has_kept_child(tables, child, is_kept):
                change = history * entropy_change(tables, node, child, here, shorter)
                is_kept[child] = np.exp(change) - 1.0 >= threshold
    return is_kept


@compiled
def has_kept_child(tables: NgramTables, node: int, is_kept: Array) -> bool:
    """Whether an n-gram is the beginning of one that is kept."""
    if node >= tables.ints[NUM_INNER]:
        return False
    begin, end = children_of(tables, node)
    return bool(np.any(is_kept[begin:end]))


@kernel
def entropy_change(
    tables: NgramTables, node: int, child: int, here: float, shorter: float
) -> float:
    """Relative entropy, after one history, between the model and the model without a child.

    Args:
        tables: The model.
        node: The history.
        child: The n-gram.
        here: Probability that all children of the history leave.
        shorter: The same after the shorter history.
    """
    log_prob = log_prob_of(tables, child)
    prob = np.exp(log_prob)
    backed_off = advance(tables, link_of(tables, node), word_of(tables, child))[0]
    here, shorter = max(here, NOTHING), max(shorter, NOTHING)
    old_weight = np.log(here / shorter)
    new_weight = np.log((here + prob) / (shorter + np.exp(backed_off)))
    change = prob * (backed_off + new_weight - log_prob) + here * (new_weight - old_weight)
    return float(-change)
