"""Training that starts from the weights of a model file instead of random ones: fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from asr.config import parse_options
from asr.decoder_setup import DecodingChoice
from asr.errors import ConfigError
from asr.experiment import ExperimentConfig
from asr.features import LogMel
from asr.model import AcousticModel
from asr.recognizer import Recognizer
from asr.shipped import resolve_model
from asr.tokens import PhoneTokenizer, Tokenizer

ADOPTED = ("text", "tokens", "features", "model")
"""Sections of the configuration that describe what a model file holds."""

ELSEWHERE = frozenset({"pronunciations"})
"""Of these settings: files of whoever trained the model, which holds their content."""

ADJUSTABLE = frozenset({"prior_s"})
"""Of the features: shifts and scales them by little, which training gets over."""

SHAPELESS = frozenset({"dropout", "input_dropout", "forget_bias", "rnn_activation", "residual"})
"""Of the model: no weight has another shape for them."""

HEAD = "head."
"""The only weights that belong to tokens: (vocab_size, width) and (vocab_size,)."""


def adopt_settings(config: ExperimentConfig) -> ExperimentConfig:
    """A configuration with whatever it leaves unsaid of its model as in the file it starts from.

    Nothing changes without `training.start_from`, nor what is set by name.

    Raises:
        ModelFileError: The file cannot be read.
        ConfigError: What is set does not go with the rest of its section in the file.
    """
    path = config.training.start_from
    if path is None:
        return config
    source = _load(path).config
    adopted = {}
    for name in ADOPTED:
        own, theirs = getattr(config, name), getattr(source, name)
        said = own.model_dump(include=own.model_fields_set)
        values = theirs.model_dump(exclude=ELSEWHERE) | said
        where = f"[{name}], the rest of it from {path}"
        try:
            adopted[name] = parse_options(type(own), values, where)
        except ConfigError as error:
            hint = _leave_out(f"{name}.{setting}" for setting in said)
            raise ConfigError(error.message, hint=hint) from None
    return config.model_copy(update=adopted)


def adopted_phones(config: ExperimentConfig) -> Tokenizer | None:
    """Phones and dictionary of the model that training starts from, where no other is named.

    Raises:
        ModelFileError: The file cannot be read.
    """
    path, tokens = config.training.start_from, config.tokens
    if path is None or tokens.kind != "phone" or tokens.pronunciations is not None:
        return None
    tokenizer = _load(path).tokenizer
    return tokenizer if isinstance(tokenizer, PhoneTokenizer) else None


def start_from(
    path: Path,
    config: ExperimentConfig,
    tokenizer: Tokenizer,
    front_end: LogMel,
    model: AcousticModel,
) -> None:
    """Give `model` the weights of a model file, and `front_end` its statistics if it has any.

    Tokens that both vocabularies have keep what the file's model knows of them, wherever they stand
    in either; the others keep the weights that `model` has. Features stay what the weights know:
    statistics of a few new recordings are others, and training on few does not get over that.

    Args:
        path: A model file, of any vocabulary, or the name of a model of the package.
        config: Settings of the model that is trained.
        tokenizer: Its vocabulary.
        front_end: Changed in place.
        model: Changed in place.

    Raises:
        ModelFileError: The file cannot be read.
        ConfigError: Its features or the shape of its layers are others.
    """
    source = _load(path)
    _refuse_other_features(path, source.config, config)
    new, old = model.state_dict(), source.model.state_dict()
    rows = _shared_rows(tokenizer, source.tokenizer)
    for name in (*new, *(name for name in old if name not in new)):
        if name.startswith(HEAD) and name in old:
            old[name] = _with_rows(new[name], old[name], rows)
        if name not in old or name not in new or old[name].shape != new[name].shape:
            raise _other_shape(path, source.config, config, name)
    model.load_state_dict(old)
    if source.front_end.has_statistics:
        front_end.set_statistics(source.front_end.mean, source.front_end.std)


def _load(path: Path) -> Recognizer:
    return Recognizer.load(resolve_model(path), "cpu", DecodingChoice(decoder="greedy"))


def _refuse_other_features(path: Path, old: ExperimentConfig, new: ExperimentConfig) -> None:
    different = _different("features", old, new, ADJUSTABLE)
    if different:
        values = ", ".join(different.values())
        raise ConfigError(f"{path} hears other features: {values}", hint=_leave_out(different))


def _other_shape(
    path: Path, old: ExperimentConfig, new: ExperimentConfig, weight: str
) -> ConfigError:
    alike = SHAPELESS
    if old.model.subsampling_kind == new.model.subsampling_kind == "conv":
        alike |= {"subsampling"}  # strides of the same convolutions
    different = _different("model", old, new, alike)
    if not different:
        return ConfigError(f"{path} is of another shape than [model]: {weight} differs")
    values = ", ".join(different.values())
    return ConfigError(
        f"{path} is of another shape than [model]: {values}", hint=_leave_out(different)
    )


def _different(
    section: str, old: ExperimentConfig, new: ExperimentConfig, but: frozenset[str]
) -> dict[str, str]:
    """By the name of each setting of a section that differs: both values, in words."""
    theirs, ours = getattr(old, section).model_dump(), getattr(new, section).model_dump()
    return {
        f"{section}.{name}": f"{section}.{name} is {value!r} there and {ours[name]!r} here"
        for name, value in theirs.items()
        if name not in but and value != ours[name]
    }


def _leave_out(names: Iterable[str]) -> str:
    return f"leave {' and '.join(names)} out: what is not said is taken from the file"


def _shared_rows(new: Tokenizer, old: Tokenizer) -> list[tuple[int, int]]:
    """(new, old) index of every token in both vocabularies."""
    places = {token: index for index, token in enumerate(old.vocab)}
    return [(index, places[token]) for index, token in enumerate(new.vocab) if token in places]


def _with_rows(new: Tensor, old: Tensor, rows: list[tuple[int, int]]) -> Tensor:
    if new.shape[1:] != old.shape[1:]:
        return old
    mixed = new.clone()
    to, of = torch.tensor(rows, dtype=torch.int64).T
    mixed[to] = old[of]
    return mixed
