"""Words and phrases that users write down for a decoder: lexicons, hotwords and texts.

Everything is normalised as the model's transcripts are. A **lexicon** has a word at the beginning
of each line; what follows it (a pronunciation, a count, an id) is not looked at, nor are lines that
begin with `#` or `;;;`, and `word(2)` is `word`. So word lists, CMUdict and Kaldi's `lexicon.txt`
and `words.txt` can be used as they are. **Hotwords** are phrases, one a line, each with its weight
after a tab or alone; lines that begin with `#` are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from asr.errors import DataError
from asr.files import atomic_path
from asr.lm.counting import text_lines
from asr.text import TextConfig, normalize
from asr.tokens import ADD_WORDS, Tokenizer, WordTokenizer, shown_words
from asr.tokens.dictionary import (
    LEXICON_COMMENTS,
    numbered_lines,
    without_variant,
)

HOTWORD_WEIGHT = 6.0
"""Natural-log bonus of a hotword without a weight of its own.

On AN4's development set, without a language model, the six words that training has at most three
times are found 13 of 18 times by three models with this weight (0 without, 7 with 4), and
never where they are not said; 8 and more put them there.
"""


def normalize_text_file(source: Path, target: Path, text: TextConfig) -> None:
    """Copy a text, plain or gzip, line by line as the model's transcripts are written.

    Raises:
        DataError: `source` cannot be read or is not UTF-8, with the line; or `target` cannot be
            written.
    """
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8") as written:
        written.writelines(f"{normalize(line, text)}\n" for line in text_lines(source))


def read_lexicon(
    path: Path, text: TextConfig, tokenizer: Tokenizer
) -> tuple[list[str], str | None]:
    """The words of a lexicon, in order, each once.

    A word that normalisation cuts in two is two words, as it would be in a transcript.

    Args:
        path: UTF-8 text.
        text: How the model's transcripts are normalised.
        tokenizer: Of the model.

    Returns:
        The words, and what was left out because the model cannot write it, with the first one's
        line; None for nothing.

    Raises:
        DataError: The file cannot be read, or holds no word that the model can write.
    """
    words: dict[str, None] = {}
    unwritable: list[tuple[int, str]] = []
    for number, line in numbered_lines(path, LEXICON_COMMENTS):
        word = without_variant(line.split()[0])
        parts = normalize(word, text).split()
        if parts and all(map(tokenizer.spellings, parts)):
            words.update(dict.fromkeys(parts))
        else:
            unwritable.append((number, word))
    left_out = None
    if unwritable:
        number, word = unwritable[0]
        more = f" and {len(unwritable) - 1} more" if len(unwritable) > 1 else ""
        left_out = f"{path}, line {number}: the model cannot write the word {word!r}{more}"
    if not words:
        raise DataError(
            left_out or f"{path} holds no word",
            hint=f"give one word a line, in what the model writes: {shown_writable(tokenizer)}",
        )
    return list(words), left_out


def read_hotwords(path: Path, text: TextConfig, tokenizer: Tokenizer) -> dict[str, float]:
    """Phrases of a file, normalised, with their weights (natural log).

    Args:
        path: UTF-8 text.
        text: How the model's transcripts are normalised.
        tokenizer: Of the model.

    Raises:
        DataError: The file cannot be read or holds no phrase; or, with its line, a phrase is there
            twice, is nothing or not writable for the model, or a weight is not a number.
    """
    weights: dict[str, float] = {}
    for number, line in numbered_lines(path, ("#",)):
        where = f"{path}, line {number}"
        raw, tab, weight = line.rpartition("\t")
        phrase = _phrase(raw if tab else line, text, tokenizer, where)
        if phrase in weights:
            raise DataError(f"{where}: the phrase {phrase!r} is there twice")
        weights[phrase] = _weight(weight, where) if tab else HOTWORD_WEIGHT
    if not weights:
        raise DataError(
            f"{path} holds no phrase", hint="write one a line; its weight may follow after a tab"
        )
    return weights


def parse_hotwords(
    assignments: Sequence[str], text: TextConfig, tokenizer: Tokenizer
) -> dict[str, float]:
    """Phrases of a command line, `phrase` or `phrase=weight`; of the same one the last counts.

    Raises:
        DataError: As `read_hotwords`.
    """
    weights: dict[str, float] = {}
    for assignment in assignments:
        where = f"the hotword {assignment!r}"
        raw, equals, weight = assignment.rpartition("=")
        phrase = _phrase(raw if equals else assignment, text, tokenizer, where)
        weights[phrase] = _weight(weight, where) if equals else HOTWORD_WEIGHT
    return weights


def shown_writable(tokenizer: Tokenizer) -> str:
    """What a model can write, for people: some of its words or characters, or its dictionary."""
    if tokenizer.words is not None:
        return f"the {len(tokenizer.words)} words of its dictionary"
    if isinstance(tokenizer, WordTokenizer):
        return shown_words(tokenizer)
    ordered = _characters(tokenizer)
    return "".join(ordered[:40]) + ("…" if len(ordered) > 40 else "")


def _characters(tokenizer: Tokenizer) -> list[str]:
    return sorted(set("".join(tokenizer.texts)) - {" "})


def _phrase(raw: str, text: TextConfig, tokenizer: Tokenizer, where: str) -> str:
    phrase = normalize(raw, text)
    unwritable = [word for word in phrase.split() if not tokenizer.spellings(word)]
    if phrase and not unwritable:
        return phrase
    reason = "it is empty"
    hint = f"say it in what the model writes: {shown_writable(tokenizer)}"
    if isinstance(tokenizer, WordTokenizer) and unwritable:
        reason = f"the model has no word {', '.join(map(repr, unwritable))}"
    elif tokenizer.words is None and unwritable:
        unknown = sorted(set("".join(unwritable)) - set(_characters(tokenizer)))
        reason = f"the model writes no {', '.join(map(repr, unknown))}"
    elif unwritable:
        reason = f"the model has no pronunciation of {', '.join(map(repr, unwritable))}"
        hint = ADD_WORDS
    raise DataError(f"{where}: {raw.strip()!r} cannot be recognised: {reason}", hint=hint)


def _weight(text: str, where: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise DataError(f"{where}: the weight must be a number such as 4.5, got {text.strip()!r}")
    return weight
