"""Training end to end on tones: it learns, it resumes bit for bit, and it says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from tones import config_of, tone_config

from asr.checkpoint import MODEL_KIND, load_tensors
from asr.errors import AsrError, ConfigError, DataError, ModelFileError, TrainingError
from asr.experiment import ExperimentConfig
from asr.recognizer import Recognizer
from asr.training import TrainingResult, train
from asr.training.determinism import CUBLAS_VARIABLE, deterministic_algorithms

TRAIN_IN_A_PROCESS = """
import json, sys
from pathlib import Path
from asr.config import parse_options
from asr.experiment import ExperimentConfig
from asr.training import train
config = parse_options(ExperimentConfig, json.loads(sys.argv[1]), "test")
train(config, Path(sys.argv[2]), resume=True)
"""


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_tensors(run_dir / "model.safetensors", MODEL_KIND)[0]


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tone_config(tmp_path_factory.mktemp("tones"), checkpoint_every=3, log_every=2)


@pytest.fixture(scope="module")
def finished(
    tones: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TrainingResult]:
    run_dir = tmp_path_factory.mktemp("finished")
    return run_dir, train(config_of(tones), run_dir)


def test_it_learns_the_tones(finished: tuple[Path, TrainingResult]) -> None:
    _, result = finished
    assert result.validation.words > 30
    assert result.validation.wer < 0.1


def test_the_model_file_is_all_a_recogniser_needs(
    finished: tuple[Path, TrainingResult], tones: dict[str, Any]
) -> None:
    _, result = finished
    recognizer = Recognizer.load(result.model_path, "cpu")
    dev = Path(tones["data"]["dev"])
    lines = [json.loads(line) for line in dev.read_text().splitlines()]
    texts = [recognizer.transcribe(dev.parent / line["audio_path"]).text for line in lines]
    right = sum(text == line["text"] for text, line in zip(texts, lines, strict=True))
    assert right >= 0.8 * len(lines)


def test_the_run_directory_tells_the_story(finished: tuple[Path, TrainingResult]) -> None:
    run_dir, result = finished
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train_loss"] for line in lines if "train_loss" in line]
    assert losses[-1] < 0.5 * losses[0]
    validations = [line for line in lines if "dev_wer" in line]
    assert [line["epoch"] for line in validations] == list(range(6))
    assert min(line["dev_errors"] for line in validations) == result.validation.errors
    assert {"learning_rate", "audio_s_per_s", "data_wait", "time_s"} <= lines[0].keys()
    assert list((run_dir / "tensorboard").iterdir())
    assert len(list((run_dir / "weights").iterdir())) == 3
    stored = json.loads((run_dir / "config.json").read_text())
    assert stored["model"]["units"] == 24


def test_two_runs_with_one_seed_agree_bit_for_bit(
    finished: tuple[Path, TrainingResult], tones: dict[str, Any], tmp_path: Path
) -> None:
    train(config_of(tones), tmp_path)
    assert_same_weights(finished[0], tmp_path)


@pytest.mark.parametrize(("asked", "outside"), [(True, False), (False, False), (False, True)])
def test_algorithms_are_deterministic_while_it_trains(
    tones: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: bool,
    outside: bool,
) -> None:
    """What is set outside holds again afterwards, and inside where nothing is asked for."""
    found = []

    def stop(*_: object) -> None:
        found.append(torch.are_deterministic_algorithms_enabled())
        raise DataError("stopped")

    monkeypatch.setattr("asr.training.loop.Trainer.step", stop)
    training = {**tones["training"], "deterministic": asked}
    torch.use_deterministic_algorithms(outside)
    try:
        with pytest.raises(DataError, match="stopped"):
            train(config_of({**tones, "training": training}), tmp_path)
        assert torch.are_deterministic_algorithms_enabled() == outside
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert found == [asked or outside]


def test_cuda_gets_a_fixed_workspace_and_no_warning_of_what_ctc_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(CUBLAS_VARIABLE, raising=False)
    with deterministic_algorithms(torch.device("cpu")):
        assert CUBLAS_VARIABLE not in os.environ
    with deterministic_algorithms(torch.device("cuda")):
        assert os.environ[CUBLAS_VARIABLE] == ":4096:8"
        lacking = "does not have a deterministic implementation, but you set"
        warnings.warn(f"ctc_loss_backward_gpu {lacking} …", stacklevel=1)
        with pytest.warns(UserWarning, match="another_gpu"):
            warnings.warn(f"another_gpu {lacking} …", stacklevel=1)
    assert CUBLAS_VARIABLE not in os.environ
    monkeypatch.setenv(CUBLAS_VARIABLE, ":16:8")
    with deterministic_algorithms(torch.device("cuda")):
        assert os.environ[CUBLAS_VARIABLE] == ":16:8"
    assert os.environ[CUBLAS_VARIABLE] == ":16:8"


def test_another_seed_gives_other_weights(
    finished: tuple[Path, TrainingResult], tones: dict[str, Any], tmp_path: Path
) -> None:
    other = {**tones, "training": {**tones["training"], "seed": 1, "epochs": 1}}
    train(config_of(other), tmp_path)
    head = "model.head.weight"
    assert not torch.equal(weights(finished[0])[head], weights(tmp_path)[head])


def run_process(values: Mapping[str, Any], run_dir: Path) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", TRAIN_IN_A_PROCESS, json.dumps(values), str(run_dir)]
    return subprocess.Popen(arguments, stderr=subprocess.DEVNULL)


def wait_for_step(run_dir: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until `metrics.jsonl` has a line at or after `step`."""
    path = run_dir / "metrics.jsonl"
    while process.poll() is None:
        if path.exists():
            lines = path.read_text().splitlines()[:-1]
            if lines and json.loads(lines[-1])["step"] >= step:
                return
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_killed_run_resumes_to_the_same_weights(
    finished: tuple[Path, TrainingResult], tones: dict[str, Any], tmp_path: Path, name: str
) -> None:
    """Kill a real process twice, in the middle of epochs; then let it finish."""
    for step in (8, 32):
        process = run_process(tones, tmp_path)
        wait_for_step(tmp_path, step, process)
        process.send_signal(getattr(signal, name))
        status = process.wait()
        assert status != 0, "the run ended before it was killed"
        assert not (tmp_path / "model.safetensors").exists()
    train(config_of(tones), tmp_path, resume=True)
    assert_same_weights(finished[0], tmp_path)
    kept = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in kept if "train_loss" in line]
    assert steps == sorted(set(steps)), "a step was reported twice"


