"""Some of a manifest's utterances: those of a recogniser's words, those that are long enough.

    python tools/select_utterances.py MANIFEST OUT.jsonl [--words WORDS] [--min-duration-s 0.3]

WORDS is a text, its words in any case and order: a list, or training transcripts. What is left of
speechocean762 with the words of AN4 says how a model of those does on another microphone, accent
and manner of speaking.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from asr.manifest import Utterance, read_manifest, write_manifest
from asr.text import plain_words


def main() -> None:
    """Parse, select, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--words", type=Path, help="only utterances that consist of these")
    parser.add_argument("--min-duration-s", type=float, default=0.0)
    arguments = parser.parse_args()
    words = arguments.words and set(plain_words(arguments.words.read_text(encoding="utf-8")))

    def fits(one: Utterance) -> bool:
        is_long = one.duration_s >= arguments.min_duration_s
        return is_long and (words is None or words.issuperset(plain_words(one.text)))

    utterances = read_manifest(arguments.manifest)
    chosen = [one for one in utterances if fits(one)]
    write_manifest(arguments.out, chosen)
    num_words = sum(len(plain_words(one.text)) for one in chosen)
    print(f"{len(chosen)} of {len(utterances)} utterances, {num_words} words: {arguments.out}")


if __name__ == "__main__":
    main()
