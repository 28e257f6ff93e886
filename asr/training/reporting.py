"""What people see of a run: progress bar, log lines, metrics.jsonl and TensorBoard."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.tensorboard import SummaryWriter

from asr.errors import TrainingError
from asr.files import write_text_atomic

METRICS_FILE = "metrics.jsonl"


class Reporter:
    """Shows one run; a context manager, so that bar and files are closed on any exit.

    Args:
        run_dir: Gets `metrics.jsonl` and `tensorboard/`.
        start_step: Lines and events of later steps are dropped: they belong to work that a crash
            undid and that is now done again.
        console: Where bar and log go; standard error by default.
    """

    def __init__(self, run_dir: Path, start_step: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._path = run_dir / METRICS_FILE
        _drop_lines_after(self._path, start_step)
        with self._writing():
            self._metrics: IO[str] = self._path.open("a", encoding="utf-8")
            self._board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=start_step + 1)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._thread_hook = threading.excepthook

    def __enter__(self) -> Reporter:
        self._thread_hook, threading.excepthook = threading.excepthook, self._thread_failed
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()
        try:
            with self._writing():
                try:
                    self._metrics.close()
                finally:
                    self._board.close()
        except TrainingError:
            if error is None:  # else that one says why the run ends
                raise
        finally:
            for thread in threading.enumerate():
                if _failure_kept(thread) is not None:  # it is about to end, by way of the hook
                    thread.join(timeout=5)
            threading.excepthook = self._thread_hook

    def _thread_failed(self, failure: threading.ExceptHookArgs) -> None:
        """No traceback of TensorBoard's thread: the next write or close raises what it keeps."""
        kept = _failure_kept(failure.thread)
        if kept is None or kept is not failure.exc_value:
            self._thread_hook(failure)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """For writes to the run's directory, also those of TensorBoard's thread."""
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"cannot write to {self._path.parent}: {error.strerror or error}"
            ) from error

    def say(self, text: str) -> None:
        """One log line above the bar."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def begin_epoch(self, epoch: int, epochs: int, done: int, total: int) -> None:
        """Start the bar of one epoch, `done` of whose `total` batches are already behind."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(
            f"epoch {epoch + 1}/{epochs}", total=total, completed=done, status=""
        )

    def advance(self, status: str) -> None:
        """One batch is done."""
        if self._task is not None:
            self._progress.update(self._task, advance=1, status=status)

    def metrics(self, step: int, values: Mapping[str, float | int]) -> None:
        """Append one line to `metrics.jsonl` and the same values to TensorBoard.

        Raises:
            TrainingError: They cannot be written.
        """
        with self._writing():
            self._metrics.write(json.dumps({"step": step, **values}) + "\n")
            self._metrics.flush()
            for name, value in values.items():
                if name not in ("epoch", "time_s"):
                    self._board.add_scalar(name, value, step)

    def samples(
        self, step: int, texts: Mapping[str, tuple[str, str]], features: np.ndarray
    ) -> None:
        """Show a few hypotheses beside their references, and one spectrogram, in TensorBoard.

        Args:
            step: The step they were made at.
            texts: (reference, hypothesis) by utterance id.
            features: (num_frames, num_mels) of one utterance.

        Raises:
            TrainingError: They cannot be written.
        """
        rows = [f"| {name} | {ref} | {hyp} |" for name, (ref, hyp) in texts.items()]
        table = "\n".join(["| id | reference | hypothesis |", "|---|---|---|", *rows])
        low, high = float(features.min()), float(features.max())
        image = (features.T[::-1] - low) / max(high - low, 1e-6)
        with self._writing():
            self._board.add_text("hypotheses", table, step)
            self._board.add_image("features", image[None].astype(np.float32), step)


def _failure_kept(thread: threading.Thread | None) -> OSError | None:
    """What a thread of TensorBoard's failed with; None for others and for those that go on."""
    kept = getattr(thread, "exception", None)
    return kept if isinstance(kept, OSError) else None


def _drop_lines_after(path: Path, step: int) -> None:
    """Keep the whole lines of `path` up to `step`; a line torn by a crash goes too."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue
        if int(values["step"]) <= step:
            kept.append(line)
    write_text_atomic(path, "".join(f"{line}\n" for line in kept))
