"""`asr transcribe` and `asr evaluate` with a decoder, language model, lexicon and hotwords."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest
from conftest import ToneModel
from typer.testing import CliRunner

from asr.cli import app
from asr.cli.arguments import parse_numbers
from asr.cli.decoding_options import DecodingOptions, takes_decoding_options
from asr.errors import AsrError, ConfigError, DataError, ModelFileError
from asr.manifest import read_manifest


def asr(*arguments: object) -> str:
    """Standard output of a command; its error is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("lm")
    (directory / "text").write_text("ba do mi\ndo do\nmi ba\n" * 5)
    asr("lm", "build", directory / "text", "-o", directory / "lm.arpa", "--order", 2)
    return directory / "lm.arpa"


def decoding_line(output: str) -> str:
    (line,) = [line for line in output.splitlines() if line.startswith("decoding: ")]
    return line.removeprefix("decoding: ")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "greedy"),
        (["--decoder", "greedy"], "greedy"),
        (["--decoder", "beam"], "beam search, width 100"),
        (["--beam", "7"], "beam search, width 7"),
        (["--set", "beam_threshold=9", "--beam", "8"], "beam search, width 8"),
        (["--hotword", "do mi", "--hotword", "ba=2"], "beam search, width 100, 2 hotwords"),
    ],
)
def test_evaluate_says_how_it_decoded(
    tone_model: ToneModel, options: list[str], expected: str
) -> None:
    output = asr("evaluate", tone_model.path, tone_model.dev, *options)
    assert decoding_line(output) == expected
    assert output.startswith("%WER ")


def test_evaluate_scores_one_hypothesis(tone_model: ToneModel) -> None:
    with pytest.raises(ConfigError, match="num_best does nothing here"):
        asr("evaluate", tone_model.path, tone_model.dev, "--set", "num_best=3")