def test_resuming_a_finished_run_changes_nothing(
    finished: tuple[Path, TrainingResult], tones: dict[str, Any], tmp_path: Path
) -> None:
    before = weights(finished[0])
    result = train(config_of(tones), finished[0], resume=True)
    assert result.validation == finished[1].validation
    assert all(torch.equal(before[name], value) for name, value in weights(finished[0]).items())


def test_a_used_directory_needs_resume(
    finished: tuple[Path, TrainingResult], tones: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="already holds a run; --resume to go on"):
        train(config_of(tones), str(finished[0]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, "run"), "config must be an ExperimentConfig, got dict; make one of values"),
        ((ExperimentConfig(), None), "run_dir must be a directory, got NoneType"),
    ],
)
def test_arguments_of_another_kind_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(*arguments)


def test_a_start_that_was_refused_leaves_the_directory_free(
    tones: dict[str, Any], tmp_path: Path
) -> None:
    """Whoever mends what was wrong says the same command again, without `--resume`."""
    dev, unknown = Path(tones["data"]["dev"]), tmp_path / "unknown.jsonl"
    lines = [json.loads(line) for line in dev.read_text().splitlines()]
    lines = [line | {"audio_path": str(dev.parent / line["audio_path"])} for line in lines]
    lines[0]["text"] = "zorro"
    unknown.write_text("".join(json.dumps(line) + "\n" for line in lines))
    short = {**tones, "training": {**tones["training"], "epochs": 1}}
    with pytest.raises(DataError, match="zorro"):
        train(
            config_of({**short, "data": {**tones["data"], "dev": str(unknown)}}), tmp_path / "run"
        )
    assert train(config_of(short), tmp_path / "run").model_path.exists()


