"""Corpora: from the files as published, or as a stranger keeps them, to manifests.

One module a corpus says what it is, its licence, its layout and its official address, and holds an
`IMPORTER`. `prepare` runs one and writes `train.jsonl`, `dev.jsonl` and `test.jsonl`. This package
imports nothing heavy until it is asked to, so that the command line can list the names at once.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import ConfigError

if TYPE_CHECKING:
    from asr.corpora.listing import Importer
    from asr.manifest import Problem, Utterance

CORPORA: Mapping[str, str] = {
    "digits": "connected English digits, made on the spot with eSpeak NG (no source needed)",
    "spoken": "sentences of a text file, spoken by eSpeak NG (no source needed)",
    "an4": "CMU AN4: spelled names, addresses, dates, commands; 16 kHz",
    "librispeech": "LibriSpeech: 1,000 hours of English audio books (can download)",
    "speechocean762": "speechocean762: English read by non-native speakers",
    "fsdd": "Free Spoken Digit Dataset: isolated digits, and connected ones made of them",
    "yesno": "waves_yesno: 60 files of eight words yes or no",
    "ljspeech": "LJ Speech: 24 hours of one reader",
    "commonvoice": "Mozilla Common Voice: TSV tables beside clips",
    "joined": "short recordings of any manifest, joined to longer ones of one speaker",
    "background": "sounds without words, made quiet, or speech of other words: nothing to write",
    "kaldi": "any Kaldi data directory: text, wav.scp, utt2spk, segments",
    "nemo": "any NeMo manifest: JSON lines of audio_filepath, duration, text",
    "csv": "any .csv or .tsv table with named columns",
    "folder": "any folder of audio beside .txt files, or with one transcript file",
}
"""Names that `prepare` knows, each with one line on what it is."""

MADE_CORPORA = frozenset({"digits", "spoken"})
"""Those that are made, not read."""


def load_importer(corpus: str) -> Importer[Any]:
    """The importer of one corpus; its module is imported now.

    Raises:
        ConfigError: No corpus has this name.
    """
    if corpus not in CORPORA:
        near = difflib.get_close_matches(corpus, CORPORA, n=1)
        known = f"known corpora: {', '.join(CORPORA)}"
        raise ConfigError(
            f"unknown corpus {corpus!r}", hint=f"did you mean {near[0]!r}?" if near else known
        )
    importer: Importer[Any] = importlib.import_module(f"asr.corpora.{corpus}").IMPORTER
    return importer


def prepare(
    corpus: str,
    source: Path | None,
    out: Path,
    options: Mapping[str, Any] | None = None,
    on_left_out: Callable[[Problem], None] | None = None,
) -> dict[str, list[Utterance]]:
    """Write a corpus's manifests.

    Same files and options in, same bytes out: utterances are sorted by id, and whatever is drawn
    comes from a seed or from a hash of ids. The manifests appear together or not at all; then
    those of `train`, `dev` and `test` that this run has no utterances for are removed, and the
    parts of an earlier run that this one does not have, unless they were changed since: `out` never
    mixes two runs. A hidden file, `.asr-parts.json`, tells which parts were written.

    Args:
        corpus: A name in `CORPORA`.
        source: Where the corpus lies. None is for a corpus that is made, not read: its audio goes
            to `out`.
        out: Directory of the manifests; made when missing.
        options: The corpus's own options by name; see the options class in its module.
        on_left_out: Called for each utterance that cannot be used (its audio is missing or
            damaged, or it has no transcript) while the rest is prepared. None: one is enough to
            stop with nothing written.

    Returns:
        The utterances written, by manifest name: `train`, `dev`, `test`, and parts of those such
        as `test-clean`. A split without utterances is absent.

    Raises:
        ConfigError: Unknown corpus, no source for one that is read, or an option that it does not
            have or that is out of range.
        DataError: The layout is not the corpus's, a line is malformed, splits overlap, or nothing
            can be used.
    """
    from asr.corpora.preparation import prepare_corpus

    if source is None:
        if corpus in CORPORA and corpus not in MADE_CORPORA:
            raise ConfigError(
                f"no source for {corpus}", hint="--source is the directory that the corpus lies in"
            )
        source = out
    return prepare_corpus(corpus, source, out, options or {}, on_left_out)
