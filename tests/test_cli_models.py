"""Verbs with the models of the package: `asr models`, `asr pack`, and names in place of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import Result
from lm_files import ngrams_of
from model_files import write_model, write_tuned_model
from tones import RATE_HZ, tone_utterance
from typer.testing import CliRunner

from asr import shipped
from asr.cli import app
from asr.errors import AsrError, ConfigError, DataError, ModelFileError
from asr.lm.files import read_model
from asr.recognizer import Recognizer

CARD = """# Tones

Hears three tones.

## Results

```toml
[[results]]
test_set = "tones, loud"
corpus = "folder"
errors = 1
words = 8
```
"""


@pytest.fixture
def models_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models in place of the package's; `tones` is the default. It is not the work place."""
    directory = tmp_path / "package" / "models"
    directory.mkdir(parents=True)
    write_model(directory / "tones.safetensors")
    write_tuned_model(directory / "tuned.safetensors")
    (directory / "tones.md").write_text(CARD)
    (directory / "tuned.md").write_text("# Tuned\n\nThe same, tuned.\n")
    monkeypatch.setattr(shipped, "MODELS_DIR", directory)
    monkeypatch.setattr(shipped, "DEFAULT_MODEL", "tones")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return directory


@pytest.fixture
def recording(models_dir: Path) -> Path:
    path = Path("a.wav")
    soundfile.write(path, tone_utterance(["ba", "do"], np.random.default_rng(1)), RATE_HZ)
    return path


