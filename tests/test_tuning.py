"""Tuning finds what helps, prefers the defaults where nothing is proven, and never hurts."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding import BeamConfig, BeamDecoder, GreedyDecoder, Knowledge
from asr.decoding.calibration import Calibration, words_correct
from asr.errors import DataError
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.lm.ngram import NgramModel
from asr.tokens import PhoneTokenizer, tokenizer_from_dict
from asr.tuning import (
    FEW_BONUSES,
    FEW_WEIGHTS,
    LM_WEIGHTS,
    NUM_TRIALS,
    PRUNING,
    WIDEST,
    WORD_BONUSES,
    DevelopmentSet,
    Trials,
    calibrate,
    nearest_of_the_best,
    standard_error,
    tune,
)
from asr.wer import count_errors

LETTERS = " abdeo"
TOKENIZER = tokenizer_from_dict({"kind": "char", "vocab": ["<blank>", *LETTERS]})
SENTENCES = ("do bad bee", "bee do", "bad do do", "abed bee", "do abed")


def emissions_of(text: str, generator: np.random.Generator, confusion: float) -> np.ndarray:
    """A frame for each letter and one blank after it; some letters are confused with another."""
    frames = []
    for letter in text:
        probs = np.full(len(LETTERS) + 1, 0.01)
        right = 1 + LETTERS.index(letter)
        wrong = 2 + int(generator.integers(len(LETTERS) - 1))
        probs[right] = 0.9
        if wrong != right and generator.random() < confusion:
            probs[right], probs[wrong] = 0.4, 0.5
        blank = np.full(len(LETTERS) + 1, 0.01)
        blank[0] = 0.9
        frames += [probs, blank]
    probs = np.array(frames)
    return np.log(probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)


def development(count: int, confusion: float, seed: int = 0) -> DevelopmentSet:
    generator = np.random.default_rng(seed)
    references = [str(generator.choice(SENTENCES)) for _ in range(count)]
    emissions = [emissions_of(text, generator, confusion) for text in references]
    return DevelopmentSet(TOKENIZER, 0.04, emissions, references)


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> NgramModel:
    path = tmp_path_factory.mktemp("lm") / "text"
    path.write_text("\n".join(SENTENCES * 20))
    return build_model([path], BuildOptions(order=2)).model


@pytest.fixture(scope="module")
def data() -> DevelopmentSet:
    return development(24, 0.3)


def errors_of(data: DevelopmentSet, config: BeamConfig, knowledge: Knowledge) -> int:
    """Word errors, one utterance after the other: what `Trials` must give."""
    decoder = BeamDecoder(data.tokenizer, data.frame_s, config, knowledge)
    total = 0
    for log_probs, reference in zip(data.emissions, data.references, strict=True):
        words = decoder.decode(log_probs)[0].text.split()
        total += count_errors(reference.split(), words).num_errors
    return total


def test_trials_count_as_one_by_one_and_try_each_setting_once(
    data: DevelopmentSet, lm: NgramModel
) -> None:
    calls: list[int] = []
    trials = Trials(data, Knowledge(lm), lambda: calls.append(1))
    for weight in (0.0, 0.5, 2.0):
        config = BeamConfig(lm_weight=weight)
        assert trials.errors(config) == errors_of(data, config, Knowledge(lm))
        assert trials.utterance_errors(config).sum() == trials.errors(config)
    assert trials.num_trials == len(calls) == 3


def test_a_language_model_that_helps_is_used(data: DevelopmentSet, lm: NgramModel) -> None:
    result = tune(data, Knowledge(lm))
    assert result.decoder == "beam"
    assert result.knowledge.lm is lm
    assert result.beam.words.num_errors < result.greedy.words.num_errors / 2
    assert result.beam.words.num_errors == errors_of(data, result.config, result.knowledge)
    assert result.num_utterances == 24
    assert result.surface is not None
    assert result.surface.wers.shape == (len(LM_WEIGHTS), len(WORD_BONUSES))
    assert result.surface.chosen == (result.config.lm_weight, result.config.word_bonus)
    lines = result.lines()
    assert lines[0].startswith("greedy: %WER ")
    assert "95 % interval [ " in lines[1]
    assert lines[2].startswith(f"beam settings: width {result.config.beam_width}, thresholds ")
    assert lines[3].startswith(f"confidences: calibrated on {result.config.calibration.num_words} ")
    assert " settings tried in " in lines[4]
    assert len(lines) == 5


def test_few_words_of_development_data_are_worth_a_note(lm: NgramModel) -> None:
    few = development(4, 0.3)
    num_words = sum(len(text.split()) for text in few.references)
    assert (
        f"note: settings found on {num_words} words may not suit"
        in tune(few, Knowledge(lm)).lines()[5]
    )


def test_the_search_begins_at_the_settings_that_are_given(
    data: DevelopmentSet, lm: NgramModel
) -> None:
    """Many settings are as good as each other here: those nearest to the beginning are taken."""
    for weight, bonus in ((0.5, 1.0), (0.8, 2.0), (1.2, 1.5)):
        result = tune(data, Knowledge(lm), BeamConfig(lm_weight=weight, word_bonus=bonus))
        assert result.surface is not None
        assert result.surface.chosen == (weight, bonus)


def test_a_surface_holds_the_rates_of_its_grid(data: DevelopmentSet, lm: NgramModel) -> None:
    surface = tune(data, Knowledge(lm)).surface
    assert surface is not None
    num_words = sum(len(reference.split()) for reference in data.references)
    for row, column in ((0, 0), (5, 4), (12, 9)):
        config = BeamConfig(
            beam_threshold=15,
            token_threshold=8,
            lm_weight=LM_WEIGHTS[row],
            word_bonus=WORD_BONUSES[column],
        )
        expected = errors_of(data, config, Knowledge(lm)) / num_words
        assert surface.wers[row, column] == pytest.approx(expected)


def test_where_nothing_is_wrong_nothing_is_beside_the_sound(lm: NgramModel) -> None:
    result = tune(development(6, 0.0), Knowledge(lm))
    assert result.greedy.words.num_errors == 0
    assert result.decoder == "beam"
    assert result.knowledge == Knowledge()
    assert result.lines()[-1] == "the language model does not help: it is left out"


def test_where_the_beam_makes_more_errors_greedy_stays(
    data: DevelopmentSet, lm: NgramModel
) -> None:
    result = tune(data, Knowledge(lm))
    swapped = replace(result, greedy=result.beam, beam=result.greedy)
    assert swapped.decoder == "greedy"
    assert swapped.lines()[-1] == (
        "the beam search makes more errors: greedy decoding stays the default"
    )


def test_confidences_are_fitted_on_all_words_and_measured_on_others(data: DevelopmentSet) -> None:
    fitted, error = calibrate(data, Knowledge(), BeamConfig())
    config = BeamConfig(calibration=fitted)
    decoder = BeamDecoder(data.tokenizer, data.frame_s, config)
    confidences, correct = [], []
    for log_probs, reference in zip(data.emissions, data.references, strict=True):
        words = decoder.decode(log_probs)[0].words
        confidences += [word.confidence for word in words]
        correct += words_correct(reference.split(), [word.text for word in words]).tolist()
    assert fitted.num_words == len(confidences) > 40
    # A logistic function with a bias says on the whole what is true on the whole, but for the
    # penalty on its size.
    assert np.mean(confidences) == pytest.approx(np.mean(correct), abs=0.05)
    assert 0 < error < 0.3


def test_confidences_of_no_words_stay_as_they_are() -> None:
    silent = np.full((3, len(TOKENIZER.vocab)), -np.inf)
    silent[:, 0] = 0.0
    nothing = DevelopmentSet(TOKENIZER, 0.04, [silent], ["one"])
    fitted, error = calibrate(nothing, Knowledge(), BeamConfig())
    assert fitted == Calibration()
    assert math.isnan(error)
    assert tune(nothing, Knowledge()).lines()[3] == (
        "confidences: could not be calibrated, for no word was recognised"
    )


def test_a_language_model_of_another_world_does_not_hurt(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("oo oo oo\n" * 50)
    other = build_model([tmp_path / "text"], BuildOptions(order=2)).model
    for seed in range(3):
        result = tune(development(10, 0.2, seed), Knowledge(other))
        errors = (result.beam.words.num_errors, result.greedy.words.num_errors)
        assert (result.decoder == "beam") == (errors[0] <= errors[1])
        if result.decoder == "beam":
            assert errors[0] <= errors_of(development(10, 0.2, seed), BeamConfig(), Knowledge())


def test_without_knowledge_only_pruning_is_sought(data: DevelopmentSet) -> None:
    result = tune(data, Knowledge())
    assert result.surface is None
    assert result.config.lm_weight == BeamConfig().lm_weight
    assert result.num_trials <= 1 + sum(map(len, PRUNING.values()))


def test_a_lexicon_alone_can_help(data: DevelopmentSet) -> None:
    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    result = tune(data, Knowledge(lexicon=words))
    assert result.knowledge.lexicon == words
    assert result.beam.words.num_errors < result.greedy.words.num_errors
    assert "unknown words " in result.lines()[2] or "closed vocabulary" in result.lines()[2]


def test_a_closed_vocabulary_that_is_asked_for_stays(data: DevelopmentSet, lm: NgramModel) -> None:
    result = tune(data, Knowledge(lm), BeamConfig(vocabulary="closed"))
    assert result.config.vocabulary == "closed"
    assert "closed vocabulary" in result.lines()[2]


@pytest.mark.parametrize("vocabulary", ["open", "closed"])
def test_the_words_of_a_dictionary_stay_closed_without_a_language_model(
    lm: NgramModel, vocabulary: Literal["open", "closed"]
) -> None:
    words = {word: [tuple(word)] for sentence in SENTENCES for word in sentence.split()}
    phones = PhoneTokenizer(tuple(LETTERS.strip()), words)
    data = replace(development(6, 0.0), tokenizer=phones)
    for knowledge in (Knowledge(), Knowledge(lm)):
        result = tune(data, knowledge, BeamConfig(vocabulary=vocabulary))
        assert result.knowledge == Knowledge()
        assert result.config.vocabulary == vocabulary


def test_pruning_is_as_narrow_as_texts_allow(data: DevelopmentSet, lm: NgramModel) -> None:
    config = tune(data, Knowledge(lm)).config
    wide = config.model_copy(update=WIDEST)
    trials = Trials(data, Knowledge(lm), lambda: None)
    assert trials.errors(config) <= trials.errors(wide)
    pairs = zip(trials.texts(config), trials.texts(wide), strict=True)
    assert sum(narrow != widest for narrow, widest in pairs) <= 1
    for name, values in PRUNING.items():
        narrower = [value for value in values if value < getattr(config, name)]
        assert not narrower or getattr(config, name) in values


def test_a_language_model_of_tokens_stays_one(data: DevelopmentSet, tmp_path: Path) -> None:
    text = tmp_path / "tokens"
    text.write_text("\n".join(" ".join(one.replace(" ", "▁")) for one in SENTENCES * 20))
    knowledge = Knowledge(build_model([text], BuildOptions(order=4)).model)
    result = tune(data, knowledge, BeamConfig(lm_unit="token"))
    assert result.knowledge is knowledge
    assert result.config.lm_unit == "token"
    assert result.beam.words.num_errors < result.greedy.words.num_errors
    assert result.beam.words.num_errors == errors_of(data, result.config, knowledge)


def test_what_was_set_for_a_language_model_goes_with_it(tmp_path: Path) -> None:
    """Else the next language model would be taken for one of tokens, of that weight."""
    text = tmp_path / "tokens"
    text.write_text("d a o ▁ b e e\n" * 20)
    knowledge = Knowledge(build_model([text], BuildOptions(order=2)).model)
    begin = BeamConfig(lm_unit="token", lm_weight=9.0, word_bonus=-7.0)
    result = tune(development(6, 0.0), knowledge, begin)
    assert result.knowledge == Knowledge()
    found = result.config
    assert (found.lm_unit, found.lm_weight, found.word_bonus) == ("word", 0.5, 1.0)


def test_little_time_means_fewer_utterances_and_says_so(lm: NgramModel) -> None:
    data = development(80, 0.3)
    result = tune(data, Knowledge(lm), time_limit_s=1e-6)
    assert result.num_utterances == 50
    assert result.num_trials <= NUM_TRIALS
    assert len(result.greedy.utterances) == 80
    assert " settings tried on 50 of 80 utterances in " in result.lines()[4]
    assert result.surface is not None
    assert result.surface.lm_weights == FEW_WEIGHTS
    assert result.surface.wers.shape == (len(FEW_WEIGHTS), len(FEW_BONUSES))


def test_what_helps_a_sample_alone_is_left_out(lm: NgramModel) -> None:
    """The 50 that are drawn say what the language model expects, and the others never do."""
    drawn = set(random.Random(0).sample(range(150), 50))
    generator = np.random.default_rng(2)
    references = ["do bad bee" if index in drawn else "bed dao baa" for index in range(150)]
    emissions = [emissions_of(text, generator, 0.2) for text in references]
    data = DevelopmentSet(TOKENIZER, 0.04, emissions, references)
    sample = data.sample(50, seed=0)
    assert tune(sample, Knowledge(lm)).knowledge.lm is lm
    result = tune(data, Knowledge(lm), time_limit_s=1e-6)
    assert result.num_utterances == 50
    assert result.knowledge == Knowledge()
    assert result.beam.words.num_errors == errors_of(data, result.config, Knowledge())
    assert result.lines()[-1] == "the language model does not help: it is left out"


def test_the_small_grid_is_part_of_the_large_one_and_has_the_defaults() -> None:
    default = BeamConfig()
    assert default.lm_weight in FEW_WEIGHTS
    assert default.word_bonus in FEW_BONUSES
    assert set(FEW_WEIGHTS) <= set(LM_WEIGHTS)
    assert set(FEW_BONUSES) <= set(WORD_BONUSES)


def test_a_sample_is_drawn_by_its_seed_and_keeps_pairs(data: DevelopmentSet) -> None:
    numbered = replace(data, references=[str(index) for index in range(24)])
    sample = numbered.sample(7, seed=3)
    again = numbered.sample(7, seed=3)
    assert sample.references == again.references != numbered.sample(7, seed=4).references
    assert list(sample.references) == sorted(sample.references, key=int)
    for reference, log_probs in zip(sample.references, sample.emissions, strict=True):
        assert log_probs is numbered.emissions[int(reference)]


def test_a_sample_has_words_where_the_data_has_any(lm: NgramModel) -> None:
    silent = np.full((3, len(TOKENIZER.vocab)), -np.inf)
    silent[:, 0] = 0.0
    spoken = development(1, 0.0)
    data = DevelopmentSet(
        TOKENIZER, 0.04, [silent] * 199 + [*spoken.emissions], [""] * 199 + [*spoken.references]
    )
    for seed in range(20):
        sample = data.sample(50, seed)
        assert len(sample.references) == len(sample.emissions) == 50
        assert [text for text in sample.references if text] == spoken.references
        assert (
            sample.emissions[sample.references.index(spoken.references[0])] is data.emissions[199]
        )
    result = tune(data, Knowledge(lm), time_limit_s=1e-6)
    assert result.num_utterances == 50
    assert result.surface is not None
    assert np.isfinite(result.surface.wers).all()


@pytest.mark.parametrize("references", [[], ["", ""]])
def test_nothing_to_tune_on_is_refused(references: list[str]) -> None:
    empty = DevelopmentSet(
        TOKENIZER, 0.04, [np.zeros((0, 7), "f4") for _ in references], references
    )
    with pytest.raises(DataError, match="tuning needs at least one utterance with words"):
        tune(empty, Knowledge())


TABLES = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(0, 3), min_size=n, max_size=n).map(tuple), min_size=1, max_size=8
    )
)


@given(TABLES, st.lists(st.integers(0, 4), min_size=8, max_size=8))
def test_the_choice_follows_its_rule(table: list[tuple[int, ...]], far: list[int]) -> None:
    chosen = nearest_of_the_best(np.array(table, np.float64), far[: len(table)])
    totals = [sum(row) for row in table]
    best = table[totals.index(min(totals))]

    def fits(row: tuple[int, ...]) -> bool:
        squares = sum((a - b) ** 2 for a, b in zip(row, best, strict=True))
        return sum(row) - sum(best) <= math.sqrt(squares) + 1e-12

    fitting = [index for index, row in enumerate(table) if fits(row)]
    assert chosen in fitting
    assert (far[chosen], totals[chosen]) == min((far[i], totals[i]) for i in fitting)


def test_many_utterances_overrule_the_defaults_and_few_do_not() -> None:
    """The same rate of errors, 10 % against 20 %, on ten and on a thousand utterances."""
    for count, expected in ((10, 1), (1000, 0)):
        better, default = np.zeros(count), np.zeros(count)
        better[: count // 10] = 1
        default[count // 2 : count // 2 + count // 5] = 1
        assert nearest_of_the_best(np.stack([better, default]), [3.0, 0.0]) == expected


def test_the_standard_error_is_that_of_coins() -> None:
    """Ten fair differences of +1 or -1: their sum has variance 10."""
    assert standard_error(np.ones((2, 10))) == pytest.approx(math.sqrt(10))
    sums = np.random.default_rng(0).choice([-1.0, 1.0], (20000, 10)).sum(axis=1)
    assert sums.std() == pytest.approx(math.sqrt(10), rel=0.02)


def test_the_beam_without_settings_is_not_worse_than_greedy(
    data: DevelopmentSet, lm: NgramModel
) -> None:
    greedy = GreedyDecoder(data.tokenizer, data.frame_s)
    errors = sum(
        count_errors(reference.split(), greedy.decode(one)[0].text.split()).num_errors
        for one, reference in zip(data.emissions, data.references, strict=True)
    )
    for knowledge in (Knowledge(), Knowledge(lm)):
        assert errors_of(data, BeamConfig(), knowledge) <= errors
