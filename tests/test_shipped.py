"""The models of the package: found by name, and as good as their cards say."""

from __future__ import annotations

import json
import os
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from model_files import write_model, write_tuned_model
from safetensors import safe_open
from tones import RATE_HZ, tone_utterance

from asr import shipped
from asr.audio import Waveform
from asr.config import tomllib
from asr.corpora import prepare
from asr.decoder_setup import DecodingChoice
from asr.errors import ConfigError, ModelFileError
from asr.manifest import read_manifest
from asr.model_evaluation import evaluate_model
from asr.recognizer import Recognizer
from asr.shipped import (
    CARD_HEADINGS,
    DEFAULT_MODEL,
    MODELS_DIR,
    CardResult,
    ShippedModel,
    default_model,
    is_shipped,
    resolve_model,
    shipped_model,
    shipped_models,
)
from asr.wer import count_errors

ROOT = Path(__file__).resolve().parent.parent
CORPORA = os.environ.get("ASR_CORPORA")
MAX_BYTES = 6_000_000
CARD = """# ba

Hears tones.
A second line.

## Results

| tones | 40.00 % |

```toml
[[results]]
test_set = "tones"
corpus = "folder"
folder = "tones"
utterances = 2
errors = 2
words = 5
tolerance = 1
```
"""


@pytest.fixture
def models_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of models in place of the package's, with `ba` and, tuned, `do`."""
    directory = tmp_path / "models"
    directory.mkdir()
    write_model(directory / "ba.safetensors")
    write_tuned_model(directory / "do.safetensors")
    (directory / "ba.md").write_text(CARD, encoding="utf-8")
    (directory / "README.md").write_text("# Models\n")
    monkeypatch.setattr(shipped, "MODELS_DIR", directory)
    return directory


def test_models_are_listed_by_name(models_dir: Path) -> None:
    found = shipped_models()
    assert [model.name for model in found] == ["ba", "do"]
    assert [model.path for model in found] == [
        models_dir / f"{n}.safetensors" for n in ("ba", "do")
    ]
    assert found[0].num_bytes == (models_dir / "ba.safetensors").stat().st_size
    assert found[0].summary == "Hears tones."
    assert [model.sample_rate_hz for model in found] == [RATE_HZ, RATE_HZ]
    assert [model.decoding for model in found] == ["greedy", "beam with language model"]


def test_results_are_read_from_the_card(models_dir: Path) -> None:
    (result,) = shipped_model("ba").results
    assert result == CardResult(
        test_set="tones",
        corpus="folder",
        folder="tones",
        utterances=2,
        errors=2,
        words=5,
        tolerance=1,
    )
    assert result.wer == 40.0
    (models_dir / "do.md").write_text("# do\n\nNo results.\n")
    assert shipped_model("do").results == ()


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("[[results]\n", "results that cannot be read"),
        ("[[results]]\nerrors = 1\n", "results.0.test_set"),
        ("[[result]]\nerrors = 1\n", "unknown setting `result`"),
    ],
)
def test_results_that_cannot_be_read_are_refused(
    models_dir: Path, block: str, problem: str
) -> None:
    (models_dir / "ba.md").write_text(f"# ba\n\nTones.\n\n```toml\n{block}```\n")
    with pytest.raises(ModelFileError, match=f"the card of ba has .*{problem}"):
        _ = shipped_model("ba").results


def test_a_missing_card_is_named(models_dir: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot read the model card .*do\.md"):
        _ = shipped_model("do").summary


@pytest.mark.parametrize("content", [b"", b"no model at all", bytes(100)])
def test_a_damaged_model_is_named(models_dir: Path, content: bytes) -> None:
    (models_dir / "ba.safetensors").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"shipped model .*ba\.safetensors is damaged"):
        _ = shipped_model("ba").sample_rate_hz


