"""Measure how far word confidences can be trusted, before and after calibration.

    python tools/reliability.py MODEL MANIFEST [--lm FILE] [--decoder beam] [--set lm_weight=0.7]
    python tools/reliability.py MODEL MANIFEST --decoder greedy

MANIFEST must be development data: what is printed last is fitted on all of it. What is printed
before that is cross-validated: the words of each fold are judged by a calibration fitted on the
other folds. No speaker stands in two folds where the manifest names all speakers, else no
utterance does. A reliability diagram goes to --png.

ECE is the expected calibration error in equal-mass bins, then in equal-width bins; NCE is NIST's
normalised cross entropy; AUC the probability that a right word is more confident than a wrong one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asr.audio import read_audio
from asr.config import load_options
from asr.decoding import BeamConfig, BeamDecoder, Decoder, GreedyDecoder, Hypothesis, Knowledge
from asr.decoding.calibration import (
    Calibration,
    area_under_roc,
    calibration_error,
    fit_calibration,
    normalized_cross_entropy,
    reliability,
    words_correct,
)
from asr.decoding.confidence import frame_entropies, word_features, word_posteriors
from asr.decoding.lexicon import build_spelling
from asr.errors import AsrError, DataError
from asr.files import atomic_path
from asr.lm.files import read_model
from asr.manifest import Utterance, read_manifest
from asr.plots import DEV_COLOUR, DOTS_PER_INCH, RATE_COLOUR, STYLE, TRAIN_COLOUR
from asr.recognizer import Recognizer
from asr.text import normalize
from asr.tokens import Tokenizer


class Spoken(NamedTuple):
    """One utterance: what the model emits, and what was said."""

    log_probs: np.ndarray
    words: Sequence[str]
    group: str


class Judged(NamedTuple):
    """All words recognised: (num_words, 2) features, whether they are right, and whose they are."""

    features: np.ndarray
    is_correct: np.ndarray
    groups: np.ndarray


def main() -> int:
    """Parse, recognise, measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--lm", type=Path, help="language model of words, ARPA or binary")
    parser.add_argument("--decoder", choices=["beam", "greedy"], default="beam")
    parser.add_argument("--beam", type=int, default=100, help="prefixes kept")
    parser.add_argument("--set", action="append", default=[], help="another setting of the beam")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="draws the folds")
    parser.add_argument("--l2", type=float, default=1.0, help="penalty of the fit")
    parser.add_argument("--bins", type=int, default=10)
    parser.add_argument("--png", type=Path, default=Path("reliability.png"))
    arguments = parser.parse_args()
    try:
        _report(arguments)
    except AsrError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    return 0


def _report(arguments: argparse.Namespace) -> None:
    recognizer = Recognizer.load(arguments.model)
    config = load_options(BeamConfig, None, arguments.set).model_copy(
        update={"beam_width": arguments.beam, "num_best": arguments.beam}
    )
    decoder: Decoder = GreedyDecoder(recognizer.tokenizer, recognizer.frame_s)
    if arguments.decoder == "beam":
        knowledge = Knowledge(None if arguments.lm is None else read_model(arguments.lm))
        decoder = BeamDecoder(recognizer.tokenizer, recognizer.frame_s, config, knowledge)
    judged = judge(decoder, recognizer.tokenizer, _speak(recognizer, arguments.manifest))
    folds = draw_folds(judged.groups, arguments.folds, arguments.seed)
    fitted = cross_validate(judged, folds, arguments.l2)
    before = Calibration().confidence(judged.features)
    print(
        f"{arguments.decoder}: {len(judged.is_correct)} words recognised, "
        f"{100 * judged.is_correct.mean():.1f} % of them right\n"
        f"{arguments.folds} folds of {len(set(judged.groups))} speakers or utterances, "
        f"seed {arguments.seed}\n"
    )
    for line in (*table(judged, before, fitted, arguments.bins), ""):
        print(line)
    for line in curve(judged, fitted, arguments.bins):
        print(line)
    everything = fit_calibration(judged.features, judged.is_correct, arguments.l2)
    print(f"\nfitted on all: {everything.model_dump_json()}")
    draw(judged, {"default": before, "cross-validated": fitted}, arguments.bins, arguments.png)


def _speak(recognizer: Recognizer, manifest: Path) -> Iterator[Spoken]:
    """Emissions and transcript of every utterance."""
    utterances = read_manifest(manifest)
    group_of = _grouping(utterances)
    for one in utterances:
        waveform = read_audio(one.audio_path, one.read_options(recognizer.sample_rate_hz))
        words = normalize(one.text, recognizer.config.text).split()
        yield Spoken(recognizer.emissions([waveform])[0], words, group_of(one))


def _grouping(utterances: Iterable[Utterance]) -> Callable[[Utterance], str]:
    if all(one.speaker is not None for one in utterances):
        return lambda one: str(one.speaker)
    return lambda one: one.id


