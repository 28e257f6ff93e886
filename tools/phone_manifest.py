"""A manifest whose transcripts are phones: each word as eSpeak NG says it, a letter for each phone.

    python tools/phone_manifest.py MANIFEST OUT.jsonl [--language en-us]

A model learns phones from far less speech than spelling, and its weights are a start for letters
(`training.start_from`). Vowels before r and syllabic consonants are two phones, flaps and weak
vowels count as their plain relatives: 42 phones for English.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from asr.errors import DataError
from asr.manifest import read_manifest, write_manifest
from asr.synthesis import pronounce
from asr.text import TextConfig, normalize

LETTERS = TextConfig(profile="letters")
AS_LETTERS = {
    **{"ɔːɹ": "ɔr", "ɑːɹ": "ɑr", "ɛɹ": "ɛr", "ɪɹ": "ɪr", "ʊɹ": "ʊr", "əl": "əl", "n̩": "ən"},
    **{"aɪɚ": "áɚ", "aɪə": "áə", "eɪ": "é", "aɪ": "á", "oʊ": "ó", "aʊ": "à", "ɔɪ": "ö"},
    **{"iː": "i", "uː": "u", "ɔː": "ɔ", "ɑː": "ɑ", "ɜː": "ɚ", "iə": "ɪ", "tʃ": "č", "dʒ": "ǧ"},
    **{"ɾ": "t", "ʔ": "t", "ɐ": "ə", "ᵻ": "ɪ", "ɹ": "r", "ɡ": "g"},
}
"""Other phones are a letter already, or what is one in them counts."""


def letters_of(word: str, language: str) -> str:
    """A word in one letter a phone; empty where eSpeak NG has nothing to say of it."""
    try:
        phones = pronounce([word], language)[0]
    except DataError:
        return ""
    return "".join(AS_LETTERS.get(phone, phone[:1]) for phone in phones)


def main() -> None:
    """Parse, pronounce, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--language", default="en-us")
    arguments = parser.parse_args()
    utterances = read_manifest(arguments.manifest)
    texts = [normalize(one.text, LETTERS).split() for one in utterances]
    said = {word: letters_of(word, arguments.language) for text in texts for word in text}
    spoken = [" ".join(filter(None, (said[word] for word in text))) for text in texts]
    kept = [replace(one, text=text) for one, text in zip(utterances, spoken, strict=True) if text]
    write_manifest(arguments.out, kept)
    print(f"{len(kept)} of {len(utterances)} utterances, {len(set(''.join(spoken)))} letters")


if __name__ == "__main__":
    main()
