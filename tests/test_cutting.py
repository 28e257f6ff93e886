"""Cutting between words: nothing lost, nothing twice, and the cut is where silence is."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ToneModel
from hypothesis import given
from hypothesis import strategies as st
from test_cli_decoding import asr
from tones import RATE_HZ, tone_utterance

from asr.alignment import AlignedWord
from asr.audio import Waveform, read_audio, write_audio
from asr.config import parse_options
from asr.cutting import CutOptions, cut_utterances, cutting_times_s, draw_spans
from asr.decoder_setup import DecodingChoice
from asr.errors import ConfigError, DataError
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.recognizer import Recognizer
from asr.text import TextConfig

WORDS = st.lists(st.sampled_from(["ba", "do", "mi"]), max_size=9)


@pytest.fixture(scope="module")
def recognizer(tone_model: ToneModel) -> Recognizer:
    return Recognizer.load(tone_model.path, "cpu", DecodingChoice(decoder="greedy"))


@pytest.fixture(scope="module")
def utterances(tone_model: ToneModel) -> list[Utterance]:
    return read_manifest(tone_model.dev)


def cut(recognizer: Recognizer, utterances: list[Utterance], **options: object) -> list[Utterance]:
    settings = parse_options(CutOptions, {"min_score": 0, **options}, "test")
    cutting = cut_utterances(recognizer, utterances, settings)
    assert cutting.failures == {}
    return cutting.pieces


@given(WORDS, st.sets(st.sampled_from(["ba", "do", "mi"])), st.integers(1, 4), st.integers(0, 99))
def test_spans_hold_each_kept_word_once(
    words: list[str], kept: set[str], max_words: int, seed: int
) -> None:
    options = CutOptions(words=tuple(kept), max_words=max_words)
    spans = draw_spans(words, options, np.random.default_rng(seed))
    held = [index for first, end in spans for index in range(first, end)]
    wanted = [i for i, word in enumerate(words) if not kept or word in kept]
    assert held == wanted
    assert all(1 <= end - first <= max_words for first, end in spans)


@given(WORDS, st.sampled_from(["ba", "do"]))
def test_stretches_are_as_long_as_they_can_be(words: list[str], kept: str) -> None:
    spans = draw_spans(words, CutOptions(words=(kept,)), np.random.default_rng(0))
    runs = "".join("x" if word == kept else " " for word in words).split()
    assert [end - first for first, end in spans] == [len(run) for run in runs]


def test_lengths_are_drawn_evenly() -> None:
    rng = np.random.default_rng(0)
    options = CutOptions(max_words=3)
    firsts = [draw_spans(["ba"] * 9, options, rng)[0] for _ in range(600)]
    counts = [sum(end == length for _, end in firsts) for length in (1, 2, 3)]
    assert all(150 < count < 250 for count in counts)


def test_cuts_lie_in_the_middle_between_words() -> None:
    words = [AlignedWord("ba", 0.2, 0.4, 1.0), AlignedWord("do", 0.8, 0.9, 1.0)]
    assert cutting_times_s(words, 1.5) == pytest.approx([0.0, 0.6, 1.5])
    assert cutting_times_s([], 1.5) == [0.0, 1.5]


def test_pieces_fill_their_utterance(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    pieces = cut(recognizer, utterances, max_words=2)
    assert len({piece.id for piece in pieces}) == len(pieces)
    for utterance in utterances:
        own = [piece for piece in pieces if piece.id.startswith(f"{utterance.id}-")]
        assert " ".join(piece.text for piece in own) == utterance.text
        assert own[0].start_s == utterance.start_s
        ends_s = [piece.start_s + piece.duration_s for piece in own]
        assert [piece.start_s for piece in own[1:]] == pytest.approx(ends_s[:-1], abs=1e-5)
        assert ends_s[-1] == pytest.approx(utterance.start_s + utterance.duration_s, abs=1e-5)
        assert {piece.audio_path for piece in own} == {utterance.audio_path}


def test_tones_are_cut_apart(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    """Each piece of one word has one tone: the pitch of that word, and no other, is loud in it."""
    pitches_hz = {"ba": 400.0, "do": 900.0, "mi": 1800.0}
    pieces = cut(recognizer, utterances, max_words=1)
    assert {piece.text for piece in pieces} == set(pitches_hz)
    num_pure = 0
    for piece in pieces:
        waveform = read_audio(piece.audio_path, piece.read_options())
        time_s = np.arange(len(waveform.samples)) / waveform.sample_rate_hz
        power = {
            word: abs(np.exp(-2j * np.pi * hz * time_s) @ waveform.samples) ** 2
            for word, hz in pitches_hz.items()
        }
        num_pure += power[piece.text] > 0.9 * sum(power.values())
    assert num_pure > 0.9 * len(pieces)


def test_words_of_a_long_recording_are_where_they_are_said(
    recognizer: Recognizer, tmp_path: Path
) -> None:
    """Half a minute, whose emissions are computed in pieces."""
    generator = np.random.default_rng(5)
    parts, words, middles_s, now_s = [], [], [], 0.0
    for _ in range(60):
        word = str(generator.choice(["ba", "do", "mi"]))
        parts += [tone_utterance([word], generator), np.zeros(RATE_HZ // 4, np.float32)]
        words.append(word)
        middles_s.append(now_s + len(parts[-2]) / RATE_HZ / 2)
        now_s += sum(map(len, parts[-2:])) / RATE_HZ
    path = tmp_path / "long.wav"
    write_audio(path, Waveform(np.concatenate(parts), RATE_HZ))
    assert now_s > 2 * recognizer.long_s
    pieces = cut(recognizer, [Utterance("long", path, now_s, " ".join(words))], max_words=1)
    assert [piece.text for piece in pieces] == words
    for piece, middle_s in zip(pieces, middles_s, strict=True):
        assert piece.start_s < middle_s < piece.start_s + piece.duration_s


def test_words_to_keep_are_normalised_as_transcripts_are(
    recognizer: Recognizer, utterances: list[Utterance]
) -> None:
    loud = [replace(one, text=one.text.upper()) for one in utterances]
    pieces = cut(recognizer, loud, words=["Ba", "DO"])
    assert pieces == cut(recognizer, utterances, words=["ba", "do"])
    assert {word for piece in pieces for word in piece.text.split()} == {"ba", "do"}


def test_words_of_which_nothing_is_left_are_refused(
    recognizer: Recognizer, utterances: list[Utterance]
) -> None:
    strict = copy(recognizer)
    strict.config = recognizer.config.model_copy(update={"text": TextConfig(profile="letters")})
    with pytest.raises(ConfigError, match=r"'letters' of the model leaves nothing of .*'\?', '!'"):
        cut(strict, utterances, words="?, !")
    pieces = cut(strict, utterances, words="ba, !")
    assert {word for piece in pieces for word in piece.text.split()} == {"ba"}


def test_a_piece_can_be_cut_again(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    longest = max(utterances, key=lambda one: len(one.text.split()))
    halves = cut(recognizer, [longest], max_words=2)
    singles = cut(recognizer, halves, max_words=1)
    assert " ".join(piece.text for piece in singles) == longest.text
    assert singles[-1].start_s > halves[-1].start_s or len(halves[-1].text.split()) == 1


def test_copies_are_cut_elsewhere_and_repeat_by_seed(
    recognizer: Recognizer, utterances: list[Utterance]
) -> None:
    pieces = cut(recognizer, utterances, max_words=3, copies=3)
    by_copy = [[one for one in pieces if one.id.split("-")[1] == copy] for copy in "012"]
    places = [[(one.start_s, one.duration_s) for one in found] for found in by_copy]
    assert places[0] != places[1] != places[2]
    assert cut(recognizer, utterances[::-1], max_words=3)[::-1] != []
    alone = cut(recognizer, utterances[3:4], max_words=3)
    assert alone == [one for one in by_copy[0] if one.id.startswith(f"{utterances[3].id}-")]
    assert cut(recognizer, utterances, max_words=3, seed=1) != by_copy[0]


def test_only_certain_words(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    pieces = cut(recognizer, utterances, words="ba, do")
    said = [word for one in utterances for word in one.text.split()]
    assert [word for one in pieces for word in one.text.split()] == [
        word for word in said if word != "mi"
    ]
    assert max(len(one.text.split()) for one in pieces) > 1


def test_unsure_pieces_are_dropped_and_counted(
    recognizer: Recognizer, utterances: list[Utterance]
) -> None:
    everything = cut(recognizer, utterances)
    cutting = cut_utterances(recognizer, utterances, CutOptions(min_score=0.9))
    assert len(cutting.pieces) + cutting.num_unsure == len(everything)
    wrong = [Utterance(one.id, one.audio_path, one.duration_s, "mi ba mi") for one in utterances]
    liar = cut_utterances(recognizer, wrong, CutOptions(min_score=0.9))
    assert len(liar.pieces) < len(cutting.pieces)


def test_what_cannot_be_aligned_is_named(
    recognizer: Recognizer, utterances: list[Utterance], tmp_path: Path
) -> None:
    gone = Utterance("gone", tmp_path / "gone.wav", 1.0, "ba")
    strange = Utterance("strange", utterances[0].audio_path, utterances[0].duration_s, "la")
    cutting = cut_utterances(recognizer, [gone, strange, utterances[1]], CutOptions())
    assert set(cutting.failures) == {"gone", "strange"}
    assert {piece.id.split("-")[0] for piece in cutting.pieces} <= {utterances[1].id}


def test_the_command(tone_model: ToneModel, tmp_path: Path) -> None:
    out = tmp_path / "pieces.jsonl"
    options = ("--out", out, "--max-words", 1, "--copies", 2, "--min-score", 0)
    printed = asr("cut", tone_model.path, tone_model.dev, *options)
    pieces = read_manifest(out)
    num_words = sum(len(one.text.split()) for one in read_manifest(tone_model.dev))
    assert len(pieces) == 2 * num_words
    assert f"{2 * num_words} pieces" in printed
    assert "dropped as unsure: 0" in printed


def test_the_command_writes_nothing_where_nothing_is_left(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    out = tmp_path / "pieces.jsonl"
    with pytest.raises(DataError, match="no piece of"):
        asr("cut", tone_model.path, tone_model.dev, "--out", out, "--words", "la")
    assert not out.exists()
    with pytest.raises(DataError, match="is read and would be overwritten"):
        asr("cut", tone_model.path, tone_model.dev, "--out", tone_model.dev)
    with pytest.raises(ConfigError, match="max_words"):
        asr("cut", tone_model.path, tone_model.dev, "--out", out, "--max-words", 0)


def test_the_command_fails_where_some_could_not_be_cut(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed.jsonl"
    gone = Utterance("gone", tmp_path / "gone.wav", 1.0, "ba")
    write_manifest(mixed, [*read_manifest(tone_model.dev), gone])
    with pytest.raises(DataError, match="1 utterances could not be cut"):
        asr("cut", tone_model.path, mixed, "--out", tmp_path / "out.jsonl")
    assert read_manifest(tmp_path / "out.jsonl")
