"""From the tokens of a hypothesis to written words, where words may sound alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asr.decoding.lexicon import Entry
from asr.lm.ngram import NgramModel
from asr.tokens import Tokenizer, WordSpan


@dataclass(frozen=True)
class Writer:
    """Writes words as the search has read them.

    Attributes:
        tokenizer: Of the model.
        entries: The words that the search knows for each spelling; where they are several, all are
            words of `lm`, and the likeliest after the words before is written, the first of equal
            ones: what `fusion.close_word` chose.
        lm: Language model of words; None without one.
    """

    tokenizer: Tokenizer
    entries: Mapping[str, Sequence[Entry]]
    lm: NgramModel | None

    def word_spans(self, tokens: Sequence[int]) -> list[WordSpan]:
        """Each word with the range of its tokens; see `Tokenizer.word_spans`."""
        if self.tokenizer.words is None:
            return self.tokenizer.word_spans(tokens)
        spans = self.tokenizer.spelled_spans(tokens)
        texts = self._texts([spelling for spelling, _, _ in spans])
        return [(text, *span[1:]) for text, span in zip(texts, spans, strict=True)]

    def _texts(self, spellings: Sequence[str]) -> list[str]:
        texts: list[str] = []
        lm = self.lm
        state = 0 if lm is None else lm.start_state
        unread: list[int] = []  # words that `state` is not after: only a choice needs it
        for spelling in spellings:
            entries = self.entries.get(spelling)
            if entries is None:
                text, word = self.tokenizer.readings(spelling)[0], -1
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
