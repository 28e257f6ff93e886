"""Errors carry a cure; a missing extra names the line that installs it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from asr import errors
from asr.corpora.layout import read_text
from asr.decoding.grammar import read_grammar
from asr.errors import AsrError, DataError, MissingExtraError, require_extra
from asr.lm.counting import text_lines
from asr.manifest import read_manifest
from asr.tokens.dictionary import read_dictionary
from asr.transcripts import read_transcripts

ROOT = Path(__file__).resolve().parent.parent


def test_message_and_hint_are_kept_apart() -> None:
    error = DataError("x is 3, expected 2", hint="make it 2")
    assert (error.message, error.hint) == ("x is 3, expected 2", "make it 2")
    assert str(error) == "x is 3, expected 2; make it 2"
    assert str(DataError("x is 3, expected 2")) == "x is 3, expected 2"


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be", "latin1"])
def test_a_text_of_another_encoding_is_named_as_what_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(("" if name == "latin1" else "\ufeff").encode(name) + "é\n".encode(name))
    readers: list[Callable[[Path], object]] = [
        *(read_text, read_manifest, read_grammar, read_dictionary),
        lambda path: list(text_lines(path)),
        lambda path: read_transcripts(path, "kaldi"),
    ]
    for read in readers:
        with pytest.raises(DataError) as caught:
            read(path)
        encoding = name.removesuffix("-le").removesuffix("-be")
        hint = f"convert it first, such as with iconv -f {encoding} -t utf-8"
        assert caught.value.hint == hint


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
