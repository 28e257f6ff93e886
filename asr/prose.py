"""Running text as a recogniser would write it: one sentence a line, without punctuation.

Books and articles wrap their lines anywhere and divide their sentences by punctuation, while a
language model for recognition is asked for what people say between two pauses. So paragraphs are
put together again and cut at full stops, question and exclamation marks, colons, semicolons, dashes
and double quotes; abbreviations are cut too ("Mr. | Smith"), which costs nothing measurable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from asr.files import atomic_path
from asr.lm.counting import text_lines
from asr.text import TextConfig, normalize

MAX_SENTENCE_CHARACTERS = 2000
"""A longer piece ends here: a list of words, or no prose at all."""

_END = re.compile(r"[.!?;:]+[)'_\]’]*\s+|\s+[-–—]+\s+|--+|—|[\"“”„«»]")


def sentences(lines: Iterable[str]) -> Iterator[str]:
    """Pieces of running text, as they stand between the marks that end them.

    Args:
        lines: In order; an empty one ends a paragraph, and with it a sentence.

    Examples:
        >>> list(sentences(['He came - late. "Are you', 'there?" she asked.']))
        ['He came', 'late', 'Are you there?', 'she asked']
    """
    rest = ""
    for line in lines:
        bare = line.strip("\ufeff \t\r\n")
        *ended, rest = _END.split(f"{rest}{bare} ")
        if not bare or len(rest) > MAX_SENTENCE_CHARACTERS:
            ended, rest = [*ended, rest], ""
        yield from filter(None, map(str.strip, ended))
    if rest.strip():
        yield rest.strip()


def write_sentences(source: Path, target: Path, text: TextConfig) -> None:
    """Write the sentences of running text, normalised: letters alone, then as transcripts are.

    The text is read in blocks of some megabytes; it may be larger than memory.

    Args:
        source: UTF-8 text, plain or gzip.
        target: One sentence a line, in lower case unless `text` says upper.
        text: How the model's transcripts are normalised; its language counts too.

    Raises:
        DataError: `source` cannot be read or is not UTF-8, or `target` cannot be written.
    """
    letters = TextConfig(profile="letters", language=text.language)
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8") as written:
        for sentence in sentences(text_lines(source)):
            if line := normalize(normalize(sentence, letters), text):
                written.write(f"{line}\n")
