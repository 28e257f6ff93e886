"""Ctrl-C and SIGTERM as a request to stop at a safe point."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopRequest:
    """Set by the first Ctrl-C or SIGTERM; the loop stops at its next step."""

    requested = False


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn Ctrl-C and SIGTERM into a request for the block; a second one acts at once.

    Outside the main thread signals cannot be taken, and the request never comes.
    """
    stop = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    previous: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            previous[number] = signal.signal(number, handle)
        except ValueError:
            break
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
