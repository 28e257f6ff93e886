"""`asr prepare`: options by flag, what goes where, exit status."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints

import pytest
import typer
from corpus_files import damage, write_audio_file, write_lines
from typer.testing import CliRunner, Result

from asr.cli.prepare import prepare
from asr.corpora import CORPORA, load_importer
from asr.errors import AsrError, ConfigError
from asr.manifest import read_manifest

app = typer.Typer(rich_markup_mode=None)
app.command()(prepare)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def error_of(*arguments: object) -> AsrError:
    result = run(*arguments)
    assert isinstance(result.exception, AsrError), result.output
    return result.exception


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten recordings with their text."""
    for number in range(10):
        path = write_audio_file(tmp_path / f"in/a{number}.wav", 6.0)
        write_lines(path.with_suffix(".txt"), f"Number {number}")
    return tmp_path / "in"


def test_manifests_are_written_and_listed(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("folder", "--source", folder, "--out", out)
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.stdout.splitlines()] == [
        [str(out / "train.jsonl"), "8", "utterances", "0.8", "min"],
        [str(out / "dev.jsonl"), "1", "utterance", "0.1", "min"],
        [str(out / "test.jsonl"), "1", "utterance", "0.1", "min"],
    ]
    assert len(read_manifest(out / "train.jsonl")) == 8


def test_a_bad_file_is_named_the_rest_prepared_and_the_exit_status_is_1(
    folder: Path, tmp_path: Path
) -> None:
    bad = damage(folder / "a3.wav")
    (folder / "a5.txt").unlink()
    result = run("folder", "--source", folder, "--out", tmp_path / "out", "--test-fraction", 0)
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line]
    assert errors[0].startswith(f"left out: a3: cannot read {bad} as audio")
    assert errors[1] == f"left out: a5: there is no {folder / 'a5.txt'}"
    assert errors[-1] == "error: 2 utterances left out"
    names = [
        one.id for name in ("train", "dev") for one in read_manifest(tmp_path / f"out/{name}.jsonl")
    ]
    assert sorted(names) == [f"a{n}" for n in range(10) if n not in (3, 5)]
    assert "Traceback" not in result.output


