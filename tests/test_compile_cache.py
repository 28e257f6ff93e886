"""Compiled functions: what is kept on disk goes with the sources that it was made from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import asr
from asr.lm.compiled import PACKAGES

CALLER = """
import numpy as np
from asr.lm.compiled import compiled, lower_bound

@compiled
def place_of(values, value):
    return lower_bound(values, 0, values.size, value)
"""
IMPORT = "from asr.lm.compiled import"
CALL = """
import numpy as np
from asr.lm.calling import place_of
print(place_of(np.arange(9), 4), sum(place_of.stats.cache_hits.values()))
"""
NESTED_CALLER = """
from asr.lm.compiled import compiled

@compiled
def doubled(value):
    return 2 * value

@compiled
def quadrupled(value):
    return doubled(doubled(value))
"""
NESTED_CALL = """
from asr.lm.calling import doubled, quadrupled
print(quadrupled(3), len(doubled.signatures), doubled(3), len(doubled.signatures))
"""
WAITING_CALL = """
import io, sys

class Terminal(io.StringIO):
    def isatty(self):
        return True

sys.stderr = Terminal()
from asr.lm.calling import doubled, quadrupled
print(doubled(1), quadrupled(3), int(doubled(0.5)))
print(sys.stderr.getvalue().count("compiling at first use"))
"""
OTHER_STREAMS = """
import io, sys

class Log:
    def write(self, text): pass
    def flush(self): pass

closed = io.StringIO()
closed.close()
"""
FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
"""


def call(directory: Path, calls: str = CALL, **variables: str) -> list[int]:
    """What the calls print; of `CALL` the value, and how often machine code was found on disk."""
    environment = os.environ | {"PYTHONPATH": str(directory)}
    environment.pop("NUMBA_CACHE_DIR", None)
    environment |= variables
    command = [sys.executable, "-c", calls]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, cwd=directory
    )
    return [int(value) for value in done.stdout.split()]


def copy_with(callers: str, directory: Path) -> Path:
    """A copy of this package with a module `asr.lm.calling`; the folder of that module."""
    package = directory / "asr"
    shutil.copytree(
        Path(asr.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "models")
    )
    (package / "lm" / "calling.py").write_text(callers, encoding="utf-8")
    return package / "lm"


def change_callee(lm: Path) -> None:
    """Let what `place_of` calls return 100 more."""
    callee = lm / "compiled.py"
    source = callee.read_text(encoding="utf-8")
    assert "place: int = low" in source
    changed = source.replace("place: int = low", "place: int = low + 100")
    callee.write_text(changed, encoding="utf-8")


def test_machine_code_is_made_anew_when_a_function_that_it_calls_has_changed(
    tmp_path: Path,
) -> None:
    lm = copy_with(CALLER, tmp_path)
    assert call(tmp_path) == [4, 0]
    assert call(tmp_path) == [4, 1]
    num_files = len(list(lm.rglob("*.nbc")))
    change_callee(lm)
    assert call(tmp_path) == [104, 0]
    assert call(tmp_path) == [104, 1]
    assert len(list(lm.rglob("*.nbc"))) == num_files  # what is old is gone


def test_what_compiled_code_calls_is_compiled_for_python_when_python_calls_it(
    tmp_path: Path,
) -> None:
    copy_with(NESTED_CALLER, tmp_path)
    for _ in range(2):  # the second time from disk
        assert call(tmp_path, NESTED_CALL) == [12, 0, 6, 1]


def test_all_is_compiled_where_machine_code_cannot_be_kept(tmp_path: Path) -> None:
    lm = copy_with(CALLER, tmp_path)
    for place in (lm, tmp_path):  # neither can hold a directory of that name then
        (place / "__pycache__").write_text("", encoding="utf-8")
    nowhere = str(tmp_path / "__pycache__" / "home")
    for _ in range(2):
        assert call(tmp_path, HOME=nowhere, XDG_CACHE_HOME=nowhere, LOCALAPPDATA=nowhere) == [4, 0]


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("num_bytes", [0, 100])
def test_damaged_machine_code_is_made_anew(tmp_path: Path, suffix: str, num_bytes: int) -> None:
    copy_with(CALLER, tmp_path)
    kept = tmp_path / "kept"
    assert call(tmp_path, NUMBA_CACHE_DIR=str(kept)) == [4, 0]
    files = list(kept.rglob(f"*.{suffix}"))
    assert len(files) == 2
    for path in files:
        os.truncate(path, num_bytes)
    assert call(tmp_path, NUMBA_CACHE_DIR=str(kept)) == [4, 0]
    assert call(tmp_path, NUMBA_CACHE_DIR=str(kept)) == [4, 1]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits")
@pytest.mark.parametrize("max_bytes", [200, 2000])  # not even the index; the index alone
def test_a_full_disk_costs_time_alone(tmp_path: Path, max_bytes: int) -> None:
    lm = copy_with(CALLER, tmp_path)
    full_disk = FULL_DISK.format(max_bytes)
    assert call(tmp_path, full_disk + CALL) == [4, 0]
    assert call(tmp_path) == [4, 0]
    assert call(tmp_path) == [4, 1]
    change_callee(lm)
    assert call(tmp_path, full_disk + CALL) == [104, 0]
    assert call(tmp_path) == [104, 0]
    assert call(tmp_path) == [104, 1]


@pytest.mark.parametrize("stderr", ["None", "Log()", "closed"])
def test_the_notice_of_compiling_needs_no_terminal(tmp_path: Path, stderr: str) -> None:
    copy_with(CALLER, tmp_path)
    assert call(tmp_path, f"{OTHER_STREAMS}sys.stderr = {stderr}\n{CALL}") == [4, 0]


def test_who_waits_for_the_compiler_at_a_terminal_is_told_once(tmp_path: Path) -> None:
    copy_with(NESTED_CALLER, tmp_path)
    assert call(tmp_path, WAITING_CALL) == [2, 12, 1, 1]
    assert call(tmp_path, WAITING_CALL) == [2, 12, 1, 0]  # from disk


def test_packages_with_compiled_functions_are_known() -> None:
    root = Path(asr.__file__).parent
    users = [path for path in root.rglob("*.py") if IMPORT in path.read_text("utf-8")]
    assert {path.parent.relative_to(root).as_posix() for path in users} == set(PACKAGES)


def test_nothing_is_compiled_without_the_stamp_of_all_sources() -> None:
    root = Path(asr.__file__).parent
    users = [path for path in root.rglob("*.py") if "njit" in path.read_text(encoding="utf-8")]
    assert users == [root / "lm" / "compiled.py"]
