"""What a run leaves for people to see, and what survives a crash and a resume."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from asr.batching import Batch
from asr.errors import DataError, TrainingError
from asr.progress import bytes_bar, progress_bar, working
from asr.training import reporting
from asr.training.interrupts import stop_requests
from asr.training.meter import Meter
from asr.training.reporting import METRICS_FILE, Reporter


def quiet() -> Console:
    return Console(file=io.StringIO())


def lines(run_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_dir / METRICS_FILE).read_text().splitlines()]


def test_metrics_go_to_the_file_and_to_tensorboard(tmp_path: Path) -> None:
    with Reporter(tmp_path, 0, quiet()) as reporter:
        reporter.metrics(10, {"train_loss": 2.5, "epoch": 0})
        reporter.metrics(20, {"train_loss": 1.5, "epoch": 1})
    assert lines(tmp_path) == [
        {"step": 10, "train_loss": 2.5, "epoch": 0},
        {"step": 20, "train_loss": 1.5, "epoch": 1},
    ]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["train_loss"]
    assert [(event.step, event.value) for event in events.Scalars("train_loss")] == [
        (10, 2.5),
        (20, 1.5),
    ]


def test_hypotheses_and_a_spectrogram_go_to_tensorboard(tmp_path: Path) -> None:
    features = np.linspace(-3, 3, 40, dtype=np.float32).reshape(10, 4)
    with Reporter(tmp_path, 0, quiet()) as reporter:
        reporter.samples(5, {"utt1": ("said this", "heard that")}, features)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (text,) = events.Tensors("hypotheses/text_summary")
    assert b"| utt1 | said this | heard that |" in text.tensor_proto.string_val[0]
    (image,) = events.Images("features")
    assert (image.width, image.height) == (10, 4)


def test_constant_features_make_a_picture_too(tmp_path: Path) -> None:
    with Reporter(tmp_path, 0, quiet()) as reporter:
        reporter.samples(1, {}, np.zeros((3, 4), dtype=np.float32))
    assert EventAccumulator(str(tmp_path / "tensorboard")).Reload().Images("features")


def test_a_resumed_run_drops_what_a_crash_undid(tmp_path: Path) -> None:
    whole = [json.dumps({"step": step, "train_loss": 1.0}) for step in (10, 20, 30)]
    (tmp_path / METRICS_FILE).write_text("\n".join(whole) + '\n{"step": 40, "tra')
    with Reporter(tmp_path, 20, quiet()) as reporter:
        reporter.metrics(30, {"train_loss": 0.5})
    assert [(line["step"], line["train_loss"]) for line in lines(tmp_path)] == [
        (10, 1.0),
        (20, 1.0),
        (30, 0.5),
    ]


@pytest.mark.parametrize(("start_step", "kept"), [(0, []), (20, [(10, 1.0), (20, 1.0)])])
def test_tensorboard_drops_it_too(
    tmp_path: Path, start_step: int, kept: list[tuple[int, float]]
) -> None:
    """Also of a run that was killed before its first checkpoint and starts anew."""
    with Reporter(tmp_path, 0, quiet()) as reporter:
        for step in (10, 20, 30):
            reporter.metrics(step, {"train_loss": 1.0})
    # Files of events are read in the order of their names, which count seconds.
    (first,) = (tmp_path / "tensorboard").iterdir()
    first.rename(first.with_name("events.out.tfevents.0000000001.first"))
    with Reporter(tmp_path, start_step, quiet()) as reporter:
        reporter.metrics(30, {"train_loss": 0.5})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    shown = [(event.step, event.value) for event in events.Scalars("train_loss")]
    assert shown == [*kept, (30, 0.5)]


def test_log_lines_are_printed_as_they_are(tmp_path: Path) -> None:
    console = quiet()
    with Reporter(tmp_path, 0, console) as reporter:
        reporter.begin_epoch(0, 3, 2, 10)
        reporter.advance("loss 1.0")
        reporter.say("WER [3 / 4] of [bold]this[/bold]")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "WER [3 / 4] of [bold]this[/bold]\n"


def terminal(monkeypatch: pytest.MonkeyPatch, shown: io.StringIO) -> Console:
    """A console as of a terminal that can erase a line, wherever the tests run."""
    monkeypatch.setenv("TERM", "xterm")
    return Console(file=shown, force_terminal=True, width=120)


def test_a_person_sees_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    with Reporter(tmp_path, 0, terminal(monkeypatch, written)) as reporter:
        reporter.begin_epoch(1, 3, 0, 10)
        reporter.advance("loss 1.234  data wait 2 %")
    shown = written.getvalue()
    assert "epoch 2/3" in shown
    assert "loss 1.234  data wait 2 %" in shown


class FullDisk:
    """What TensorBoard does once its thread could not write."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def add_scalar(self, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        self.add_scalar()


