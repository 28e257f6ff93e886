"""Settings: TOML, overrides, and errors that name the setting and the cure."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, ValidationError, model_validator

from asr.config import Options, Strings, load_options, parse_options
from asr.errors import ConfigError


class InnerConfig(Options):
    hop_ms: float = Field(default=10.0, gt=0)
    num_mels: int = 80


class OuterConfig(Options):
    features: InnerConfig = InnerConfig()
    name: str = "x"
    optional: InnerConfig | None = None
    names: tuple[str, ...] = ()
    size: int | None = None
    flag: bool = False
    maybe: bool | None = None
    strings: Strings = Field(("x",), min_length=1)

    @model_validator(mode="after")
    def _check(self) -> OuterConfig:
        if self.name == str(self.features.num_mels):
            raise ValueError("name and features.num_mels must differ")
        return self


def test_defaults_need_no_file() -> None:
    assert load_options(OuterConfig, None) == OuterConfig()


@pytest.mark.parametrize("name", ["features.hop_ms", "features.num_mels", "name", "size"])
@pytest.mark.parametrize("value", ["true", "false"])
def test_true_is_no_number(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"setting `{name}` in --set: .* not be true or false"):
        load_options(OuterConfig, None, [f"{name}={value}"])
    assert load_options(OuterConfig, None, [f"flag={value}"]).flag is (value == "true")
    assert load_options(OuterConfig, None, [f"maybe={value}"]).maybe is (value == "true")


def test_a_file_holds_only_differences(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[features]\nhop_ms = 5\n")
    assert load_options(OuterConfig, path).features == InnerConfig(hop_ms=5.0)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("features.hop_ms=12.5", OuterConfig(features=InnerConfig(hop_ms=12.5))),
        ("features.num_mels = 40", OuterConfig(features=InnerConfig(num_mels=40))),
        ("name=plain words", OuterConfig(name="plain words")),
        ('name="quoted"', OuterConfig(name="quoted")),
        ("optional.num_mels=3", OuterConfig(optional=InnerConfig(num_mels=3))),
        ('names=["a b", "c,d"]', OuterConfig(names=("a b", "c,d"))),
        (
            "names=[dir/a.jsonl,  dir/b=1.jsonl]",
            OuterConfig(names=("dir/a.jsonl", "dir/b=1.jsonl")),
        ),
        ("names=[plain]", OuterConfig(names=("plain",))),
        ("name=a,b", OuterConfig(name="a,b")),
        ("strings=a b, c-d ,,", OuterConfig(strings=("a b", "c-d"))),
        ('strings=["a,b"]', OuterConfig(strings=("a,b",))),
    ],
)
def test_assignments_go_over_the_file(
    tmp_path: Path, assignment: str, expected: OuterConfig
) -> None:
    path = tmp_path / "c.toml"
    path.write_text('name = "x"\n')
    assert load_options(OuterConfig, path, [assignment]) == expected


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "features.hop_msec=5",
            "unknown setting `features.hop_msec` in --set; did you mean `hop_ms`?",
        ),
        ("featurs.hop_ms=5", "unknown setting `featurs` in --set; did you mean `features`?"),
        ("features.zzz=5", "unknown setting `features.zzz` in --set; known here: hop_ms, num_mels"),
        (
            "features.hop_ms=0",
            "setting `features.hop_ms` in --set: Input should be greater than 0, got 0",
        ),
        ("features.num_mels=many", "`features.num_mels` in --set: Input should be a valid integer"),
        ("name.inner=1", "setting `name` in --set"),
        ("strings= , ", "`strings` in --set: Tuple should have at least 1 item"),
        ("strings=5", "`strings` in --set: Input should be a valid tuple, got 5"),
        ("nonsense", "cannot read the setting 'nonsense'; write it as section.name=value"),
        ("a..b=1", "cannot read the setting"),
    ],
)
def test_wrong_settings_are_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_options(OuterConfig, None, [assignment])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "assignment", "message"),
    [
        ("", "features.hop_msec=5", "unknown setting `features.hop_msec` in --set; did"),
        ("[features]\nhop_ms = 5", "features.hop_ms=0", "setting `features.hop_ms` in --set: "),
        ("", "featurs.hop_ms=5", "unknown setting `featurs` in --set; did"),
        ("[features]\nhop_ms = 0", "features.num_mels=9", "`features.hop_ms` in {path}: "),
        ("[featurs]\nx = 1", "name=y", "unknown setting `featurs` in {path}; did"),
        ("[featurs]\nx = 1", "featurs.y=2", "unknown setting `featurs` in {path} with --set; did"),
        ("names = [1, 2]", "name=y", "setting `names.0` in {path}: "),
        ("", "names=[1, 2]", "setting `names.0` in --set: "),
        ("name = '3'", "features.num_mels=3", "{path} with --set: name and features.num_mels must"),
        ("name = '80'", "features.hop_ms=3", "{path} with --set: name and features.num_mels must"),
    ],
)
def test_the_file_or_the_assignment_is_blamed(
    tmp_path: Path, content: str, assignment: str, message: str
) -> None:
    path = tmp_path / "c.toml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_options(OuterConfig, path, [assignment])
    assert message.format(path=path) in str(caught.value)


def test_what_nobody_wrote_is_blamed_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("name = '3'\n[features]\nnum_mels = 3\n")
    with pytest.raises(ConfigError) as caught:
        load_options(OuterConfig, path, fixed=["features.hop_ms=5"])
    assert str(caught.value).startswith(f"{path}: name and features.num_mels must")
    options = load_options(OuterConfig, None, ["features.hop_ms=7"], ["features.hop_ms=5"])
    assert options.features.hop_ms == 7


def test_a_value_is_not_a_section(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('name = "x"\n')
    with pytest.raises(ConfigError, match=r"`name` in 'name\.inner=1' is a value, not a section"):
        load_options(OuterConfig, path, ["name.inner=1"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read settings .*absent\.toml: No such file"):
        load_options(OuterConfig, tmp_path / "absent.toml")


@pytest.mark.parametrize("content", [b"a = = 1", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.toml is not valid TOML"):
        load_options(OuterConfig, path)


def test_a_call_refuses_as_a_file_does() -> None:
    with pytest.raises(ConfigError, match=r"setting `hop_ms` in InnerConfig: .*, got -1"):
        InnerConfig(hop_ms=-1)
    with pytest.raises(ConfigError, match=r"setting `features\.hop_ms` in OuterConfig: .*, got 0"):
        OuterConfig(features={"hop_ms": 0})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown setting `num_mel` in InnerConfig; did you mean"):
        InnerConfig(num_mel=3)  # type: ignore[call-arg]


def test_options_are_frozen() -> None:
    with pytest.raises(ValidationError):
        InnerConfig().num_mels = 3


def test_a_stored_configuration_is_read_back() -> None:
    config = OuterConfig(features=InnerConfig(hop_ms=5.0))
    assert parse_options(OuterConfig, config.model_dump(mode="json"), "model") == config
