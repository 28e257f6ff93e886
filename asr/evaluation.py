"""Score hypotheses against references: word, character and sentence error rates.

What is counted, and how edge cases are handled:

* Words are what `str.split` gives; characters are the Unicode code points of the words joined by
  one blank, *blanks included* (as ESPnet, NeMo and jiwer do; sclite's `-c` leaves them out).
* Rates are pooled: all errors divided by all reference tokens, never a mean of utterance rates.
* A sentence is wrong when any of its words is.
* An empty reference is legal (noise, silence). Whatever was recognised for it counts as insertions;
  an empty hypothesis for it is correct and adds 0 errors to 0 words. Without any reference word in
  the whole set, a rate is 0 without errors and infinite (JSON: null) with errors.
* Utterances are paired by id, and both sides must be complete.

Texts are compared as given: normalise both sides before (`asr.text`), and say how.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from asr.errors import DataError
from asr.files import write_text_atomic
from asr.wer import AlignedPair, ErrorCounts, align, count_errors, error_rate, tally


@dataclass(frozen=True, slots=True)
class UtteranceScore:
    """One utterance: both texts, their word alignment, and the counts.

    Attributes:
        alignment: Word columns in order; their operations sum to `words`.
        words: Errors in words.
        characters: Errors in characters, blanks between words included.
    """

    utterance_id: str
    reference: str
    hypothesis: str
    alignment: tuple[AlignedPair, ...]
    words: ErrorCounts
    characters: ErrorCounts

    def to_dict(self) -> dict[str, Any]:
        """JSON-able row; `alignment` holds [operation, reference word, hypothesis word]."""
        return {
            "id": self.utterance_id,
            "reference": self.reference,
            "hypothesis": self.hypothesis,
            "words": _counts_dict(self.words),
            "characters": _counts_dict(self.characters),
            "alignment": [[p.operation, p.reference, p.hypothesis] for p in self.alignment],
        }


@dataclass(frozen=True)
class WerReport:
    """Scores of a set of utterances; every rate comes from pooled counts.

    Attributes:
        utterances: One row an utterance, in the order of the references.
    """

    utterances: tuple[UtteranceScore, ...]

    @cached_property
    def words(self) -> ErrorCounts:
        """Pooled word counts; `words.rate` is the word error rate."""
        return sum((row.words for row in self.utterances), ErrorCounts())

    @cached_property
    def characters(self) -> ErrorCounts:
        """Pooled character counts; `characters.rate` is the character error rate."""
        return sum((row.characters for row in self.utterances), ErrorCounts())

    @property
    def num_sentence_errors(self) -> int:
        """Utterances with at least one word error."""
        return sum(row.words.num_errors > 0 for row in self.utterances)

    @property
    def sentence_error_rate(self) -> float:
        """Wrong utterances divided by utterances, in [0, 1]."""
        return error_rate(self.num_sentence_errors, len(self.utterances))

    def kaldi_line(self) -> str:
        """The line that Kaldi prints, rate in percent.

        >>> score_texts({"a": "one two"}, {"a": "one three four"}).kaldi_line()
        '%WER 100.00 [ 2 / 2, 1 ins, 0 del, 1 sub ]'
        """
        return _kaldi_line("WER", self.words)

    def cer_line(self) -> str:
        """The same for characters (blanks between words included)."""
        return _kaldi_line("CER", self.characters)

    def ser_line(self) -> str:
        """The same for sentences: `%SER 25.00 [ 1 / 4 ]`."""
        percent = 100 * self.sentence_error_rate
        return f"%SER {percent:.2f} [ {self.num_sentence_errors} / {len(self.utterances)} ]"

    def lines(self, text_profile: str) -> list[str]:
        """What people read: the three rates, how sure the first is, and what was counted.

        Args:
            text_profile: Name of how both sides were normalised; stated, not applied.
        """
        interval = self.bootstrap_interval()
        sure = [] if interval is None else [_interval_line(*interval)]
        counted = f"text: {text_profile}; characters include the blanks between words"
        return [self.kaldi_line(), self.cer_line(), self.ser_line(), *sure, counted]

    def write_utterances(self, path: Path | str) -> None:
        """Write the rows of the utterances, one JSON object a line.

        Raises:
            DataError: The file cannot be written.
        """
        rows = (json.dumps(row.to_dict(), ensure_ascii=False) for row in self.utterances)
        write_text_atomic(Path(path), "".join(f"{row}\n" for row in rows))

    def bootstrap_interval(
        self, num_resamples: int = 1000, seed: int = 0, level: float = 0.95
    ) -> tuple[float, float] | None:
        """Interval of the word error rate: what other utterances of the same kind would give.

        Utterances, not words, are drawn with replacement, because errors cluster within them;
        the interval holds the middle `level` of the resampled rates. A set without any reference
        word has no rate and is left out.

        Args:
            num_resamples: How many sets to draw, each of as many utterances as there are.
            seed: Of the generator; one seed gives one interval.
            level: Share of the resampled rates inside, in (0, 1).

        Returns:
            (low, high) rates; None where there is none: of fewer than two utterances, or without
            any reference word.

        Raises:
            DataError: No sets are to be drawn, or `level` is not in (0, 1).

        References:
            Bisani & Ney (2004), Bootstrap estimates for confidence intervals in ASR performance
            evaluation.
        """
        import numpy as np

        if num_resamples < 1:
            raise DataError(f"num_resamples must be at least 1, got {num_resamples}")
        if not 0 < level < 1:
            raise DataError(f"level must be between 0 and 1, got {level}", hint="0.95 for 95 %")
        num_utterances = len(self.utterances)
        if num_utterances < 2:
            return None
        errors = np.array([row.words.num_errors for row in self.utterances])
        references = np.array([row.words.num_references for row in self.utterances])
        generator = np.random.default_rng(seed)
        draws = (
            generator.integers(num_utterances, size=num_utterances) for _ in range(num_resamples)
        )
        sums = ((int(errors[drawn].sum()), int(references[drawn].sum())) for drawn in draws)
        rates = sorted(error_rate(wrong, words) for wrong, words in sums if words)
        if not rates:
            return None
        tail = (1 - level) / 2
        last = len(rates) - 1
        return rates[math.floor(tail * last)], rates[math.ceil((1 - tail) * last)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able totals: rates (null for infinite), counts, the interval's ends or null."""
        interval = self.bootstrap_interval()
        return {
            "wer": _json_rate(self.words.rate),
            "wer_interval_95": None if interval is None else list(interval),
            "cer": _json_rate(self.characters.rate),
            "ser": self.sentence_error_rate,
            "words": _counts_dict(self.words),
            "characters": _counts_dict(self.characters),
            "sentences": {"errors": self.num_sentence_errors, "total": len(self.utterances)},
        }