def test_zero_is_a_value(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(
        "folder", "--source", folder, "--out", out, "--dev-fraction", 0, "--test-fraction", "0.0"
    )
    assert result.exit_code == 0, result.output
    assert [path.name for path in out.iterdir()] == ["train.jsonl"]


def test_channel_zero_is_a_value(folder: Path, tmp_path: Path) -> None:
    run("folder", "--source", folder, "--out", tmp_path / "out", "--channel", 0)
    assert {one.channel for one in read_manifest(tmp_path / "out/train.jsonl")} == {0}


def test_columns_of_a_table(folder: Path, tmp_path: Path) -> None:
    table = write_lines(folder / "all.csv", "file;sentence", *(f"a{n}.wav;x" for n in range(10)))
    columns = ("--column", "audio=file", "--column", "text=sentence", "--delimiter", ";")
    result = run("csv", "--source", table, "--out", tmp_path / "out", *columns)
    assert result.exit_code == 0, result.output
    assert read_manifest(tmp_path / "out/dev.jsonl")[0].text == "x"


def test_fsdd_by_speaker_with_connected_digits(tmp_path: Path) -> None:
    for speaker in ("ann", "bob", "carl"):
        for digit in range(3):
            write_audio_file(tmp_path / f"fsdd/{digit}_{speaker}_0.wav")
    options = ("--test-speaker", "ann", "--dev-speaker", "carl", "--connected", 2, "--seed", 0)
    result = run("fsdd", "--source", tmp_path / "fsdd", "--out", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert "1 speaker\n" in result.stdout
    connected = read_manifest(tmp_path / "out/test-connected.jsonl")
    assert [one.id for one in connected] == ["connected_ann_0000", "connected_ann_0001"]


def test_any_option_by_its_name(folder: Path, tmp_path: Path) -> None:
    sets = ("--set", "dev_fraction=0.3", "--set", "test_fraction=0")
    result = run("folder", "--source", folder, "--out", tmp_path / "out", *sets)
    assert result.exit_code == 0, result.output
    assert len(read_manifest(tmp_path / "out/dev.jsonl")) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("an4", "--test-speaker", "x"), "the option test_speaker does not apply to an4"),
        (("fsdd", "--column", "text=x"), "the option column does not apply to fsdd"),
        (("folder", "--validated"), "the option validated does not apply to folder"),
        (("ljspeech", "--download", "dev-clean"), "the option download does not apply to ljspeech"),
        (("csv", "--column", "text"), "cannot read --column 'text'"),
        (("csv", "--set", "=1"), "cannot read --set '=1'"),
        (("csv", "--channel", "1", "--set", "channel=2"), "channel is given twice"),
        (("folder", "--split-by", "room"), "setting `split_by` in the options of folder"),
        (("folder", "--dev-fraction", "1.5"), "setting `dev_fraction` in the options of folder"),
        (("ann4",), "unknown corpus 'ann4'"),
    ],
)
def test_impossible_options(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    error = error_of(*arguments, "--source", tmp_path, "--out", tmp_path / "out")
    assert isinstance(error, ConfigError)
    assert error.message.startswith(message)
    assert not (tmp_path / "out").exists()


def test_the_hint_names_the_corpuss_own_options(tmp_path: Path) -> None:
    error = error_of("yesno", "--seed", 1, "--source", tmp_path, "--out", tmp_path)
    assert error.hint == "it has dev_fraction; each may be given as --set NAME=VALUE"


def test_brackets_name_the_corpora_that_an_option_applies_to() -> None:
    options = {name: set(load_importer(name).options.model_fields) for name in CORPORA}
    num_bracketed = 0
    for name, annotation in get_type_hints(prepare, include_extras=True).items():
        declared = next(iter(getattr(annotation, "__metadata__", ())), None)
        if named := re.search(r"\[(.+)\]", getattr(declared, "help", None) or ""):
            num_bracketed += 1
            assert set(named[1].split(", ")) == {one for one in CORPORA if name in options[one]}
    assert num_bracketed > 10


def test_digits_are_made_below_out(tmp_path: Path) -> None:
    sizes = [f"--set={name}=2" for name in ("num_train", "num_dev", "num_test")]
    result = run("digits", "--out", tmp_path / "out", "--seed", 5, *sizes, "--set=num_workers=1")
    assert result.exit_code == 0, result.output
    train = read_manifest(tmp_path / "out/train.jsonl")
    assert len(train) == 2
    assert all(one.audio_path.is_relative_to(tmp_path / "out/audio") for one in train)


@pytest.mark.parametrize("option", ["--source", "--out", "--audio-root", "--transcripts"])
def test_an_empty_path_is_not_the_current_directory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(tmp_path.rglob("*"))
    error = error_of("folder", "--source", folder, "--out", tmp_path / "out", option, "")
    assert str(error) == f"{option} is empty; for the current directory write ."
    assert sorted(tmp_path.rglob("*")) == before
    assert run("folder", "--source", ".", "--out", tmp_path / "out").exit_code == 0


def test_a_source_is_needed(tmp_path: Path) -> None:
    assert error_of("an4", "--out", tmp_path).message == "no source for an4"


def test_a_wrong_type_is_a_usage_error(tmp_path: Path) -> None:
    result = run("folder", "--source", tmp_path, "--out", tmp_path, "--dev-fraction", "much")
    assert result.exit_code == 2


def test_help_names_every_corpus() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for corpus in CORPORA:
        assert corpus in result.stdout


def test_an_out_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    error = error_of("folder", "--source", folder, "--out", tmp_path / "file/out")
    assert error.message.startswith(f"cannot write {tmp_path / 'file/out/'}")
