"""Progress bars on standard error for anything that may take over two seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Bar:
    """A bar of one task; call it to advance by one."""

    def __init__(self, progress: Progress, label: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total)

    def __call__(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Off the screen for the block, so that what is written there stands on lines of its own.

        It matters where standard output or error is the same terminal as that of the bar.
        """
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()


@contextmanager
def progress_bar(label: str, total: int) -> Iterator[Bar]:
    """A bar that vanishes when done; gives what advances it by one.

    Nothing is printed where standard error is not a terminal, or one that cannot erase a line.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with _shown(columns) as progress:
        yield Bar(progress, label, total)


@contextmanager
def bytes_bar(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """As `progress_bar`, of bytes: gives the function that advances it by a number of them.

    Args:
        label: What is done.
        total: All bytes; None where that is not known, as of a pipe.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with _shown(columns) as progress:
        task = progress.add_task(label, total=total)
        yield lambda num_bytes: progress.advance(task, num_bytes)


@contextmanager
def working(label: str) -> Iterator[None]:
    """Something that turns, and the time, while a thing is done whose length nobody knows."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with _shown(columns) as progress:
        progress.add_task(label, total=None)
        yield


def _shown(columns: Sequence[ProgressColumn]) -> Progress:
    """Vanishes when done; nothing where standard error is no terminal that can erase a line."""
    console = Console(stderr=True)
    return Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,  # what is written there must not end up on the console
        disable=not console.is_interactive,
    )
