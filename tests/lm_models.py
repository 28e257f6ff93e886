"""Random back-off models for the tests of `asr.lm`, with exact values and every kind of history."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from lm_reference import IdNgrams, TupleModel

from asr.lm.ngram import NgramModel
from asr.lm.trie import OrderTable, model_from_tables

BOS_NAME, EOS_NAME, UNK_NAME = b"<s>", b"</s>", b"<unk>"


@dataclass(frozen=True)
class Shape:
    """What a random model is like.

    Attributes:
        seed: Of all choices below.
        order: Length of the longest n-grams.
        num_words: Words besides the marks.
        marks: Those of `<s>`, `</s>` and `<unk>` that it has.
        share_many: Share of the histories that nearly all words may follow; few follow others.
        share_zero: Share of the back-offs that are 0.
        share_dropped: Share of the n-grams above unigrams left out, whatever builds on them.
    """

    seed: int
    order: int
    num_words: int
    marks: tuple[bytes, ...]
    share_many: float
    share_zero: float
    share_dropped: float


shares = st.sampled_from([0.0, 0.2, 0.6, 1.0])
shapes = st.builds(
    Shape,
    seed=st.integers(0, 2**32 - 1),
    order=st.integers(1, 6),
    num_words=st.integers(1, 25),
    marks=st.sets(st.sampled_from([BOS_NAME, EOS_NAME, UNK_NAME])).map(lambda m: tuple(sorted(m))),
    share_many=st.sampled_from([0.0, 0.15, 0.5]),
    share_zero=shares,
    share_dropped=st.sampled_from([0.0, 0.3]),
)


def words_of(shape: Shape) -> list[bytes]:
    """The vocabulary; the marks stand between the words, not before them."""
    words = [b"w%d" % index for index in range(shape.num_words)]
    middle = shape.num_words // 2
    return [*words[:middle], *shape.marks, *words[middle:]]


def random_ngrams(shape: Shape) -> IdNgrams:
    """N-grams by ids. Values are 16ths, so that sums of them are exact in float32 too."""
    generator = np.random.default_rng(shape.seed)
    words = words_of(shape)
    # Some words never follow another, and some are never followed.
    followers = [w for w in range(len(words)) if words[w] != BOS_NAME and generator.random() < 0.9]

    def values(order: int) -> tuple[float, float]:
        backoff = 0.0 if generator.random() < shape.share_zero else generator.integers(-30, 5) / 16
        log_prob = float(generator.integers(-60, 1) / 16)
        return log_prob, float(backoff) if order < shape.order else 0.0

    ngrams: IdNgrams = {(word,): values(1) for word in range(len(words))}
    level: list[tuple[int, ...]] = [
        (word,) for word in range(len(words)) if generator.random() < 0.8
    ]
    for order in range(2, shape.order + 1):
        longer: list[tuple[int, ...]] = []
        for history in level:
            most = len(followers) if generator.random() < shape.share_many else 3
            chosen = generator.permutation(followers)[: generator.integers(0, most + 1)]
            longer += [(*history, int(word)) for word in chosen]
        generator.shuffle(longer)
        level = longer[:150]
        ngrams |= {ngram: values(order) for ngram in level}
    for ngram in [ngram for ngram in ngrams if len(ngram) > 1]:
        if generator.random() < shape.share_dropped:
            del ngrams[ngram]
    return ngrams


def model_of_ids(ngrams: IdNgrams, order: int, words: list[bytes], seed: int = 0) -> NgramModel:
    """The model of n-grams, given to it in random order."""
    generator = np.random.default_rng(seed)
    tables = []
    for length in range(1, order + 1):
        rows = [ngram for ngram in ngrams if len(ngram) == length]
        if length > 1:
            generator.shuffle(rows)
        values = np.array([ngrams[row] for row in rows], np.float32).reshape(-1, 2)
        ids = np.array(rows, np.int32).reshape(-1, length)
        tables.append(OrderTable(ids, values[:, 0].copy(), values[:, 1].copy()))
    return model_from_tables(words, tables)


def model_and_reference(shape: Shape) -> tuple[NgramModel, TupleModel]:
    """The same random model, fast and slow."""
    words, ngrams = words_of(shape), random_ngrams(shape)
    model = model_of_ids(ngrams, shape.order, words, shape.seed)
    return model, TupleModel(ngrams, shape.order, len(words), model.unk_id)


def random_ids(shape: Shape, reference: TupleModel, size: int, seed: int) -> list[int]:
    """A text that follows the model often, and else holds any word, also unknown ones."""
    generator = np.random.default_rng(seed)
    found: list[int] = []
    for _ in range(size):
        state = reference.state(tuple(found))
        if state and reference.children[state] and generator.random() < 0.7:
            found.append(int(generator.choice(reference.children[state])))
        else:
            found.append(int(generator.integers(-1, len(words_of(shape)) + 2)))
    return found
