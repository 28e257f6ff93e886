"""Recipes: stages in order, skipped when done, done again when asked for."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tones import PITCHES_HZ, RATE_HZ, tone_utterance

from asr.checkpoint import MODEL_KIND, read_documents
from asr.config import load_options
from asr.errors import ConfigError
from asr.experiment import ExperimentConfig
from asr.lm.files import read_model
from asr.recipe import STAGES, Recipe, Source
from asr.recipe.command import Settings, _plan, _short
from asr.tokens.dictionary import read_dictionary

RECIPES = Path(__file__).resolve().parent.parent / "recipes"

RUN = """
from pathlib import Path
from asr.recipe import LmOptions, Recipe, Source, main
main(Recipe(Path(__file__).parent, [Source("folder", "tones")], LmOptions(order=2)))
"""

CONFIG = """
[features]
sample_rate_hz = 8000
num_mels = 20
[tokens]
kind = "word"
[model]
subsampling = 4
conv_channels = 4
num_layers = 1
units = 24
[batching]
max_batch_s = 4.0
num_workers = 0
[optim]
learning_rate = 2e-2
[training]
epochs = 3
device = "cpu"
num_threads = 1
log_every = 2
"""


@dataclass(frozen=True)
class Tree:
    """A recipe's folder and the directory of its corpus."""

    recipe: Path
    corpora: Path

    def run(self, *arguments: str, corpora: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if key != "ASR_CORPORA"}
        command = [sys.executable, str(self.recipe / "run.py"), *arguments]
        if corpora:
            command += ["--corpora", str(self.corpora)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    root = tmp_path_factory.mktemp("recipe")
    folder = root / "corpora" / "tones"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(80):
        words = [str(word) for word in generator.choice(list(PITCHES_HZ), generator.integers(1, 5))]
        soundfile.write(folder / f"u{index}.wav", tone_utterance(words, generator), RATE_HZ)
        (folder / f"u{index}.txt").write_text(" ".join(words))
    recipe = root / "tones"
    recipe.mkdir()
    (recipe / "run.py").write_text(RUN)
    (recipe / "config.toml").write_text(CONFIG)
    return Tree(recipe, root / "corpora")


@pytest.fixture(scope="module")
def first(tree: Tree) -> subprocess.CompletedProcess[str]:
    return tree.run()


def stages_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("[")]


def test_it_runs_end_to_end(first: subprocess.CompletedProcess[str], tree: Tree) -> None:
    assert first.returncode == 0, first.stderr
    assert stages_of(first) == [
        "[pronounce] no dictionary to make" if stage == "pronounce" else f"[{stage}]"
        for stage in STAGES
    ]
    assert "%WER " in first.stdout
    assert "asr transcribe --model" in first.stdout
    run = tree.recipe / "runs" / "default"
    assert first.stdout.index("test.greedy:\n%WER ") < first.stdout.index("test:\n%WER ")
    assert first.stdout.count("decoding: greedy") >= 1
    results = ("test.result.json", "test.greedy.result.json", "tuning.png", "lm.arpa")
    for name in ("model.safetensors", "curves.png", "alignment.png", *results):
        assert (run / name).exists(), name
    rows = (run / "test.hypotheses.jsonl").read_text().splitlines()
    assert len(rows) == len((tree.recipe / "data/default/test.jsonl").read_text().splitlines())


def test_finished_stages_are_skipped(first: subprocess.CompletedProcess[str], tree: Tree) -> None:
    again = tree.run()
    assert again.returncode == 0, again.stderr
    skipped = [
        "[pronounce] no dictionary to make"
        if stage == "pronounce"
        else f"[{stage}] done before, skipped"
        for stage in STAGES[:-1]
    ]
    assert stages_of(again) == [*skipped, "[report]"]
    assert again.stdout.splitlines()[:5] == first.stdout.splitlines()[:5]


