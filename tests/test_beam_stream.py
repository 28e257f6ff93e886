"""Streaming and threads: the same hypotheses, bit for bit, as one utterance at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_beam import CHARACTERS, FRAME_S, VOCAB_SIZE, random_log_probs
from test_beam_fusion import BPE, WORDS

from asr.decoding import (
    BeamConfig,
    BeamDecoder,
    GreedyDecoder,
    Hypothesis,
    Knowledge,
    LogProbs,
    Stream,
)
from asr.decoding.calibration import Calibration
from asr.decoding.confidence import NUM_FEATURES
from asr.decoding.grammar import parse_grammar
from asr.decoding.search_state import (
    Start,
    add_record,
    begin,
    child_node,
    collect,
    new_arena,
    new_workspace,
)
from asr.errors import DataError

NARROW = BeamConfig(beam_width=9, num_best=9)


every_decoder = pytest.mark.parametrize(
    "decoder", [BeamDecoder(CHARACTERS, FRAME_S, NARROW), GreedyDecoder(CHARACTERS, FRAME_S)]
)


@every_decoder
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(0, 60), max_size=8))
def test_chunks_of_any_size_give_the_offline_result(
    decoder: BeamDecoder | GreedyDecoder, seed: int, cuts: list[int]
) -> None:
    log_probs = random_log_probs(seed, 60, VOCAB_SIZE)
    stream = decoder.stream()
    for first, end in zip([0, *sorted(cuts)], [*sorted(cuts), 60], strict=True):
        stream.accept(log_probs[first:end])
        assert stream.num_frames == end
        stream.partial()
    assert stream.finish() == decoder.decode(log_probs)


@every_decoder
def test_partial_is_what_the_decoder_says_of_the_beginning(
    decoder: BeamDecoder | GreedyDecoder,
) -> None:
    log_probs = random_log_probs(4, 30, VOCAB_SIZE)
    stream: Stream = decoder.stream()
    assert stream.partial() == Hypothesis((), (), (), 0.0, 0.0, 0.0)
    for end in range(1, 31):
        stream.accept(log_probs[end - 1 : end])
        assert stream.partial() == decoder.decode(log_probs[:end])[0]


@every_decoder
def test_nothing_can_follow_the_end(decoder: BeamDecoder | GreedyDecoder) -> None:
    stream = decoder.stream()
    expected = stream.finish()
    with pytest.raises(DataError, match="finished; begin another"):
        stream.accept(random_log_probs(1, 2, VOCAB_SIZE))
    assert stream.finish() == expected


def test_a_chunk_is_checked_like_an_utterance() -> None:
    stream = BeamDecoder(CHARACTERS, FRAME_S).stream()
    stream.accept(random_log_probs(1, 5, VOCAB_SIZE))
    with pytest.raises(DataError, match="these are probabilities"):
        stream.accept(np.exp(random_log_probs(2, 5, VOCAB_SIZE)))
    assert stream.num_frames == 5


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_threads_change_nothing(num_threads: int) -> None:
    lengths = [0, 40, 1, 700, 25, 3]
    alone: list[LogProbs] = [random_log_probs(i, n, VOCAB_SIZE) for i, n in enumerate(lengths)]
    config = NARROW.model_copy(update={"num_threads": num_threads})
    decoder = BeamDecoder(CHARACTERS, FRAME_S, config)
    assert decoder.decode_list(alone) == [decoder.decode(one) for one in alone]
    assert decoder.decode_list([]) == []


def test_collecting_garbage_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # A room of hardly more than the beam is collected every few frames.
    log_probs = random_log_probs(8, 900, VOCAB_SIZE)
    expected = BeamDecoder(CHARACTERS, FRAME_S, NARROW).decode(log_probs)
    monkeypatch.setattr("asr.decoding.search_state.FIRST_CAPACITY", 1)
    assert BeamDecoder(CHARACTERS, FRAME_S, NARROW).decode(log_probs) == expected


def test_collect_keeps_what_the_beam_needs() -> None:
    arena, beam = new_arena(8), new_workspace(4, 5).beam
    begin(beam, arena, Start(0, 0))
    a = child_node(arena, 0, 1)
    ab, _dropped = child_node(arena, a, 2), child_node(arena, a, 3)
    record_a = add_record(arena, -1, 3, 0)
    add_record(arena, record_a, 6, 5)
    record_b = add_record(arena, record_a, 7, 4)
    entry = beam.entries[0, 0]
    entry["node"], entry["blank_record"] = ab, record_b
    smaller = collect(arena, beam)
    assert smaller.used.tolist() == [3, 2]
    assert entry["spoken_record"] == -1
    node, record = entry["node"], entry["blank_record"]
    assert [smaller.token[node], smaller.token[smaller.parent[node]]] == [2, 1]
    assert (smaller.record_start[record], smaller.record_end[record]) == (7, 4)
    assert smaller.record_start[smaller.record_parent[record]] == 3
    assert child_node(smaller, smaller.parent[node], 2) == node
    assert child_node(smaller, smaller.parent[node], 3) == 3


def test_an_utterance_leaves_nothing_behind_for_the_next() -> None:
    decoder = BeamDecoder(CHARACTERS, FRAME_S, NARROW)
    utterances = [
        random_log_probs(seed, num_frames, VOCAB_SIZE) for seed, num_frames in ((1, 40), (2, 7))
    ]
    alone = [BeamDecoder(CHARACTERS, FRAME_S, NARROW).decode(one) for one in utterances]
    assert [decoder.decode(one) for one in (*utterances, *utterances)] == alone * 2


def test_confidences_are_their_calibration_of_the_word_features() -> None:
    calibration = Calibration(bias=-0.3, posterior_weight=0.6, entropy_weight=-0.9)
    for tokenizer in (CHARACTERS, BPE, WORDS):
        config = BeamConfig(num_best=3, calibration=calibration)
        stream = BeamDecoder(tokenizer, FRAME_S, config).stream()
        stream.accept(random_log_probs(8, 20, len(tokenizer.vocab)))
        features, best = stream.word_features(), stream.finish()[0]
        assert len(best.words) == len(features) > 0
        assert [word.confidence for word in best.words] == pytest.approx(
            calibration.confidence(features)
        )


def test_there_are_no_word_features_where_nothing_may_end() -> None:
    knowledge = Knowledge(grammar=parse_grammar("ab bb\n"))
    stream = BeamDecoder(CHARACTERS, FRAME_S, knowledge=knowledge).stream()
    assert stream.word_features().shape == (0, NUM_FEATURES)
    assert stream.finish()[0].score == -math.inf


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_groups_of_utterances_give_what_each_gives_alone(
    monkeypatch: pytest.MonkeyPatch, num_threads: int
) -> None:
    config = BeamConfig(beam_width=20, num_threads=num_threads)
    knowledge = Knowledge(grammar=parse_grammar("$s = (a | b | ab | ba)+;"))
    decoder = BeamDecoder(CHARACTERS, FRAME_S, config, knowledge)
    lengths = (0, 1, 40, 0, 7, 90, 3, 12)
    utterances = [random_log_probs(9 + n, n, VOCAB_SIZE) for n in lengths]
    expected = []
    for one in utterances:
        stream = decoder.stream()
        stream.accept(one)
        expected.append(stream.finish())
    assert decoder.decode_list(utterances) == expected
    assert [decoder.decode(one) for one in utterances] == expected
    monkeypatch.setattr("asr.decoding.beam.MAX_VALUES", 10 * VOCAB_SIZE)
    assert decoder.decode_list(utterances) == expected
    assert decoder.decode_list([]) == []


@pytest.mark.parametrize("num_best", [1, 2])
def test_one_utterance_that_is_no_log_probabilities_is_refused(num_best: int) -> None:
    decoder = BeamDecoder(CHARACTERS, FRAME_S, BeamConfig(num_best=num_best))
    good = random_log_probs(1, 9, VOCAB_SIZE)
    with pytest.raises(DataError, match=r"probabilities of frame 3 sum to .* \(6 of 9 frames"):
        decoder.decode_list([good, good + np.arange(-2, 7)[:, None].clip(0), good])
    with pytest.raises(DataError, match="a float32 or float64 array, got list"):
        decoder.decode_list([good, good.tolist()])
    assert decoder.decode_list([good])[0] == decoder.decode(good)


def test_a_group_outgrows_its_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = [random_log_probs(seed, 60, VOCAB_SIZE) for seed in (1, 2)]
    expected = [BeamDecoder(CHARACTERS, FRAME_S).decode(one) for one in utterances]
    monkeypatch.setattr("asr.decoding.search_state.FIRST_CAPACITY", 1)
    assert BeamDecoder(CHARACTERS, FRAME_S).decode_list(utterances) == expected
