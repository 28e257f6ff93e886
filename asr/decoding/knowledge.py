"""From language model, lexicon and hotwords to the tables of `fusion`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from asr.decoding.automaton import AutomatonTables
from asr.decoding.fusion import (
    BOUNDARY,
    NO_LM,
    NOT_IN_LM,
    TOKEN_LM,
    WORD_LM,
    Fusion,
    HotwordTables,
    Spelling,
    find_label,
)
from asr.decoding.grammar import compile_grammar
from asr.decoding.grammar_rules import Grammar
from asr.decoding.homophones import Writer
from asr.decoding.hotwords import build_hotwords
from asr.decoding.lexicon import Entry, build_lexicon, build_spelling, itself
from asr.decoding.options import BeamConfig
from asr.decoding.search_state import Start
from asr.errors import ConfigError, DataError
from asr.lm.ngram import NgramModel
from asr.lm.tables import empty_tables
from asr.tokens import BOUNDARY as SPACE_MARK
from asr.tokens import Tokenizer

SENTENCE_MARKS = ("<s>", "</s>", "<unk>", "<UNK>")


@dataclass(frozen=True)
class Knowledge:
    """What a beam search knows beside the sound; nothing by default.

    Attributes:
        lm: N-gram language model of words or of tokens.
        lexicon: The words there are; by default those of a language model of words.
        hotwords: Bonus of phrases, natural log, for each time one is said as whole words.
        grammar: Which sentences there are; all others are impossible, or cost the
            `off_grammar_score` of the settings.

    Raises:
        DataError: One of them is of another kind: a text for a list, a file for what it holds.
    """

    lm: NgramModel | None = None
    lexicon: Sequence[str] | None = None
    hotwords: Mapping[str, float] = field(default_factory=dict)
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        """Refuse what would be taken for something else: a text for the list of its letters."""
        kinds = (
            ("lm", NgramModel | None, "a model, such as asr.lm.files.read_model gives"),
            ("hotwords", Mapping, "bonuses by phrase"),
            ("grammar", Grammar | None, "a grammar, as asr.decoding.grammar.read_grammar gives"),
        )
        for name, kind, what in kinds:
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise DataError(f"{name} must be {what}; got {type(value).__name__}")
        if isinstance(self.lexicon, str):
            raise DataError(f"lexicon must be a list of words, got the text {self.lexicon[:60]!r}")


class Built(NamedTuple):
    """What a search is made of.

    Fields:
        fusion: All tables.
        start: What is known of the empty prefix.
        writer: From tokens to written words.
    """

    fusion: Fusion
    start: Start
    writer: Writer


def build_fusion(tokenizer: Tokenizer, config: BeamConfig, knowledge: Knowledge) -> Built:
    """Turn what is known into tables; see `BeamDecoder`.

    Raises:
        ConfigError, DataError: As `BeamDecoder`.
    """
    lm, hotwords, grammar = knowledge.lm, knowledge.hotwords, knowledge.grammar
    spelling, labels = build_spelling(tokenizer)
    unit = NO_LM if lm is None else {"word": WORD_LM, "token": TOKEN_LM}[config.lm_unit]
    word_lm = lm if unit == WORD_LM else None
    words = _words(tokenizer, word_lm, knowledge)
    if config.vocabulary == "closed" and not words:
        raise ConfigError(
            "a closed vocabulary needs words", hint="give a lexicon or a language model of words"
        )
    _check_hotwords(hotwords, words if config.vocabulary == "closed" else None)
    has_words = knowledge.lexicon is not None or unit == WORD_LM or tokenizer.words is not None
    unknown_score = config.unknown_score if has_words else 0.0
    unknown = _unigram_score(NOT_IN_LM, word_lm, config)
    if unit != WORD_LM:
        unknown += unknown_score
    word_bonus = config.word_bonus if lm is not None else 0.0
    spellings = itself if tokenizer.words is None else tokenizer.spellings
    automaton = build_hotwords(hotwords, labels, spellings)
    entries = _entries(tokenizer, _unigram_scores(words, word_lm, config), words, grammar)
    fusion = Fusion(
        is_active=unit != NO_LM or has_words or bool(hotwords) or grammar is not None,
        has_grammar=grammar is not None,
        is_closed=config.vocabulary == "closed",
        lm_unit=unit,
        lm_weight=config.lm_weight,
        word_bonus=word_bonus,
        unknown_score=unknown_score,
        unknown_letter_score=config.unknown_letter_score if has_words else 0.0,
        off_grammar_score=config.off_grammar_score,
        most_gain=_most_gain(word_bonus, unknown_score, automaton, spelling),
        eos_id=lm.eos_id if lm is not None else -1,
        token_ids=_token_ids(tokenizer, lm if unit == TOKEN_LM else None),
        spelling=spelling,
        lexicon=build_lexicon(entries, labels, unknown, word_bonus),
        hotwords=automaton,
        grammar=_any_text()
        if grammar is None
        else compile_grammar(grammar, labels, BOUNDARY, spellings),
        ngrams=lm.tables if lm is not None else empty_tables(),
    )
    hot_node = max(0, find_label(automaton.trie, 0, BOUNDARY))
    start = Start(lm.start_state if lm is not None else 0, hot_node)
    return Built(fusion, start, Writer(tokenizer, entries, word_lm))


def _words(tokenizer: Tokenizer, lm: NgramModel | None, knowledge: Knowledge) -> dict[str, int]:
    """Words that the lexicon trie holds, each with its id in the language model `lm` of words."""
    lexicon = knowledge.lexicon
    if lexicon is None and lm is None and tokenizer.words is not None:
        lexicon = tokenizer.words
        if knowledge.grammar is not None:
            lexicon = sorted(filter(tokenizer.spellings, knowledge.grammar.words()))
    if lexicon is None:
        words = {} if lm is None else _words_of(lm)
        if words and not any(map(tokenizer.spellings, words)):
            raise DataError(
                "the model's tokens can spell no word of the language model",
                hint="it must be built from text written like the model's transcripts (case!)",
            )
        return words
    bad = [word for word in lexicon if not tokenizer.spellings(word)]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise DataError(
            f"the model's tokens cannot spell the word {bad[0]!r} of the lexicon{more}",
            hint="write words as the model's transcripts are written, one at a time",
        )
    ids = {word: NOT_IN_LM if lm is None else lm.id_of(word) for word in lexicon}
    words = {word: NOT_IN_LM if index < 0 else index for word, index in ids.items()}
    if lm is not None and words and set(words.values()) == {NOT_IN_LM}:
        raise DataError(
            "the language model has none of the words of the lexicon "
            f"(first of the lexicon: {next(iter(words))!r})",
            hint="both must be written like the model's transcripts",
        )
    return words


def _entries(
    tokenizer: Tokenizer,
    scores: Mapping[str, float],
    words: Mapping[str, int],
    grammar: Grammar | None,
) -> dict[str, tuple[Entry, ...]]:
    """The words of each spelling, among which the search chooses.

    Where words sound alike, those of the grammar come before all others, and those of the language
    model before those that it does not have; without it there is nothing to choose by, and the
    first of the dictionary is taken.
    """
    if tokenizer.words is None:  # nothing sounds alike
        return {
            text: (Entry(text, word, scores[text]),)
            for text, word in words.items()
            if tokenizer.spellings(text)
        }
    found: dict[str, tuple[Entry, ...]] = {}
    allowed = frozenset() if grammar is None else grammar.words()
    for spelling in {spelling for word in words for spelling in tokenizer.spellings(word)}:
        entries = [
            Entry(text, words[text], scores[text])
            for text in tokenizer.readings(spelling)
            if text in words
        ]
        entries = [one for one in entries if one.text in allowed] or entries
        known = tuple(one for one in entries if one.word != NOT_IN_LM)
        found[spelling] = known or (entries[0],)
    return found


def _words_of(lm: NgramModel) -> dict[str, int]:
    marks = {lm.id_of(mark) for mark in SENTENCE_MARKS}
    return {word: index for index, word in enumerate(lm.words) if index not in marks}


def _check_hotwords(hotwords: Mapping[str, float], words: Mapping[str, int] | None) -> None:
    """In a closed vocabulary hotwords must be of its `words`."""
    if words is None:
        return
    for phrase in hotwords:
        missing = [word for word in phrase.split() if word not in words]
        if missing:
            raise DataError(
                f"the hotword {phrase!r} can never be said: {missing[0]!r} is not in the lexicon",
                hint="add it to the lexicon, or allow an open vocabulary",
            )


def _unigram_scores(
    words: Mapping[str, int], lm: NgramModel | None, config: BeamConfig
) -> dict[str, float]:
    if lm is None:
        return dict.fromkeys(words, 0.0)
    return {word: _unigram_score(index, lm, config) for word, index in words.items()}


def _unigram_score(word: int, lm: NgramModel | None, config: BeamConfig) -> float:
    """What a word, or NOT_IN_LM, costs without its history."""
    if lm is None:
        return 0.0
    if word >= 0:
        return config.lm_weight * float(lm.tables.log_prob[1 + word])
    unk = lm.unk_id
    unk_score = config.lm_weight * float(lm.tables.log_prob[1 + unk]) if unk >= 0 else 0.0
    return unk_score + config.unknown_score


def _token_ids(tokenizer: Tokenizer, lm: NgramModel | None) -> np.ndarray:
    """Id of each token in a language model of tokens."""
    vocab = tokenizer.vocab
    ids = np.full(len(vocab), -1, np.int64)
    if lm is None:
        return ids
    ids[1:] = [lm.id_of(token.replace(" ", SPACE_MARK)) for token in vocab[1:]]
    missing = [vocab[token] for token in range(1, len(vocab)) if ids[token] < 0]
    if missing and (lm.unk_id < 0 or len(missing) == len(vocab) - 1):
        raise DataError(
            f"the language model of tokens lacks the token {missing[0]!r}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            hint=f"build it from the tokens of texts, blank between them, spaces as {SPACE_MARK}",
        )
    return ids


def _most_gain(
    word_bonus: float, unknown_score: float, hotwords: HotwordTables, spelling: Spelling
) -> float:
    """Bound of what one token can add: two words closed and one begun, every label a hotword."""
    most_labels = int(np.diff(spelling.first).max()) + 2
    most_hot = most_labels * float(hotwords.bonus.max()) + float(hotwords.partial.max())
    return 3 * max(word_bonus, 0.0) + 3 * max(unknown_score, 0.0) + most_hot


def _any_text() -> AutomatonTables:
    """Tables of the types of a grammar's, for a search without one."""
    ints = np.zeros(2, np.int32)
    return AutomatonTables(ints, ints[:1], ints[:1], np.ones(1, np.bool_))