def score_texts(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> WerReport:
    """Align every hypothesis with the reference of the same id.

    Args:
        references: What was said, by utterance id; a text may be empty.
        hypotheses: What was recognised, by the same ids, in any order.

    Raises:
        DataError: A side has no ids or no texts, an id stands on one side only, or there is no
            utterance at all.
    """
    for name, texts in (("references", references), ("hypotheses", hypotheses)):
        if not isinstance(texts, Mapping):
            raise DataError(f"{name} must be texts by their ids, got {type(texts).__name__}")
        for key, text in texts.items():
            if not isinstance(text, str):
                raise _no_text(name, key, text)
    check_pairing(references, hypotheses)
    return WerReport(tuple(_score(key, text, hypotheses[key]) for key, text in references.items()))


def _no_text(name: str, key: object, found: object) -> DataError:
    kind, hint = type(found).__name__, "pass its text" if hasattr(found, "text") else None
    return DataError(f"{name} must be texts, got {kind} for {key!r}", hint=hint)


def check_pairing(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> None:
    """Refuse sides that are not complete: dropping what is missing would flatter the rate.

    Raises:
        DataError: An id stands on one side only, or there is no utterance at all.
    """
    unrecognised = [key for key in references if key not in hypotheses]
    unknown = [key for key in hypotheses if key not in references]
    if unrecognised or unknown:
        raise DataError(
            f"references and hypotheses differ: {_count_ids(unrecognised)} without a hypothesis"
            f"{_first(unrecognised)}, {len(unknown)} without a reference{_first(unknown)}"
        )
    if not references:
        raise DataError("nothing to score: references and hypotheses are empty")


def _score(utterance_id: str, reference: str, hypothesis: str) -> UtteranceScore:
    said, heard = reference.split(), hypothesis.split()
    alignment = align(said, heard)
    return UtteranceScore(
        utterance_id=utterance_id,
        reference=reference,
        hypothesis=hypothesis,
        alignment=alignment,
        words=tally(alignment),
        characters=count_errors(list(" ".join(said)), list(" ".join(heard))),
    )


def _count_ids(ids: list[str]) -> str:
    return "1 id" if len(ids) == 1 else f"{len(ids)} ids"


def _first(ids: list[str]) -> str:
    return f" (first: {ids[0]!r})" if ids else ""


def _kaldi_line(name: str, counts: ErrorCounts) -> str:
    return (
        f"%{name} {100 * counts.rate:.2f} [ {counts.num_errors} / {counts.num_references}, "
        f"{counts.insertions} ins, {counts.deletions} del, {counts.substitutions} sub ]"
    )


def _interval_line(low: float, high: float) -> str:
    return f"WER 95 % interval [ {100 * low:.2f}, {100 * high:.2f} ], bootstrap over utterances"


def _counts_dict(counts: ErrorCounts) -> dict[str, int]:
    return {
        "errors": counts.num_errors,
        "references": counts.num_references,
        "hits": counts.hits,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
    }


def _json_rate(rate: float) -> float | None:
    return rate if math.isfinite(rate) else None
