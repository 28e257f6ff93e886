"""Long recordings are cut at pauses, and their pieces' readings put together."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ToneModel
from hypothesis import given, settings
from hypothesis import strategies as st
from tones import RATE_HZ, tone_utterance

from asr.audio import Waveform, cut_at_pauses, pause_cuts, pauses, resample
from asr.audio.pauses import LONGEST_S, SHORTEST_S, STEP_S
from asr.checkpoint import MODEL_KIND, load_tensors, save_tensors
from asr.decoding import Hypothesis, Word, join_pieces
from asr.recognizer import LONG_FACTOR, LONG_S, Recognizer

FRAME_S = 0.04


def phrases(lengths_s: list[float], pause_s: float, rate_hz: int = 8000) -> Waveform:
    """Noise of these lengths as speech, and fainter noise for pauses between."""
    generator = np.random.default_rng(0)
    parts = []
    for length_s in lengths_s:
        parts.append(0.1 * generator.standard_normal(round(length_s * rate_hz)))
        parts.append(0.001 * generator.standard_normal(round(pause_s * rate_hz)))
    return Waveform(np.concatenate(parts[:-1]).astype(np.float32), rate_hz)


def bounds_of(waveform: Waveform) -> list[float]:
    return [0.0, *pause_cuts(waveform), waveform.duration_s]


def lengths_of(bounds: list[float]) -> list[float]:
    return [end - start for start, end in itertools.pairwise(bounds)]


@pytest.mark.parametrize("rate_hz", [8000, 11025, 44100])
def test_cuts_are_in_the_pauses(rate_hz: int) -> None:
    lengths_s = [3.0, 2.5, 6.0, 4.0, 3.3]
    cuts = pause_cuts(phrases(lengths_s, 0.6, rate_hz))
    middles = np.cumsum(np.array(lengths_s[:-1]) + 0.6) - 0.3
    np.testing.assert_allclose(cuts, middles, atol=0.15)


def test_short_phrases_stay_together() -> None:
    """Of pauses nearer to each other than a piece may be short, some are left."""
    waveform = phrases([1.2] * 20, 0.4)
    lengths = lengths_of(bounds_of(waveform))
    assert min(lengths) >= SHORTEST_S
    middles = np.cumsum([1.6] * 19) - 0.2
    assert all(np.abs(middles - cut).min() < 0.15 for cut in pause_cuts(waveform))


@pytest.mark.parametrize("kind", ["silence", "noise", "hum", "zeros in speech"])
def test_where_nobody_takes_a_breath_pieces_are_bounded_all_the_same(kind: str) -> None:
    generator = np.random.default_rng(1)
    times = np.arange(60 * 8000) / 8000
    samples = {
        "silence": np.zeros(times.size),
        "noise": 0.1 * generator.standard_normal(times.size),
        "hum": 0.5 * np.sin(2 * np.pi * 50 * times),
        "zeros in speech": 0.1 * generator.standard_normal(times.size) * (times % 20 < 13),
    }[kind]
    lengths = lengths_of(bounds_of(Waveform(samples.astype(np.float32), 8000)))
    assert min(lengths) >= SHORTEST_S - STEP_S
    assert max(lengths) <= LONGEST_S + STEP_S


@pytest.mark.parametrize("duration_s", [0.02, 1.0, 3.9])
def test_what_is_short_is_not_cut(duration_s: float) -> None:
    samples = np.ones(round(8000 * duration_s), np.float32)
    assert pause_cuts(Waveform(samples, 8000)) == []


def least_cost(loudness: np.ndarray, places: np.ndarray) -> float:
    """Of all ways to cut, the slow way: every predecessor of every place."""
    least = {int(places[0]): 0.0}
    for place in map(int, places[1:]):
        before = [
            cost
            for earlier, cost in least.items()
            if SHORTEST_S / STEP_S <= place - earlier <= LONGEST_S / STEP_S
        ]
        own = 0.0 if place == loudness.size else loudness[place] - 0.2
        if before:
            least[place] = min(before) + own
    return least.get(loudness.size, math.inf)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.1, 4.0), min_size=3, max_size=20), st.floats(0.05, 1.0))
def test_no_other_cuts_cost_less(lengths_s: list[float], pause_s: float) -> None:
    waveform = phrases(lengths_s, pause_s, 2000)
    loudness = pauses._loudness(waveform)
    cuts = [round(cut / STEP_S) for cut in pause_cuts(waveform)]
    cost = sum(float(loudness[cut]) - 0.2 for cut in cuts)
    expected = least_cost(loudness, pauses._places(loudness))
    assert cost == pytest.approx(expected if math.isfinite(expected) else 0.0)
    if math.isfinite(expected):
        steps = [0, *cuts, loudness.size]
        assert all(
            SHORTEST_S <= STEP_S * (b - a) <= LONGEST_S for a, b in itertools.pairwise(steps)
        )


def test_pieces_are_the_whole_at_the_models_rate() -> None:
    waveform = phrases([3.0, 4.0, 5.0], 0.5, 11025)
    pieces = cut_at_pauses(waveform, 8000, 320, 10.0)
    assert len(pieces) == 3
    assert {piece.sample_rate_hz for _, piece in pieces} == {8000}
    whole = np.concatenate([piece.samples for _, piece in pieces])
    np.testing.assert_array_equal(whole, resample(waveform, 8000).samples)
    starts = np.cumsum([0] + [len(piece.samples) for _, piece in pieces[:-1]])
    assert [320 * first for first, _ in pieces] == starts.tolist()


def test_what_is_not_long_stays_as_it_is() -> None:
    waveform = phrases([3.0, 4.0], 0.5, 11025)
    assert cut_at_pauses(waveform, 8000, 320, waveform.duration_s) == [(0, waveform)]


def reading(text: str, score: float) -> Hypothesis:
    """One frame and token a word, an eighth of the score from the language model."""
    words = text.split()
    return Hypothesis(
        tuple(range(1, len(words) + 1)),
        tuple(range(len(words))),
        tuple(Word(word, FRAME_S * at, FRAME_S * (at + 1), 0.5) for at, word in enumerate(words)),
        score * 7 / 8,
        score / 8,
        score * 7 / 8 + score / 8,
    )


def test_readings_are_put_together_in_time() -> None:
    (joined,) = join_pieces([[reading("a b", -1)], [reading("c", -2)]], [0, 50], FRAME_S)
    assert joined.text == "a b c"
    assert joined.tokens == (1, 2, 1)
    assert joined.frames == (0, 1, 50)
    assert joined.words[2] == Word("c", 2.0, pytest.approx(2.04), 0.5)
    assert joined.score == joined.acoustic_log_prob + joined.lm_log_prob == -3


readings = st.lists(st.sampled_from(["", "a", "b", "a b", "b a"]), min_size=1, unique=True)


@given(st.lists(readings, min_size=1, max_size=4), st.integers(0, 1000))
def test_the_best_of_all_combinations_distinct_as_words(texts: list[list[str]], seed: int) -> None:
    generator = np.random.default_rng(seed)
    found = [
        sorted((reading(text, -generator.integers(99)) for text in own), key=lambda one: -one.score)
        for own in texts
    ]
    joined = join_pieces(found, [100 * number for number in range(len(found))], FRAME_S)
    best: dict[str, float] = {}
    for combination in itertools.product(*found):
        text = " ".join(one.text for one in combination if one.text)
        score = sum(one.score for one in combination)
        best[text] = max(best.get(text, -math.inf), score)
    num_best = min(max(map(len, found)), len(best))
    assert [one.score for one in joined] == sorted(best.values(), reverse=True)[: len(joined)]
    assert len(joined) == len({one.text for one in joined}) == num_best
    assert all(best[one.text] == one.score for one in joined)


def test_one_piece_is_the_recording() -> None:
    found = [reading("a", -1), reading("b", -2)]
    assert join_pieces([found], [0], FRAME_S) == found


@pytest.fixture(scope="module")
def recognizer(tone_model: ToneModel) -> Recognizer:
    return Recognizer.load(tone_model.path, "cpu")


def test_a_long_recording_is_recognised_phrase_by_phrase(recognizer: Recognizer) -> None:
    generator = np.random.default_rng(3)
    said = [list(generator.choice(["ba", "do", "mi"], 4)) for _ in range(40)]
    pause = 0.001 * generator.standard_normal(RATE_HZ // 2)
    parts = [part for words in said for part in (tone_utterance(words, generator), pause)]
    waveform = Waveform(np.concatenate(parts).astype(np.float32), RATE_HZ)
    assert waveform.duration_s > 2 * LONGEST_S
    (found,) = recognizer.recognize([waveform])
    assert found[0] == recognizer.transcribe(waveform)
    pieces = cut_at_pauses(waveform, RATE_HZ, round(recognizer.frame_s * RATE_HZ), LONG_S)
    texts = [recognizer.transcribe(piece).text for _, piece in pieces]
    assert found[0].text == " ".join(texts)
    right = sum(text in found[0].text for text in map(" ".join, said))
    assert right > 0.8 * len(said)
    times = [time for word in found[0].words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert 0.9 * waveform.duration_s < times[-1] <= waveform.duration_s


@pytest.mark.parametrize(
    ("training", "long_s"),
    [
        ({"train_h": 2.0, "train_utterances": 3600}, LONG_S),
        ({"train_h": 5.0, "train_utterances": 3600}, LONG_FACTOR * 5.0),
        ({"train_h": 1e308, "train_utterances": 1}, LONG_S),
        ({"train_h": "9", "train_utterances": 3600}, LONG_S),
        ({"train_h": 9.0, "train_utterances": 0}, LONG_S),
        ({"train_h": 9.0}, LONG_S),
        ({}, LONG_S),
        ([1], LONG_S),
        (None, LONG_S),
    ],
)
def test_long_is_what_the_model_seldom_heard(
    tone_model: ToneModel, tmp_path: Path, training: Any, long_s: float
) -> None:
    tensors, documents = load_tensors(tone_model.path, MODEL_KIND)
    path = tmp_path / "model.safetensors"
    save_tensors(path, MODEL_KIND, tensors, {**documents, "training": training})
    assert Recognizer.load(path, "cpu").long_s == long_s
