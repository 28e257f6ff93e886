"""Cut utterances between their words, by forced alignment with a model.

Pieces of a few words keep a model from learning by heart in which order words come. Stretches of
certain words, such as the digits of an address, make training data of a corpus about other things.
No audio is copied: a piece is a range of its utterance's file. Models of letters know best where a
word ends; one of whole words knows only that it was said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from pydantic import Field

from asr.alignment import AlignedWord, align_words
from asr.audio import Waveform
from asr.config import Options, Strings
from asr.ctc import BLANK
from asr.errors import ConfigError, DataError
from asr.manifest import Utterance
from asr.progress import progress_bar
from asr.recognizer import NOT_SAID, Recognizer, Source, read_groups
from asr.text import normalize

Span = tuple[int, int]
"""A piece's first word, and one past its last."""


class CutOptions(Options):
    """Where utterances are cut, and which pieces are kept.

    Attributes:
        words: Only stretches of these words, which are normalised as transcripts are; empty for
            all words.
        max_words: A piece has one to so many words, drawn; None for stretches as long as they are.
        copies: How often each utterance is cut, each time elsewhere.
        min_score: A piece is dropped when the model is less sure than this of one of its words, as
            the geometric mean of their tokens' probabilities, 0 to 1.
        seed: Of the drawn lengths.
    """

    words: Strings = ()
    max_words: int | None = Field(None, ge=1)
    copies: int = Field(1, ge=1)
    min_score: float = Field(0.3, ge=0, le=1)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Cutting:
    """What cutting gives.

    Attributes:
        pieces: In the order of the utterances, with normalised transcripts.
        num_unsure: Pieces dropped for `min_score`.
        failures: Why whole utterances could not be cut, by id.
    """

    pieces: list[Utterance]
    num_unsure: int
    failures: dict[str, DataError]


def cut_utterances(
    recognizer: Recognizer, utterances: Sequence[Utterance], options: CutOptions
) -> Cutting:
    """Pieces of utterances, cut in the middle between the last sound of a word and the next's.

    What is drawn for an utterance depends on the seed and its id alone.

    Args:
        recognizer: A model that knows these transcripts' letters or words.
        utterances: With audio and true transcripts.
        options: Where to cut.

    Raises:
        ConfigError: The normalisation leaves nothing of the words to keep.
    """
    kept = normalize(" ".join(options.words), recognizer.config.text).split()
    if options.words and not kept:
        raise ConfigError(
            f"the text profile {recognizer.config.text.profile!r} of the model leaves nothing of "
            f"the words {', '.join(map(repr, options.words))}",
            hint="name words as the model writes them, or none for all",
        )
    options = options.model_copy(update={"words": tuple(kept)})
    rate_hz = recognizer.sample_rate_hz
    sources = [(one.id, one.audio_path, one.read_options(rate_hz)) for one in utterances]
    by_id = {one.id: one for one in utterances}
    pieces: list[Utterance] = []
    failures: dict[str, DataError] = {}
    num_unsure = 0
    with progress_bar("cutting", len(utterances)) as advance:
        for utterance_id, result in _align_each(recognizer, sources, by_id):
            advance()
            if isinstance(result, DataError):
                failures[utterance_id] = result
                continue
            found = list(_pieces_of(by_id[utterance_id], result, options))
            sure = [piece for piece, score in found if score >= options.min_score]
            num_unsure += len(found) - len(sure)
            pieces += sure
    return Cutting(pieces, num_unsure, failures)


def draw_spans(words: Sequence[str], options: CutOptions, rng: np.random.Generator) -> list[Span]:
    """Which words make up each piece.

    Args:
        words: Of one utterance.
        options: Which words to keep, and the longest piece.
        rng: Lengths are drawn from it.

    Returns:
        Spans in order, not empty, that do not overlap; together they hold each word that is kept.
    """
    kept = set(options.words)
    spans: list[Span] = []
    start = 0
    while start < len(words):
        if kept and words[start] not in kept:
            start += 1
            continue
        longest = (
            len(words) if options.max_words is None else rng.integers(1, options.max_words + 1)
        )
        end = start + 1
        while end < min(len(words), start + longest) and (not kept or words[end] in kept):
            end += 1
        spans.append((start, end))
        start = end
    return spans


def cutting_times_s(words: Sequence[AlignedWord], duration_s: float) -> list[float]:
    """(num_words + 1,) seconds from an utterance's start: where each word begins, and its end.

    The first word begins with the utterance, so that silence before and after it is kept.
    """
    between = [(before.end_s + after.start_s) / 2 for before, after in pairwise(words)]
    return [0.0, *between, duration_s]


def _pieces_of(
    utterance: Utterance, words: Sequence[AlignedWord], options: CutOptions
) -> Iterator[tuple[Utterance, float]]:
    """Pieces, each with the score of its least sure word."""
    times_s = cutting_times_s(words, utterance.duration_s)
    texts = [word.text for word in words]
    for copy in range(options.copies):
        rng = np.random.default_rng((options.seed, copy, *utterance.id.encode()))
        for first, end in draw_spans(texts, options, rng):
            piece = replace(
                utterance,
                id=f"{utterance.id}-{copy}-{first}",
                start_s=round(utterance.start_s + times_s[first], 6),
                duration_s=round(times_s[end] - times_s[first], 6),
                text=" ".join(texts[first:end]),
            )
            yield piece, min(word.score for word in words[first:end])


def _align_each(
    recognizer: Recognizer, sources: Sequence[Source], by_id: dict[str, Utterance]
) -> Iterator[tuple[str, list[AlignedWord] | DataError]]:
    for group in read_groups(recognizer, sources):
        heard = [(name, item) for name, item in group if isinstance(item, Waveform)]
        yield from ((name, item) for name, item in group if isinstance(item, DataError))
        emissions = _emissions(recognizer, [waveform for _, waveform in heard])
        for (name, _), log_probs in zip(heard, emissions, strict=True):
            try:
                yield name, _align(recognizer, log_probs, by_id[name].text)
            except DataError as error:
                yield name, error


def _emissions(recognizer: Recognizer, waveforms: Sequence[Waveform]) -> list[np.ndarray]:
    """Log-probabilities of each; of long recordings those of their pieces, one after the other."""
    pieces = [recognizer.pieces(one) for one in waveforms]
    found = iter(recognizer.emissions_many([piece for own in pieces for _, piece in own]))
    emissions = []
    for own in pieces:
        parts = [(first, next(found)) for first, _ in own]
        last, end = parts[-1]
        # Between pieces a frame may be missing, whose window neither has whole: nothing is said.
        whole = np.full((last + len(end), end.shape[1]), NOT_SAID, np.float32)
        whole[:, BLANK] = 0.0
        for first, part in parts:
            whole[first : first + len(part)] = part
        emissions.append(whole)
    return emissions


def _align(recognizer: Recognizer, log_probs: np.ndarray, text: str) -> list[AlignedWord]:
    normalized = normalize(text, recognizer.config.text)
    tokens = recognizer.tokenizer.encode(normalized)
    aligned = align_words(log_probs, tokens, recognizer.tokenizer, recognizer.frame_s)
    # Phones alone do not say which of the words that sound alike it was.
    words = zip(aligned, normalized.split(), strict=True)
    return [replace(one, text=word) for one, word in words]
