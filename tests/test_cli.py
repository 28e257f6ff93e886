"""The command line as a stranger meets it: help, one-line errors, exit statuses, clean output."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ToneModel, run_asr
from typer.testing import CliRunner

from asr import __version__
from asr.cli import app
from asr.cli.train import train
from asr.cli.transcribe import to_json
from asr.decoding import Hypothesis
from asr.errors import DataError
from asr.manifest import read_manifest

VERBS = ("prepare", "train", "transcribe", "evaluate", "score", "plot")


def test_help_names_every_verb() -> None:
    done = run_asr("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert f"  {verb} " in done.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("train", "--help")])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    script = (
        "import sys\nfrom asr.cli import main\nsys.argv = ['asr', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'jiwer', 'soundfile', 'asr.config'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_version_is_printed() -> None:
    assert run_asr("--version").stdout == f"asr {__version__}\n"


def test_usage_errors_exit_with_two() -> None:
    assert run_asr("transcribe").returncode == 2
    assert run_asr("nonsense").returncode == 2


def test_an_error_is_one_line_and_a_hint(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[features]\nhop_msec = 10\n")
    done = run_asr("train", config, "--run-dir", tmp_path / "run")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"error: unknown setting `features.hop_msec` in {config}",
        "hint: did you mean `hop_ms`?",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_utf_8_are_printed_as_they_are(tmp_path: Path) -> None:
    run_dir = tmp_path / os.fsdecode(b"gr\xfc\xdfe")
    run_dir.mkdir()
    (run_dir / "metrics.jsonl").write_text('{"step": 1, "train_loss": 2.0}\n', encoding="utf-8")
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = run_asr("plot", run_dir, env=strict, errors="surrogateescape")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{run_dir / 'curves.png'}\n"


def test_json_escapes_what_is_no_text() -> None:
    silence = Hypothesis((), (), (), 0.0, 0.0, 0.0)
    for name in ("grüße.wav", "gr\udcfc\udcdfe.wav"):
        line = to_json(name, [silence])
        assert json.loads(line.encode())["id"] == name
    assert "grüße" in to_json("grüße.wav", [silence])


def test_json_has_no_infinity() -> None:
    impossible = Hypothesis((), (), (), -math.inf, 0.0, -math.inf)
    assert (
        to_json("a.wav", [impossible]) == '{"id": "a.wav", "text": "", "score": null, "words": []}'
    )


def test_a_missing_model_is_an_error(tmp_path: Path) -> None:
    done = run_asr("transcribe", "x.wav", "--model", tmp_path / "no.safetensors")
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot read the model file")


def test_without_pytorch_the_cure_is_named(tmp_path: Path) -> None:
    script = (
        "import sys\nsys.modules['torch'] = None\nfrom asr.cli import main\n"
        "sys.argv = ['asr', 'transcribe', 'x.wav', '--model', 'm']\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert 'hint: pip install "asr[train]"' in done.stderr


def test_json_has_words_with_times(tone_model: ToneModel) -> None:
    utterance = read_manifest(tone_model.dev)[0]
    done = run_asr("transcribe", utterance.audio_path, "-m", tone_model.path, "--format", "jsonl")
    values = json.loads(done.stdout)
    assert values["text"] == utterance.text
    assert [word["text"] for word in values["words"]] == utterance.text.split()
    assert all(0 < word["confidence"] <= 1 for word in values["words"])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--pcm", "s16le", "--pcm must be RATE:ENCODING"),
        ("--pcm", "8000:s16le:x", "the number of channels must be a number"),
        ("--channel", "left", "--channel must be mix or a number from 0"),
        ("--device", "abacus", "unknown device 'abacus'"),
    ],
)
def test_wrong_options_are_explained(
    tone_model: ToneModel, option: str, value: str, message: str
) -> None:
    done = run_asr("transcribe", "x.wav", "-m", tone_model.path, option, value)
    assert done.returncode == 1
    assert message in done.stderr


def test_evaluate_prints_the_rates_and_writes_the_alignments(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    out = tmp_path / "rows.jsonl"
    done = run_asr("evaluate", tone_model.path, tone_model.dev, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("%WER ")
    assert "/ 43," in done.stdout.splitlines()[0]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == [one.id for one in read_manifest(tone_model.dev)]


def test_evaluate_prints_the_rates_whatever_becomes_of_the_rows(
    tone_model: ToneModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DataError("the disk is full")

    monkeypatch.setattr("asr.evaluation.write_text_atomic", fail)
    arguments = [tone_model.path, tone_model.dev, "--out", tmp_path / "rows.jsonl"]
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert str(result.exception) == "the disk is full"
    assert result.stdout.startswith("%WER ")


@pytest.mark.parametrize("verb", ["evaluate", "cut"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    tone_model: ToneModel, tmp_path: Path, verb: str
) -> None:
    file = tmp_path / "file"
    file.touch()
    reasons = {tmp_path: "it is a directory", file / "rows.jsonl": f"{file} is no directory"}
    for out, reason in reasons.items():
        done = run_asr(verb, tone_model.path, tone_model.dev, "--out", out)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: cannot write {out}: {reason}")
        assert done.stdout == ""


def test_what_is_read_is_not_overwritten(tone_model: ToneModel, tmp_path: Path) -> None:
    manifest, model, words = (tmp_path / name for name in ("dev.jsonl", "m.safetensors", "words"))
    manifest.write_bytes(tone_model.dev.read_bytes())
    model.write_bytes(tone_model.path.read_bytes())
    words.write_text("ba\ndo\n")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    calls = [("evaluate", model, manifest, "--lexicon", words, "--out", path) for path in before]
    calls += [("cut", model, manifest, "--out", model)]
    calls += [("tune", model, manifest, "--lexicon", words, "--plot", words)]
    for call in calls:
        result = CliRunner().invoke(app, list(map(str, call)))
        assert isinstance(result.exception, DataError), result.output
        assert result.exception.message == f"{call[-1]} is read and would be overwritten"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_evaluate_reports_unreadable_audio_and_fails(tone_model: ToneModel, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in tone_model.dev.read_text().splitlines()]
    for line in lines:
        line["audio_path"] = str(tone_model.dev.parent / line["audio_path"])
    lines[5]["audio_path"] = "/nowhere.wav"
    manifest = tmp_path / "dev.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run_asr("evaluate", tone_model.path, manifest)
    assert done.returncode == 1
    assert done.stdout.startswith("%WER ")
    assert "error: dev5: " in done.stderr
    assert "1 utterance" in done.stderr


def test_plot_draws_a_run(tone_model: ToneModel, tmp_path: Path) -> None:
    done = run_asr("plot", tone_model.run_dir, "--out", tmp_path / "curves.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    """The name may be mistaken; but scripts give --resume the first time as well."""
    config = tmp_path / "c.toml"
    config.write_text('[data]\ntrain = "none.jsonl"\ndev = "none.jsonl"\n')
    done = run_asr("train", config, "--resume", "--run-dir", tmp_path / "run")
    problem = f"warning: {tmp_path / 'run'} has no checkpoint to resume from"
    assert done.stderr.startswith(problem)
    assert "none.jsonl" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("buffering", [[], ["-u"]])
@pytest.mark.parametrize(
    ("verb", "encoding"), [("models", "utf-8"), ("models", "ascii"), ("transcribe", "utf-8")]
)
def test_a_full_disk_under_standard_output_is_an_error(
    tone_model: ToneModel, verb: str, encoding: str, buffering: list[str]
) -> None:
    audio = read_manifest(tone_model.dev)[0].audio_path
    arguments = {"models": ["en"], "transcribe": [str(audio), "-m", str(tone_model.path)]}[verb]
    command = [sys.executable, *buffering, "-m", "asr", verb, *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=buffered(PYTHONIOENCODING=encoding),
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"


def buffered(**variables: str) -> dict[str, str]:
    """The environment, but for what would let Python write at once, and with other variables."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return kept | variables


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("pass", "error: cannot write to standard output: No space left on device\n"),
        ("sys.exit(3)", "error: cannot write to standard output: No space left on device\n"),
        ("raise DataError('bad')", "error: bad\n"),
    ],
)
def test_what_is_printed_at_last_meets_a_full_disk_or_a_closed_pipe(end: str, said: str) -> None:
    script = (
        "import sys\nfrom asr.cli import run_command\nfrom asr.errors import DataError\n"
        f"def command():\n    print('not flushed')\n    {end}\n"
        "run_command(command)\n"
    )
    reading, writing = os.pipe()
    os.close(reading)
    with Path("/dev/full").open("w") as full, os.fdopen(writing, "w") as closed:
        for output in (full, closed):
            command = [sys.executable, "-c", script]
            done = subprocess.run(
                command, stdout=output, stderr=subprocess.PIPE, check=False, env=buffered()
            )
            shown = said if output is full or "bad" in said else ""
            assert (done.returncode, done.stderr.decode()) == (1, shown)


