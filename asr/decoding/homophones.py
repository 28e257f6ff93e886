"""From the tokens of a hypothesis to written words, where words may sound alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from asr.decoding.automaton import Sentences
from asr.decoding.fusion import NOT_A_WORD
from asr.decoding.lexicon import Entry
from asr.lm.ngram import NgramModel
from asr.tokens import Tokenizer, WordSpan

OFF = -1
"""Instead of a state of the sentences: none begins so."""

PER_STATE, MAX_WORDINGS = 64, 1024
"""Ways to write what was heard that are kept from word to word: after each state, and in all."""


class Wishes(NamedTuple):
    """What the user says of words that sound alike.

    Fields:
        entries: For each spelling of a word that the user names, how it may be written.
        phrases: Hotwords as words, with their bonuses.
        longest: Words of the longest of them; 0 without any.
        sentences: What can be said; None for anything.
    """

    entries: Mapping[str, Sequence[Entry]]
    phrases: Mapping[tuple[str, ...], float]
    longest: int
    sentences: Sentences | None


class _Wording(NamedTuple):
    """A way to write the words so far.

    Fields:
        text: The last word.
        before: The wording of the words before it; None where nothing is written.
        recent: The last words, as many as the longest phrase has.
        lm_state: Of the language model after them; 0 without one.
        state: Of the sentences after them, or OFF.
        score: What tells it from others, natural log: language model and hotwords.
    """

    text: str
    before: _Wording | None
    recent: tuple[str, ...]
    lm_state: int
    state: int
    score: float

    def texts(self) -> list[str]:
        """All its words."""
        texts: list[str] = []
        wording = self
        while wording.before is not None:
            texts.append(wording.text)
            wording = wording.before
        return texts[::-1]


@dataclass(frozen=True)
class Writer:
    """Writes words as the search has read them.

    Without wishes, the likeliest of the words that sound alike after the words before is written,
    the first of equal ones: what `fusion.close_word` chose. The search hears hotwords and grammar
    by their sound alone. So where they name words that have rivals, those are written that together
    have the best score of language model and hotwords, and that are a sentence, if any are.

    Attributes:
        tokenizer: Of the model.
        entries: The words that the search knows for each spelling; where they are several, all are
            words of `lm`.
        lm: Language model of words; None without one.
        lm_weight: See `BeamConfig`; it counts where there are wishes. The price of unknown words
            does not: the user knows those that are named.
        wishes: What the user says of words that sound alike; None for nothing.
    """

    tokenizer: Tokenizer
    entries: Mapping[str, Sequence[Entry]]
    lm: NgramModel | None
    lm_weight: float = 1.0
    wishes: Wishes | None = None

    def word_spans(self, tokens: Sequence[int]) -> list[WordSpan]:
        """Each word with the range of its tokens; see `Tokenizer.word_spans`."""
        if self.tokenizer.words is None:
            return self.tokenizer.word_spans(tokens)
        spans = self.tokenizer.spelled_spans(tokens)
        spellings = [spelling for spelling, _, _ in spans]
        if self.wishes is None:
            texts: Sequence[str] = self._texts(spellings)
        else:
            texts = self._wished_texts(spellings, self.wishes)
        return [(text, *span[1:]) for text, span in zip(texts, spans, strict=True)]

    def _texts(self, spellings: Sequence[str]) -> list[str]:
        texts: list[str] = []
        lm = self.lm
        state = 0 if lm is None else lm.start_state
        unread: list[int] = []  # words that `state` is not after: only a choice needs it
        for spelling in spellings:
            entries = self.entries.get(spelling)
            if entries is None:
                text, word = self.tokenizer.readings(spelling)[0], NOT_A_WORD
            elif lm is None or len(entries) == 1:
                text, word = entries[0]
            else:
                for before in unread:
                    state = lm.score(state, max(before, -1))[1]
                unread.clear()
                here, score = state, lm.score
                log_probs = [score(here, max(entry.word, -1))[0] for entry in entries]
                text, word = entries[log_probs.index(max(log_probs))]
            texts.append(text)
            unread.append(word)
        return texts

    def _wished_texts(self, spellings: Sequence[str], wishes: Wishes) -> Sequence[str]:
        start_state = 0 if self.lm is None else self.lm.start_state
        wordings = [_Wording("", None, (), start_state, 0, 0.0)]
        for spelling in spellings:
            entries = wishes.entries.get(spelling) or self.entries.get(spelling)
            if entries is None:
                entries = (Entry(self.tokenizer.readings(spelling)[0], NOT_A_WORD),)
            grown = [one for wording in wordings for one in self._longer(wording, entries, wishes)]
            wordings = _best_of(grown, wishes)
        if wishes.sentences is not None:
            is_final = wishes.sentences.is_final
            whole = [one for one in wordings if one.state != OFF and is_final[one.state]]
            wordings = whole or wordings
        return max(wordings, key=self._total).texts()

    def _longer(
        self, wording: _Wording, entries: Sequence[Entry], wishes: Wishes
    ) -> Iterator[_Wording]:
        """A wording with each of the words that may come next."""
        priced = self._priced(wording.lm_state, entries)
        for entry, (log_prob, lm_state) in zip(entries, priced, strict=True):
            recent = (*wording.recent, entry.text)[-max(wishes.longest, 1) :]
            state, score = wording.state, wording.score + self.lm_weight * log_prob
            # What sounds like no word, as the beginning of one does, is passed over.
            if wishes.sentences is not None and state != OFF and entry.word != NOT_A_WORD:
                state = wishes.sentences.arcs[state].get(entry.text, OFF)
            for length in range(1, min(wishes.longest, len(recent)) + 1):
                score += wishes.phrases.get(recent[-length:], 0.0)
            yield _Wording(entry.text, wording, recent, lm_state, state, score)

    def _priced(self, lm_state: int, entries: Sequence[Entry]) -> list[tuple[float, int]]:
        """Log-probability of each of the words after a state, and the state after it.

        A word that the model lacks stands for the likeliest of those it knows, so that the wishes
        alone decide between them: the price of unknown words says nothing of words that are named.
        """
        lm = self.lm
        if lm is None:
            return [(0.0, 0)] * len(entries)
        known = [lm.score(lm_state, entry.word) for entry in entries if entry.word >= 0]
        if known:
            unknown = max(known, key=lambda one: one[0])
        else:
            log_prob, after = lm.score(lm_state, -1)
            unknown = (log_prob if lm.unk_id >= 0 else 0.0, after)
        of_known = iter(known)
        return [next(of_known) if entry.word >= 0 else unknown for entry in entries]

    def _total(self, wording: _Wording) -> float:
        """The score of a wording at the end of the utterance."""
        end = 0.0 if self.lm is None else self.lm.finish(wording.lm_state)
        return wording.score + self.lm_weight * end


def _best_of(wordings: Iterable[_Wording], wishes: Wishes) -> list[_Wording]:
    """The wordings to go on with, best first: those that begin a sentence, if any do."""
    best: dict[tuple[object, ...], _Wording] = {}
    for one in wordings:
        begun = one.recent[1 - wishes.longest :] if wishes.longest > 1 else ()
        future = (one.state, one.lm_state, begun)
        if future not in best or one.score > best[future].score:
            best[future] = one
    found = list(best.values())
    found = [one for one in found if one.state != OFF] or found
    found.sort(key=lambda one: -one.score)  # stable: of equal ones the first comes first
    per_state: Counter[int] = Counter()
    kept = []
    for one in found[:MAX_WORDINGS]:
        per_state[one.state] += 1
        if per_state[one.state] <= PER_STATE:
            kept.append(one)
    return kept
