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
        state = 0 if self.lm is None else self.lm.start_state
        texts = []
        for spelling in spellings:
            entries = self.entries.get(spelling)
            if self.lm is None or entries is None:
                text = self.tokenizer.readings(spelling)[0] if entries is None else entries[0].text
                state = 0 if self.lm is None else self.lm.score(state, -1)[1]
            else:
                lm, before = self.lm, state
                scores = [lm.score(before, max(entry.word, -1)) for entry in entries]
                best = max(range(len(entries)), key=lambda place: scores[place][0])
                text, state = entries[best].text, scores[best][1]
            texts.append(text)
        return texts
