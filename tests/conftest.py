"""Tones for the tests that train, a recogniser of tones for those that need one, the command."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from tones import config_of, tone_config

from asr.training import train

# A machine that others load is slow, not wrong.
settings.register_profile("asr", deadline=None)
settings.load_profile("asr")


def pytest_configure(config: pytest.Config) -> None:
    """Let processes that share the cores, and what they start, compute in one thread each."""
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name long parameters by how they begin.

    Processes that share the tests must all name them alike, and what was packed at collection,
    an archive for one, holds the time of it; a file's first bytes say what it is.
    """
    if isinstance(val, str) and len(val) > 1000:
        return f"{val[:10].encode('unicode_escape').decode()}..."
    if isinstance(val, bytes) and len(val) > 40:
        return f"{val[:4].decode('ascii', 'backslashreplace')}..."
    return None


def run_asr(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "asr", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


@dataclass(frozen=True)
class ToneModel:
    """A trained model file and the manifest it was validated on."""

    path: Path
    dev: Path
    run_dir: Path


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings that train on tones; their manifests are shared, so write no others beside them."""
    return tone_config(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="session")
def tone_model(tmp_path_factory: pytest.TempPathFactory) -> ToneModel:
    directory = tmp_path_factory.mktemp("tone-model")
    result = train(config_of(tone_config(directory, log_every=2)), directory / "run")
    return ToneModel(result.model_path, directory / "dev.jsonl", directory / "run")
