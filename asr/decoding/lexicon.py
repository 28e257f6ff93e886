"""The tables that `fusion` walks: spelling of the tokens, trie of the words, look-ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from asr.decoding.fusion import LexiconTables, Spelling, Trie
from asr.tokens import Tokenizer

Array = npt.NDArray[Any]


def itself(word: str) -> tuple[str, ...]:
    """How words are spelled whose tokens are written text; see `Tokenizer.spellings`."""
    return (word,)


def build_spelling(tokenizer: Tokenizer) -> tuple[Spelling, dict[str, int]]:
    """What each token spells, and the label of each character, from 1 on."""
    texts = tokenizer.texts
    characters = [text.replace(" ", "") for text in texts]
    labels = {character: 1 + i for i, character in enumerate(sorted(set().union(*characters)))}
    return (
        Spelling(
            closes_before=np.array([text.startswith(" ") for text in texts]),
            closes_after=np.array([len(text) > 1 and text.endswith(" ") for text in texts]),
            first=np.cumsum([0, *map(len, characters)], dtype=np.int32),
            labels=np.array([labels[c] for text in characters for c in text], np.int32),
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


class Entry(NamedTuple):
    """A word of the lexicon.

    Fields:
        text: As it is written.
        word: Id in the language model, or NOT_IN_LM.
    """

    text: str
    word: int


class WordTrie(NamedTuple):
    """Words by their characters, whatever they cost; fields as of `LexiconTables`.

    Fields:
        trie: Of all words.
        parent: (num_nodes,) int32, -1 for the root.
        first_word, words: The words that end in each node.
    """

    trie: Trie
    parent: Array
    first_word: Array
    words: Array


def build_words(entries: Mapping[str, Sequence[Entry]], labels: Mapping[str, int]) -> WordTrie:
    """The trie of words.

    Args:
        entries: The words of each spelling; several only if the language model has them.
        labels: Of each character that tokens have, in the order of the characters.
    """
    spellings = sorted(entries)
    trie, parent, ends = build_trie([tuple(map(labels.__getitem__, one)) for one in spellings])
    of_path = [entries[spelling] for spelling in spellings]
    counts = np.zeros(len(parent), np.int32)
    counts[ends] = [len(found) for found in of_path]
    by_node = [of_path[place] for place in np.argsort(ends).tolist()]
    return WordTrie(
        trie=trie,
        parent=parent,
        first_word=np.concatenate(([0], np.cumsum(counts))).astype(np.int32),
        words=np.array([one.word for found in by_node for one in found], np.int32),
    )


def weigh_words(
    words: WordTrie, scores: Array, unknown_look_ahead: float, open_bonus: float
) -> LexiconTables:
    """Tables of words that cost something.

    Args:
        words: What there is.
        scores: (num_words,) float64, what each of `words.words` costs as a unigram, weighted.
        unknown_look_ahead: What an unknown word costs while open; look-ahead of the others is the
            best score below a node.
        open_bonus: Added to the look-ahead of every open word.
    """
    best = np.full(len(words.parent), -np.inf)
    first = words.first_word
    ends = np.flatnonzero(first[:-1] < first[1:])
    if ends.size:
        best[ends] = np.maximum.reduceat(scores, first[ends])
    for level in reversed(_levels(words.trie)):
        np.maximum.at(best, words.parent[level], best[level])
    best[0] = -open_bonus  # between words nothing is open
    return LexiconTables(
        trie=words.trie,
        first_word=first,
        words=words.words,
        look_ahead=np.concatenate(([unknown_look_ahead], best)) + open_bonus,
    )


def _levels(trie: Trie) -> list[slice]:
    """Ranges of the nodes of one, two, … characters."""
    begin, end = 0, 1
    found = []
    while end < len(trie.label):
        begin, end = int(trie.first_child[begin]), int(trie.first_child[end])
        found.append(slice(begin, end))
    return found


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