def test_evaluate_with_files(tone_model: ToneModel, lm: Path, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("ba B AA\ndo D UW\nmi M IY\n")
    (tmp_path / "hot").write_text("# names\nba ba\t3\n")
    output = asr(
        *("evaluate", tone_model.path, tone_model.dev, "--lm", lm, "--lm", lm),
        *("--lm-mix", "0.3,0.7", "--lexicon", tmp_path / "words", "--hotwords", tmp_path / "hot"),
        *("--set", "vocabulary=closed", "--set", "lm_weight=0.25"),
    )
    assert decoding_line(output) == (
        "beam search, width 100, 2-gram lm.arpa + lm.arpa (weight 0.25, word bonus 1), "
        "lexicon of 3 words, closed vocabulary, 1 hotwords"
    )


def test_transcribe_hears_no_word_outside_a_closed_lexicon(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    (tmp_path / "words").write_text("ba\n")
    files = [one.audio_path for one in read_manifest(tone_model.dev)][:4]
    closed = ["--lexicon", tmp_path / "words", "--set", "vocabulary=closed"]
    output = asr("transcribe", *files, "-m", tone_model.path, *closed)
    words = {word for line in output.splitlines() for word in line.partition("\t")[2].split()}
    assert words <= {"ba"}
    plain = asr("transcribe", *files, "-m", tone_model.path)
    assert {word for line in plain.splitlines() for word in line.partition("\t")[2].split()} > words


@pytest.mark.parametrize("content", ["DO DO\n", "#JSGF V1.0; public $a = do <b>; <b> = DO;\n"])
def test_transcribe_hears_only_what_the_grammar_says(
    tone_model: ToneModel, tmp_path: Path, content: str
) -> None:
    (tmp_path / "g.jsgf").write_text(content)
    files = [one.audio_path for one in read_manifest(tone_model.dev)][:4]
    output = asr("transcribe", *files, "-m", tone_model.path, "--grammar", tmp_path / "g.jsgf")
    assert {line.partition("\t")[2] for line in output.splitlines()} <= {"do do", ""}
    assert "do do" in output
    priced = ["--grammar", tmp_path / "g.jsgf", "--set", "off_grammar_score=-0.5"]
    output = asr("evaluate", tone_model.path, tone_model.dev, *priced)
    assert decoding_line(output) == "beam search, width 100, grammar g.jsgf (off it -0.5)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("public $a = do (ba;\n", "g.jsgf, line 1"),
        ("do\nxyz\n", "g.jsgf, line 2: 'xyz' can never be said: it is not a word"),
        ("", "g.jsgf, line 1: expected a rule or a sentence"),
    ],
)
def test_bad_grammars_are_refused_by_line(
    tone_model: ToneModel, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "g.jsgf").write_text(content)
    with pytest.raises(AsrError) as caught:
        asr("transcribe", "x.wav", "-m", tone_model.path, "--grammar", tmp_path / "g.jsgf")
    assert message in str(caught.value)


def test_transcribe_json_with_the_beam(tone_model: ToneModel, lm: Path) -> None:
    file = read_manifest(tone_model.dev)[0].audio_path
    output = asr("transcribe", file, "-m", tone_model.path, "--lm", lm, "--format", "jsonl")
    values = json.loads(output)
    assert [word["text"] for word in values["words"]] == values["text"].split()
    assert "alternatives" not in values


def test_transcribe_json_with_alternatives(tone_model: ToneModel, lm: Path) -> None:
    files = [one.audio_path for one in read_manifest(tone_model.dev)[:3]]
    options = ["-m", tone_model.path, "--lm", lm, "--format", "jsonl"]
    alone = [json.loads(line) for line in asr("transcribe", *files, *options).splitlines()]
    lines = asr("transcribe", *files, *options, "--n-best", 4).splitlines()
    for values, best in zip(map(json.loads, lines), alone, strict=True):
        others = values.pop("alternatives")
        assert values == best
        assert 1 <= len(others) <= 3
        assert len({one["text"] for one in (best, *others)}) == 1 + len(others)
        scores = [one["score"] for one in (best, *others)]
        assert scores == sorted(scores, reverse=True)
        for one in others:
            assert " ".join(word["text"] for word in one["words"]) == one["text"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n-best", "3"], "--n-best needs --format jsonl"),
        (["--n-best", "3", "--format", "jsonl", "--decoder", "greedy"], "needs a beam search"),
        (["--set", "num_best=3"], "num_best needs --format jsonl"),
    ],
)
def test_alternatives_that_cannot_be_given(
    tone_model: ToneModel, options: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        asr("transcribe", "x.wav", "-m", tone_model.path, *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beam", "0"], "setting `beam_width` in the command line: "),
        (["--set", "lm_wait=1"], "unknown setting `lm_wait` in --set; did you mean `lm_weight`?"),
        (["--lm", "/none.arpa"], "cannot read /none.arpa: No such file or directory"),
        (["--lm-mix", "1,x", "--lm", "y"], "--lm-mix: cannot read numbers in '1,x'"),
        (["--lm-mix", "1"], "--lm-mix has 1 weights for 0 language models"),
        (["--decoder", "greedy", "--beam", "4"], "greedy decoding does not know --beam and --set"),
        (["--beam", "20", "--set", "beam_width=10"], "beam_width is given twice, by --beam and by"),
        (
            ["--n-best", "3", "--set", "num_best=2", "--format", "jsonl"],
            "num_best is given twice, by --n-best and by --set",
        ),
        (
            ["--set", "off_grammar_score=-5"],
            "off_grammar_score does nothing without a grammar; give",
        ),
        (["--set", "lm_weight=0.7"], "lm_weight does nothing without a language model; give --lm"),
        (["--hotword", "=3"], "the hotword '=3': '' cannot be recognised: it is empty"),
    ],
)
def test_wrong_options_are_explained(
    tone_model: ToneModel, options: list[str], message: str
) -> None:
    with pytest.raises(AsrError) as caught:
        asr("transcribe", "x.wav", "-m", tone_model.path, *options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\\data\\\nngram 1=x\n", "line 2"),
        ("hello\n", "lm.arpa"),
        ("", "lm.arpa"),
    ],
)
def test_a_malformed_language_model_is_named(
    tone_model: ToneModel, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "lm.arpa").write_text(content)
    with pytest.raises(AsrError) as caught:
        asr("transcribe", "x.wav", "-m", tone_model.path, "--lm", tmp_path / "lm.arpa")
    assert message in str(caught.value)


