"""Recipes that, once settings are chosen, train on the development data as well."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from test_recipe import Tree, stages_of, tree

from asr.checkpoint import MODEL_KIND, load_tensors, read_documents
from asr.errors import ConfigError
from asr.recipe import LmOptions, Recipe, Source
from asr.recipe.command import Settings, _plan
from asr.recipe.stages import with_development_data

__all__ = ["tree"]


def texts_of(manifest: Path) -> list[str]:
    return [json.loads(line)["text"] for line in manifest.read_text().splitlines()]


@pytest.fixture(scope="module")
def early(tree: Tree) -> subprocess.CompletedProcess[str]:
    return tree.run("--all-data")


@pytest.fixture(scope="module")
def late(tree: Tree, early: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    first = tree.run()
    assert first.returncode == 0, first.stderr
    return tree.run("--all-data")


def test_it_needs_what_development_data_settled(early: subprocess.CompletedProcess[str]) -> None:
    assert early.returncode == 1
    assert "error: there is no tuned model" in early.stderr
    assert "hint: run the same command without --all-data first" in early.stderr
    assert stages_of(early) == []


def test_all_transcripts_train_and_settings_are_taken_over(
    late: subprocess.CompletedProcess[str], tree: Tree
) -> None:
    assert late.returncode == 0, late.stderr
    assert stages_of(late)[3:5] == ["[train]", "[tune]"]
    assert late.stdout.startswith("test.greedy:\n%WER ")
    runs, data = tree.recipe / "runs", tree.recipe / "data" / "default"
    texts = [*texts_of(data / "train.jsonl"), *texts_of(data / "dev.jsonl")]
    assert (runs / "default,all-data/lm/0-default.txt").read_text().splitlines() == texts
    before, after = (runs / name / "model.safetensors" for name in ("default", "default,all-data"))
    old, new = (read_documents(path, MODEL_KIND) for path in (before, after))
    assert new["decoding"] == old["decoding"]
    assert new["training"]["train_utterances"] == len(texts)
    assert old["training"]["train_utterances"] < len(texts)
    assert load_tensors(before, MODEL_KIND)[0].keys() == load_tensors(after, MODEL_KIND)[0].keys()


def test_texts_that_development_data_mix_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    settings = Settings(tmp_path / "config.toml", [])
    sources = [Source("an4", "an4"), Source("yesno", "yesno")]
    for recipe in (
        Recipe(tmp_path, sources, LmOptions()),
        Recipe(tmp_path, sources[:1], LmOptions(prose=("novels.txt",))),
    ):
        with pytest.raises(ConfigError, match="shares of several texts"):
            with_development_data(_plan(recipe, None, settings, (None, None)))
    run = with_development_data(_plan(Recipe(tmp_path, sources), None, settings, (None, None)))
    assert [path.parts[-2:] for path in run.config.data.train] == [
        ("an4", "train.jsonl"),
        ("yesno", "train.jsonl"),
        ("an4", "dev.jsonl"),
        ("yesno", "dev.jsonl"),
    ]
