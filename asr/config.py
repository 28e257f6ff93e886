"""Options: frozen, validated settings from TOML files and `--set a.b=c`.

Every stage defines one `Options` subclass beside its code; `experiment.ExperimentConfig` composes
them. Unknown keys and values out of range become a `ConfigError` that names the setting, what was
expected and the nearest known name.
"""

from __future__ import annotations

import copy
import difflib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from asr.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # it has no public name


class _Checked(ModelMetaclass):
    """Calls of settings classes refuse as settings of files are refused."""

    def __call__(cls, *positional: Any, **values: Any) -> Any:  # noqa: N805
        """The settings, or a `ConfigError`."""
        try:
            return super().__call__(*positional, **values)
        except ValidationError as error:
            raise _config_error(cast(type[Options], cls), error, cls.__name__) from None


class Options(BaseModel, metaclass=_Checked):
    """Base of every settings class: immutable, no unknown keys, defaults checked too.

    Raises:
        ConfigError: A setting is unknown or a value does not fit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Python counts with `true` as with 1, and so would pydantic."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in (annotation, *get_args(annotation)):
            raise ValueError("Input should not be true or false")
        return value


OptionsT = TypeVar("OptionsT", bound=Options)


def _split_at_commas(value: object) -> object:
    if isinstance(value, str):
        return tuple(part for item in value.split(",") if (part := item.strip()))
    return value


Strings = Annotated[tuple[str, ...], BeforeValidator(_split_at_commas)]
"""A setting of several strings; one string is divided at its commas, blanks around are dropped."""


def parse_options(cls: type[OptionsT], values: Mapping[str, Any], source: str) -> OptionsT:
    """Validate nested plain values.

    Args:
        cls: The settings class.
        values: Nested mapping, as TOML or JSON gives it.
        source: Where the values came from, for the message: a file name.

    Raises:
        ConfigError: A key is unknown or a value does not fit.
    """
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise _config_error(cls, error, source) from None


def load_options(
    cls: type[OptionsT],
    path: Path | None,
    overrides: Sequence[str] = (),
    fixed: Sequence[str] = (),
) -> OptionsT:
    """Read a TOML file and apply `a.b=c` overrides.

    Args:
        cls: The settings class.
        path: TOML file holding only what differs from the defaults; None for the defaults.
        overrides: Assignments such as `model.units=192`; the value is read as TOML, and where it
            is not TOML as a plain string, or in brackets as a list of them: `data.dev=[a, b]`.
        fixed: Assignments that nobody made by hand; they come first and are blamed for nothing.

    Raises:
        ConfigError: The file cannot be read or parsed, or a setting is wrong.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read settings {path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not valid TOML: {error}") from None
    for assignment in fixed:
        _assign(values, assignment)
    said = copy.deepcopy(values)
    for assignment in overrides:
        _assign(values, assignment)
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise _config_error(cls, error, _blame(error, path, said, overrides)) from None


def _blame(
    error: ValidationError, path: Path | None, said: object, overrides: Sequence[str]
) -> str:
    """Where the setting of an error comes from: the file, `--set`, or both together.

    Args:
        error: Of the settings of both.
        path: The file.
        said: What is in it.
        overrides: Assignments.
    """
    if path is None:
        return "--set"
    location = [str(part) for part in error.errors()[0]["loc"]]
    assigned = [_keys(assignment) for assignment in overrides]
    if any(location[: len(keys)] == keys for keys in assigned):
        return "--set"
    if not any(keys[: len(location)] == location for keys in assigned):
        return str(path)
    for key in location:  # a section, of which assignments say a part
        said = said.get(key) if isinstance(said, dict) else None
    return f"{path} with --set" if said else "--set"


def _assign(values: dict[str, Any], assignment: str) -> None:
    keys, (_, equals, text) = _keys(assignment), assignment.partition("=")
    if not equals or not all(keys):
        raise ConfigError(
            f"cannot read the setting {assignment!r}", hint="write it as section.name=value"
        )
    for key in keys[:-1]:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"`{key}` in {assignment!r} is a value, not a section")
        values = inner
    values[keys[-1]] = _toml_value(text.strip())


def _keys(assignment: str) -> list[str]:
    return assignment.partition("=")[0].strip().split(".")


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if text.startswith("[") and text.endswith("]"):
            return [_toml_value(item.strip()) for item in text[1:-1].split(",")]
        return text


def _config_error(cls: type[Options], error: ValidationError, source: str) -> ConfigError:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    name = ".".join(location)
    if first["type"] == "extra_forbidden":
        known = _field_names(cls, location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(sorted(known))}"
        return ConfigError(f"unknown setting `{name}` in {source}", hint=hint)
    got = "" if first["type"] == "missing" else f", got {first['input']!r}"
    reason = first["msg"].removeprefix("Value error, ")
    if not location:  # of several settings together, which the reason names
        return ConfigError(f"{source}: {reason}")
    return ConfigError(f"setting `{name}` in {source}: {reason}{got}")


def _field_names(cls: type[Options], path: Sequence[str]) -> list[str]:
    for part in path:
        field = cls.model_fields.get(part)
        candidates = [] if field is None else [field.annotation, *get_args(field.annotation)]
        inner = [c for c in candidates if isinstance(c, type) and issubclass(c, Options)]
        if not inner:
            return []
        cls = inner[0]
    return list(cls.model_fields)