def test_a_language_model_in_capitals_is_refused_and_cured_by_the_named_command(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("BA DO MI\nDO DO\nMI BA\n")
    lm = tmp_path / "lm.arpa"
    asr("lm", "build", tmp_path / "text", "-o", lm, "--order", 2)
    with pytest.raises(DataError) as caught:
        asr("evaluate", tone_model.path, tone_model.dev, "--lm", lm)
    assert "lm.arpa: the model can write only 0 of its 3 words" in str(caught.value)
    assert "asr lm build TEXT -o lm.bin --model MODEL" in str(caught.value)
    asr("lm", "build", tmp_path / "text", "-o", lm, "--order", 2, "--model", tone_model.path)
    output = asr("evaluate", tone_model.path, tone_model.dev, "--lm", lm)
    assert "2-gram lm.arpa" in decoding_line(output)


def test_lm_build_names_the_users_text_and_not_its_normalised_copy(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    build = ("lm", "build", "-o", tmp_path / "lm.arpa", "--model", tone_model.path)
    good, marked, empty = tmp_path / "good", tmp_path / "marked", tmp_path / "empty"
    good.write_text("BA DO MI\n")
    marked.write_text("BA\nDO <s> MI\n")
    empty.write_text("")
    with pytest.raises(DataError) as caught:
        asr(*build, good, marked)
    assert caught.value.message == f"{marked}, line 2: contains <s>"
    assert caught.value.hint == "sentence marks and the unknown word are added by the builder"
    with pytest.raises(DataError) as caught:
        asr(*build, empty, empty)
    assert caught.value.message == f"no text in {empty}, {empty}"


def test_lm_build_refuses_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("ba\n")
    with pytest.raises(ModelFileError, match="is not a safetensors file"):
        asr("lm", "build", tmp_path / "text", "-o", tmp_path / "l.arpa", "-m", tmp_path / "text")


def test_help_of_decoding_verbs_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom asr.cli import main\nsys.argv = ['asr', sys.argv[1], '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'numba', 'asr.config', 'asr.decoding'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    for verb in ("transcribe", "evaluate", "tune"):
        done = subprocess.run(
            [sys.executable, "-c", script, verb], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "--lexicon" in done.stdout


def test_the_decorator_puts_every_option_into_one_value() -> None:
    seen: list[object] = []

    def verb(name: str, decoding: DecodingOptions = DecodingOptions()) -> None:  # noqa: B008
        """Do it."""
        seen.extend([name, decoding])

    wrapped = takes_decoding_options(verb)
    parameters = inspect.signature(wrapped).parameters
    assert list(parameters) == ["name", *get_type_hints(DecodingOptions)]
    values = {name: one.default for name, one in parameters.items() if name != "name"}
    wrapped(name="x", **values | {"beam": 3})
    assert seen == ["x", DecodingOptions(beam=3)]
    assert (wrapped.__name__, wrapped.__doc__) == ("verb", "Do it.")


def test_numbers_of_an_option() -> None:
    assert parse_numbers("--x", "0.5, 1 2", float) == [0.5, 1.0, 2.0]
    assert parse_numbers("--x", "", float) == []
    assert parse_numbers("--x", "0 1", int) == [0, 1]
    with pytest.raises(ConfigError, match="--x: cannot read numbers in 'a'"):
        parse_numbers("--x", "a", float)
    with pytest.raises(ConfigError, match=r"--x: cannot read numbers in '0 1\.5'"):
        parse_numbers("--x", "0 1.5", int)
