"""From language model, lexicon and hotwords to the tables of `fusion`."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, Literal, NamedTuple

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
    LexiconTables,
    Spelling,
    find_label,
)
from asr.decoding.grammar import compile_grammar, compile_sentences
from asr.decoding.grammar_rules import Grammar
from asr.decoding.homophones import Wishes, Writer
from asr.decoding.hotwords import build_hotwords
from asr.decoding.lexicon import Entry, build_spelling, build_words, itself, weigh_words
from asr.decoding.options import BeamConfig
from asr.decoding.search_state import Start
from asr.errors import ConfigError, DataError
from asr.lm.ngram import NgramModel
from asr.lm.tables import empty_tables
from asr.tokens import BOUNDARY as SPACE_MARK
from asr.tokens import Tokenizer, WordTokenizer, shown_words

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
        DataError: One of them is of another kind: a text for a list, a file for what it holds, a
            text for a number.
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
        if not isinstance(self.lexicon, Sequence | None):
            raise DataError(
                f"lexicon must be a list of words, got {type(self.lexicon).__name__}",
                hint="read a file with asr.word_files.read_lexicon, make a list of anything else",
            )
        for word in self.lexicon or ():
            if not isinstance(word, str):
                raise DataError(f"words of the lexicon must be text, got {word!r}")
        bonuses: Mapping[Any, Any] = self.hotwords
        for phrase, bonus in bonuses.items():
            if not (isinstance(phrase, str) and isinstance(bonus, Real)):
                raise DataError(f"hotwords must be numbers by text, got {phrase!r}: {bonus!r}")


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


class Groundwork:
    """What takes time to build and is the same for all weights.

    Args:
        tokenizer: Of the model.
        lm_unit: Of the settings: what the words of the language model are.
        knowledge: What there is beside the sound.

    Raises:
        DataError: Something in `knowledge` does not fit the tokenizer or each other.
    """

    def __init__(
        self, tokenizer: Tokenizer, lm_unit: Literal["word", "token"], knowledge: Knowledge
    ) -> None:
        lm, grammar = knowledge.lm, knowledge.grammar
        self.lm_unit = lm_unit
        self._knowledge = knowledge
        self._unit = NO_LM if lm is None else {"word": WORD_LM, "token": TOKEN_LM}[lm_unit]
        self._spelling, labels = build_spelling(tokenizer)
        self._word_lm = lm if self._unit == WORD_LM else None
        self._words = _words(tokenizer, self._word_lm, knowledge)
        if isinstance(tokenizer, WordTokenizer):
            cure = f"its words are {shown_words(tokenizer)}"
            _check_named(knowledge, tokenizer.vocab[1:], "a word of the model", cure)
        self._is_told_words = (
            knowledge.lexicon is not None or self._unit == WORD_LM or tokenizer.words is not None
        )
        spellings = itself if tokenizer.words is None else tokenizer.spellings
        entries = _entries(tokenizer, self._words, grammar)
        wishes = _wishes(tokenizer, self._words, entries, knowledge)
        self._trie = build_words(entries, labels)
        self._hotwords = build_hotwords(knowledge.hotwords, labels, spellings)
        self._grammar = (
            _any_text()
            if grammar is None
            else compile_grammar(grammar, labels, BOUNDARY, spellings)
        )
        self._token_ids = _token_ids(tokenizer, lm if self._unit == TOKEN_LM else None)
        self._writer = Writer(tokenizer, entries, self._word_lm, wishes=wishes)

    def build(self, config: BeamConfig) -> Built:
        """The tables with the weights of some settings, whose `lm_unit` is the same.

        Raises:
            ConfigError: A closed vocabulary has no words.
            DataError: A hotword can never be said.
        """
        lm, is_closed = self._knowledge.lm, config.vocabulary == "closed"
        if is_closed and not self._words:
            raise ConfigError(
                "a closed vocabulary needs words",
                hint="give a lexicon or a language model of words",
            )
        if is_closed:
            cure = "add it to the lexicon, or allow others with vocabulary=open"
            _check_named(self._knowledge, self._words, "in the lexicon", cure)
        unknown_score = config.unknown_score if self._is_told_words else 0.0
        word_bonus = config.word_bonus if lm is not None else 0.0
        fusion = Fusion(
            is_active=self._unit != NO_LM
            or self._is_told_words
            or bool(self._knowledge.hotwords)
            or self._knowledge.grammar is not None,
            has_grammar=self._knowledge.grammar is not None,
            is_closed=is_closed,
            lm_unit=self._unit,
            lm_weight=config.lm_weight,
            word_bonus=word_bonus,
            unknown_score=unknown_score,
            unknown_letter_score=config.unknown_letter_score if self._is_told_words else 0.0,
            off_grammar_score=config.off_grammar_score,
            most_gain=_most_gain(word_bonus, unknown_score, self._hotwords, self._spelling),
            eos_id=lm.eos_id if lm is not None else -1,
            token_ids=self._token_ids,
            spelling=self._spelling,
            lexicon=self._weigh(config, unknown_score, word_bonus),
            hotwords=self._hotwords,
            grammar=self._grammar,
            ngrams=lm.tables if lm is not None else empty_tables(),
        )
        hot_node = max(0, find_label(self._hotwords.trie, 0, BOUNDARY))
        start = Start(lm.start_state if lm is not None else 0, hot_node)
        writer = replace(self._writer, lm_weight=config.lm_weight)
        return Built(fusion, start, writer)

    def _weigh(self, config: BeamConfig, unknown_score: float, word_bonus: float) -> LexiconTables:
        """The trie with what words cost without their history."""
        ids, lm = self._trie.words, self._word_lm
        if lm is None:
            return weigh_words(self._trie, np.zeros(len(ids)), unknown_score, word_bonus)
        log_probs = lm.tables.log_prob
        unk_score = float(log_probs[1 + lm.unk_id]) if lm.unk_id >= 0 else 0.0
        unknown = config.lm_weight * unk_score + config.unknown_score
        known = config.lm_weight * log_probs[1 + np.maximum(ids, 0)].astype(np.float64)
        return weigh_words(self._trie, np.where(ids >= 0, known, unknown), unknown, word_bonus)


def _words(tokenizer: Tokenizer, lm: NgramModel | None, knowledge: Knowledge) -> dict[str, int]:
    """Words that the lexicon trie holds, each with its id in the language model `lm` of words."""
    lexicon = knowledge.lexicon
    if lexicon is None and lm is None and tokenizer.words is not None:
        lexicon = tokenizer.words
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
    tokenizer: Tokenizer, words: Mapping[str, int], grammar: Grammar | None
) -> dict[str, tuple[Entry, ...]]:
    """The words of each spelling, among which the search chooses.

    Where words sound alike, those of the grammar come before all others, and those of the language
    model before those that it does not have; without it there is nothing to choose by, and the
    first of the dictionary is taken.
    """
    if tokenizer.words is None:  # nothing sounds alike
        return {
            text: (Entry(text, word),) for text, word in words.items() if tokenizer.spellings(text)
        }
    found: dict[str, tuple[Entry, ...]] = {}
    allowed = frozenset() if grammar is None else grammar.words()
    for spelling in {spelling for word in words for spelling in tokenizer.spellings(word)}:
        entries = [
            Entry(text, words[text]) for text in tokenizer.readings(spelling) if text in words
        ]
        entries = [one for one in entries if one.text in allowed] or entries
        known = tuple(one for one in entries if one.word != NOT_IN_LM)
        found[spelling] = known or (entries[0],)
    return found


def _words_of(lm: NgramModel) -> dict[str, int]:
    marks = {lm.id_of(mark) for mark in SENTENCE_MARKS}
    return {word: index for index, word in enumerate(lm.words) if index not in marks}


def _wishes(
    tokenizer: Tokenizer,
    words: Mapping[str, int],
    entries: Mapping[str, Sequence[Entry]],
    knowledge: Knowledge,
) -> Wishes | None:
    """What hotwords and grammar say of words that sound alike; None for nothing.

    A word that they favour stands beside those that the search knows by the same sound, though the
    language model lacks it.
    """
    if tokenizer.words is None:  # nothing sounds alike
        return None
    phrases = {tuple(phrase.split()): bonus for phrase, bonus in knowledge.hotwords.items()}
    named = {word for phrase in phrases for word in phrase}
    favoured = {word for phrase, bonus in phrases.items() if bonus > 0 for word in phrase}
    if knowledge.grammar is not None:
        named |= knowledge.grammar.words()
        favoured |= knowledge.grammar.words()
    rivals: dict[str, Sequence[Entry]] = {}
    for word in sorted(named):
        for spelling in tokenizer.spellings(word):
            known = rivals.get(spelling) or entries.get(spelling) or ()
            if not known:  # what would be written where no word that the search knows sounds so
                known = (Entry(tokenizer.readings(spelling)[0], NOT_IN_LM),)
            if word in favoured and all(entry.text != word for entry in known):
                known = (*known, Entry(word, words.get(word, NOT_IN_LM)))
            rivals[spelling] = known
    if all(len(known) == 1 for known in rivals.values()):
        return None
    grammar = knowledge.grammar
    sentences = None if grammar is None else compile_sentences(grammar)
    return Wishes(rivals, phrases, max(map(len, phrases), default=0), sentences)


def _check_named(knowledge: Knowledge, words: Container[str], where: str, cure: str) -> None:
    """Refuse hotwords and grammars with words that are none of `words`, which is `where`."""
    for phrase in knowledge.hotwords:
        for word in phrase.split():
            if word not in words:
                raise DataError(
                    f"the hotword {phrase!r} can never be said: {word!r} is not {where}", hint=cure
                )
    grammar = knowledge.grammar
    if grammar is None:
        return
    for used in grammar.used_words():
        if used.text not in words:
            raise DataError(
                f"{grammar.source}, line {used.line}: {used.text!r} can never be said: "
                f"it is not {where}",
                hint=cure,
            )


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
