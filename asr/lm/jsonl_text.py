"""Manifests as texts: what is said in each utterance is a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.errors import DataError
from asr.jsonl import parse_object, shown

SUFFIXES = (".jsonl", ".jsonl.gz")


def transcript_blocks(path: Path, block: bytes, first_line: int) -> Iterator[tuple[bytes, int]]:
    """The transcripts in whole lines of a manifest, a line each, as they stand there.

    A block ends where the manifest has a blank line, so that the transcripts after it can be named
    by the numbers of their lines too. A line feed in a transcript becomes a space.

    Args:
        path: For errors.
        block: UTF-8.
        first_line: Number of its first line.

    Yields:
        Lines, and the number of the first.

    Raises:
        DataError: A line is no JSON object with a `text`; with its number.
        UnicodeDecodeError: It is not UTF-8.
    """
    texts: list[bytes] = []
    lines = block.removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, first_line):
        if line.strip():
            texts.append(_transcript(path, line.decode("utf-8"), number) + b"\n")
            continue
        if texts:
            yield b"".join(texts), number - len(texts)
        texts = []
    if texts:
        yield b"".join(texts), first_line + len(lines) - len(texts)


def _transcript(path: Path, line: str, number: int) -> bytes:
    try:
        row = parse_object(line)
        if not isinstance(text := row.get("text"), str):
            found = shown(text) if "text" in row else "none"
            raise ValueError(f"`text` must be a string, got {found}")
    except ValueError as error:
        raise DataError(
            f"{path}, line {number}: {error}",
            hint="of a .jsonl file, each line is an object with the `text` of an utterance; "
            "give other texts another name",
        ) from None
    try:
        return text.replace("\n", " ").encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{path}, line {number}: `text` holds half a surrogate pair") from None
