"""`asr score`: formats, options, messages, and what it must not import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from asr.cli.score import score
from asr.errors import AsrError
from asr.text import PROFILES

app = typer.Typer()
app.command()(score)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def output_of(*arguments: object) -> list[str]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def error_of(*arguments: object) -> AsrError:
    error = run(*arguments).exception
    assert isinstance(error, AsrError), error
    return error


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    """Two utterances of three words; one substitution and one deletion in the first."""
    ref, hyp = tmp_path / "ref", tmp_path / "hyp"
    ref.write_text("u1 one two\nu2 three\n")
    hyp.write_text("u2 three\nu1 tone\n")
    return ref, hyp


def test_prints_kaldi_lines_then_what_was_counted(sides: tuple[Path, Path]) -> None:
    assert output_of(*sides, "--format", "kaldi") == [
        "%WER 66.67 [ 2 / 3, 0 ins, 1 del, 1 sub ]",
        "%CER 41.67 [ 5 / 12, 1 ins, 4 del, 0 sub ]",
        "%SER 50.00 [ 1 / 2 ]",
        "WER 95 % interval [ 0.00, 100.00 ], bootstrap over utterances",
        "text: as written; characters include the blanks between words",
    ]


def test_rows_of_utterances_are_either_side(sides: tuple[Path, Path], tmp_path: Path) -> None:
    """`asr evaluate --out` writes such rows as well."""
    rows, raw = tmp_path / "rows.jsonl", tmp_path / "raw.jsonl"
    shown = output_of(*sides, "--format", "kaldi", "--per-utterance", rows)
    assert output_of(rows, rows) == shown
    raw.write_text('{"id": "u1", "text": "one two"}\n{"id": "u2", "text": "three"}\n')
    assert output_of(raw, rows) == shown


def test_every_format_gives_the_same_counts(tmp_path: Path) -> None:
    contents = {
        "text": ("one two\nthree\n", "tone\nthree\n"),
        "kaldi": ("a one two\nb three\n", "b three\na tone\n"),
        "trn": ("one two (a)\nthree (b)\n", "tone (a)\nthree (b)\n"),
        "jsonl": (
            '{"id": "a", "text": "one two"}\n{"id": "b", "text": "three"}\n',
            '{"id": "a", "text": "tone"}\n{"id": "b", "text": "three"}\n',
        ),
    }
    outputs = set()
    for name, (said, heard) in contents.items():
        (tmp_path / "ref").write_text(said)
        (tmp_path / "hyp").write_text(heard)
        outputs.add("\n".join(output_of(tmp_path / "ref", tmp_path / "hyp", "--format", name)))
    assert len(outputs) == 1


def test_auto_goes_by_suffix_and_mixes_formats_with_ids(tmp_path: Path) -> None:
    manifest, hyp = tmp_path / "test.jsonl", tmp_path / "hyp.trn"
    manifest.write_text('{"id": "a", "audio_path": "a.wav", "duration_s": 1.0, "text": "one"}\n')
    hyp.write_text("one (a)\n")
    perfect = "%WER 0.00 [ 0 / 1, 0 ins, 0 del, 0 sub ]"
    assert output_of(manifest, hyp)[0] == perfect
    kaldi = tmp_path / "hyp"
    kaldi.write_text("a one\n")
    assert output_of(manifest, kaldi, "--hyp-format", "kaldi")[0] == perfect
    assert "--format" in str(error_of(manifest, kaldi))


def test_json(sides: tuple[Path, Path]) -> None:
    (line,) = output_of(*sides, "--format", "kaldi", "--json")
    totals = json.loads(line)
    assert totals["wer"] == pytest.approx(2 / 3)
    assert totals["words"]["deletions"] == 1
    assert totals["characters"]["references"] == 12
    assert totals["sentences"] == {"errors": 1, "total": 2}
    assert totals["wer_interval_95"] == [0.0, 1.0]
    assert totals["text_profile"] == "as written"


def test_per_utterance_rows(sides: tuple[Path, Path], tmp_path: Path) -> None:
    rows_path = tmp_path / "new" / "rows.jsonl"
    output_of(*sides, "--format", "kaldi", "--per-utterance", rows_path)
    rows: list[dict[str, Any]] = [json.loads(line) for line in rows_path.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["u1", "u2"]
    assert rows[0]["words"]["errors"] == 2
    assert sorted(operation for operation, _, _ in rows[0]["alignment"]) == [
        *("deletion", "substitution")
    ]
    assert rows[1]["alignment"] == [["hit", "three", "three"]]


class TestTextProfile:
    def test_default_takes_case_and_punctuation_as_written(self, tmp_path: Path) -> None:
        (tmp_path / "ref").write_text("One, two\n")
        (tmp_path / "hyp").write_text("one two\n")
        both = (tmp_path / "ref", tmp_path / "hyp", "--format", "text")
        assert output_of(*both)[0].startswith("%WER 50.00")
        lines = output_of(*both, "--text-profile", "letters")
        assert lines[0].startswith("%WER 0.00")
        assert lines[-1].startswith("text: letters;")

    def test_none_composes_characters(self, tmp_path: Path) -> None:
        (tmp_path / "ref").write_text("caf\u00e9\n")
        (tmp_path / "hyp").write_text("cafe\u0301\n")
        both = (tmp_path / "ref", tmp_path / "hyp", "--format", "text", "--text-profile", "none")
        assert output_of(*both)[1] == "%CER 0.00 [ 0 / 4, 0 ins, 0 del, 0 sub ]"

    def test_language_decides_the_casing(self, tmp_path: Path) -> None:
        (tmp_path / "ref").write_text("IŞIK\n")
        (tmp_path / "hyp").write_text("ışık\n")
        both = (tmp_path / "ref", tmp_path / "hyp", "--format", "text", "--text-profile", "lower")
        assert output_of(*both)[0].startswith("%WER 100.00")
        lines = output_of(*both, "--language", "tr")
        assert lines[0].startswith("%WER 0.00")
        assert lines[-1].startswith("text: lower (tr);")

    def test_help_names_every_profile(self) -> None:
        words = run("--help").stdout.replace(",", " ").replace(".", " ").split()
        assert set(PROFILES) <= set(words)

    def test_language_without_profile_is_refused(self, sides: tuple[Path, Path]) -> None:
        error = error_of(*sides, "--format", "kaldi", "--language", "tr")
        assert error.message == "--language has no meaning without --text-profile"

    def test_unknown_profile_is_refused(self, sides: tuple[Path, Path]) -> None:
        error = error_of(*sides, "--format", "kaldi", "--text-profile", "lowr")
        assert "lowr" in str(error) and "lower" in str(error)


class TestRefusals:
    def test_lines_of_text_must_be_as_many(self, tmp_path: Path) -> None:
        (tmp_path / "ref").write_text("one\ntwo\n")
        (tmp_path / "hyp").write_text("one\n")
        error = error_of(tmp_path / "ref", tmp_path / "hyp", "--format", "text")
        assert error.message == (
            "references and hypotheses differ: 2 lines of reference, 1 of hypothesis"
        )

    def test_text_does_not_pair_with_ids(self, sides: tuple[Path, Path]) -> None:
        error = error_of(*sides, "--format", "kaldi", "--hyp-format", "text")
        assert error.message == "cannot pair kaldi with text: text has line numbers, no ids"

    def test_incomplete_sides(self, sides: tuple[Path, Path]) -> None:
        sides[1].write_text("u2 three\n")
        assert str(error_of(*sides, "--format", "kaldi")) == (
            "references and hypotheses differ: "
            "1 id without a hypothesis (first: 'u1'), 0 without a reference"
        )

    def test_unwritable_rows(self, sides: tuple[Path, Path]) -> None:
        error = error_of(*sides, "--format", "kaldi", "--per-utterance", sides[0] / "rows.jsonl")
        assert "cannot write" in error.message

    def test_rows_in_place_of_a_side(self, sides: tuple[Path, Path]) -> None:
        for side in sides:
            before = side.read_bytes()
            error = error_of(*sides, "--format", "kaldi", "--per-utterance", side)
            assert error.message == f"{side} is read and would be overwritten"
            assert side.read_bytes() == before

    def test_unknown_format_is_a_usage_error(self, sides: tuple[Path, Path]) -> None:
        assert run(*sides, "--format", "csv").exit_code == 2


def test_imports_nothing_that_scoring_does_not_need(sides: tuple[Path, Path]) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from asr.cli.score import score\n"
        "score(Path(sys.argv[1]), Path(sys.argv[2]), 'kaldi')\n"
        "heavy = {'torch', 'torchaudio', 'numba', 'soundfile', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    command = [sys.executable, "-c", script, *map(str, sides)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("%WER 66.67")