def test_tuning_uses_training_transcripts_and_development_data_alone(
    first: subprocess.CompletedProcess[str], tree: Tree
) -> None:
    run, data = tree.recipe / "runs/default", tree.recipe / "data/default"
    texts = [json.loads(line)["text"] for line in (data / "train.jsonl").read_text().splitlines()]
    assert (run / "lm" / "0-default.txt").read_text().splitlines() == texts
    stored = read_documents(run / "model.safetensors", MODEL_KIND)["decoding"]["development"]
    assert stored["manifest"] == "dev.jsonl"
    assert stored["utterances"] == len((data / "dev.jsonl").read_text().splitlines())
    assert "  greedy: %WER " in first.stderr
    assert stored["errors"] <= stored["greedy_errors"]


def test_tuning_again_evaluates_again(first: subprocess.CompletedProcess[str], tree: Tree) -> None:
    result = tree.recipe / "runs/default/test.result.json"
    before = json.loads(result.read_text())["words"]
    again = tree.run("--stage", "tune", "--stop-stage", "evaluate")
    assert stages_of(again) == ["[tune]", "[evaluate]"], again.stderr
    assert json.loads(result.read_text())["words"] == before


def test_a_stage_is_done_again_when_named(
    first: subprocess.CompletedProcess[str], tree: Tree
) -> None:
    result = tree.recipe / "runs/default/test.result.json"
    before = json.loads(result.read_text())["words"]
    result.write_text("{}")
    again = tree.run("--stage", "evaluate", "--stop-stage", "evaluate")
    assert stages_of(again) == ["[evaluate]"]
    assert json.loads(result.read_text())["words"] == before


def test_other_settings_make_another_run(
    first: subprocess.CompletedProcess[str], tree: Tree
) -> None:
    done = tree.run("--set", "training.epochs=1", "--stop-stage", "train")
    assert done.returncode == 0, done.stderr
    assert (tree.recipe / "runs" / "default,training.epochs=1" / "model.safetensors").exists()


@pytest.mark.parametrize("stage", [(), ("--stage", "train"), ("--stage", "evaluate")])
def test_a_finished_run_of_other_settings_is_refused(
    first: subprocess.CompletedProcess[str], tree: Tree, stage: tuple[str, ...]
) -> None:
    """Its model would be scored as that of the settings asked for."""
    run = tree.recipe / "runs/default"
    other = ("--run-dir", str(run), "--set", "training.seed=7", "--set", "model.units=23")
    done = tree.run(*other, *stage)
    assert done.returncode == 1
    different = "model.units (24 then, 23 now), training.seed (0 then, 7 now)"
    assert f"error: {run} was started with other settings: {different}\n" in done.stderr
    assert "hint: name another --run-dir, or remove it" in done.stderr
    assert not stages_of(done) and not done.stdout
    assert tree.run(*other, "--stop-stage", "check").returncode == 0


def test_another_machine_may_evaluate_a_finished_run(
    first: subprocess.CompletedProcess[str], tree: Tree
) -> None:
    run = tree.recipe / "runs/default"
    speed = ("--set", "training.num_threads=2", "--set", "batching.num_workers=1")
    done = tree.run("--run-dir", str(run), *speed, "--stage", "evaluate")
    assert done.returncode == 0, done.stderr
    assert "%WER " in done.stdout


def test_names_that_begin_alike_stay_apart() -> None:
    names = ["x" * length + end for length in (119, 120, 300) for end in "ab"]
    short = [_short(name) for name in names]
    assert short[:2] == names[:2]
    assert len(set(short)) == len(names)
    assert max(map(len, short)) == 120
    assert _short("ab" * 100) == _short("ab" * 100)


@pytest.mark.parametrize("name", ["音" * 119, "é" * 119, "a" + "é" * 119, "\udcff" * 119])
def test_names_are_as_short_as_file_systems_count(name: str, tmp_path: Path) -> None:
    """In bytes: most letters of the world have two or three; bytes of no letter have one."""
    short = _short(name)
    (tmp_path / short).mkdir()
    assert len(os.fsencode(short)) <= 120


