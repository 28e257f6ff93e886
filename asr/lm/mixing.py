"""Linear interpolation of models into one, with weights from held-out text; adaptation.

The mixture gives each n-gram that any model lists the weighted mean of the models' probabilities,
backed off where a model does not list it; a word that is not in a model's vocabulary has
probability 0 there, and so has the sentence end in a model without `</s>`. Back-off weights follow
from the sums being 1.

References:
    Jelinek & Mercer (1980); Stolcke (2002), SRILM's `ngram -mix-lm` and `compute-best-mix`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.errors import DataError
from asr.lm.compiled import compiled
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.lm.ngram import BOS, SENTENCE_BREAK, SMALLEST_PROB, UNK, NgramModel
from asr.lm.perplexity import text_ids, text_letters
from asr.lm.renormalising import order_rows, with_backoffs
from asr.lm.tables import Array, NgramTables, advance
from asr.lm.trie import OrderTable, merged_rows
from asr.progress import working

EM_TOLERANCE = 1e-7
MAX_EM_ROUNDS = 1000


@working("mixing")
def interpolate_models(models: Sequence[NgramModel], weights: Sequence[float]) -> NgramModel:
    """Mix models into one that is queried like any other.

    Exact, but for rounding to float32: the probability of every n-gram that at least one model
    lists, which is the weighted mean of what the models give it, and the sum of 1 over the words
    after every history. Elsewhere it is an approximation: after a history h, a word v that no model
    lists there gets back-off(h) p(v | h without its first word) of the *mixture*, while the mean of
    the models would back off in each of them with its own weight. The two agree where one model
    has all the weight, and where the models list the same n-grams with proportional remainders.

    Args:
        models: At least one; their orders may differ.
        weights: One each, at least 0; they must add up to 1. A model of weight 0 is left out:
            words that it alone has are unknown to the mixture, not known and impossible.

    Raises:
        DataError: The weights do not fit.
    """
    # Asked so that NaN does not pass.
    is_share = min(weights, default=-1.0) >= 0 and abs(sum(weights) - 1) <= 1e-6
    if len(models) != len(weights) or not is_share:
        shown = " ".join(f"{weight:g}" for weight in weights)
        raise DataError(
            f"{len(models)} model{'' if len(models) == 1 else 's'} with weights {shown}",
            hint="give one weight for each, at least 0; together they are 1",
        )
    models = [model for model, weight in zip(models, weights, strict=True) if weight > 0]
    weights = [weight for weight in weights if weight > 0]
    names = [_names(model) for model in models]
    words = list(dict.fromkeys(word for words_of_model in names for word in words_of_model))
    ids = {word: index for index, word in enumerate(words)}
    # (num_words of a model,) id in the mixture; and (num_words of the mixture,) id in the model.
    to_mixture = [
        np.array([ids[word] for word in words_of_model], np.int32) for words_of_model in names
    ]
    to_models = [np.full(len(words), -1, np.int32) for _ in models]
    for there, back in zip(to_mixture, to_models, strict=True):
        back[there] = np.arange(there.size)
    rows_of_models = [
        [there[rows] for rows in order_rows(model)]
        for model, there in zip(models, to_mixture, strict=True)
    ]
    tables = []
    for order in range(1, max(model.order for model in models) + 1):
        rows = merged_rows([listed[order - 1] for listed in rows_of_models if len(listed) >= order])
        probs = np.zeros(len(rows))
        for model, weight, back in zip(models, weights, to_models, strict=True):
            log_probs = ending_log_probs(model.tables, back[rows])
            probs += weight * np.where(back[rows[:, -1]] >= 0, np.exp(log_probs), 0.0)
        if order == 1 and BOS in ids:
            probs[ids[BOS]] = 1.0
        log_probs = np.log(np.maximum(probs, SMALLEST_PROB)).astype(np.float32)
        tables.append(OrderTable(rows, log_probs, np.zeros(len(rows), np.float32)))
    return with_backoffs([word.encode() for word in words], tables)


def _names(model: NgramModel) -> list[str]:
    """The words by id; the unknown word is named alike in all models."""
    return [UNK if index == model.unk_id else word for index, word in enumerate(model.words)]


@compiled
def ending_log_probs(tables: NgramTables, rows: Array) -> Array:
    """(num_rows,) natural log-probability of the last word of each row after the others."""
    log_probs = np.empty(rows.shape[0])
    for row in range(rows.shape[0]):
        state = 0
        for column in range(rows.shape[1]):
            log_probs[row], state = advance(tables, state, rows[row, column])
    return log_probs


def best_weights(models: Sequence[NgramModel], paths: Sequence[Path]) -> list[float]:
    """Weights under which the mixture gives held-out texts the highest probability, by EM.

    Words that no model knows say nothing about the weights and are left out.

    Raises:
        DataError: A text cannot be read, or no word of it is known.
    """
    blocks, is_known = [np.empty((0, len(models)))], False
    for letters in text_letters(paths):  # read once, as a text may come through a pipe
        ids = [text_ids(model, letters) for model in models]
        blocks.append(np.stack([*map(_text_probs, models, ids)], axis=1))
        is_known |= any(map(_has_word, models, ids))
    if not is_known:
        raise DataError(
            f"no model knows a word of {', '.join(map(str, paths))}",
            hint="write the words as the models do: capital letters are others than small ones; "
            "--model of `asr lm interpolate` writes them as a recogniser does",
        )
    probs = np.concatenate(blocks)
    return maximise(probs[probs.sum(axis=1) > 0])


def _has_word(model: NgramModel, ids: Array) -> bool:
    """Whether the model knows one; it has the ends of the sentences of any text."""
    return bool(np.any((ids >= 0) & (ids != model.eos_id)))


def _text_probs(model: NgramModel, ids: Array) -> Array:
    """(num_words,) probability of each word and sentence end; 0 for those the model lacks."""
    probs = np.where(ids < 0, 0.0, np.exp(model.score_ids(ids)))
    # Where the model has no `</s>`, only the break stands for the end of a sentence.
    return probs[ids != SENTENCE_BREAK] if model.eos_id >= 0 else probs


def maximise(probs: Array) -> list[float]:
    """Mixture weights of highest likelihood.

    Args:
        probs: (num_words, num_models) probability of each word under each model; no row all 0.
    """
    weights = np.full(probs.shape[1], 1.0 / probs.shape[1])
    for _ in range(MAX_EM_ROUNDS):
        shares = probs * weights
        shares /= shares.sum(axis=1, keepdims=True)
        change = np.abs(shares.mean(axis=0) - weights).max()
        weights = shares.mean(axis=0)
        if change < EM_TOLERANCE:
            break
    return [float(weight) for weight in weights / math.fsum(weights)]


def adapt(base: NgramModel, paths: Sequence[Path], weight: float = 0.5) -> NgramModel:
    """Mix a model of a user's sentences into a model; new words join the vocabulary.

    Args:
        base: The model.
        paths: Texts, one sentence a line.
        weight: Share of the sentences, 0 to 1; 0 leaves them out, and 1 the model.

    Raises:
        DataError: A text cannot be read, or the weight is out of range.
    """
    if not 0 <= weight <= 1:
        raise DataError(
            f"the weight of the sentences is {weight:g}",
            hint="give their share of the mixture, between 0 and 1",
        )
    own = build_model(paths, BuildOptions(order=min(base.order, 16))).model
    return interpolate_models([base, own], [1.0 - weight, weight])