def test_the_settings_compared_are_those_of_the_state(
    finished: tuple[Path, TrainingResult], tones: dict[str, Any], tmp_path: Path
) -> None:
    """A state whose `config.json` was deleted is not taken for a fresh directory."""
    shutil.copy(finished[0] / "state.safetensors", tmp_path)
    with pytest.raises(ConfigError, match="already holds a run"):
        train(config_of(tones), tmp_path)
    other = {**tones, "optim": {**tones["optim"], "learning_rate": 0.5}}
    with pytest.raises(ConfigError, match=r"optim\.learning_rate"):
        train(config_of(other), tmp_path, resume=True)


def test_a_damaged_state_says_that_the_run_cannot_go_on(
    finished: tuple[Path, TrainingResult], tones: dict[str, Any], tmp_path: Path
) -> None:
    """Nobody has another copy of it, or a place to download it from."""
    content = (finished[0] / "state.safetensors").read_bytes()
    (tmp_path / "state.safetensors").write_bytes(content[:-100])
    with pytest.raises(ModelFileError, match="is damaged or cut short") as caught:
        train(config_of(tones), tmp_path, resume=True)
    assert caught.value.hint == "this run cannot go on: train anew in another directory"


@pytest.mark.parametrize(
    ("written", "damaged"),
    [
        (b'"optimizer.0.step"', b'"optim?zer.0.step"'),
        (b'"optimizer.0.step"', b'"optimizer.x.step"'),
        (b'"average.head.bias"', b'"average.head.bi?s"'),
        (b'"plateau"', b'"pl?teau"'),
        (b'\\"num_bad\\"', b'\\"num_b?d\\"'),
        (b'\\"since_best\\"', b'\\"since_b?st\\"'),
    ],
)
def test_a_damaged_name_in_the_state_is_told_of(
    finished: tuple[Path, TrainingResult],
    tones: dict[str, Any],
    tmp_path: Path,
    written: bytes,
    damaged: bytes,
) -> None:
    content = (finished[0] / "state.safetensors").read_bytes()
    assert written in content
    (tmp_path / "state.safetensors").write_bytes(content.replace(written, damaged, 1))
    with pytest.raises(ModelFileError, match=r"state\.safetensors (is damaged|does not)"):
        train(config_of(tones), tmp_path, resume=True)


def test_a_directory_in_use_is_refused(tones: dict[str, Any], tmp_path: Path) -> None:
    process = run_process(tones, tmp_path)
    wait_for_step(tmp_path, 2, process)
    try:
        with pytest.raises(ConfigError, match="another process trains in"):
            train(config_of(tones), tmp_path, resume=True)
    finally:
        process.kill()
        process.wait()


def test_resuming_with_other_settings_names_them(
    finished: tuple[Path, TrainingResult], tones: dict[str, Any]
) -> None:
    other = {**tones, "optim": {**tones["optim"], "learning_rate": 0.5}}
    with pytest.raises(ConfigError, match=r"optim\.learning_rate \(0\.02 then, 0\.5 now\)"):
        train(config_of(other), finished[0], resume=True)


@pytest.mark.parametrize(
    ("section", "changed"), [("batching", {"num_workers": 2}), ("training", {"num_threads": 2})]
)
def test_resuming_with_other_workers_or_threads_goes_on(
    finished: tuple[Path, TrainingResult],
    tones: dict[str, Any],
    section: str,
    changed: dict[str, Any],
) -> None:
    """Where workers fail, or other programs need the processors, a run must do without them."""
    other = {**tones, section: {**tones[section], **changed}}
    assert train(config_of(other), finished[0], resume=True).model_path.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"features": {"normalization": "global"}},
        {"features": {"prior_s": 1.0}},
        {"optim": {"schedule": "plateau", "l1": 1e-5, "average_best": 2}},
        {"training": {"patience": 1, "validate_every": 2}},
        {"batching": {"cache_max_h": 0.0, "num_workers": 1}},
        {"training": {"precision": "bfloat16"}},
        {"model": {"bidirectional": False, "cell": "rnn"}},
    ],
)
def test_every_kind_of_run_ends_with_a_model(
    tones: dict[str, Any], tmp_path: Path, changes: dict[str, Any]
) -> None:
    values = {key: {**tones.get(key, {}), **changes.get(key, {})} for key in tones.keys() | changes}
    values["training"]["epochs"] = 2
    result = train(config_of(values), tmp_path)
    assert Recognizer.load(result.model_path, "cpu").config.training.epochs == 2


