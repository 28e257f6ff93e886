"""What people should know of a corpus before a model learns from it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from asr.audio import Channel
from asr.experiment import ExperimentConfig
from asr.manifest import Utterance
from asr.text import normalize
from asr.training.data import Corpus

NUM_SHOWN = 8
"""Characters that a notice names."""

_IN_WORDS = "'\u2019-"
_DOT_ABOVE = "\u0307"


def notices(corpus: Corpus, config: ExperimentConfig) -> Iterator[str]:
    """What may not be meant: a line each, none where all is as usual.

    Args:
        corpus: What is trained on.
        config: Settings of the run.
    """
    known = {_place(one) for one in corpus.train}
    num_shared = sum(_place(one) in known for one in corpus.dev)
    if num_shared:
        yield (
            f"{num_shared} of {len(corpus.dev)} development utterances are training utterances "
            "too: their error rate says nothing of other speech"
        )
    characters = {
        character
        for one in corpus.train
        for character in normalize(one.text, config.text)
        if not character.isalnum()
    }
    if _DOT_ABOVE in characters:
        yield (
            "transcripts have dots of their own above letters: for Turkish and Azerbaijani, whose "
            "I and İ are two letters, say text.language=tr or az"
        )
    marks = sorted(
        one for one in characters if unicodedata.category(one)[0] == "P" and one not in _IN_WORDS
    )
    if marks:
        more = " …" if len(marks) > NUM_SHOWN else ""
        yield (
            f"transcripts have punctuation, which will be learnt and counted like letters: "
            f"{' '.join(marks[:NUM_SHOWN])}{more}; text.profile=letters leaves it out"
        )


def _place(utterance: Utterance) -> tuple[Path, float, Channel]:
    return utterance.audio_path, utterance.start_s, utterance.channel