def test_a_name_is_a_model_of_the_package(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_model("ba") == models_dir / "ba.safetensors"
    assert resolve_model(Path("ba")) == models_dir / "ba.safetensors"
    (tmp_path / "ba").mkdir()
    assert resolve_model("ba") == models_dir / "ba.safetensors"


def test_a_file_comes_before_a_name(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ba").write_bytes(b"mine")
    (tmp_path / "own.safetensors").write_bytes(b"mine too")
    assert resolve_model("ba") == Path("ba")
    assert resolve_model("own.safetensors") == Path("own.safetensors")
    assert resolve_model(models_dir / "do.safetensors") == models_dir / "do.safetensors"


@pytest.mark.parametrize(
    ("given", "problem", "hint"),
    [
        ("baa", "baa: no such file, and no model of that name comes with this package$", "'ba'"),
        ("xyz", "no model of that name comes with this package", "one of the package: ba, do"),
        ("ba.safetensors", r"cannot read the model file ba\.safetensors: no such file$", "'ba'"),
        ("./ba", r"cannot read the model file \./ba: it is a directory$", "did you mean 'ba'"),
        ("sub/ba", "cannot read the model file sub/ba: no such file$", "did you mean 'ba'"),
        (".", "it is a directory$", "one of the package"),
        (None, "a model must be a file or a name, got NoneType$", "one of the package"),
    ],
)
def test_what_is_neither_is_refused(
    models_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: Any,
    problem: str,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ba").mkdir()
    with pytest.raises(ModelFileError) as caught:
        resolve_model(given)
    assert re.search(problem, caught.value.message)
    assert caught.value.hint is not None
    assert hint in caught.value.hint


def test_a_package_without_models_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "MODELS_DIR", tmp_path / "nothing")
    assert shipped_models() == ()
    with pytest.raises(ModelFileError, match="no model is named, and no model called") as caught:
        default_model()
    assert caught.value.hint == "name a model file of `asr train`: --model FILE"


def test_the_default_is_a_model_of_the_package(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "DEFAULT_MODEL", "do")
    assert default_model() == models_dir / "do.safetensors"


def test_files_of_the_package_are_known_whatever_leads_to_them(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(models_dir)
    (tmp_path / "own.safetensors").symlink_to(models_dir / "ba.safetensors")
    assert is_shipped(models_dir / "ba.safetensors")
    assert is_shipped(Path("models/../models/ba.safetensors"))
    assert is_shipped(Path("link/ba.safetensors"))
    assert is_shipped(Path("own.safetensors"))
    assert not is_shipped(tmp_path / "ba.safetensors")


def test_models_and_cards_are_part_of_a_built_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["asr"]
    assert MODELS_DIR == ROOT / "asr" / "models"
    for name in ("models/an4.safetensors", "models/an4.md"):
        assert any(fnmatch(name, pattern) for pattern in patterns)


def test_the_description_of_cards_is_one_that_can_be_read() -> None:
    text = (MODELS_DIR / "README.md").read_text(encoding="utf-8")
    example = MODELS_DIR / "README.safetensors"
    (result,) = ShippedModel("README", example).results
    assert result.corpus == "an4"
    assert all(f"*{heading}*" in text for heading in CARD_HEADINGS)
    assert f"{MAX_BYTES:,} bytes" in text


def measure(model: ShippedModel, result: CardResult, corpora: Path, out: Path) -> tuple[int, int]:
    """Word errors and words of a model on the set of one of its results."""
    source = None if result.folder is None else corpora / result.folder
    prepare(result.corpus, source, out, result.options)
    lines = (out / f"{result.split}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    manifest = out / "measured.jsonl"
    manifest.write_text("".join(lines[: result.utterances]), encoding="utf-8")
    recognizer = Recognizer.load(model.path, "cpu", DecodingChoice(decoder=result.decoder))
    evaluation = evaluate_model(recognizer, manifest)
    assert evaluation.failures == {}
    return evaluation.report.words.num_errors, evaluation.report.words.num_references


def check_result(measured: tuple[int, int], result: CardResult) -> None:
    errors, words = measured
    assert words == result.words, f"{result.test_set} has {words} words"
    assert abs(errors - result.errors) <= result.tolerance, f"{errors} errors"


def missing_headings(card: str) -> list[str]:
    return [one for one in CARD_HEADINGS if not re.search(rf"^## {one}$", card, re.MULTILINE)]


def absolute_paths(path: Path) -> list[str]:
    """Texts in a model file's settings and summary that name a place on somebody's computer."""
    with safe_open(path, framework="numpy") as opened:
        documents = {name: opened.metadata()[name] for name in ("config", "training")}
    texts = [text for value in documents.values() for text in re.findall(r'"([^"]*)"', value)]
    return [text for text in texts if re.match(r"/|~|[A-Za-z]:\\", text)]


def test_measuring_counts_the_errors_of_the_first_utterances(
    models_dir: Path, tmp_path: Path
) -> None:
    """The check of real models below, on a model and a corpus of which everything is known."""
    folder = tmp_path / "corpora" / "tones"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    texts = ["ba do mi", "mi mi", "do"]
    for index, text in enumerate(texts):
        soundfile.write(folder / f"{index}.wav", tone_utterance(text.split(), generator), RATE_HZ)
        (folder / f"{index}.txt").write_text(text)
    options = {"dev_fraction": 0.0, "test_fraction": 0.0}
    (listed,) = shipped_model("ba").results
    result = listed.model_copy(update={"options": options, "split": "train"})
    errors, words = measure(shipped_model("ba"), result, tmp_path / "corpora", tmp_path / "out")
    assert words == 5
    recognizer = Recognizer.load(models_dir / "ba.safetensors", "cpu")
    heard = [recognizer.transcribe(folder / f"{index}.wav").text for index in range(2)]
    assert not {"ba", "do", "mi"} & set(" ".join(heard).split())
    assert errors == sum(
        max(len(one.split()), len(text.split())) for one, text in zip(heard, texts, strict=False)
    )
    everything = result.model_copy(update={"utterances": None})
    assert measure(shipped_model("ba"), everything, tmp_path / "corpora", tmp_path / "all")[1] == 6
    check_result((errors, 5), result.model_copy(update={"errors": errors + 1}))
    for other in ({"errors": errors + 2}, {"errors": errors, "words": 6}):
        with pytest.raises(AssertionError):
            check_result((errors, 5), result.model_copy(update=other))


def test_the_checks_of_cards_bite(models_dir: Path) -> None:
    assert missing_headings(CARD) == [one for one in CARD_HEADINGS if one != "Results"]
    assert len(absolute_paths(models_dir / "ba.safetensors")) == 3


SHIPPED = shipped_models()
each_model = pytest.mark.parametrize(
    "model",
    SHIPPED or [pytest.param(None, marks=pytest.mark.skip("no model is shipped yet"))],
    ids=lambda model: model.name if model else "none",
)


@each_model
def test_a_shipped_model_is_small_and_gives_no_place_away(model: ShippedModel) -> None:
    assert model.num_bytes <= MAX_BYTES
    assert absolute_paths(model.path) == []


@each_model
def test_a_shipped_model_transcribes(model: ShippedModel) -> None:
    recognizer = Recognizer.load(resolve_model(model.name), "cpu")
    manifest = ROOT / "data" / "digits" / "manifest.jsonl"
    first = json.loads(manifest.read_text(encoding="utf-8").splitlines()[0])
    hypothesis = recognizer.transcribe(manifest.parent / first["audio_path"])
    assert recognizer.sample_rate_hz == model.sample_rate_hz
    assert all(word.text and 0 <= word.confidence <= 1 for word in hypothesis.words)


@each_model
def test_a_shipped_model_hears_nothing_in_digital_silence(model: ShippedModel) -> None:
    recognizer = Recognizer.load(model.path, "cpu")
    for duration_s in (0.1, 30):
        samples = np.zeros(int(duration_s * 16000), np.float32)
        assert recognizer.transcribe(Waveform(samples, 16000)).text == ""


@pytest.mark.parametrize("name", ["an4", "digits"])
def test_digital_silence_around_speech_takes_no_word_away(name: str) -> None:
    recognizer = Recognizer.load(resolve_model(name), "cpu")
    silence = np.zeros(10 * 16000, np.float32)
    num_wrong = {"alone": 0, "surrounded": 0}
    for utterance in read_manifest(ROOT / "data" / "digits" / "manifest.jsonl"):
        alone = recognizer.read(utterance.audio_path)
        surrounded = Waveform(np.concatenate([silence, alone.samples, silence]), 16000)
        for kind, waveform in (("alone", alone), ("surrounded", surrounded)):
            words = recognizer.transcribe(waveform).text.split()
            num_wrong[kind] += count_errors(utterance.text.split(), words).num_errors
    assert num_wrong["surrounded"] <= num_wrong["alone"]


@each_model
def test_a_shipped_model_has_a_whole_card(model: ShippedModel) -> None:
    assert missing_headings(model.card) == []
    assert model.summary
    assert model.results


def test_cards_count_the_words_of_dictionaries() -> None:
    counted = {}
    for model in SHIPPED:
        if found := re.search(r"dictionary of ([\d,]+)\s+words", model.card):
            counted[model.name] = int(found[1].replace(",", ""))
    assert counted.keys() == {"an4", "en"}
    assert counted == {name: len(Recognizer.load(name).tokenizer.words or ()) for name in counted}


@pytest.mark.skipif(not SHIPPED, reason="no model is shipped yet")
def test_the_default_model_is_shipped() -> None:
    assert DEFAULT_MODEL in [model.name for model in SHIPPED]


@each_model
def test_a_card_says_what_is_measured(model: ShippedModel, tmp_path: Path) -> None:
    if CORPORA is None:
        pytest.skip("ASR_CORPORA is not set: it names the directory of the corpora")
    there = [
        result
        for result in model.results
        if result.folder is None or (Path(CORPORA) / result.folder).is_dir()
    ]
    if not there:
        pytest.skip(f"none of the sets of {model.name} is in {CORPORA}")
    for index, result in enumerate(there):
        check_result(measure(model, result, Path(CORPORA), tmp_path / str(index)), result)


def test_card_results_are_checked() -> None:
    values = {"test_set": "x", "corpus": "an4", "errors": -1, "words": 5}
    with pytest.raises(ConfigError, match="errors"):
        shipped.parse_options(CardResult, values, "a card")