def manifest_with(tones: dict[str, Any], tmp_path: Path, change: dict[str, Any]) -> dict[str, Any]:
    """Settings whose training manifest has `change` in its first line."""
    source = Path(tones["data"]["train"])
    lines = [json.loads(line) for line in source.read_text().splitlines()]
    for line in lines:
        line["audio_path"] = str(source.parent / line["audio_path"])
    lines[0].update(change)
    path = tmp_path / "changed.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {**tones, "data": {**tones["data"], "train": str(path)}}


def test_resuming_with_other_transcripts_is_refused(tones: dict[str, Any], tmp_path: Path) -> None:
    """As many tokens of another meaning would train on without a word."""
    values = {**tones, "training": {**tones["training"], "epochs": 1}}
    train(config_of(manifest_with(values, tmp_path, {})), tmp_path / "run")
    changed = manifest_with(values, tmp_path, {})
    manifest = Path(changed["data"]["train"])
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[1:]))
    with pytest.raises(ConfigError, match="started with other utterances or transcripts"):
        train(config_of(changed), tmp_path / "run", resume=True)
    source, moved = Path(tones["data"]["train"]).parent, tmp_path / "moved"
    shutil.copytree(source, moved)
    manifest.write_text("".join(line.replace(f"{source}/", f"{moved}/") for line in lines))
    assert train(config_of(changed), tmp_path / "run", resume=True).model_path.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "ba " * 200}, "train0"),
        ({"audio_path": "/nowhere.wav"}, "train0"),
        ({"duration_s": 99.0}, "train0"),
    ],
)
def test_an_unusable_utterance_is_refused_by_name_before_training(
    tones: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    values = manifest_with(tones, tmp_path, change)
    with pytest.raises(DataError, match=message):
        train(config_of(values), tmp_path / "run")
    assert not (tmp_path / "run" / "state.safetensors").exists()


def test_nan_audio_is_refused_by_name(tones: dict[str, Any], tmp_path: Path) -> None:
    samples = torch.full((8000,), float("nan")).numpy()
    soundfile.write(tmp_path / "nan.wav", samples, 8000, subtype="FLOAT")
    change = {"audio_path": str(tmp_path / "nan.wav"), "duration_s": 1.0}
    with pytest.raises(DataError, match=r"nan\.wav"):
        train(config_of(manifest_with(tones, tmp_path, change)), tmp_path / "run")


def test_a_missing_manifest_is_named(tones: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no dev manifest given; --set data\.dev=PATH"):
        train(config_of({**tones, "data": {"train": tones["data"]["train"]}}), tmp_path)


def test_an_unwritable_directory_is_said_before_training(
    tones: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        train(config_of(tones), tmp_path / "file" / "run")


def test_a_full_disk_is_said_before_training(
    tones: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("asr.training.run.shutil.disk_usage", lambda path: usage)
    with pytest.raises(TrainingError, match="0 MB free, checkpoints may need"):
        train(config_of(tones), tmp_path)


def test_a_model_too_large_for_the_memory_is_refused_before_it_is_built(
    tones: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr("asr.training.run.os.sysconf", pages.__getitem__)
    with pytest.raises(TrainingError, match=r"0\.0 GB of memory, the weights alone need"):
        train(config_of(tones), tmp_path)


def test_a_disk_that_fills_up_leaves_the_last_state_whole(
    tones: dict[str, Any], tmp_path: Path, finished: tuple[Path, TrainingResult]
) -> None:
    """Writes beyond 20 kB fail in the child, as on a full disk; afterwards the run resumes."""
    script = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + TRAIN_IN_A_PROCESS
    ).replace(
        "train(config,",
        "import asr.training.loop as loop\n"
        "save, calls = loop.save_state, []\n"
        "def limited(*arguments):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 4:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, -1))\n"
        "    save(*arguments)\n"
        "loop.save_state = limited\n"
        "train(config,",
    )
    if os.name != "posix":
        pytest.skip("needs POSIX resource limits")
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(tones), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cannot write" in done.stderr and "DataError" in done.stderr
    train(config_of(tones), tmp_path, resume=True)
    assert_same_weights(finished[0], tmp_path)


def test_all_errors_are_of_the_toolkit() -> None:
    assert issubclass(TrainingError, AsrError)