def test_folders_of_manifests_have_short_names_too(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    settings = Settings(tmp_path / "config.toml", ["corpus.text=" + "long" * 100])
    run = _plan(Recipe(tmp_path, [Source("folder")]), None, settings, (None, None))
    run.data_dir.mkdir(parents=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stage", "trian"), "error: unknown stage 'trian'"),
        (("--stage", "report", "--stop-stage", "train"), "comes after --stop-stage train"),
        (("--set", "model.unitz=3"), "hint: did you mean `units`?"),
        (("--set", "corpus.wings=3"), "wings"),
        (("--set", "corpus.tones.wings=3"), "corpus `corpus.tones.wings=3` is for"),
        (("--set", "corpus.wings"), "cannot tell which corpus"),
        (("--set", "lm.ordr=3"), "hint: did you mean `order`?"),
        (("--config", "absent.toml"), "absent.toml"),
    ],
)
def test_wrong_arguments_are_explained(
    tree: Tree, arguments: tuple[str, ...], message: str
) -> None:
    done = tree.run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recipe_without_its_corpus_says_what_to_do(tree: Tree, tmp_path: Path) -> None:
    done = tree.run("--data-dir", str(tmp_path), "--run-dir", str(tmp_path / "run"), corpora=False)
    assert done.returncode == 1
    assert "hint: --corpora DIR or ASR_CORPORA=DIR, with it in DIR/tones" in done.stderr


SEVERAL = """
from pathlib import Path
from asr.recipe import LmOptions, Recipe, Source, main
sources = [Source("folder", "tones"), Source("librispeech", "LibriSpeech")]
lm = LmOptions(order=2, prose=("book.txt.gz",), vocabulary=4)
main(Recipe(Path(__file__).parent, sources, lm))
"""


@pytest.fixture(scope="module")
def several(tree: Tree) -> tuple[Tree, subprocess.CompletedProcess[str]]:
    """One model of two corpora, and text beside their transcripts."""
    write_librispeech(tree.corpora / "LibriSpeech")
    with gzip.open(tree.corpora / "book.txt.gz", "wt", encoding="utf-8") as book:
        book.write("Do mi, she said - and 'ba' it was!\n\n" * 30)
    recipe = tree.recipe.parent / "several"
    recipe.mkdir()
    (recipe / "run.py").write_text(SEVERAL)
    (recipe / "quick.toml").write_text(CONFIG.replace("epochs = 3", "epochs = 2"))
    both = Tree(recipe, tree.corpora)
    return both, both.run("--config", "quick.toml", "--set", "text.profile=lower")


def test_several_corpora_make_one_model(
    several: tuple[Tree, subprocess.CompletedProcess[str]],
) -> None:
    tree, done = several
    assert done.returncode == 0, done.stderr
    data, run = tree.recipe / "data/default", tree.recipe / "runs/default,quick,text.profile=lower"
    tests = ("folder-test", "librispeech-test-clean", "librispeech-test-other")
    for name in tests:
        assert f"{name}.greedy:\n%WER " in done.stdout
        assert f"{name}:\n%WER " in done.stdout
        assert (run / f"{name}.result.json").exists()
    counts = {
        corpus: len((data / corpus / "train.jsonl").read_text().splitlines())
        for corpus in ("folder", "librispeech")
    }
    assert f"train: {sum(counts.values())} utterances, " in done.stderr
    for corpus, count in counts.items():
        assert f"    {data}/{corpus}/train.jsonl: {count} utterances, " in done.stderr
    config = json.loads((run / "config.json").read_text())
    stored = [str(data / corpus / "train.jsonl") for corpus in counts]
    assert config["data"]["train"] == stored


