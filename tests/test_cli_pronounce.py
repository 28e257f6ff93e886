"""`asr pronounce`: from texts to a dictionary that training reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from asr.cli import app
from asr.errors import AsrError, ConfigError, DataError, ModelFileError
from asr.text import PROFILES, TextConfig

pytest.importorskip("espeakng_loader", reason="pronouncing needs the extra 'demo'")


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("sentences.txt")
    path.write_text("No, four!\nno – four knew\nNo\n", encoding="utf-8")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["pronounce", *map(str, arguments)])


def error_of(*arguments: object) -> AsrError:
    result = run(*arguments)
    assert isinstance(result.exception, AsrError), result.output
    return result.exception


def test_words_with_phones_the_most_frequent_first(text: Path) -> None:
    result = run(text, "--out", "lexicon.txt", "--profile", "letters")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "lexicon.txt  3 words  6 phones\n"
    assert Path("lexicon.txt").read_text(encoding="utf-8") == ("no\tn oʊ\nfour\tf ɔ ɹ\nknew\tn u\n")


def test_words_as_training_has_them_by_default_and_what_is_left_out(text: Path) -> None:
    result = run(text, "--out", "lexicon.txt")
    assert result.exit_code == 1
    assert result.stderr == (
        "left out: '–': eSpeak NG has no pronunciation of it\nerror: 1 word left out\n"
    )
    words = [line.split("\t")[0] for line in Path("lexicon.txt").read_text().splitlines()]
    assert words == ["no", "four", "four!", "knew", "no,"]


def test_words_as_a_model_has_them(text: Path) -> None:
    pytest.importorskip("torch", reason="reading model files needs the extra 'train'")
    from model_files import write_model

    write_model(Path("tones.safetensors"))
    result = run(text, "--out", "lexicon.txt", "--model", "tones.safetensors")
    assert "'–'" in result.stderr
    assert "no,\t" in Path("lexicon.txt").read_text()
    both = error_of(text, "--out", "lexicon.txt", "-m", "tones.safetensors", "--profile", "lower")
    assert isinstance(both, ConfigError)
    assert isinstance(error_of(text, "--out", "x", "-m", "none.safetensors"), ModelFileError)
    own = error_of(text, "--out", "tones.safetensors", "-m", "tones.safetensors")
    assert own.message == "tones.safetensors is read and would be overwritten"


def test_the_language_decides_casing_and_phones(text: Path) -> None:
    text.write_text("ILIK\n", encoding="utf-8")
    assert run(text, "--out", "lexicon.txt", "--language", "tr").exit_code == 0
    assert Path("lexicon.txt").read_text(encoding="utf-8").startswith("ılık\t")
    assert error_of(text, "--out", "x", "--language", "en-uk").message.startswith("eSpeak NG has")
    assert error_of(text, "--out", "x", "--language", "").message.startswith("setting `lang")


def test_a_dictionary_of_ones_own_comes_first(text: Path) -> None:
    Path("mine.dic").write_text("NO  n oʊ\nno(2)  n ə\nnoo  ŋ\n", encoding="utf-8")
    result = run(text, "--out", "lexicon.txt", "--profile", "letters", "--base", "mine.dic")
    assert result.exit_code == 0
    assert result.stderr == (
        "warning: phones of --base that eSpeak NG did not use: ŋ ə; "
        "one model needs one set of phones\n"
    )
    assert Path("lexicon.txt").read_text(encoding="utf-8").startswith("no\tn oʊ\nno\tn ə\nfour\t")


def test_nothing_is_written_where_phones_do_not_go_together(text: Path) -> None:
    Path("mine.dic").write_text("NO  N OW\nQUICK  K W IH K\nBRASH  B R AE SH\nTEA  T IY\n")
    text.write_text("no four quick brash tea")
    error = error_of(text, "--out", "lexicon.txt", "--profile", "letters", "--base", "mine.dic")
    assert isinstance(error, DataError)
    assert error.message.startswith(
        "the dictionary has no phone in common with eSpeak NG (AE B IH IY"
    )
    assert not Path("lexicon.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.txt", "--out", "x"], "cannot read none.txt"),
        (["none.jsonl", "--out", "x"], "cannot read manifest none.jsonl"),
        (["none.arpa", "--out", "x"], "cannot read none.arpa"),
        (["sentences.txt", "--out", "x", "--base", "none.dic"], "cannot read none.dic"),
        (
            ["sentences.txt", "--out", "x", "--profile", "leters"],
            "setting `profile` in the command line",
        ),
        (["empty", "--out", "x"], "no word in empty"),
        (["sentences.txt", "--out", "sentences.txt/x"], "cannot write sentences.txt/x"),
        (["sentences.txt", "--out", "sentences.txt"], "sentences.txt is read and would be"),
        (["sentences.txt", "--out", "empty", "--base", "empty"], "empty is read and would be"),
    ],
)
def test_bad_arguments_are_named(text: Path, arguments: list[str], message: str) -> None:
    Path("empty").write_text("\n")
    assert error_of(*arguments).message.startswith(message)


def test_help_names_the_profiles_and_the_default() -> None:
    shown = " ".join(run("--help").stdout.replace("│", " ").split())
    assert all(profile in shown for profile in PROFILES)
    assert f"{TextConfig().profile} (the default)" in shown


@pytest.mark.parametrize("arguments", [[], ["sentences.txt"]])
def test_usage_errors(text: Path, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2
