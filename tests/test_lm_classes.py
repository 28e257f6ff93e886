"""Classes of words in language models: estimated as classes, written out as words."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_cli_decoding import asr

from asr.errors import DataError
from asr.lm.classes import WordClass, classes_within, read_classes
from asr.lm.files import read_model
from asr.lm.kneser_ney import BuildOptions, build_model
from asr.lm.ngram import NgramModel

CLASSES = [WordClass("digit", ("1", "2", "3")), WordClass("name", ("ann", "bob"))]
SHARES = {word: len(one.words) for one in CLASSES for word in one.words}
STAND_INS = {word: f"the-{one.name}" for one in CLASSES for word in one.words}
WORDS = ["call", "room", "1", "2", "ann", "bob", "x"]  # "3" is never said

texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=6), min_size=1, max_size=12)


def build(directory: Path, sentences: list[list[str]], order: int, **options: object) -> NgramModel:
    path = directory / "text"
    path.write_text("".join(" ".join(words) + "\n" for words in sentences))
    return build_model([path], BuildOptions(order=order), **options).model  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(texts, st.integers(1, 4), st.lists(st.sampled_from([*WORDS, "3", "new"]), max_size=7))
def test_a_word_has_an_equal_share_of_its_class(
    tmp_path_factory: pytest.TempPathFactory,
    sentences: list[list[str]],
    order: int,
    asked: list[str],
) -> None:
    """By a model of a text in which another word stands for each class."""
    directory = tmp_path_factory.mktemp("classes")
    model = build(directory, sentences, order, classes=CLASSES)
    mapped = [[STAND_INS.get(word, word) for word in words] for words in sentences]
    # So that each class is known, as `classes` makes it be.
    stand_ins = dict.fromkeys(STAND_INS.values())
    known = dict.fromkeys([*stand_ins, *(word for words in mapped for word in words)])
    plain = build(directory, mapped, order, vocabulary=list(known))
    expected = plain.word_log_probs([STAND_INS.get(word, word) for word in asked])
    shares = [math.log(SHARES.get(word, 1)) for word in asked] + [0.0]
    found = model.word_log_probs(asked)
    np.testing.assert_allclose(found, np.subtract(expected, shares), atol=1e-5)


@settings(max_examples=20, deadline=None)
@example([[]], 3, [])  # no trigram at all
@given(texts, st.integers(1, 3), st.lists(st.sampled_from([*WORDS, "3"]), max_size=3))
def test_probabilities_add_up_to_one(
    tmp_path_factory: pytest.TempPathFactory,
    sentences: list[list[str]],
    order: int,
    history: list[str],
) -> None:
    model = build(tmp_path_factory.mktemp("sums"), sentences, order, classes=CLASSES)
    state = model.start()
    for word in history:
        state = model.score(state, model.words.index(word) if word in model.words else -1)[1]
    probs = [
        math.exp(model.score(state, index)[0])
        for index, word in enumerate(model.words)
        if word != "<s>"
    ]
    assert math.isclose(sum(probs), 1.0, abs_tol=1e-4)


def test_what_was_never_said_is_as_likely_as_what_was(tmp_path: Path) -> None:
    sentences = [["room", "1", "2"], ["room", "2", "1"], ["call", "bob"], ["call", "ann"]]
    model = build(tmp_path, sentences, 3, classes=CLASSES)
    scores = [model.sentence_log_prob(["room", one, other]) for one in "123" for other in "123"]
    assert max(scores) - min(scores) < 1e-6
    assert scores[0] > model.sentence_log_prob(["room", "ann", "1"])


def test_words_that_a_vocabulary_lacks_are_in_no_class(tmp_path: Path) -> None:
    sentences = [["room", "1", "2"], ["room", "ann"]]
    model = build(tmp_path, sentences, 2, classes=CLASSES, vocabulary=["room", "1", "2"])
    assert set(model.words) == {"<unk>", "<s>", "</s>", "room", "1", "2"}
    assert classes_within(CLASSES, {"2", "3"}) == [WordClass("digit", ("2", "3"))]


def test_without_classes_nothing_changes(tmp_path: Path) -> None:
    sentences = [["room", "1"], ["call", "ann"]]
    plain, other = build(tmp_path, sentences, 2), build(tmp_path, sentences, 2, classes=[])
    assert plain.words == other.words
    assert np.array_equal(plain.tables.ints, other.tables.ints)


def test_too_many_ngrams_are_refused_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = WordClass("number", tuple(f"n{index}" for index in range(3000)))
    monkeypatch.setattr("asr.lm.classes._combinations", lambda *_: pytest.fail("written out"))
    with pytest.raises(DataError, match=r"2\.7e\+10 n-grams of order 3, more than") as caught:
        build(tmp_path, [["n1", "n2", "n3"]], 3, classes=[many])
    assert "choose a lower order" in str(caught.value.hint)


def test_the_file_says_what_stands_for_what(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt.gz"
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        stream.write("# of rooms\n\ndigit: One two\nname :  Ann\n")
    assert read_classes(path, str.lower) == [
        WordClass("digit", ("one", "two")),
        WordClass("name", ("ann",)),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one two\n", r"line 1: expected a name, a colon and words, got 'one two'"),
        ("\n: one\n", r"line 2: expected a name"),
        ("digit:\n", r"line 1: expected a name"),
        ("digit: one two one\n", r"line 1: the word 'one' of line 1 again"),
        ("digit: one\nnumber: two one\n", r"line 2: the word 'one' of line 1 again"),
        ("digit: one\ndigit: two\n", r"line 2: the class 'digit' again"),
        ("digit: one <unk>\n", r"line 1: <unk> cannot be of a class"),
        ("# nothing\n", "holds no class"),
        ("digit: \xff\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_files_that_make_no_sense_are_refused(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message):
        read_classes(path)


def test_the_command_line_builds_with_classes(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("room one two\nroom two one\n")
    (tmp_path / "classes").write_text("digit: one two three\n")
    out = tmp_path / "lm.bin"
    asr("lm", "build", tmp_path / "text", "-o", out, "--classes", tmp_path / "classes")
    model = read_model(out)
    assert {"one", "two", "three"} <= set(model.words)
    scores = [model.sentence_log_prob(["room", word, "one"]) for word in ("one", "three")]
    assert abs(scores[0] - scores[1]) < 1e-6
