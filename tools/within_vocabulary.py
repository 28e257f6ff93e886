"""The utterances of a manifest that a recogniser of few words can be tried on: none but its words.

    python tools/within_vocabulary.py MANIFEST WORDS OUT.jsonl

WORDS is a text, its words in any case and order: a list, or training transcripts. What is left of
speechocean762 or Common Voice with the words of AN4 or of digits says how a model of those does on
another microphone, accent and manner of speaking.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from asr.manifest import read_manifest, write_manifest
from asr.text import TextConfig, normalize

LETTERS = TextConfig(profile="letters")


def main() -> None:
    """Parse, select, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("words", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    words = set(normalize(arguments.words.read_text(encoding="utf-8"), LETTERS).split())
    utterances = read_manifest(arguments.manifest)
    chosen = [one for one in utterances if words.issuperset(normalize(one.text, LETTERS).split())]
    write_manifest(arguments.out, chosen)
    num_words = sum(len(normalize(one.text, LETTERS).split()) for one in chosen)
    print(f"{len(chosen)} of {len(utterances)} utterances, {num_words} words: {arguments.out}")


if __name__ == "__main__":
    main()
