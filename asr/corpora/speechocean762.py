"""speechocean762: English sentences read by 250 Mandarin speakers, half of them children.

5,000 utterances, about 5.6 hours, 16 kHz; made to score pronunciation, with an open vocabulary.

Licence: CC BY 4.0.

Address: https://www.openslr.org/101/ (`speechocean762.tar.gz`; no checksum is known here with
certainty).

Layout, below `speechocean762/`, as a Kaldi data directory for each official split:

    train/text, train/wav.scp, train/utt2spk, test/…
    WAVE/SPEAKER0001/000010011.WAV   (or another format that wav.scp names)

Paths in `wav.scp` start at the corpus's root. Training and test speakers differ; development
speakers are held out of training.
"""

from __future__ import annotations

from pathlib import Path

from asr.corpora.kaldi import read_data_directory
from asr.corpora.layout import corpus_root
from asr.corpora.listing import Importer, Listing
from asr.corpora.splits import DevOptions, hold_out


def find_speechocean762(source: Path, options: DevOptions) -> Listing:
    """Official splits; development speakers are held out of training.

    Raises:
        DataError: A table is missing or has malformed lines.
    """
    root = corpus_root(source, "speechocean762", "train/wav.scp", "speechocean762")
    train, left_out = read_data_directory(root / "train", root)
    test, left_out_of_test = read_data_directory(root / "test", root)
    splits = {"train": train, "test": test}
    if options.dev_fraction:
        target = options.dev_fraction * len(train)
        splits["train"], splits["dev"] = hold_out(train, target, "speaker")
    return Listing(splits, left_out + left_out_of_test)


IMPORTER = Importer(DevOptions, find_speechocean762)
