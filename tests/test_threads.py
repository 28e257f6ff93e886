"""Work in threads that each compute alone, and the note that threads wait for each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ToneModel
from tones import config_of, tone_config

from asr import recognizer as recognizer_module
from asr.experiment import ExperimentConfig, build_model
from asr.manifest import read_manifest
from asr.recognizer import Recognizer
from asr.threads import cpu_threads, map_in_threads
from asr.training import contention, train
from asr.training.contention import INTERVAL_S, WORTH_SAYING, ThreadWatch, watch_threads

NUM_THREADS = 3


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """As many threads on any computer."""
    with cpu_threads(NUM_THREADS):
        yield


def test_items_are_worked_on_at_once_each_by_one_thread() -> None:
    """No call returns before as many are under way."""
    meeting = threading.Barrier(NUM_THREADS, timeout=60)

    def work(item: int) -> tuple[int, int]:
        meeting.wait()
        return 10 * item, torch.get_num_threads()

    items = range(4 * NUM_THREADS)
    assert map_in_threads(work, items) == [(10 * item, 1) for item in items]


@pytest.mark.parametrize("num_threads", [1, NUM_THREADS])
def test_one_item_and_one_thread_need_no_other(num_threads: int) -> None:
    def work(_: int) -> tuple[int, int]:
        return threading.get_ident(), torch.get_num_threads()

    with cpu_threads(num_threads):
        items = range(5 if num_threads == 1 else 1)
        assert map_in_threads(work, items) == [(threading.get_ident(), 1)] * len(items)
        assert map_in_threads(work, []) == []


def test_the_callers_threads_are_its_own_again() -> None:
    def work(item: int) -> int:
        return 1 // item

    assert map_in_threads(work, [1, 1, 1, 1]) == [1, 1, 1, 1]
    with pytest.raises(ZeroDivisionError):
        map_in_threads(work, [1, 0, 1, 1])
    found: list[int] = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert [torch.get_num_threads(), *found] == [NUM_THREADS, NUM_THREADS]


def test_emissions_do_not_depend_on_the_number_of_threads(
    tone_model: ToneModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognizer_module, "MAX_BATCH_S", 3.0)
    recognizer = Recognizer.load(tone_model.path, "cpu")
    waveforms = [recognizer.read(one.audio_path) for one in read_manifest(tone_model.dev)]
    together = recognizer.emissions_many(waveforms)
    with cpu_threads(1):
        alone = recognizer.emissions_many(waveforms)
    assert len(together) > 2 * NUM_THREADS
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)


class Contention:
    """A clock, and work that takes so many seconds with one thread and with all."""

    def __init__(self, alone_s: float, together_s: float) -> None:
        self.now_s, self.num_calls = 100.0, 0
        self.alone_s, self.together_s = alone_s, together_s

    def clock(self) -> float:
        return self.now_s

    def work(self) -> None:
        self.num_calls += 1
        self.now_s += self.alone_s if torch.get_num_threads() == 1 else self.together_s


def test_threads_that_wait_for_each_other_are_told_of_once() -> None:
    case = Contention(0.01, 0.25)
    watch = ThreadWatch(case.work, case.clock)
    notice = watch.notice()
    assert notice is not None
    assert f"{NUM_THREADS} threads are 25.0 times as slow as one" in notice
    assert "--resume --set training.num_threads=1" in notice
    assert torch.get_num_threads() == NUM_THREADS
    case.now_s += 2 * INTERVAL_S
    calls = case.num_calls
    assert watch.notice() is None
    assert case.num_calls == calls


@pytest.mark.parametrize("together_s", [0.005, 0.01, 0.99 * WORTH_SAYING * 0.01])
def test_threads_that_help_are_no_news(together_s: float) -> None:
    """Not even where one of the looks was interrupted; but it looks again now and then."""
    case = Contention(0.01, together_s)
    watch = ThreadWatch(case.work, case.clock)
    assert watch.notice() is None
    calls = case.num_calls
    case.now_s += 0.9 * INTERVAL_S
    assert watch.notice() is None
    assert case.num_calls == calls
    case.now_s += 0.2 * INTERVAL_S
    case.together_s = 1.0
    assert watch.notice() is not None


def test_one_thread_waits_for_nobody() -> None:
    case = Contention(0.01, 1.0)
    with cpu_threads(1):
        assert ThreadWatch(case.work, case.clock).notice() is None
    assert case.num_calls == 0


def test_looking_leaves_the_model_and_the_generator_as_they_are() -> None:
    config = ExperimentConfig()
    model = build_model(config, 5).train()
    before = torch.get_rng_state()
    watch = watch_threads(model, config.features.num_mels)
    assert watch is not None
    watch.notice()
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_training_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    values: dict[str, Any] = tone_config(tmp_path, epochs=1, num_threads=2)
    monkeypatch.setattr(contention, "WORTH_SAYING", 0.0)
    train(config_of(values), tmp_path / "run")
    assert capfd.readouterr().err.count("note: 2 threads are") == 1