def test_a_full_disk_ends_a_run_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "SummaryWriter", FullDisk)
    reason = re.escape(f"cannot write to {tmp_path}: No space left on device")
    with pytest.raises(TrainingError, match=reason), Reporter(tmp_path, 0, quiet()) as reporter:
        reporter.metrics(10, {"train_loss": 2.5})
    with pytest.raises(TrainingError, match=reason), Reporter(tmp_path, 0, quiet()):
        pass
    with pytest.raises(DataError, match="the checkpoint"), Reporter(tmp_path, 0, quiet()):
        raise DataError("cannot write the checkpoint")


LIMITED = """
import resource, sys
from pathlib import Path
from asr.errors import TrainingError
from asr.training.reporting import Reporter
try:
    with Reporter(Path(sys.argv[1]), 0) as reporter:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        for step in range(2):
            reporter.metrics(step, {str(value): 1.0 for value in range(100)})
except TrainingError as error:
    sys.exit(f"error: {error}")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits")
def test_a_failing_thread_of_tensorboard_shows_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: cannot write to {tmp_path}: File too large\n"


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("working", 3) as advance:
        for _ in range(3):
            advance()
    with bytes_bar("working", None) as advance_by:
        advance_by(3)
    with working("working"):
        pass
    assert capsys.readouterr() == ("", "")


def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What standard error, as if it were a terminal, will have shown."""
    shown = io.StringIO()
    console = terminal(monkeypatch, shown)
    monkeypatch.setattr("asr.progress.Console", lambda stderr: console)
    return shown


@pytest.mark.parametrize("total", [2_000_000, None])
def test_bytes_are_counted_whether_or_not_their_number_is_known(
    monkeypatch: pytest.MonkeyPatch, total: int | None
) -> None:
    shown = at_a_terminal(monkeypatch)
    with bytes_bar("counting", total) as advance:
        advance(500_000)
        advance(1_000_000)
    assert "counting" in shown.getvalue()
    assert ("1.5/2.0 MB" if total else "1.5/? MB") in shown.getvalue()


def test_work_without_a_length_shows_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = at_a_terminal(monkeypatch)
    with working("pruning"):
        pass
    assert "pruning" in shown.getvalue()


def make_batch(num_samples: int) -> Batch:
    ones = torch.ones(1, dtype=torch.int64)
    return Batch(("a",), torch.zeros(1, num_samples), num_samples * ones, ones[None], ones)


def test_the_meter_adds_up_audio_and_time() -> None:
    meter = Meter()
    passed = 0.0
    for batch in meter.timed(iter([make_batch(8000), make_batch(4000)])):
        passed += meter.add(batch, 8000)
    assert meter.audio_s == 1.5
    assert meter.total_s == pytest.approx(passed)
    assert 0 <= meter.wait_s <= meter.total_s
    meter.show(1.25, 2e-3)
    assert meter.status.startswith("loss 1.250  lr 2.0e-03  ")
    assert meter.status.endswith(" %")


def test_a_meter_without_batches_can_be_shown() -> None:
    meter = Meter()
    assert list(meter.timed(iter([]))) == []
    meter.show(0.0, 0.0)
    assert "0 audio-s/s" in meter.status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request_and_the_second_acts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_requests() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_handlers_are_put_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), stop_requests():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGTERM) is before
