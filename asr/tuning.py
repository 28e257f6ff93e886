"""Find the settings of the beam search on development data: accurate first, then fast.

1. Language model weight × word bonus on a grid. Of all settings whose word errors are within one
   standard error of the fewest, those nearest to the defaults are taken.
2. What an unknown word costs, or that there is none (a closed vocabulary): other than by default
   only where that saves more than two standard errors. A closed one to begin with, as
   `model_tuning` has it for phones, stays.
3. The narrowest pruning that leaves errors and texts as the widest has them.
4. With these settings, what turns the beam's posteriors and the entropies of tokens into the
   probability that a word is right (`decoding.calibration`), fitted on all of the data.

The standard error is that of the difference between two settings on the same utterances, were
they equally good: the root of the sum of squared differences. The rule is Breiman's for the size
of trees. With three models of AN4, weights chosen so on half of the 98 development utterances made
24.6 errors on the other half (the defaults 24.7, the fewest errors alone 25.2, the fewest after
a mean over neighbouring settings 25.7; 240 splits). With defaults that do not fit (1.0 and 2; 1.2
and 3) it made 25.7 and 26.1, the fewest errors alone 25.7 and 25.9, those defaults 27.0 and 28.2.

The outcome is never worse on the data than greedy decoding, nor than the beam search with nothing
beside the sound, pruned by the same rule: the three are compared on all of the data, also where
time allows to search on a part alone. What is beside the sound must save errors, or it is left out;
the beam search is preferred where it makes as many as greedy decoding, for its confidences are
calibrated.

References:
    Breiman, Friedman, Olshen & Stone (1984), Classification and regression trees, section 3.4.3.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from asr.decoding import BeamConfig, BeamDecoder, GreedyDecoder, Knowledge, LogProbs
from asr.decoding.calibration import (
    Calibration,
    calibration_error,
    fit_calibration,
    words_correct,
)
from asr.errors import DataError
from asr.evaluation import WerReport, score_texts
from asr.tokens import Tokenizer
from asr.wer import count_errors

Floats: TypeAlias = npt.NDArray[np.float64]

LM_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0)
WORD_BONUSES = (-2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
FEW_WEIGHTS, FEW_BONUSES = (0.0, 0.2, 0.5, 0.8, 1.2, 2.0), (-1.0, 0.0, 1.0, 2.0, 4.0)
"""The grid where time is short: rather more utterances than more settings."""
WEIGHT_STEP, BONUS_STEP = 0.1, 0.5
"""Changes of weight and bonus that are equally far from the defaults."""
UNKNOWN_SCORES = (-5.0, -20.0)
OF_LM = BeamConfig().model_dump(include={"lm_unit", "lm_weight", "word_bonus"})
"""The defaults again where the language model is left out: the next one may be of another kind."""

SEARCH = {"beam_width": 100, "beam_threshold": 15.0, "token_threshold": 8.0}
"""Pruning while weights are sought."""
WIDEST = {"beam_width": 1000, "beam_threshold": 20.0, "token_threshold": 12.0}
PRUNING: Mapping[str, tuple[float, ...]] = {
    "token_threshold": (5.0, 6.0, 7.0, 8.5, 10.0, 12.0),
    "beam_threshold": (8.0, 10.0, 12.0, 15.0, 20.0),
    "beam_width": (25, 50, 100, 200, 400, 1000),
}
"""Tried from the narrowest on; narrower ones would save little time on any data."""
OTHER_TEXTS = 0.005
"""Share of the utterances, one at least, whose text narrower pruning may change."""

NUM_NARROW = 1 + sum(map(len, PRUNING.values()))
NUM_TRIALS = len(LM_WEIGHTS) * len(WORD_BONUSES) + len(UNKNOWN_SCORES) + 1 + 2 * NUM_NARROW
"""As many settings are tried at most."""
FEW_WORDS = 50
"""Of development data: with fewer, chance decides."""
FEWEST_UTTERANCES = 50
TIMED_STEP = 5
"""The widest search is timed on every fifth of them."""
NUM_FOLDS = 5


@dataclass(frozen=True)
class DevelopmentSet:
    """What to tune on.

    Attributes:
        tokenizer: Of the model.
        frame_s: Seconds between frames.
        emissions: Of each utterance, (num_frames, vocab_size) natural log-probabilities.
        references: Their transcripts, normalised.
    """

    tokenizer: Tokenizer
    frame_s: float
    emissions: Sequence[LogProbs]
    references: Sequence[str]

    def sample(self, count: int, seed: int) -> DevelopmentSet:
        """So many utterances, drawn at random, in order; one with words at least, if there is."""
        generator = random.Random(seed)
        chosen = generator.sample(range(len(self.emissions)), count)
        with_words = [index for index, text in enumerate(self.references) if text]
        if with_words and not any(self.references[index] for index in chosen):
            chosen[0] = generator.choice(with_words)
        return replace(
            self,
            emissions=[self.emissions[index] for index in sorted(chosen)],
            references=[self.references[index] for index in sorted(chosen)],
        )


@dataclass(frozen=True)
class Surface:
    """Word errors over language model weight and word bonus.

    Attributes:
        lm_weights, word_bonuses: The grid.
        wers: (num_weights, num_bonuses) word error rates, fractions.
        chosen: Weight and bonus that were taken.
    """

    lm_weights: tuple[float, ...]
    word_bonuses: tuple[float, ...]
    wers: Floats
    chosen: tuple[float, float]


@dataclass(frozen=True)
class TuningResult:
    """What was found.

    Attributes:
        config: Settings of the beam search.
        knowledge: What helps it: what was given, or nothing.
        greedy, beam: Scores on all of the data, by greedy decoding and by the best beam search.
        calibration_error: Of the confidences of held-out words, see `calibrate`; NaN for none.
        surface: None without a language model.
        num_trials: Settings tried.
        num_utterances: On how many utterances weights were sought: as many as the time allowed.
        elapsed_s: Wall time.
    """

    config: BeamConfig
    knowledge: Knowledge
    greedy: WerReport
    beam: WerReport
    calibration_error: float
    surface: Surface | None
    num_trials: int
    num_utterances: int
    elapsed_s: float

    @property
    def decoder(self) -> Literal["greedy", "beam"]:
        """The decoder to prefer: greedy where the beam search makes more errors."""
        return "beam" if self.beam.words.num_errors <= self.greedy.words.num_errors else "greedy"

    def lines(self) -> list[str]:
        """What people read: both error rates with intervals, the settings and the effort."""
        total = len(self.greedy.utterances)
        part = f" on {self.num_utterances} of {total} utterances"
        lines = [
            f"greedy: {_rate_line(self.greedy)}",
            f"beam:   {_rate_line(self.beam)}",
            f"beam settings: {_settings(self.config, self.knowledge)}",
            f"confidences: {self._calibrated()}",
            f"{self.num_trials} settings tried{part if self.num_utterances < total else ''} "
            f"in {self.elapsed_s:.0f} s",
        ]
        num_words = self.greedy.words.num_references
        if num_words < FEW_WORDS:
            lines.append(
                f"note: settings found on {num_words} words may not suit others; "
                "a few hundred say more"
            )
        if self.surface is not None and self.knowledge.lm is None:
            lines.append("the language model does not help: it is left out")
        if self.decoder == "greedy":
            lines.append("the beam search makes more errors: greedy decoding stays the default")
        return lines

    def _calibrated(self) -> str:
        num_words = self.config.calibration.num_words
        if not num_words:
            return "could not be calibrated, for no word was recognised"
        return (
            f"calibrated on {num_words} words, "
            f"{100 * self.calibration_error:.1f} % off where held out"
        )


def _settings(config: BeamConfig, knowledge: Knowledge) -> str:
    settings = [f"width {config.beam_width}"]
    settings.append(f"thresholds {config.beam_threshold:g} and {config.token_threshold:g}")
    if knowledge.lm is not None:
        settings.append(f"LM weight {config.lm_weight:g}, word bonus {config.word_bonus:g}")
    if config.vocabulary == "closed":
        settings.append("closed vocabulary")
    elif knowledge.lm is not None or knowledge.lexicon is not None:
        settings.append(f"unknown words {config.unknown_score:g}")
    return ", ".join(settings)


def _rate_line(report: WerReport) -> str:
    interval = report.bootstrap_interval()
    if interval is None:
        return report.kaldi_line()
    low, high = (100 * end for end in interval)
    return f"{report.kaldi_line()}, 95 % interval [ {low:.2f}, {high:.2f} ]"


def tune(
    development: DevelopmentSet,
    knowledge: Knowledge,
    config: BeamConfig | None = None,
    time_limit_s: float = 60.0,
    advance: Callable[[], None] = lambda: None,
) -> TuningResult:
    """Find settings; see the module.

    Args:
        development: Never the test data.
        knowledge: Language model and lexicon that the settings are for.
        config: Settings that are not sought, as the unit of the language model, and in place of
            the defaults the weight, the bonus and the price of unknown words to begin with.
        time_limit_s: About how long, if need be on a part of the utterances, drawn at random.
        advance: Called after each setting, at most about `NUM_TRIALS` times.

    Raises:
        DataError: There is no utterance with words, or `knowledge` does not fit the tokenizer.
        ConfigError: `config` does not fit `knowledge`.
    """
    if not any(development.references):
        raise DataError("tuning needs at least one utterance with words")
    start = time.perf_counter()
    base = (config or BeamConfig()).model_copy(update={"num_best": 1, **SEARCH})
    plan = _plan(development, knowledge, base, time_limit_s)
    trials = Trials(plan.many, knowledge, advance)
    surface, best = _find_weights(trials, plan, base) if knowledge.lm is not None else (None, base)
    if knowledge.lexicon is not None or (knowledge.lm is not None and base.lm_unit == "word"):
        best = _find_vocabulary(trials, best)
    narrow = Trials(plan.few, knowledge, advance)
    plain = Trials(plan.few, Knowledge(), advance)
    best = _narrow(narrow, best)
    # A vocabulary of the words of a dictionary needs nothing else to be closed.
    vocabulary = "open" if development.tokenizer.words is None else base.vocabulary
    without = _narrow(plain, base.model_copy(update={"vocabulary": vocabulary, **OF_LM}))
    of_all, plain_of_all = narrow.on(development), plain.on(development)
    if plain_of_all.errors(without) <= of_all.errors(best):
        knowledge, best, of_all = Knowledge(), without, plain_of_all
    texts = of_all.texts(best)
    greedy = GreedyDecoder(development.tokenizer, development.frame_s)
    calibration, error = calibrate(development, knowledge, best)
    return TuningResult(
        config=best.model_copy(update={"calibration": calibration}),
        knowledge=knowledge,
        greedy=_score(development, [greedy.decode(one)[0].text for one in development.emissions]),
        beam=_score(development, texts),
        calibration_error=error,
        surface=surface,
        num_trials=plain.num_trials + narrow.num_trials + trials.num_trials,
        num_utterances=len(plan.many.emissions),
        elapsed_s=time.perf_counter() - start,
    )


def calibrate(
    development: DevelopmentSet, knowledge: Knowledge, config: BeamConfig
) -> tuple[Calibration, float]:
    """Fit how sure to be of words.

    Returns:
        What was fitted on all words, and the expected calibration error of words whose utterances
        were held out: every `NUM_FOLDS`-th in turn. NaN where that leaves no words.
    """
    decoder = BeamDecoder(development.tokenizer, development.frame_s, config, knowledge)
    features, correct, folds = [], [], []
    for index, log_probs in enumerate(development.emissions):
        stream = decoder.stream()
        stream.accept(log_probs)
        features.append(stream.word_features())
        words = [word.text for word in stream.finish()[0].words]
        correct.append(words_correct(development.references[index].split(), words))
        folds += [index % NUM_FOLDS] * len(words)
    known, is_correct, fold = np.concatenate(features), np.concatenate(correct), np.array(folds)
    confidence = np.empty(len(fold))
    for held_out in range(NUM_FOLDS):
        is_held = fold == held_out
        fitted = fit_calibration(known[~is_held], is_correct[~is_held])
        confidence[is_held] = fitted.confidence(known[is_held])
    return fit_calibration(known, is_correct), calibration_error(confidence, is_correct)


def _score(development: DevelopmentSet, texts: Sequence[str]) -> WerReport:
    names = [str(index) for index in range(len(texts))]
    return score_texts(
        dict(zip(names, development.references, strict=True)),
        dict(zip(names, texts, strict=True)),
    )


class Trials:
    """Texts and word errors of settings, each tried once."""

    def __init__(
        self, development: DevelopmentSet, knowledge: Knowledge, advance: Callable[[], None]
    ) -> None:
        self._development = development
        self.references = development.references
        self._knowledge = knowledge
        self._decoder: BeamDecoder | None = None
        self._advance = advance
        self._texts: dict[BeamConfig, list[str]] = {}
        self._errors: dict[tuple[int, str], int] = {}

    def on(self, development: DevelopmentSet) -> Trials:
        """These where the data are their own, else new ones of the same knowledge."""
        if development is self._development:
            return self
        return Trials(development, self._knowledge, lambda: None)

    @property
    def num_trials(self) -> int:
        """How many settings were tried."""
        return len(self._texts)

    def texts(self, config: BeamConfig) -> list[str]:
        """What is recognised, utterance by utterance."""
        if config not in self._texts:
            found = self._decoder_of(config).decode_list(self._development.emissions)
            self._texts[config] = [hypotheses[0].text for hypotheses in found]
            self._advance()
        return self._texts[config]

    def _decoder_of(self, config: BeamConfig) -> BeamDecoder:
        """One built from nothing for the first settings, which all others share much with."""
        if self._decoder is None:
            data = self._development
            self._decoder = BeamDecoder(data.tokenizer, data.frame_s, config, self._knowledge)
        return self._decoder.with_config(config)

    def errors(self, config: BeamConfig) -> int:
        """Word errors in all utterances."""
        return int(self.utterance_errors(config).sum())

    def utterance_errors(self, config: BeamConfig) -> Floats:
        """(num_utterances,) word errors."""
        return np.array(
            [self._utterance_errors(*one) for one in enumerate(self.texts(config))], np.float64
        )

    def _utterance_errors(self, index: int, text: str) -> int:
        if (index, text) not in self._errors:  # most settings agree on most utterances
            reference = self.references[index].split()
            self._errors[index, text] = count_errors(reference, text.split()).num_errors
        return self._errors[index, text]


@dataclass(frozen=True)
class _Plan:
    """What the time allows.

    Attributes:
        many, few: Data that weights are sought on, and pruning.
        lm_weights, word_bonuses: The grid.
    """

    many: DevelopmentSet
    few: DevelopmentSet
    lm_weights: tuple[float, ...]
    word_bonuses: tuple[float, ...]


def _plan(
    data: DevelopmentSet, knowledge: Knowledge, config: BeamConfig, time_limit_s: float
) -> _Plan:
    """As much of the data as the time allows, and a coarse grid where that is not all of it.

    Weights and pruning may each take half of the time that the last decodings of everything are
    expected to leave. Pruning begins with a search so wide that the same time is enough for fewer
    utterances; they do, for texts are compared there, and not rates of error.
    """
    total = len(data.emissions)
    probe = data.sample(min(FEWEST_UTTERANCES, total), seed=0)
    decoder = BeamDecoder(data.tokenizer, data.frame_s, config, knowledge)
    usual_s = _seconds_each(decoder, probe.emissions)
    wide = decoder.with_config(config.model_copy(update=WIDEST))
    wide_s = _seconds_each(wide, probe.emissions[::TIMED_STEP])
    half_s = max(0.0, time_limit_s - total * wide_s / 2) / 2

    def sample(seconds_each: float, num_trials: int) -> DevelopmentSet:
        count = max(len(probe.emissions), int(half_s / num_trials / seconds_each))
        return data if count >= total else data.sample(count, seed=0)

    few = sample(wide_s, NUM_NARROW)
    all_pairs = len(LM_WEIGHTS) * len(WORD_BONUSES)
    if sample(usual_s, all_pairs) is data:
        return _Plan(data, few, LM_WEIGHTS, WORD_BONUSES)
    many = sample(usual_s, len(FEW_WEIGHTS) * len(FEW_BONUSES))
    return _Plan(many, few, FEW_WEIGHTS, FEW_BONUSES)


def _seconds_each(decoder: BeamDecoder, emissions: Sequence[LogProbs]) -> float:
    """Wall time an utterance, once all is compiled."""
    decoder.decode(emissions[0])
    start = time.perf_counter()
    decoder.decode_list(emissions)
    return (time.perf_counter() - start) / len(emissions)


def _find_weights(trials: Trials, plan: _Plan, base: BeamConfig) -> tuple[Surface, BeamConfig]:
    """The whole grid, and the settings with the weights that are taken."""
    pairs = list(itertools.product(plan.lm_weights, plan.word_bonuses))
    configs = [base.model_copy(update={"lm_weight": w, "word_bonus": b}) for w, b in pairs]
    errors = np.stack([trials.utterance_errors(config) for config in configs])
    distances = [
        math.hypot((w - base.lm_weight) / WEIGHT_STEP, (b - base.word_bonus) / BONUS_STEP)
        for w, b in pairs
    ]
    chosen = nearest_of_the_best(errors, distances)
    num_words = sum(len(one.split()) for one in trials.references)
    shape = (len(plan.lm_weights), len(plan.word_bonuses))
    wers = errors.sum(axis=1).reshape(shape) / num_words
    return Surface(plan.lm_weights, plan.word_bonuses, wers, pairs[chosen]), configs[chosen]


def nearest_of_the_best(errors: Floats, distances: Sequence[float]) -> int:
    """Of settings no more than one standard error above the best, the nearest to the defaults.

    Args:
        errors: (num_settings, num_utterances).
        distances: (num_settings,) from the defaults; of equal ones, fewer errors decide.

    Returns:
        Index of the setting.
    """
    totals = errors.sum(axis=1)
    best = int(totals.argmin())
    excess = totals - totals[best]
    allowed = standard_error(errors - errors[best])
    fitting = np.flatnonzero(excess <= allowed).tolist()
    return int(min(fitting, key=lambda index: (distances[index], totals[index])))


def standard_error(differences: Floats) -> Floats:
    """Of the sum over utterances, the last axis, of differences whose mean is zero."""
    return np.asarray(np.sqrt((differences**2).sum(axis=-1)))


def _find_vocabulary(trials: Trials, config: BeamConfig) -> BeamConfig:
    """With the price of unknown words, or the closed vocabulary, that earns its place."""
    if config.vocabulary == "closed":
        return config
    best = config
    others: list[dict[str, Any]] = [{"unknown_score": score} for score in UNKNOWN_SCORES]
    for update in [*others, {"vocabulary": "closed"}]:
        other = config.model_copy(update=update)
        saved = trials.utterance_errors(best) - trials.utterance_errors(other)
        if saved.sum() > 2 * standard_error(saved):
            best = other
    return best


def _narrow(trials: Trials, config: BeamConfig) -> BeamConfig:
    """The narrowest pruning, one kind after the other, that changes next to nothing."""
    narrowed = config.model_copy(update=WIDEST)
    texts, errors = trials.texts(narrowed), trials.errors(narrowed)
    for name, values in PRUNING.items():
        for value in values:
            candidate = narrowed.model_copy(update={name: value})
            num_other = sum(map(str.__ne__, trials.texts(candidate), texts))
            few = num_other <= max(1, OTHER_TEXTS * len(texts))
            if few and trials.errors(candidate) <= errors:
                narrowed = candidate
                break
    return narrowed
