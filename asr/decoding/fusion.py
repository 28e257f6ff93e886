"""What a beam search knows beside the sound: language model, words and phrases (compiled).

A token is the text it adds: perhaps the end of the word before (a space, or the mark of a piece
that begins a word), characters, perhaps the end of its own word (a vocabulary of words). Characters
walk the trie of the lexicon and the automata of hotwords and grammar, so that a word counts as
itself however it is cut into tokens. While a word is open it costs what its best ending would cost
as a unigram (look-ahead); when it closes, that is replaced by what the language model says.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from asr.decoding.automaton import AutomatonTables, find_arc
from asr.lm.compiled import kernel, lower_bound, woven
from asr.lm.tables import NgramTables, advance

Array = npt.NDArray[Any]
int64: Any = numba.int64

BETWEEN_WORDS = 0  # root of the lexicon
UNKNOWN_WORD = -1  # a lexicon node: left the trie
NOT_A_WORD = -1  # a word id: nothing ends here
NOT_IN_LM = -2  # a word id: a word of the lexicon that the language model does not have
BOUNDARY = 0  # the label between words in hotwords

OFF_GRAMMAR = -1  # a state of the grammar: no sentence begins like this

NO_LM, WORD_LM, TOKEN_LM = 0, 1, 2


class Spelling(NamedTuple):
    """Text of each token.

    Fields:
        closes_before, closes_after: (vocab_size,) bool: the token ends a word before, or after,
            its characters.
        first: (vocab_size + 1,) int32: characters of token v are labels[first[v]:first[v + 1]].
        labels: int32, numbers of characters, from 1.
    """

    closes_before: Array
    closes_after: Array
    first: Array
    labels: Array


class Trie(NamedTuple):
    """Children of node i are the nodes first_child[i] … first_child[i + 1] - 1, sorted by label."""

    first_child: Array
    label: Array


class LexiconTables(NamedTuple):
    """Words by their characters.

    Fields:
        trie: Its root stands between words.
        first_word: (num_nodes + 1,) int32; the words that end in node i are words[first_word[i]:
            first_word[i + 1]], several where they sound alike.
        words: (num_words,) int32, ids in the language model, or NOT_IN_LM.
        look_ahead: (num_nodes + 1,) float64; what an open word costs at node i stands at i + 1, an
            unknown word's cost at 0.
    """

    trie: Trie
    first_word: Array
    words: Array
    look_ahead: Array


class HotwordTables(NamedTuple):
    """Phrases by their characters, each between two BOUNDARY labels.

    Fields:
        trie: Root 0.
        fail: (num_nodes,) int32, node of the longest proper suffix.
        bonus: (num_nodes,) float64, sum of the weights of the phrases that are complete here.
        partial: (num_nodes,) float64, advance on the bonus of phrases that have begun.
    """

    trie: Trie
    fail: Array
    bonus: Array
    partial: Array


class Fusion(NamedTuple):
    """All that scores prefixes beside the sound.

    Fields:
        is_active: Whether there is anything at all.
        has_grammar: Whether there is a grammar.
        is_closed: Whether words outside the lexicon are impossible.
        lm_unit: NO_LM, WORD_LM or TOKEN_LM.
        lm_weight, word_bonus, unknown_score, unknown_letter_score, off_grammar_score: See
            `BeamConfig`.
        most_gain: No extension by one token can raise the partial score by more, counted from
            finished words and hotwords.
        eos_id, token_ids: Of the language model; (vocab_size,) int64, with TOKEN_LM.
    """

    is_active: bool
    has_grammar: bool
    is_closed: bool
    lm_unit: int
    lm_weight: float
    word_bonus: float
    unknown_score: float
    unknown_letter_score: float
    off_grammar_score: float
    most_gain: float
    eos_id: int
    token_ids: Array
    spelling: Spelling
    lexicon: LexiconTables
    hotwords: HotwordTables
    grammar: AutomatonTables
    ngrams: NgramTables


@kernel
def find_label(trie: Trie, node: int, label: int) -> int:
    """Child of `node` with this label, or -1."""
    end = trie.first_child[node + 1]
    child = lower_bound(trie.label, trie.first_child[node], end, label)
    return child if child < end and trie.label[child] == label else -1


@kernel
def is_word(fusion: Fusion, lexicon_node: int) -> bool:
    """Whether a word may end here: none is open, or what is open is one."""
    if not fusion.is_closed or lexicon_node == BETWEEN_WORDS:
        return True
    first = fusion.lexicon.first_word
    return lexicon_node > 0 and first[lexicon_node] < first[lexicon_node + 1]


@kernel
def is_complete(fusion: Fusion, lexicon_node: int, grammar_state: int) -> bool:
    """Whether an utterance may end here."""
    if not is_word(fusion, int64(lexicon_node)):
        return False
    if not fusion.has_grammar or fusion.off_grammar_score > -np.inf:
        return True
    if lexicon_node != BETWEEN_WORDS:
        grammar_state = find_arc(fusion.grammar, grammar_state, int64(BOUNDARY))
    return grammar_state != OFF_GRAMMAR and fusion.grammar.is_final[grammar_state]


@woven
def _leave_grammar(fusion: Fusion, target: Any) -> bool:
    """Charge what no sentence of the grammar is; False where that is impossible."""
    target.grammar_state = OFF_GRAMMAR
    target.lm_score += fusion.off_grammar_score
    return fusion.off_grammar_score > -np.inf


@woven
def _follow_grammar(fusion: Fusion, target: Any, label: int) -> bool:
    """Move the grammar by one label; False where nothing allows it."""
    if not fusion.has_grammar or target.grammar_state == OFF_GRAMMAR:
        return True
    state = find_arc(fusion.grammar, target.grammar_state, label)
    if state == OFF_GRAMMAR:
        return _leave_grammar(fusion, target)
    target.grammar_state = state
    return True


@woven
def _hear(hotwords: HotwordTables, target: Any, label: int) -> None:
    """Move the hotword automaton by one label; completed phrases get their bonus."""
    if hotwords.fail.size == 1:
        return
    node = int64(target.hot_node)
    child = find_label(hotwords.trie, node, label)
    while child < 0 and node != 0:
        node = int64(hotwords.fail[node])
        child = find_label(hotwords.trie, node, label)
    node = max(child, int64(0))
    target.hot_node = node
    target.hot_score += hotwords.bonus[node]


@kernel
def _ask_lm(fusion: Fusion, target: Any, word: int) -> None:
    log_prob, state = advance(fusion.ngrams, target.lm_state, word)
    target.lm_state = state
    if word >= 0 or fusion.ngrams.unk_id >= 0:
        target.lm_score += fusion.lm_weight * log_prob


@kernel
def _word_at(fusion: Fusion, node: int, lm_state: int) -> int:
    """Id of the word that ends in a node; of several that sound alike the likeliest one here."""
    best: int = int64(NOT_A_WORD)
    if node < 0:
        return best
    begin, end = fusion.lexicon.first_word[node], fusion.lexicon.first_word[node + 1]
    if begin < end:
        best = int64(fusion.lexicon.words[begin])
    if end - begin > 1:
        best_log_prob, _ = advance(fusion.ngrams, lm_state, best)
        for place in range(begin + 1, end):
            word = int64(fusion.lexicon.words[place])
            log_prob, _ = advance(fusion.ngrams, lm_state, word)
            if log_prob > best_log_prob:
                best, best_log_prob = word, log_prob
    return best


@kernel
def close_word(fusion: Fusion, target: Any) -> bool:
    """End the open word, if one is, and charge it; False where that is impossible."""
    node = int64(target.lexicon_node)
    if node == BETWEEN_WORDS:
        return True
    if not is_word(fusion, node) or not _follow_grammar(fusion, target, int64(BOUNDARY)):
        return False
    word = _word_at(fusion, node, int64(target.lm_state))
    target.lm_score += fusion.word_bonus
    if word < 0 and (word == NOT_A_WORD or fusion.lm_unit == WORD_LM):
        target.lm_score += fusion.unknown_score
    if fusion.lm_unit == WORD_LM:
        _ask_lm(fusion, target, max(word, int64(-1)))
    target.lexicon_node = BETWEEN_WORDS
    _hear(fusion.hotwords, target, int64(BOUNDARY))
    return True


@woven
def _spell(fusion: Fusion, target: Any, token: int) -> bool:
    """Walk the characters of a token; False where vocabulary or grammar do not allow them."""
    for index in range(fusion.spelling.first[token], fusion.spelling.first[token + 1]):
        label = int64(fusion.spelling.labels[index])
        node = int64(target.lexicon_node)
        if node >= 0:
            node = find_label(fusion.lexicon.trie, node, label)
            if node < 0 and fusion.is_closed:
                return False
            target.lexicon_node = node
        if node < 0:
            target.lm_score += fusion.unknown_letter_score
        if not _follow_grammar(fusion, target, label):
            return False
        _hear(fusion.hotwords, target, label)
    return True


@woven
def _copy(source: Any, target: Any) -> None:
    """What is known of one prefix, for another."""
    target.lm_score, target.lm_state = source.lm_score, source.lm_state
    target.lexicon_node = source.lexicon_node
    target.hot_score, target.hot_node = source.hot_score, source.hot_node
    target.grammar_state = source.grammar_state


@woven
def extend(fusion: Fusion, source: Any, token: int, target: Any) -> bool:
    """Write into `target` what is known of the prefix `source` extended by `token`.

    Returns:
        Whether that prefix is possible at all.
    """
    _copy(source, target)
    target.partial = 0.0
    if not fusion.is_active:
        return True
    if fusion.spelling.closes_before[token] and not close_word(fusion, target):
        return False
    if not _spell(fusion, target, token):
        return False
    if fusion.spelling.closes_after[token] and not close_word(fusion, target):
        return False
    if fusion.lm_unit == TOKEN_LM:
        _ask_lm(fusion, target, fusion.token_ids[token])
    target.partial = target.lm_score + fusion.lexicon.look_ahead[target.lexicon_node + 1]
    target.partial += target.hot_score + fusion.hotwords.partial[target.hot_node]
    return True


@kernel
def finish(fusion: Fusion, source: Any, target: Any) -> bool:
    """Write into `target` what the prefix `source` scores as a whole utterance; False if none."""
    _copy(source, target)
    if not close_word(fusion, target):
        return False
    if fusion.has_grammar and target.grammar_state != OFF_GRAMMAR:
        is_sentence = fusion.grammar.is_final[target.grammar_state]
        if not is_sentence and not _leave_grammar(fusion, target):
            return False
    if fusion.lm_unit != NO_LM and fusion.eos_id >= 0:
        _ask_lm(fusion, target, fusion.eos_id)
    target.partial = target.lm_score + target.hot_score
    return True
