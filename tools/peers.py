"""Peers that the benchmarks measure: packages in a virtual environment of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def python_with(folder: Path, packages: Sequence[str]) -> Path:
    """The interpreter of the virtual environment in `folder`, which is made where it is missing.

    Args:
        folder: Of the environment.
        packages: Requirements installed into a new one, one by one: what cannot be built here
            must not keep the others out. Whether they can be imported is for the caller to see.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making {folder} with {', '.join(packages)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        for package in packages:
            subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=False)
    return python
