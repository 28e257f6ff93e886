"""waves_yesno: one man says "yes" or "no" eight times a file, in Hebrew; made to try Kaldi.

60 files, 8 kHz, 6 minutes.

Licence: free; made for the Kaldi project by a contributor who stays anonymous.

Address: https://www.openslr.org/1/ (`waves_yesno.tar.gz`; no checksum is published).

Layout: `waves_yesno/1_0_1_1_1_0_1_0.wav`; the words are in the name, 1 = YES and 0 = NO.

Split, as Kaldi's: sorted by name, the first half trains and the second tests (30 files, 240
words). Kaldi's own result is counted on 232 words: it lists the archive's two README files as
well, so its halves are of 62 names and 29 files are left to test on. Development files are held
out of training; all files have the one speaker.
"""

from __future__ import annotations

import re
from pathlib import Path

from asr.corpora.layout import find_audio
from asr.corpora.listing import Entry, Importer, Listing
from asr.corpora.splits import DevOptions, hold_out
from asr.errors import DataError
from asr.manifest import Problem

WORDS = {"0": "NO", "1": "YES"}

_NAME = re.compile(r"[01](_[01])*")


def find_yesno(source: Path, options: DevOptions) -> Listing:
    """Kaldi's split, with development files held out of training.

    Raises:
        DataError: There are fewer than two files.
    """
    files = sorted(find_audio(source), key=lambda path: path.name)
    left_out = [
        Problem(path.stem, f"{path}: its name is not zeros and ones joined by underscores")
        for path in files
        if not _NAME.fullmatch(path.stem)
    ]
    entries = [_entry(path) for path in files if _NAME.fullmatch(path.stem)]
    if len(entries) < 2:
        raise DataError(
            f"{source} is not waves_yesno: it holds {len(entries)} files named like 1_0_1.wav",
            hint="--source is the folder that waves_yesno.tar.gz makes",
        )
    half = len(entries) // 2
    splits = {"train": entries[:half], "test": entries[half:]}
    if options.dev_fraction:
        target = options.dev_fraction * half
        splits["train"], splits["dev"] = hold_out(splits["train"], target, "utterance")
    return Listing(splits, left_out, speakers_shared=True)


def _entry(path: Path) -> Entry:
    text = " ".join(WORDS[digit] for digit in path.stem.split("_"))
    return Entry(path.stem, path, text, speaker="global")


IMPORTER = Importer(DevOptions, find_yesno)