def run(*arguments: object) -> Result:
    """A command that succeeds; the error of one that does not is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, AsrError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_models_are_listed_with_their_results(models_dir: Path) -> None:
    sizes = [
        f"{(models_dir / f'{n}.safetensors').stat().st_size / 1e6:.1f}" for n in ("tones", "tuned")
    ]
    assert run("models").stdout.splitlines() == [
        f"* tones  {sizes[0]} MB  8 kHz  Hears three tones.",
        "         decoding: greedy",
        "         tones, loud: WER 12.50 % (1 / 8)",
        f"  tuned  {sizes[1]} MB  8 kHz  The same, tuned.",
        "         decoding: beam with language model",
        "* is what `asr transcribe` takes where no model is named",
    ]


def test_a_package_without_models_lists_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "MODELS_DIR", tmp_path)
    result = run("models")
    assert (result.stdout, result.stderr) == ("", "no models come with this package\n")


def test_a_card_is_printed(models_dir: Path) -> None:
    assert run("models", "tones").stdout == CARD


def test_an_unknown_model_is_an_error(models_dir: Path) -> None:
    with pytest.raises(ModelFileError, match="no model called 'tunes'") as caught:
        run("models", "tunes")
    assert caught.value.hint in ("did you mean 'tones'?", "did you mean 'tuned'?")


def test_a_model_is_copied(models_dir: Path) -> None:
    result = run("models", "tones", "--copy-to", "sub/my.safetensors")
    assert result.stdout == ""
    assert "tones copied to sub/my.safetensors" in result.stderr
    copied = Path("sub/my.safetensors").read_bytes()
    assert copied == (models_dir / "tones.safetensors").read_bytes()


def test_a_copy_replaces_nothing_and_needs_a_name(models_dir: Path) -> None:
    Path("mine").write_text("work of a week")
    with pytest.raises(DataError, match="mine exists already"):
        run("models", "tones", "--copy-to", "mine")
    assert Path("mine").read_text() == "work of a week"
    with pytest.raises(ConfigError, match="does not say which model"):
        run("models", "--copy-to", "other")
    assert not Path("other").exists()


def test_transcribe_takes_the_default_and_says_so(recording: Path) -> None:
    result = run("transcribe", recording)
    assert "using 'tones', which comes with the package" in result.stderr
    named = run("transcribe", recording, "--model", "tones")
    assert named.stdout == result.stdout
    assert "using" not in named.stderr
    path = shipped.MODELS_DIR / "tones.safetensors"
    assert result.stdout == Recognizer.load(path, "cpu").transcribe(recording).text + "\n"


def test_transcribe_without_a_default_says_what_to_do(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "DEFAULT_MODEL", "gone")
    with pytest.raises(ModelFileError, match="no model is named, and no model called 'gone'"):
        run("transcribe", recording)


def test_a_file_of_the_name_comes_first(recording: Path) -> None:
    Path("tones").write_bytes((shipped.MODELS_DIR / "tuned.safetensors").read_bytes())
    manifest = write_manifest(recording)
    assert "decoding: beam search" in run("evaluate", "tones", manifest).stdout
    Path("tones").unlink()
    Path("tones").mkdir()
    assert "decoding: greedy" in run("evaluate", "tones", manifest).stdout


def write_manifest(recording: Path) -> Path:
    info = soundfile.info(recording)
    row = {"id": "a", "audio_path": str(recording), "duration_s": info.duration, "text": "ba do"}
    Path("m.jsonl").write_text(json.dumps(row) + "\n")
    return Path("m.jsonl")


def test_evaluate_takes_a_name(recording: Path) -> None:
    output = run("evaluate", "tuned", write_manifest(recording)).stdout
    assert output.startswith("%WER ")
    assert "language model of the model file" in output


def test_a_language_model_is_written_like_that_of_a_name(models_dir: Path) -> None:
    Path("text").write_text("BA DO\nDO Mi\n")
    run("lm", "build", "text", "-o", "lm.arpa", "--order", "1", "--model", "tones")
    run("lm", "build", "text", "-o", "as-written.arpa", "--order", "1")
    assert "\tba" in Path("lm.arpa").read_text()
    assert "\tBA" in Path("as-written.arpa").read_text()
    with pytest.raises(ModelFileError, match="no model of that name"):
        run("lm", "build", "text", "-o", "lm.arpa", "--model", "nothing")


def test_every_text_of_a_language_model_is_written_like_that_of_a_name(models_dir: Path) -> None:
    """Transcripts are as people wrote them; in capitals they would say nothing to the model."""
    Path("small").write_text("ba do\ndo mi\n")
    Path("capital").write_text("BA DO\nDO MI\n")
    run("lm", "build", "small", "-o", "lm.arpa", "--order", "2")
    like = run("lm", "perplexity", "lm.arpa", "capital", "-m", "tones")
    assert like.stdout == run("lm", "perplexity", "lm.arpa", "small").stdout
    assert "lacks most of the words" not in like.stderr
    assert "lacks most of the words" in run("lm", "perplexity", "lm.arpa", "capital").stderr
    run("lm", "adapt", "lm.arpa", "capital", "-o", "more.bin", "-m", "tones")
    assert read_model(Path("more.bin")).words == read_model(Path("lm.arpa")).words
    mix = ("lm", "interpolate", "lm.arpa", "lm.arpa", "-o", "mix.bin", "-m", "tones")
    assert "weights: 0.5000 0.5000" in run(*mix, "--tune", "capital").stderr
    with pytest.raises(ConfigError, match="--model writes the text of --tune"):
        run(*mix, "--weights", "0.5 0.5")


def test_a_vocabulary_is_written_as_the_text_is(models_dir: Path) -> None:
    Path("text").write_text("BA DO\nDO Mi\n")
    Path("words").write_text("<unk>\n<s>\nDo\nBA\n")
    run("lm", "build", "text", "-o", "lm.bin", "--order", "2", "-m", "tones", "--vocab", "words")
    assert read_model(Path("lm.bin")).words == ("<unk>", "<s>", "</s>", "do", "ba")
    assert ("ba", "do") in ngrams_of(read_model(Path("lm.bin")))


@pytest.mark.parametrize(
    "arguments",
    [
        ("transcribe", "a.wav", "--model", "tunes"),
        ("evaluate", "tunes", "m.jsonl"),
        ("tune", "tunes", "m.jsonl"),
        ("cut", "tunes", "m.jsonl", "--out", "o.jsonl"),
        ("lm", "build", "text", "-o", "lm.arpa", "--model", "tunes"),
        ("pack", "tunes", "-o", "o.safetensors"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_verb_with_a_model_knows_the_names(
    recording: Path, arguments: tuple[str, ...]
) -> None:
    write_manifest(recording)
    Path("text").write_text("ba do\n")
    with pytest.raises(ModelFileError, match="no model of that name comes with") as caught:
        run(*arguments)
    assert caught.value.hint in ("did you mean 'tones'?", "did you mean 'tuned'?")


@pytest.mark.parametrize("by_path", [False, True])
def test_tune_leaves_the_package_alone(recording: Path, by_path: bool) -> None:
    path = shipped.MODELS_DIR / "tones.safetensors"
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="tones comes with the package and is not") as caught:
        run("tune", path if by_path else "tones", write_manifest(recording))
    assert caught.value.hint == "tune a copy: asr models tones --copy-to my.safetensors"
    assert path.read_bytes() == before


def test_pack_takes_a_name_and_tells_sizes(models_dir: Path) -> None:
    lines = run("pack", "tuned", "-o", "small.safetensors").stdout.splitlines()
    before = models_dir / "tuned.safetensors"
    assert lines[:2] == [
        f"{before}: {before.stat().st_size} bytes",
        f"small.safetensors: {Path('small.safetensors').stat().st_size} bytes",
    ]
    assert lines[2].startswith("language model: ")
    assert Path("small.safetensors").stat().st_size < before.stat().st_size


def test_pack_stores_weights_as_it_is_told(models_dir: Path) -> None:
    sizes = {}
    for weights in ("int8", "float16", "float32"):
        output = run("pack", "tones", "-o", f"{weights}.safetensors", "--weights", weights).stdout
        assert len(output.splitlines()) == 2
        sizes[weights] = Path(f"{weights}.safetensors").stat().st_size
    assert sizes["float16"] < 0.6 * sizes["float32"]
    assert sizes["int8"] < 0.7 * sizes["float16"]
    run("pack", "tones", "-o", "default.safetensors")
    assert Path("default.safetensors").stat().st_size == sizes["float16"]
    with pytest.raises(ModelFileError, match="is int8 already"):
        run("pack", "int8.safetensors", "-o", "again.safetensors")


def test_pack_leaves_its_input_alone(recording: Path) -> None:
    """The float32 weights would be gone."""
    run("models", "tones", "--copy-to", "my.safetensors")
    before = Path("my.safetensors").read_bytes()
    Path("link.safetensors").symlink_to("my.safetensors")
    for output in ("my.safetensors", "link.safetensors"):
        with pytest.raises(DataError, match="is read and would be overwritten"):
            run("pack", "my.safetensors", "-o", output)
    assert Path("my.safetensors").read_bytes() == before
