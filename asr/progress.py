"""Progress bars on standard error for anything that may take over two seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
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
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Standard output is not redirected: what is written there must not end up on the console.
    with Progress(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,
        disable=not console.is_interactive,
    ) as progress:
        yield Bar(progress, label, total)
