"""What a transcript scores beside the sound, worked out slowly from its words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.decoding import BeamConfig, Knowledge
from asr.lm.arpa import read_arpa
from asr.lm.ngram import NgramModel
from asr.tokens import Tokenizer

# Words that begin alike, one within another, and one (`bab`) that only bigrams make likely.
WORD_ARPA = """\\data\\
ngram 1=8
ngram 2=6

\\1-grams:
-1.5\t<unk>\t0
0\t<s>\t-0.4
-0.9\t</s>\t0
-0.7\ta\t-0.2
-1.1\tab\t-0.3
-1.9\tbab\t-0.1
-1.0\tb\t0
-2.5\tabba\t0

\\2-grams:
-0.3\t<s> ab
-0.2\tab bab
-0.6\tbab </s>
-0.5\ta b
-1.2\ta a
-0.1\tabba </s>

\\end\\
"""
WITHOUT_UNKNOWN = WORD_ARPA.replace("-1.5\t<unk>\t0\n", "").replace("1=8", "1=7")
TOKEN_ARPA = """\\data\\
ngram 1=6
ngram 2=4

\\1-grams:
0\t<s>\t-0.4
-0.9\t</s>\t0
-0.7\ta\t-0.2
-1.1\tb\t-0.3
-0.8\t▁\t-0.3
-2\t<unk>\t0

\\2-grams:
-0.3\t<s> b
-0.2\tb a
-0.9\ta ▁
-0.4\ta </s>

\\end\\
"""


def model_of(directory: Path, arpa: str) -> NgramModel:
    path = directory / "lm.arpa"
    path.write_text(arpa, encoding="utf-8")
    return read_arpa(path)


@dataclass(frozen=True)
class Situation:
    """The arguments of a decoder beside the tokenizer."""

    config: BeamConfig
    knowledge: Knowledge
    sentences: str = ".*"
    """Regular expression of the sentences of the grammar."""

    def words(self) -> set[str] | None:
        """What the lexicon holds; None if there is none."""
        if self.knowledge.lexicon is not None:
            return set(self.knowledge.lexicon)
        if self.knowledge.lm is None or self.config.lm_unit == "token":
            return None
        return set(self.knowledge.lm.words) - {"<s>", "</s>", "<unk>"}


def score(situation: Situation, tokenizer: Tokenizer, tokens: Sequence[int]) -> float | None:
    """Score of a whole utterance; None if it is impossible."""
    config, lm, lexicon = situation.config, situation.knowledge.lm, situation.words()
    words = [word for word, _, _ in tokenizer.word_spans(tokens)]
    is_closed = config.vocabulary == "closed"
    if is_closed and lexicon is not None and any(word not in lexicon for word in words):
        return None
    total = config.word_bonus * len(words) if lm is not None else 0.0
    if not re.fullmatch(situation.sentences, " ".join(words)):
        total += config.off_grammar_score
    known = lexicon
    if lm is not None and config.lm_unit == "word":
        known = {word for word in lexicon or () if lm.id_of(word) >= 0}
        total += config.lm_weight * _lm_score(lm, [w if w in known else "" for w in words])
    elif lm is not None:
        names = [tokenizer.vocab[token].replace(" ", "▁") for token in tokens]
        total += config.lm_weight * _lm_score(lm, names)
    if known is not None:
        total += config.unknown_score * sum(word not in known for word in words)
        total += config.unknown_letter_score * sum(
            _num_strange(word, lexicon or ()) for word in words
        )
    if total == -math.inf:
        return None
    return total + _hot_score(situation.knowledge.hotwords, words)


def _num_strange(word: str, lexicon: Iterable[str]) -> int:
    """Characters of a word from where no word of the lexicon begins like it."""
    beginnings = {known[:end] for known in lexicon for end in range(1, len(known) + 1)}
    return sum(word[: index + 1] not in beginnings for index in range(len(word)))


def _lm_score(lm: NgramModel, words: Sequence[str]) -> float:
    """Log-probability of words and end; words that the model lacks count if it has `<unk>`."""
    state, total = lm.start(), 0.0
    for word in words:
        log_prob, state = lm.score(state, lm.id_of(word))
        if lm.id_of(word) >= 0 or lm.unk_id >= 0:
            total += log_prob
    return total + lm.finish(state)


def _hot_score(hotwords: Mapping[str, float], words: Sequence[str]) -> float:
    """The bonus of each phrase for each place where it stands, as whole words."""
    total = 0.0
    for phrase, weight in hotwords.items():
        parts = phrase.split()
        for begin in range(len(words)):
            if list(words[begin : begin + len(parts)]) == parts:
                total += weight
    return total
