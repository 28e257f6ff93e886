"""CMU AN4, the "census" database: spelled names, addresses, dates, phone numbers, commands.

84 speakers, 16 kHz; 948 utterances to train on and 130 to test, by different speakers.

Licence: free for any purpose, commercial or not, with its copyright notice (file `LICENSE`).

Address: http://www.speech.cs.cmu.edu/databases/an4/ (`an4_sphere.tar.gz` with NIST sphere,
`an4_raw.bigendian.tar.gz` with headerless files; no checksum is published).

Layout, below `an4/`:

    etc/an4_train.fileids        an4_clstk/fash/an251-fash-b
    etc/an4_train.transcription  YES (an251-fash-b)
    wav/an4_clstk/fash/an251-fash-b.sph (or .raw, .wav, .flac)
    etc/an4_test.*, wav/an4test_clstk/…  likewise

`.raw` is 16 bit, big-endian, 16 kHz. The folder that holds a file is its speaker. Some releases
put `<s>` and `</s>` around the words: marks for a decoder, not words, so they are left away.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from asr.audio import PcmFormat
from asr.corpora.layout import corpus_root, parse_lines
from asr.corpora.listing import Entry, Importer, Listing
from asr.corpora.splits import DevOptions, hold_out
from asr.manifest import Problem

RAW_FORMAT = PcmFormat(16000, "s16be")
SUFFIXES = (".sph", ".raw", ".wav", ".flac")

_TRANSCRIPT = re.compile(r"^\s*(?:<s>)?(.*?)(?:</s>)?\s*\((\S+)\)\s*$")


def find_an4(source: Path, options: DevOptions) -> Listing:
    """Official splits; development speakers are held out of training.

    Raises:
        DataError: Files of `etc` are missing or have malformed lines.
    """
    root = corpus_root(source, "an4", "etc/an4_train.transcription", "AN4")
    train, left_out = _read_split(root, "train")
    test, left_out_of_test = _read_split(root, "test")
    splits = {"train": train, "test": test}
    if options.dev_fraction:
        target = options.dev_fraction * len(train)
        splits["train"], splits["dev"] = hold_out(train, target, "speaker")
    return Listing(splits, left_out + left_out_of_test)


def _read_split(root: Path, split: str) -> tuple[list[Entry], list[Problem]]:
    etc = root / "etc"
    texts = dict(parse_lines(etc / f"an4_{split}.transcription", _transcript))
    places = {place.name: place for place in parse_lines(etc / f"an4_{split}.fileids", _file_id)}
    entries = []
    left_out = [Problem(name, "it has no transcript") for name in places if name not in texts]
    for name, text in texts.items():
        if name not in places:
            left_out.append(Problem(name, f"an4_{split}.fileids does not say where it is"))
            continue
        path = _audio_path(root / "wav" / places[name])
        pcm = RAW_FORMAT if path.suffix == ".raw" else None
        entries.append(Entry(name, path, text, speaker=places[name].parent.name, pcm=pcm))
    return entries, left_out


def _transcript(line: str) -> tuple[str, str]:
    match = _TRANSCRIPT.match(line)
    if match is None:
        raise ValueError(f"expected `WORDS (id)`, got {line.strip()!r}")
    return match[2], match[1].strip()


def _file_id(line: str) -> PurePosixPath:
    place = PurePosixPath(line.strip())
    if len(place.parts) < 2 or place.is_absolute() or ".." in place.parts:
        raise ValueError(f"expected `folder/speaker/id`, got {line.strip()!r}")
    return place


def _audio_path(stem: Path) -> Path:
    candidates = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    return next((path for path in candidates if path.exists()), candidates[0])


IMPORTER = Importer(DevOptions, find_an4)
