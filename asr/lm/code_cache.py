"""Machine code on disk, as numba keeps it, that can only save time: without it all is compiled."""

from __future__ import annotations

import glob
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
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
        # Numba lists a file before it writes it, and where that fails, one of other sources must
        # not lie under its name.
        self._stem = f"{self._impl.filename_base}.{stamp[:16]}"
        self._cache_file._data_name_pattern = f"{self._stem}.{{number:d}}.nbc"

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
        self._remove_others()

    def _remove_others(self) -> None:
        """Delete the machine code of other sources, which nothing lists any more."""
        base = glob.escape(self._impl.filename_base)
        with suppress(OSError):
            for path in Path(self.cache_path).glob(f"{base}.*.nbc"):
                if not path.name.startswith(f"{self._stem}."):
                    path.unlink(missing_ok=True)


def keep_code(dispatcher: Any, stamp: str) -> None:
    """Let a compiled function keep its machine code on disk, where there is a place for it.

    There is none in a container whose package and home directory cannot be written to: all is
    compiled in each process then, and NUMBA_CACHE_DIR may name another directory.
    """
    with suppress(RuntimeError):
        dispatcher._cache = CodeCache(dispatcher.py_func, stamp)
