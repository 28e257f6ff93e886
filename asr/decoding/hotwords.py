"""Hotwords: phrases that score a bonus when they are said (an automaton after Aho & Corasick).

A phrase counts as whole words only, so its path goes from word boundary to word boundary. While it
is being said a prefix has part of the bonus in advance, in proportion to the characters, so that
the beam does not lose it; what is not completed is taken back. A phrase inside another one counts
too: saying `new york city` completes `new york`.

References:
    Aho & Corasick (1975), Efficient string matching.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, product

import numpy as np

from asr.decoding.fusion import BOUNDARY, HotwordTables, Trie
from asr.decoding.lexicon import build_trie, itself
from asr.decoding.options import MOST_SCORE
from asr.errors import DataError
from asr.tokens import ADD_WORDS

MAX_WAYS = 64
"""Of pronouncing one phrase."""


def build_hotwords(
    hotwords: Mapping[str, float],
    labels: Mapping[str, int],
    spellings: Callable[[str], Sequence[str]] = itself,
) -> HotwordTables:
    """The automaton of some phrases.

    Args:
        hotwords: Bonus of each phrase, natural log; negative to disfavour it. Of phrases that sound
            alike the highest counts.
        labels: Of each character that tokens have.
        spellings: Of a word; see `Tokenizer.spellings`.

    Raises:
        DataError: A phrase is empty, twice there, or cannot be spelled; or a bonus is not a number
            within `MOST_SCORE` of 0.
    """
    weights: dict[tuple[int, ...], float] = {}
    seen: set[tuple[str, ...]] = set()
    for phrase, weight in hotwords.items():
        words = tuple(phrase.split())
        if words in seen:
            raise DataError(f"the hotword {' '.join(words)!r} is there twice")
        seen.add(words)
        if not abs(weight) <= MOST_SCORE:  # so NaN is refused
            raise DataError(
                f"the bonus of the hotword {phrase!r} must be within {MOST_SCORE:.0f} of 0, "
                f"got {weight}"
            )
        for path in _paths(phrase, labels, spellings):
            weights[path] = max(float(weight), weights.get(path, -math.inf))
    paths = sorted(weights)
    trie, parent, ends = build_trie(paths)
    bonus, partial = np.zeros(len(parent)), np.zeros(len(parent))
    for path, end in zip(paths, ends.tolist(), strict=True):
        bonus[end] = weights[path]
        node = int(parent[end])
        for depth in range(len(path) - 1, 0, -1):
            partial[node] = max(partial[node], weights[path] * depth / len(path))
            node = int(parent[node])
    fail = _fail_links(trie, parent.tolist())
    for node in range(1, len(parent)):  # breadth first: suffixes are shorter, so done before
        bonus[node] += bonus[fail[node]]
    return HotwordTables(trie, np.array(fail, np.int32), bonus, partial)


def _paths(
    phrase: str, labels: Mapping[str, int], spellings: Callable[[str], Sequence[str]]
) -> Iterator[tuple[int, ...]]:
    """The labels of a phrase, in each way to spell it but no more than MAX_WAYS."""
    words = phrase.split()
    if not words:
        raise DataError(f"a hotword must hold a word, got {phrase!r}")
    ways = []
    for word in words:
        ways.append(spellings(word))
        if not ways[-1]:
            raise DataError(
                f"the hotword {phrase!r} has no pronunciation of {word!r}", hint=ADD_WORDS
            )
        unknown = sorted(set(ways[-1][0]) - labels.keys())
        if unknown:
            raise DataError(
                f"the hotword {phrase!r} has characters that the model's tokens lack: "
                f"{', '.join(map(repr, unknown))}",
                hint="write it as the model's transcripts are written: same case, no punctuation",
            )
    for way in islice(product(*ways), MAX_WAYS):
        path = [BOUNDARY]
        for spelling in way:
            path += [*(labels[character] for character in spelling), BOUNDARY]
        yield tuple(path)


def _fail_links(trie: Trie, parent: list[int]) -> list[int]:
    """Node of the longest proper suffix of each node."""
    label, first_child = trie.label.tolist(), trie.first_child.tolist()
    children = [
        {label[child]: child for child in range(first_child[node], first_child[node + 1])}
        for node in range(len(parent))
    ]
    fail = [0] * len(parent)
    for node in range(1, len(parent)):
        if parent[node] == 0:
            continue
        suffix = fail[parent[node]]
        while suffix and label[node] not in children[suffix]:
            suffix = fail[suffix]
        fail[node] = children[suffix].get(label[node], 0)
    return fail
