"""README is what a stranger reads first: its commands run, and its map is the repository."""

from __future__ import annotations

import ast
import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tones import PITCHES_HZ, RATE_HZ, tone_utterance

from asr.cli import app

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    """Contents of the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in fenced("sh") for line in block.splitlines()]


def test_the_first_command_installs_and_runs_the_main_job() -> None:
    assert COMMANDS[0] == 'pip install -e ".[demo]" && python recipes/digits/run.py'
    assert (ROOT / "recipes" / "digits" / "run.py").exists()


def test_the_second_command_is_the_one_that_ci_runs() -> None:
    assert COMMANDS[1] == 'pip install -e ".[test]" && python -m pytest -n auto'
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -m 1 -E '([^']+)' README\.md", script)
    assert pattern is not None
    found = [line for line in README.splitlines() if re.search(pattern[1], line)]
    assert found[0] == COMMANDS[1]


def test_every_extra_named_is_one_that_exists() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", section, flags=re.MULTILINE))
    assert set(re.findall(r'"(?:asr|\.)\[(\w+)\]"', README)) == extras


def asr_commands() -> list[list[str]]:
    return [shlex.split(line) for line in COMMANDS if line.startswith("asr ")]


def test_every_verb_named_exists() -> None:
    verbs = {command.callback.__name__ for command in app.registered_commands if command.callback}
    verbs |= {group.name for group in app.registered_groups if group.name}
    assert {arguments[1] for arguments in asr_commands()} <= verbs
    assert set(re.findall(r"`asr (\w+)", README)) <= verbs


def test_own_recordings_become_a_word_error_rate(tmp_path: Path) -> None:
    """Every command of the section, as written, in an empty directory; two epochs instead of 60."""
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    generator = np.random.default_rng(0)
    for index in range(60):
        words = [str(word) for word in generator.choice(list(PITCHES_HZ), generator.integers(1, 5))]
        soundfile.write(recordings / f"u{index}.wav", tone_utterance(words, generator), RATE_HZ)
        (recordings / f"u{index}.txt").write_text(" ".join(words))
    shutil.copy(recordings / "u0.wav", tmp_path / "spelled-name.wav")
    (settings,) = fenced("toml")
    (tmp_path / "my.toml").write_text(settings)
    (tmp_path / "sentences.txt").write_text("BA DO MI\nDO DO\nMI BA\n")
    output = ""
    for arguments in asr_commands():
        if arguments[1] == "train":
            arguments += ["--set", "training.epochs=2", "--set", "batching.num_workers=0"]
        line = shlex.join([sys.executable, "-m", *arguments]).replace(
            "'recordings/*.wav'", "recordings/*.wav"
        )
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        output += done.stdout
    assert output.count("\n%WER ") + output.startswith("%WER ") >= 2
    assert "decoding is its default" in output
    assert output.count("recordings/u") == 60


def test_the_python_examples_run(tmp_path: Path) -> None:
    example = "\n".join(fenced("python"))
    shutil.copy(ROOT / "data" / "digits" / "digits-00.flac", tmp_path / "spelled-name.wav")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["six", "four", "nine", "four"]
    text, score = lines[4].rsplit(maxsplit=1)
    assert text == "six four nine four" and math.isfinite(float(score))
    assert 5 <= len(lines[:-5]) <= 4 + 5
    assert [line.split()[0] for line in lines[-5:-1]] == ["r", "u", "b", "y"]
    assert lines[-1].startswith("%WER 25.00 [ 1 / 4, ")


def module_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return f"* `{path.relative_to(ROOT)}`: {docstring.splitlines()[0]}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "asr").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_map_names_every_file(path: Path) -> None:
    assert module_line(path) in README.splitlines()


def test_the_map_names_no_other_file() -> None:
    named = re.findall(r"^\* `(asr/\S+\.py)`", README, flags=re.MULTILINE)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_no_placeholder_is_left() -> None:
    assert re.findall(r"@[A-Z_]+@", README) == []
