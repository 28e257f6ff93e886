"""Errors carry a cure; a missing extra names the line that installs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from asr import errors
from asr.errors import AsrError, DataError, MissingExtraError, require_extra

ROOT = Path(__file__).resolve().parent.parent


def test_message_and_hint_are_kept_apart() -> None:
    error = DataError("x is 3, expected 2", hint="make it 2")
    assert (error.message, error.hint) == ("x is 3, expected 2", "make it 2")
    assert str(error) == "x is 3, expected 2; make it 2"
    assert str(DataError("x is 3, expected 2")) == "x is 3, expected 2"


def test_every_error_is_an_asr_error_with_a_docstring() -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    own = [kind for kind in kinds if issubclass(kind, Exception)]
    assert len(own) == 6
    assert all(issubclass(kind, AsrError) and kind.__doc__ for kind in own)


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(MissingExtraError) as caught, require_extra("train", "training"):
        import a_package_that_nobody_wrote  # type: ignore[import-not-found] # noqa: F401
    assert caught.value.message == (
        "training needs the package 'a_package_that_nobody_wrote', which is not installed"
    )
    assert caught.value.hint == 'pip install "asr[train]"'


def test_other_errors_pass_through() -> None:
    with pytest.raises(ZeroDivisionError), require_extra("train", "training"):
        _ = 1 / 0


def test_every_extra_that_code_names_exists() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", section, flags=re.MULTILINE))
    named = {
        name
        for path in (ROOT / "asr").rglob("*.py")
        for name in re.findall(r'require_extra\(\s*"(\w+)"', path.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= extras