def test_several_corpora_and_prose_make_one_language_model(
    several: tuple[Tree, subprocess.CompletedProcess[str]],
) -> None:
    tree, done = several
    run = tree.recipe / "runs/default,quick,text.profile=lower"
    assert "  2-gram language model, " in done.stderr
    for name in ("0-folder", "1-librispeech", "2-book"):
        assert f" of {name}" in done.stderr
    assert (run / "lm" / "2-book.txt").read_text() == "do mi she said\nand ba it was\n" * 30
    rows = (tree.recipe / "data/default/librispeech/train.jsonl").read_text().splitlines()
    texts = [json.loads(row)["text"].lower() for row in rows]
    assert (run / "lm" / "1-librispeech.txt").read_text().splitlines() == texts
    development = read_documents(run / "model.safetensors", MODEL_KIND)["decoding"]["development"]
    assert development["manifest"] == "folder/dev.jsonl, librispeech/dev.jsonl"
    model = read_model(run / "lm.arpa")
    # The other words of the book have letters that no tone is written with.
    assert set(model.words) == {"<unk>", "<s>", "</s>", *PITCHES_HZ}


def test_an_option_of_one_of_several_corpora_names_it(
    several: tuple[Tree, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    tree, _ = several
    wrong = tree.run("--config", "quick.toml", "--set", "corpus.dev_fraction=0.3")
    assert wrong.returncode == 1
    assert "cannot tell which corpus `corpus.dev_fraction=0.3` is for" in wrong.stderr
    assert "this recipe has folder, librispeech" in wrong.stderr
    arguments = ["--set", "corpus.folder.dev_fraction=0.3", "--stop-stage", "prepare"]
    done = tree.run("--config", "quick.toml", *arguments)
    assert done.returncode == 0, done.stderr
    chosen = tree.recipe / "data/folder.dev_fraction=0.3"
    before = len((tree.recipe / "data/default/folder/dev.jsonl").read_text().splitlines())
    assert len((chosen / "folder/dev.jsonl").read_text().splitlines()) > before


def test_text_for_the_language_model_must_be_there(
    several: tuple[Tree, subprocess.CompletedProcess[str]],
) -> None:
    tree, _ = several
    arguments = ["--config", "quick.toml", "--stage", "tune", "--stop-stage", "tune"]
    arguments += ["--set", "text.profile=lower", "--run-dir"]
    arguments += [str(tree.recipe / "runs/default,quick,text.profile=lower")]
    absent = tree.run(*arguments, "--set", 'lm.prose=["absent.txt"]')
    assert absent.returncode == 1
    assert "absent.txt" in absent.stderr
    unnamed = tree.run(*arguments, corpora=False)
    assert "with it in DIR/book.txt.gz" in unnamed.stderr


def test_a_recipe_of_phones_makes_its_dictionary(
    several: tuple[Tree, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    pytest.importorskip("espeakng_loader", reason="pronouncing needs the extra 'demo'")
    tree, _ = several
    phones = ["--config", "quick.toml", "--set", "tokens.kind=phone", "--data-dir", str(tmp_path)]
    (tree.recipe / "pronunciations.txt").write_text("mi m i\n")
    done = tree.run(*phones, "--set", "lm.vocabulary=2", "--stop-stage", "check")
    assert done.returncode == 0, done.stderr
    assert stages_of(done) == ["[prepare]", "[pronounce]", "[check]"]
    found = read_dictionary(tmp_path / "pronunciations.txt")
    spoken = {
        word
        for corpus in ("folder", "librispeech")
        for name in ("train", "dev")
        for line in (tmp_path / corpus / f"{name}.jsonl").read_text().splitlines()
        for word in json.loads(line)["text"].lower().split()
    }
    assert set(found) == spoken
    assert found["mi"] == (("m", "i"),)
    assert found["do"] == (("d", "u"),)
    again = tree.run(*phones, "--stop-stage", "pronounce")
    assert stages_of(again)[-1] == "[pronounce] done before, skipped"


def test_a_dictionary_without_new_words_is_made_again(tree: Tree) -> None:
    recipe, data = tree.recipe.parent / "phones", tree.recipe.parent / "phones" / "made"
    recipe.mkdir()
    (recipe / "run.py").write_text(RUN.replace(", LmOptions(order=2)", ""))
    (recipe / "config.toml").write_text(CONFIG.replace('"word"', '"phone"'))
    (recipe / "pronunciations.txt").write_text("ba b a\nmi m i\nla l a\ndo d o\n")
    phones = Tree(recipe, tree.corpora)
    arguments = ["--data-dir", str(data), "--stop-stage", "check"]
    done = phones.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert set(read_dictionary(data / "pronunciations.txt")) == set(PITCHES_HZ)
    utterance = json.loads((data / "train.jsonl").read_text().splitlines()[0])
    more = {**utterance, "id": "new", "text": "la ba"}
    (data / "more.jsonl").write_text(json.dumps(more) + "\n")
    arguments += ["--set", f"data.train=[{data / 'train.jsonl'}, {data / 'more.jsonl'}]"]
    for pronounced in ("[pronounce]", "[pronounce] done before, skipped"):
        again = phones.run(*arguments)
        assert again.returncode == 0, again.stderr
        assert stages_of(again) == ["[prepare] done before, skipped", pronounced, "[check]"]
        assert set(read_dictionary(data / "pronunciations.txt")) == {*PITCHES_HZ, "la"}


def test_a_recipe_names_each_corpus_once() -> None:
    for sources in ([], [Source("an4", "a"), Source("an4", "b")]):
        with pytest.raises(ConfigError, match="a recipe needs corpora, each one once"):
            Recipe(Path(), sources)


LIBRISPEECH_SUBSETS = {"train-clean-100": 40, "dev-clean": 6, "test-clean": 6, "test-other": 6}


def write_librispeech(root: Path) -> None:
    """Tones in LibriSpeech's official tree: SUBSET/SPEAKER/CHAPTER/*.flac and one .trans.txt."""
    generator = np.random.default_rng(0)
    for speaker, (subset, count) in enumerate(LIBRISPEECH_SUBSETS.items(), start=100):
        chapter = root / subset / str(speaker) / "7"
        chapter.mkdir(parents=True)
        lines = []
        for number in range(count):
            words = [str(word) for word in generator.choice(list(PITCHES_HZ), 3)]
            name = f"{speaker}-7-{number:04d}"
            soundfile.write(chapter / f"{name}.flac", tone_utterance(words, generator), RATE_HZ)
            lines.append(f"{name} {' '.join(words).upper()}\n")
        (chapter / f"{speaker}-7.trans.txt").write_text("".join(lines))


def test_librispeech_runs_on_a_small_tree_in_the_official_layout(tmp_path: Path) -> None:
    """The recipe as shipped, its model made small: subword tokens, masks, averaging, two tests."""
    write_librispeech(tmp_path / "corpora" / "LibriSpeech")
    sets = ["features.sample_rate_hz=8000", "features.num_mels=20", "tokens.vocab_size=12"]
    sets += ["model.num_layers=1", "model.units=16", "model.conv_channels=4"]
    sets += ["batching.num_workers=0", "batching.max_batch_s=10", "training.device=cpu"]
    sets += ["training.epochs=2", "training.num_threads=1"]
    command = [sys.executable, str(RECIPES / "librispeech" / "run.py")]
    command += ["--corpora", str(tmp_path / "corpora"), "--run-dir", str(tmp_path / "run")]
    command += ["--data-dir", str(tmp_path / "data")]
    command += [part for item in sets for part in ("--set", item)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[tune] no language model, nothing to tune" in done.stderr
    assert "test-clean:\n%WER " in done.stdout
    assert "test-other:\n%WER " in done.stdout


@pytest.mark.parametrize("recipe", sorted(path.parent for path in RECIPES.glob("*/run.py")))
def test_every_recipe_is_thin_and_complete(recipe: Path) -> None:
    names = {path.name for path in recipe.iterdir()}
    assert {"run.py", "config.toml", "README.md", "RESULTS.md"} <= names
    assert len((recipe / "run.py").read_text().splitlines()) <= 40
    load_options(ExperimentConfig, recipe / "config.toml")
    assert f"python recipes/{recipe.name}/run.py" in (recipe / "README.md").read_text()


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/*.toml")), ids=str)
def test_every_file_of_settings_can_be_read(path: Path) -> None:
    """The noise of those that have some is named on the command line."""
    load_options(ExperimentConfig, path, ["augment.noise.directory=noise"])
