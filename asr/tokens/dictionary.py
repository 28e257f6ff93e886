"""Pronunciation dictionaries, as people have them: CMUdict, Kaldi's `lexicon.txt`, one's own.

A line is a word and its phones, parted by blanks or tabs. A word may have several lines, one for
each way to say it; `word(2)` is `word`. Lines that begin with `#` or `;;;` are comments, and what
follows a `#` that stands alone is one too, as in newer files of CMUdict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from asr.errors import DataError, not_utf8_hint
from asr.tokens.types import BLANK_TOKEN

LEXICON_COMMENTS = ("#", ";;;")
MAX_LINES = 2_000_000
"""Some fifteen times CMUdict."""
MAX_LINE_CHARACTERS = 10_000

_VARIANT = re.compile(r"(?<=.)\(\d+\)$")
_REMARK = "#"


def read_dictionary(
    path: Path, normalized: Callable[[str], str] = str
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """The pronunciations of each word, in the order of the file.

    Args:
        path: UTF-8 text; see the module.
        normalized: How transcripts are normalised; applied to each word. Words that it makes
            alike have the pronunciations of all.

    Returns:
        Words in the order of their first lines, each with its distinct pronunciations, which are
        phones; at least one of each.

    Raises:
        DataError: The file cannot be read or holds no word; or, with its line, a word has no
            phones, or the phone `<blank>`, or is not one word when normalised, or as
            `numbered_lines`.
    """
    found: dict[str, dict[tuple[str, ...], None]] = {}
    known: dict[str, str] = {}  # each phone as one object, however many words have it
    for number, line in numbered_lines(path, LEXICON_COMMENTS):
        written, *phones = line.split()
        if _REMARK in phones:
            phones = phones[: phones.index(_REMARK)]
        word = normalized(without_variant(written))
        reason = _refusal(written, word, phones)
        if reason is not None:
            raise DataError(f"{path}, line {number}: {reason[0]}", hint=reason[1])
        spoken = tuple(known.setdefault(phone, phone) for phone in phones)
        found.setdefault(word, {})[spoken] = None
    if not found:
        raise DataError(f"{path} holds no word", hint="write a word and its phones on each line")
    return {word: tuple(ways) for word, ways in found.items()}


def without_variant(word: str) -> str:
    """A word without the number of its pronunciation.

    Examples:
        >>> without_variant("read(2)")
        'read'
    """
    return _VARIANT.sub("", word)


def numbered_lines(path: Path, comments: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Lines that say something, with their numbers from 1; the file is read as it goes.

    Args:
        path: UTF-8 text; a byte-order mark is dropped.
        comments: What begins a line that says nothing.

    Raises:
        DataError: The file cannot be read, has more than `MAX_LINES` lines, or, with its number, a
            line is not UTF-8 or longer than `MAX_LINE_CHARACTERS`.
    """
    most_bytes = 4 * MAX_LINE_CHARACTERS + 2  # four a character, and the line's end
    too_long = f"longer than {MAX_LINE_CHARACTERS:,} characters"
    try:
        with path.open("rb") as stream:
            for number, content in enumerate(iter(lambda: stream.readline(most_bytes), b""), 1):
                where = f"{path}, line {number}"
                if number > MAX_LINES:
                    raise DataError(f"{path} has more than {MAX_LINES:,} lines")
                if len(content) == most_bytes and not content.endswith(b"\n"):
                    raise DataError(f"{where}: {too_long}")
                line = _decoded(content, where, has_mark=number == 1)
                if len(line) > MAX_LINE_CHARACTERS:
                    raise DataError(f"{where}: {too_long}")
                if line.strip() and not line.lstrip().startswith(comments):
                    yield number, line
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def _decoded(content: bytes, where: str, has_mark: bool) -> str:
    try:
        text = content.decode("utf-8-sig" if has_mark else "utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8", hint=not_utf8_hint(content)) from None
    return text.removesuffix("\n").rstrip("\r")


def _refusal(written: str, word: str, phones: list[str]) -> tuple[str, str] | None:
    """What is wrong with a line, and the cure."""
    if len(word.split()) != 1:
        return (
            f"{written!r} is not one word in transcripts but {word!r}",
            "leave the line out, or write the word as transcripts have it",
        )
    if not phones:
        return f"the word {written!r} has no phones", "write them after it, parted by blanks"
    if BLANK_TOKEN in phones:
        return f"the phone {BLANK_TOKEN!r} is reserved", "call it something else"
    return None
