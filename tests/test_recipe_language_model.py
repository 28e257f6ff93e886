"""A recipe's language model against its parts, built and mixed one by one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asr.config import parse_options
from asr.errors import ConfigError
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.lm.mixing import best_weights, interpolate_models
from asr.lm.perplexity import measure_perplexity
from asr.lm.pruning import prune
from asr.recipe import LmOptions
from asr.recipe.language_model import LmTexts, mix_language_model

COLOURS = ["red", "green", "blue", "grey"]
THINGS = ["house", "door", "tree", "sky", "cat", "well"]


def write_lines(path: Path, frame: str, count: int, seed: int) -> Path:
    generator = np.random.default_rng(seed)
    words = zip(generator.choice(COLOURS, count), generator.choice(THINGS, count), strict=True)
    path.write_text("".join(frame.format(*pair) + "\n" for pair in words), encoding="utf-8")
    return path


@pytest.fixture
def texts(tmp_path: Path) -> LmTexts:
    commands = write_lines(tmp_path / "0-commands.txt", "paint the {1} {0}", 40, seed=0)
    reports = write_lines(tmp_path / "1-reports.txt", "the {1} is {0} now", 60, seed=1)
    book = write_lines(
        tmp_path / "2-book.txt", "she saw 1 {0} {1} and the {1} was {0}", 300, seed=2
    )
    dev = write_lines(tmp_path / "dev.txt", "the {1} is {0} now", 20, seed=3)
    return LmTexts([commands, reports], [book], dev)


def perplexity(model: object, path: Path) -> float:
    return measure_perplexity(model, [path]).including_unknown  # type: ignore[arg-type]


def test_it_is_the_mixture_of_models_of_each_text(texts: LmTexts) -> None:
    mixed = mix_language_model(texts, LmOptions(order=3))
    files = [*texts.transcripts, *texts.prose]
    parts = [build_model([path], BuildOptions(order=3)).model for path in files]
    shares = best_weights(parts, [texts.dev])
    assert [name for name, _ in mixed.shares] == ["0-commands", "1-reports", "2-book"]
    assert [share for _, share in mixed.shares] == shares
    by_hand = interpolate_models(parts, shares)
    assert mixed.model.num_ngrams == by_hand.num_ngrams
    assert perplexity(mixed.model, texts.dev) == perplexity(by_hand, texts.dev)
    others = [[1 / 3, 1 / 3, 1 / 3], [0.2, 0.6, 0.2], [0.0, 1.0, 0.0]]
    for weights in others:
        worse = interpolate_models(parts, weights)
        assert perplexity(mixed.model, texts.dev) <= perplexity(worse, texts.dev) + 1e-4


def test_one_text_is_a_model_by_itself(texts: LmTexts) -> None:
    alone = replace(texts, transcripts=texts.transcripts[:1], prose=[])
    mixed = mix_language_model(alone, LmOptions(order=2))
    built = build_model([texts.transcripts[0]], BuildOptions(order=2)).model
    assert mixed.shares == [("0-commands", 1.0)]
    assert mixed.model.num_ngrams == built.num_ngrams
    assert perplexity(mixed.model, texts.dev) == perplexity(built, texts.dev)
    total = sum(built.num_ngrams)
    assert mixed.summary() == (
        f"2-gram language model, {total:,} n-grams of {built.num_ngrams[0]:,} words"
    )


def test_the_vocabulary_is_every_transcribed_word_and_the_most_frequent_of_the_prose(
    texts: LmTexts,
) -> None:
    counts = Counter(texts.prose[0].read_text(encoding="utf-8").split())
    # "1" is among the most frequent, but no transcript has a character for it.
    assert "1" in dict(counts.most_common(4))
    own = {word for path in texts.transcripts for word in path.read_text("utf-8").split()}
    del counts["1"]
    frequent = {word for word, _ in counts.most_common(4)}
    assert not frequent <= own
    mixed = mix_language_model(texts, LmOptions(vocabulary=4))
    marks = {"<unk>", "<s>", "</s>"}
    assert set(mixed.model.words) - marks == own | frequent
    everything = mix_language_model(texts, LmOptions())
    assert set(everything.model.words) - marks == own | set(counts) | {"1"}


def test_pruning_is_that_of_the_mixture(texts: LmTexts) -> None:
    whole = mix_language_model(texts, LmOptions(order=3))
    smaller = mix_language_model(texts, LmOptions(order=3, prune=1e-4))
    assert smaller.shares == whole.shares
    assert sum(smaller.model.num_ngrams) < sum(whole.model.num_ngrams)
    assert smaller.model.num_ngrams == prune(whole.model, 1e-4).num_ngrams


def test_the_summary_names_sizes_and_shares(texts: LmTexts) -> None:
    mixed = mix_language_model(texts, LmOptions(order=2))
    summary = mixed.summary()
    assert summary.startswith(f"2-gram language model, {sum(mixed.model.num_ngrams):,} n-grams of ")
    for name, share in mixed.shares:
        assert f"{share:.3f} of {name}" in summary


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"order": 0}, "`order` in test: Input should be greater than or equal to 1"),
        ({"prune": -1e-9}, "`prune` in test: Input should be greater than or equal to 0"),
        ({"vocabulary": 0}, "`vocabulary` in test"),
        ({"text": ["a"]}, "unknown setting `text` in test"),
    ],
)
def test_wrong_options_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_options(LmOptions, values, "test")
    assert message in str(caught.value)
