"""The models that come with the package: which there are, and how a name becomes a file.

Each is a model file `asr/models/<name>.safetensors` with a card beside it, `<name>.md`: what it was
trained on, how well it does, where it fails. The card's results are also there for programs, in a
block of TOML, so that a test can hold the model to them.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from safetensors import SafetensorError, safe_open

from asr.config import Options, parse_options
from asr.errors import ConfigError, ModelFileError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MODELS_DIR = Path(__file__).parent / "models"
MODEL_SUFFIX, CARD_SUFFIX = ".safetensors", ".md"
DEFAULT_MODEL = "an4"
CARD_HEADINGS = ("Data and licences", "Training", "Results", "Where it fails", "Not for")
"""Sections that every card has."""


class CardResult(Options):
    """One measured result of a card: on what, and the errors.

    Attributes:
        test_set: What people call the set.
        corpus: Importer of `asr.corpora` that prepares it.
        folder: Its directory below that of all corpora; None for a corpus that is made.
        options: Of the importer.
        split: Manifest that the importer writes.
        utterances: How many of the manifest's first were measured; None for all.
        decoder: `auto` for what the model file stores.
        errors: Word errors.
        words: Words of the references.
        tolerance: By how many errors another machine may differ: sums are ordered otherwise there.
    """

    test_set: str
    corpus: str
    folder: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    split: str = "test"
    utterances: int | None = Field(default=None, ge=1)
    decoder: Literal["auto", "greedy"] = "auto"
    errors: int = Field(ge=0)
    words: int = Field(ge=1)
    tolerance: int = Field(default=0, ge=0)

    @property
    def wer(self) -> float:
        """Word error rate in per cent."""
        return 100 * self.errors / self.words


class _Results(Options):
    results: tuple[CardResult, ...] = ()


@dataclass(frozen=True)
class ShippedModel:
    """A model of the package; what it says of itself is read when it is asked for.

    Attributes:
        name: What `--model` calls it.
        path: Its file.
    """

    name: str
    path: Path

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    @cached_property
    def card(self) -> str:
        """The card, Markdown.

        Raises:
            ModelFileError: It is missing, or no text.
        """
        path = self.path.with_suffix(CARD_SUFFIX)
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelFileError(f"cannot read the model card {path}: {error}") from None

    @property
    def summary(self) -> str:
        """First line of the card's first paragraph."""
        lines = (line.strip() for line in self.card.splitlines())
        return next((line for line in lines if line and not line.startswith("#")), "")

    @property
    def results(self) -> tuple[CardResult, ...]:
        """What the card says was measured; none where it has no block of TOML.

        Raises:
            ModelFileError: The block cannot be read.
        """
        blocks = re.findall(r"^```toml\n(.*?)^```$", self.card, flags=re.MULTILINE | re.DOTALL)
        source = f"the card of {self.name}"
        try:
            values = tomllib.loads("".join(blocks))
            return parse_options(_Results, values, source).results
        except (tomllib.TOMLDecodeError, ConfigError) as error:
            raise ModelFileError(f"{source} has results that cannot be read: {error}") from None

    @property
    def sample_rate_hz(self) -> int:
        """Rate the model was trained at; other audio is resampled to it."""
        return int(self._documents["config"]["features"]["sample_rate_hz"])

    @property
    def decoding(self) -> str:
        """How it decodes unless told otherwise."""
        stored = self._documents.get("decoding")
        if stored is None or stored["decoder"] == "greedy":
            return "greedy"
        return "beam" if stored["lm"] == "none" else "beam with language model"

    @cached_property
    def _documents(self) -> Mapping[str, Any]:
        """The JSON of the file's header, which PyTorch is not needed for."""
        try:
            with safe_open(self.path, framework="numpy") as opened:
                metadata = opened.metadata() or {}
            return {name: json.loads(metadata[name]) for name in ("config",)} | {
                name: json.loads(metadata[name]) for name in ("decoding",) if name in metadata
            }
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ModelFileError(f"the shipped model {self.path} is damaged: {error}") from None


def shipped_models() -> tuple[ShippedModel, ...]:
    """The models of the package, by name."""
    paths = sorted(MODELS_DIR.glob(f"*{MODEL_SUFFIX}"))
    return tuple(ShippedModel(path.stem, path) for path in paths)


def shipped_model(name: str) -> ShippedModel:
    """The model of a name.

    Raises:
        ModelFileError: There is none of that name.
    """
    for model in shipped_models():
        if model.name == name:
            return model
    raise ModelFileError(f"no model called {name!r} comes with this package", hint=_known(name))


def resolve_model(name_or_path: str | Path) -> Path:
    """The file that a user means: a path, or the name of a model of the package.

    A file of that name wins; a directory does not, unless the name has a separator or a suffix.

    Raises:
        ModelFileError: There is no such file, and no model of that name; or it is no path.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise ModelFileError(
            f"a model must be a file or a name, got {type(name_or_path).__name__}", _known("")
        )
    path, text = Path(name_or_path), os.fspath(name_or_path)
    if path.is_file():
        return path
    is_plain = path.name == text and not path.suffix
    for model in shipped_models():
        if is_plain and model.name == text:
            return model.path
    if path.exists() and not path.is_dir():
        return path
    kind = "it is a directory" if path.is_dir() else "no such file"
    what = ", and no model of that name comes with this package" if is_plain else ""
    raise ModelFileError(f"cannot read the model file {text}: {kind}{what}", _known(path.stem))


def default_model() -> Path:
    """The file of the model that is used where none is named.

    Raises:
        ModelFileError: It is not in this package.
    """
    try:
        return shipped_model(DEFAULT_MODEL).path
    except ModelFileError as error:
        raise ModelFileError(f"no model is named, and {error.message}", hint=error.hint) from None


def is_shipped(path: Path) -> bool:
    """Whether a path is in the package's directory of models, by whatever way it leads there."""
    return path.resolve().parent == MODELS_DIR.resolve()


def _known(name: str) -> str:
    names = [model.name for model in shipped_models()]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    if names:
        return f"name a model file, or one of the package: {', '.join(names)}"
    return "name a model file of `asr train`: --model FILE"