def judge(decoder: Decoder, tokenizer: Tokenizer, utterances: Iterable[Spoken]) -> Judged:
    """Decode, and compare every word with what was said.

    Raises:
        DataError: Nothing was recognised.
    """
    features, is_correct, groups = [], [], []
    for log_probs, words, group in utterances:
        hypotheses = decoder.decode(log_probs)
        found = [word.text for word in hypotheses[0].words]
        if not found:
            continue
        spans = np.array(
            [span[1:] for span in tokenizer.word_spans(hypotheses[0].tokens)], np.int64
        )
        posteriors = np.full(len(spans), 0.5)
        if isinstance(decoder, BeamDecoder):
            posteriors = posteriors_of(hypotheses, tokenizer)
        features.append(features_of(hypotheses[0], log_probs, posteriors, spans))
        is_correct.append(words_correct(words, found))
        groups += [group] * len(found)
    if not groups:
        raise DataError("no word was recognised", hint="is this the model's language?")
    return Judged(np.concatenate(features), np.concatenate(is_correct), np.array(groups))


def posteriors_of(hypotheses: Sequence[Hypothesis], tokenizer: Tokenizer) -> np.ndarray:
    """Posteriors of the words of the best hypothesis."""
    return word_posteriors(
        np.array([token for one in hypotheses for token in one.tokens], np.int32),
        np.cumsum([0, *(len(one.tokens) for one in hypotheses)]),
        np.array([one.score for one in hypotheses]),
        build_spelling(tokenizer)[0],
    )


def features_of(
    best: Hypothesis, log_probs: np.ndarray, posteriors: np.ndarray, spans: np.ndarray
) -> np.ndarray:
    """Features of a hypothesis; the frame where each token peaks stands for its run."""
    ends = (*best.frames[1:], len(log_probs))
    peaks = [
        begin + int(log_probs[begin:end, token].argmax())
        for begin, end, token in zip(best.frames, ends, best.tokens, strict=True)
    ]
    runs = np.array(peaks, np.int32)
    return word_features(posteriors, frame_entropies(log_probs), runs, runs + np.int32(1), spans)


def draw_folds(groups: np.ndarray, num_folds: int, seed: int) -> np.ndarray:
    """Fold of each word, groups kept together.

    Raises:
        DataError: Fewer than two folds, or fewer groups than folds.
    """
    names, index = np.unique(groups, return_inverse=True)
    if not 2 <= num_folds <= len(names):
        raise DataError(f"folds must be in [2, {len(names)}], the number of groups")
    return (np.random.default_rng(seed).permutation(len(names)) % num_folds)[index]


def cross_validate(judged: Judged, folds: np.ndarray, l2: float) -> np.ndarray:
    """Confidence of each word by a calibration fitted on the other folds."""
    confidence = np.empty(len(folds))
    for fold in range(int(folds.max()) + 1):
        held_out = folds == fold
        calibration = fit_calibration(judged.features[~held_out], judged.is_correct[~held_out], l2)
        confidence[held_out] = calibration.confidence(judged.features[held_out])
    return confidence


def measures(confidence: np.ndarray, is_correct: np.ndarray, num_bins: int) -> list[float]:
    """ECE by mass and by width, NCE, AUC."""
    return [
        calibration_error(confidence, is_correct, num_bins, "mass"),
        calibration_error(confidence, is_correct, num_bins, "width"),
        normalized_cross_entropy(confidence, is_correct),
        area_under_roc(confidence, is_correct),
    ]


def table(judged: Judged, before: np.ndarray, fitted: np.ndarray, num_bins: int) -> list[str]:
    """What calibration changes."""
    rows = {"default": before, "cross-validated": fitted}
    return [
        f"{'':<16}{'ECE mass':>10}{'ECE width':>11}{'NCE':>8}{'AUC':>8}",
        *(
            "{:<16}{:>10.4f}{:>11.4f}{:>8.3f}{:>8.3f}".format(
                name, *measures(confidence, judged.is_correct, num_bins)
            )
            for name, confidence in rows.items()
        ),
    ]


def curve(judged: Judged, confidence: np.ndarray, num_bins: int) -> list[str]:
    """The reliability curve, bins of equal mass."""
    return [
        f"{'cross-validated confidences':<28}{'words':>6}{'mean':>8}{'right':>8}",
        *(
            f"{f'{one.low:.4f} … {one.high:.4f}':<28}{one.num_words:>6}"
            f"{one.confidence:>8.3f}{one.accuracy:>8.3f}"
            for one in reliability(confidence, judged.is_correct, num_bins)
        ),
    ]


def draw(judged: Judged, confidences: dict[str, np.ndarray], num_bins: int, path: Path) -> None:
    """The reliability diagram, with how many words have which confidence below."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6, 7), layout="constrained")
        points, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        points.plot([0, 1], [0, 1], color=RATE_COLOUR, linestyle="--", linewidth=0.8)
        for (name, confidence), colour in zip(
            confidences.items(), (DEV_COLOUR, TRAIN_COLOUR), strict=True
        ):
            bins = reliability(confidence, judged.is_correct, num_bins)
            error = calibration_error(confidence, judged.is_correct, num_bins)
            points.plot(
                [one.confidence for one in bins],
                [one.accuracy for one in bins],
                marker="o",
                color=colour,
                label=f"{name}: ECE {error:.3f}",
            )
            counts.hist(confidence, bins=20, range=(0, 1), histtype="step", color=colour)
        points.set_ylabel("share of words that are right")
        points.legend(loc="upper left")
        counts.set_xlabel("confidence")
        counts.set_ylabel("words")
        counts.set_yscale("log")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)


if __name__ == "__main__":
    sys.exit(main())
