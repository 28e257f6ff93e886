"""Recognise a manifest with a model and score it against the manifest's own transcripts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asr.decoding import Hypothesis
from asr.errors import DataError
from asr.evaluation import WerReport, score_texts
from asr.manifest import read_manifest
from asr.progress import progress_bar
from asr.recognizer import Recognizer, transcribe_each
from asr.text import normalize


@dataclass(frozen=True)
class ModelEvaluation:
    """What a model said of a manifest, and how right it was."""

    report: WerReport
    """Scores of the utterances that could be read."""
    failures: Mapping[str, DataError]
    """Why the others could not, by utterance id."""
    text_profile: str
    decoding: str
    """Which decoder, and its settings."""
    audio_s: float
    """Seconds of audio in the scored utterances."""
    elapsed_s: float
    """Seconds from reading the first file to the last hypothesis."""

    def lines(self) -> list[str]:
        """Rates as Kaldi prints them, their interval, how they were decoded, and the speed."""
        speed = self.elapsed_s / max(self.audio_s, 1e-9)
        return [
            *self.report.lines(self.text_profile),
            f"decoding: {self.decoding}",
            f"{self.audio_s:.0f} s of audio in {self.elapsed_s:.1f} s: "
            f"real-time factor {speed:.4f}",
        ]

    def write(self, path: Path) -> None:
        """Write one JSON line an utterance: texts, counts and alignment.

        Raises:
            DataError: The file cannot be written.
        """
        self.report.write_utterances(path)


def evaluate_model(recognizer: Recognizer, manifest: Path) -> ModelEvaluation:
    """Recognise and score every utterance of a manifest.

    Both sides are normalised by the text profile of the model. Utterances whose audio cannot be
    read are left out of the score and reported.

    Raises:
        DataError: The manifest is not valid, or none of its audio can be read.
    """
    utterances = read_manifest(manifest)
    rate = recognizer.sample_rate_hz
    sources = [(one.id, one.audio_path, one.read_options(rate)) for one in utterances]
    hypotheses: dict[str, Hypothesis] = {}
    failures: dict[str, DataError] = {}
    start = time.perf_counter()
    with progress_bar("recognising", len(sources)) as advance:
        for name, result in transcribe_each(recognizer, sources):
            advance()
            if isinstance(result, DataError):
                failures[name] = result
            else:
                hypotheses[name] = result[0]
    elapsed_s = time.perf_counter() - start
    if not hypotheses:
        first = next(iter(failures.values()), "it is empty")
        raise DataError(f"no utterance of {manifest} can be read: {first}")
    config = recognizer.config.text
    read = [one for one in utterances if one.id in hypotheses]
    report = score_texts(
        {one.id: normalize(one.text, config) for one in read},
        {name: normalize(one.text, config) for name, one in hypotheses.items()},
    )
    audio_s = sum(one.duration_s for one in read)
    return ModelEvaluation(
        report, failures, config.profile, recognizer.decoding, audio_s, elapsed_s
    )
