"""How a model writes words, for the verbs that bring words into that form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asr.errors import ModelFileError, require_extra

if TYPE_CHECKING:
    from asr.text import TextConfig


def text_of_model(model: str) -> TextConfig:
    """The text normalisation of a model.

    Args:
        model: A model file, or a name that `asr models` lists.

    Raises:
        ModelFileError: There is no such model, or it does not say.
        ConfigError: What it says is no text normalisation.
        MissingExtraError: The extra `train` is not installed.
    """
    with require_extra("train", "reading the model file"):
        from asr.checkpoint import MODEL_KIND, read_documents
    from asr.config import parse_options
    from asr.shipped import resolve_model
    from asr.text import TextConfig

    path = resolve_model(model)
    try:
        values = read_documents(path, MODEL_KIND)["config"]["text"]
    except (KeyError, TypeError):
        raise ModelFileError(f"{path} does not say how its transcripts are normalised") from None
    return parse_options(TextConfig, values, str(path))
