"""What distinguishes one recipe from another: its corpora and its language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.errors import ConfigError
from asr.recipe.language_model import LmOptions


@dataclass(frozen=True)
class Source:
    """One corpus of a recipe.

    Attributes:
        corpus: Name of the importer, see `asr.corpora`.
        folder: Where the corpus lies below the corpora directory; None when it is made on the spot.
        options: Options of the importer; `--set corpus.name=value` goes over them, and in a recipe
            with several corpora `--set corpus.<corpus>.name=value`.
    """

    corpus: str
    folder: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """What a recipe trains on, and what its beam search knows.

    Attributes:
        directory: The recipe's folder, with its `config.toml`.
        sources: Its corpora. One model is trained on the training data of all of them in this order
            and validated on their development data; each has its test sets reported by itself.
        lm: The language model for the beam search, made of the training transcripts, and of other
            text if it says so; `--set lm.name=value` goes over it. None for greedy decoding.
        language: Of eSpeak NG, which pronounces the words where tokens are phones.
    """

    directory: Path
    sources: Sequence[Source]
    lm: LmOptions | None = None
    language: str = "en-us"

    def __post_init__(self) -> None:
        names = [source.corpus for source in self.sources]
        if not names or len(set(names)) < len(names):
            raise ConfigError(f"a recipe needs corpora, each one once; got {names}")

    def places(self, data_dir: Path) -> list[Path]:
        """Where the manifests of each corpus go: one alone needs no folder of its own."""
        if len(self.sources) == 1:
            return [data_dir]
        return [data_dir / source.corpus for source in self.sources]