def test_a_closed_pipe_ends_a_command_without_a_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "asr", "models", "en"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_ctrl_c_exits_with_130_and_leaves_a_run_to_resume(
    tone_model: ToneModel, tmp_path: Path
) -> None:
    stored = json.loads((tone_model.run_dir / "config.json").read_text())
    sets = [f"data.{name}={stored['data'][name]}" for name in ("train", "dev")]
    sets += ["features.sample_rate_hz=8000", "features.num_mels=20", "tokens.kind=word"]
    sets += ["training.epochs=500", "training.device=cpu", "batching.num_workers=0"]
    config = tmp_path / "c.toml"
    config.write_text("")
    options = [part for item in sets for part in ("--set", item)]
    command = [
        sys.executable,
        "-m",
        "asr",
        "train",
        config,
        "--run-dir",
        tmp_path / "run",
        *options,
    ]
    process = subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.stat().st_size > 0):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 130, log
    assert "--resume goes on" in log
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert "state.safetensors" in names
    assert not any(name.startswith(".") for name in names), "half-written files are left"


@pytest.mark.parametrize(("files", "effect"), [(["state.safetensors"], "goes on"), ([], "starts")])
def test_ctrl_c_says_whether_a_state_is_saved(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    files: list[str],
    effect: str,
) -> None:
    """Before the first checkpoint, as while audio is decoded, none is."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("asr.training.train", interrupted)
    for name in ("config.toml", *files):
        (tmp_path / name).touch()
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "config.toml", tmp_path)
    assert f"interrupted; --resume {effect}" in capsys.readouterr().err
