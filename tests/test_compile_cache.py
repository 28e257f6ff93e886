"""Compiled functions: what is kept on disk goes with the sources that it was made from."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def call(directory: Path) -> list[int]:
    """The value, and how often machine code was found on disk."""
    environment = os.environ | {"PYTHONPATH": str(directory)}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-c", CALL]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, cwd=directory
    )
    return [int(value) for value in done.stdout.split()]


def test_machine_code_is_made_anew_when_a_function_that_it_calls_has_changed(
    tmp_path: Path,
) -> None:
    package = tmp_path / "asr"
    shutil.copytree(
        Path(asr.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "models")
    )
    (package / "lm" / "calling.py").write_text(CALLER, encoding="utf-8")
    assert call(tmp_path) == [4, 0]
    assert call(tmp_path) == [4, 1]
    callee = package / "lm" / "compiled.py"
    source = callee.read_text(encoding="utf-8")
    assert "place: int = low" in source
    callee.write_text(
        source.replace("place: int = low", "place: int = low + 100"), encoding="utf-8"
    )
    assert call(tmp_path) == [104, 0]
    assert call(tmp_path) == [104, 1]


def test_packages_with_compiled_functions_are_known() -> None:
    root = Path(asr.__file__).parent
    users = [path for path in root.rglob("*.py") if IMPORT in path.read_text("utf-8")]
    assert {path.parent.relative_to(root).as_posix() for path in users} == set(PACKAGES)


def test_nothing_is_compiled_without_the_stamp_of_all_sources() -> None:
    root = Path(asr.__file__).parent
    users = [path for path in root.rglob("*.py") if "njit" in path.read_text(encoding="utf-8")]
    assert users == [root / "lm" / "compiled.py"]
