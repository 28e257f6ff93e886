"""Machine code on disk, as numba keeps it, that can only save time: without it all is compiled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numba.core.caching import FunctionCache


class CodeCache(FunctionCache):  # type: ignore[misc]
    """Numba's, where what cannot be read or written is as if it were not there.

    A power cut leaves files empty or cut short, a disk gets full, another process deletes: numba
    raises whatever comes of it, from OSError to errors of pickle, and of those EOFError would pass
    for Ctrl-D on the command line.

    Args:
        function: What is compiled.
        stamp: Machine code of another one is not used.

    Raises:
        RuntimeError: There is no place that files could be written to.
    """

    def __init__(self, function: Callable[..., object], stamp: str) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = stamp

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The machine code for a signature; None where there is none that can be used."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep machine code if that is possible; an index that cannot be read is begun anew."""
        try:
            super().save_overload(sig, data)
        except OSError:  # such as a full disk: what the index lists may still be good
            pass
        except Exception:
            with suppress(OSError):
                self.flush()
                super().save_overload(sig, data)


def keep_code(dispatcher: Any, stamp: str) -> None:
    """Let a compiled function keep its machine code on disk, where there is a place for it.

    There is none in a container whose package and home directory cannot be written to: all is
    compiled in each process then, and NUMBA_CACHE_DIR may name another directory.
    """
    with suppress(RuntimeError):
        dispatcher._cache = CodeCache(dispatcher.py_func, stamp)
