"""The tables that `fusion` walks: spelling of the tokens, trie of the words, look-ahead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from asr.decoding.fusion import NOT_A_WORD, LexiconTables, Spelling, Trie
from asr.tokens import Tokenizer

Array = npt.NDArray[Any]


def build_spelling(tokenizer: Tokenizer) -> tuple[Spelling, dict[str, int]]:
    """What text each token adds, and the label of each character, from 1 on.

    The tokenizer is asked by its `word_spans` alone, so any kind of vocabulary will do: a token
    closes the word before it if a token with text, followed by it, is a word of its own. Where
    all of them do so, as in a vocabulary of words, each token is a whole word.
    """
    vocab_size = len(tokenizer.vocab)
    texts = ["", *(_text(tokenizer, token) for token in range(1, vocab_size))]
    with_text = next((token for token, text in enumerate(texts) if text), 0)
    closes = [False] * vocab_size
    for token in range(1, vocab_size):
        spans = tokenizer.word_spans([with_text, token]) if with_text else []
        closes[token] = bool(spans) and spans[0][2] == 1
    labels = {character: 1 + i for i, character in enumerate(sorted(set().union(*texts)))}
    first = np.cumsum([0, *map(len, texts)], dtype=np.int32)
    closes_before = np.array(closes)
    return (
        Spelling(
            closes_before=closes_before,
            closes_after=np.full(vocab_size, closes_before[1:].all()),
            first=first,
            labels=np.array([labels[c] for text in texts for c in text], np.int32),
        ),
        labels,
    )


def build_trie(paths: Sequence[Sequence[int]]) -> tuple[Trie, Array, Array]:
    """A trie of label sequences, its nodes in breadth-first order.

    Args:
        paths: Distinct sequences of labels, sorted, none empty.

    Returns:
        The trie; for each node its parent, -1 for the root; for each path the node it ends in.
    """
    lengths = np.array([len(path) for path in paths], np.int64)
    flat = np.array([label for path in paths for label in path], np.int32)
    begins = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    shared = _shared_lengths(paths)
    labels, parents = [np.full(1, -1, np.int32)], [np.full(1, -1, np.int32)]
    node_of_path = np.zeros(len(paths), np.int32)
    num_nodes = 1
    for depth in range(int(lengths.max(initial=0))):
        longer = np.flatnonzero(lengths > depth)
        # A path has a node of its own here unless it shares more than `depth` with the one before.
        is_new = shared[longer] <= depth
        labels.append(flat[begins[longer[is_new]] + depth])
        parents.append(node_of_path[longer[is_new]])
        node_of_path[longer] = num_nodes - 1 + np.cumsum(is_new)
        num_nodes += int(is_new.sum())
    parent = np.concatenate(parents)
    counts = np.bincount(parent[1:], minlength=num_nodes)
    first_child = (1 + np.concatenate(([0], np.cumsum(counts)))).astype(np.int32)
    return Trie(first_child, np.concatenate(labels)), parent, node_of_path


def build_lexicon(
    words: Mapping[str, int],
    labels: Mapping[str, int],
    scores: Mapping[str, float],
    unknown_look_ahead: float,
    open_bonus: float,
) -> LexiconTables:
    """The trie of those words that can be spelled.

    Args:
        words: Id in the language model, or NOT_IN_LM, of each word.
        labels: Of each character that tokens have.
        scores: What each word costs as a unigram, weighted; look-ahead is the best below a node.
        unknown_look_ahead: What an unknown word costs while open.
        open_bonus: Added to the look-ahead of every open word.
    """
    spelled = sorted((path, word) for path, word in spell(words, labels) if path)
    trie, parent, ends = build_trie([path for path, _ in spelled])
    num_nodes = len(parent)
    word = np.full(num_nodes, NOT_A_WORD, np.int32)
    word[ends] = [words[text] for _, text in spelled]
    best = np.full(num_nodes, -np.inf)
    best[ends] = [scores[text] for _, text in spelled]
    for node in range(num_nodes - 1, 0, -1):
        best[parent[node]] = max(best[parent[node]], best[node])
    best[0] = -open_bonus  # between words nothing is open
    look_ahead = np.concatenate(([unknown_look_ahead], best)) + open_bonus
    return LexiconTables(trie, word, look_ahead)


def spell(words: Iterable[str], labels: Mapping[str, int]) -> list[tuple[tuple[int, ...], str]]:
    """Labels of the words whose characters all have one."""
    known = labels.keys()
    return [
        (tuple(labels[character] for character in word), word)
        for word in words
        if known >= set(word)
    ]


def _text(tokenizer: Tokenizer, token: int) -> str:
    spans = tokenizer.word_spans([token])
    return spans[0][0] if spans else ""


def _shared_lengths(paths: Sequence[Sequence[int]]) -> Array:
    """For each path, how many labels at its beginning the one before has too."""
    shared = np.zeros(len(paths), np.int64)
    for index in range(1, len(paths)):
        left, right = paths[index - 1], paths[index]
        count = 0
        while count < min(len(left), len(right)) and left[count] == right[count]:
            count += 1
        shared[index] = count
    return shared
