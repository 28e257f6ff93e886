"""Building models: against KenLM's golden files, and against the definition on any small text."""

from __future__ import annotations

import gzip
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lm_files import GOLDEN, assert_same_ngrams, ngrams_of, read_ngrams
from lm_reference import kneser_ney

from asr.config import parse_options
from asr.errors import ConfigError, DataError
from asr.lm.arpa import read_arpa
from asr.lm.counting import count_ngrams, text_blocks
from asr.lm.kneser_ney import FALLBACK_DISCOUNTS, BuildOptions, build_model, discounts_of
from asr.lm.perplexity import measure_perplexity

COMMANDS = GOLDEN / "commands.txt"
SENTENCES = ["a b a b c", "a b", "", "c c a b a", "b", "a b c d"]


def write(directory: Path, text: str) -> Path:
    path = directory / "text.txt"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_models_equal_kenlm(order: int) -> None:
    built = build_model([COMMANDS], BuildOptions(order=order))
    golden = read_ngrams(GOLDEN / f"commands.o{order}.arpa")
    assert_same_ngrams(ngrams_of(built.model), golden, 1e-5)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_discounts_equal_kenlm(order: int) -> None:
    built = build_model([COMMANDS], BuildOptions(order=order))
    lines = (GOLDEN / f"commands.o{order}.discounts.txt").read_text().splitlines()
    golden = [[float(field.split("=")[1]) for field in line.split()[2:]] for line in lines]
    amounts = [list(discount.amounts) for discount in built.discounts]
    np.testing.assert_allclose(amounts, golden, rtol=1e-5)
    assert not any(discount.is_fallback for discount in built.discounts)


def test_pruned_model_equals_kenlm() -> None:
    built = build_model([COMMANDS], BuildOptions(order=3, prune=(0, 0, 1)))
    golden = read_ngrams(GOLDEN / "commands.o3.prune001.arpa")
    assert_same_ngrams(ngrams_of(built.model), golden, 1e-5)


@pytest.mark.skipif("ASR_CORPORA" not in os.environ, reason="set ASR_CORPORA to the corpora")
@pytest.mark.parametrize("name", ["o2", "o3", "o4", "o3.prune012"])
def test_an4_equals_kenlm(name: str) -> None:
    directory = Path(os.environ["ASR_CORPORA"]) / "golden_lm"
    prune = (0, 1, 2) if "prune" in name else (0,)
    options = BuildOptions(order=int(name[1]), prune=prune)
    built = build_model([directory / "an4_train.txt"], options)
    golden = read_ngrams(directory / f"an4_train.{name}.arpa")
    assert_same_ngrams(ngrams_of(built.model), golden, 1e-5)


texts = st.lists(st.lists(st.sampled_from("abcd"), max_size=7), min_size=1, max_size=12)


NO_DISCOUNT = ["aaaa", "aabab", "bbaaa", "baaaaa", "aaabaaa"]
"""Their counts of counts give some trigrams a discount of 0, so nothing is left for others."""


@settings(max_examples=80)
@example([list(words) for words in NO_DISCOUNT], 4, [], None, 1)
@given(
    texts,
    st.integers(1, 5),
    st.lists(st.integers(0, 3), max_size=3),
    st.none() | st.sets(st.sampled_from("abcx"), min_size=1),
    st.sampled_from([1, 5, 1000]),
)
def test_any_text_equals_the_definition(
    sentences: list[list[str]],
    order: int,
    prune: list[int],
    vocabulary: set[str] | None,
    run_words: int,
) -> None:
    thresholds = (0, *sorted(prune))[:order]
    options = BuildOptions(order=order, prune=thresholds, run_words=run_words)
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / str(index) for index in range(3)]
        for index, path in enumerate(paths):
            path.write_text("".join(" ".join(words) + "\n" for words in sentences[index::3]))
        words = None if vocabulary is None else sorted(vocabulary)
        model = build_model(paths, options, words).model
    if vocabulary is not None:
        sentences = [[w if w in vocabulary else "<unk>" for w in words] for words in sentences]
    known = sorted({word for words in sentences for word in words} | (vocabulary or set()))
    per_order = [thresholds[min(n, len(thresholds)) - 1] for n in range(1, order + 1)]
    expected = kneser_ney(sentences, order, per_order, [w for w in known if w != "<unk>"])
    assert_same_ngrams(ngrams_of(model), expected, 1e-5)


@pytest.mark.parametrize("prune", [(0,), (0, 0, 1), (0, 1, 2)])
@pytest.mark.parametrize("vocabulary", [None, ["marta", "call", "unheard"]])
def test_probabilities_sum_to_one_in_any_state(
    prune: tuple[int, ...], vocabulary: list[str] | None
) -> None:
    model = build_model([COMMANDS], BuildOptions(order=3, prune=prune), vocabulary).model
    words = [index for index in range(len(model.words)) if index != model.bos_id]
    state = model.start()
    for word in ["call", "marta", "unheard", "oh"]:
        total = sum(np.exp(model.score(state, index)[0]) for index in words)
        assert total == pytest.approx(1.0, abs=1e-5)
        state = model.score(state, model.id_of(word))[1]


def test_a_text_larger_than_memory_gives_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build_model([COMMANDS], BuildOptions(order=4)).model
    monkeypatch.setattr("asr.lm.counting.BLOCK_BYTES", 1000)
    parts = build_model([COMMANDS], BuildOptions(order=4, run_words=100)).model
    np.testing.assert_array_equal(whole.tables.ints, parts.tables.ints)


def test_merging_of_runs_in_several_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "\n".join(SENTENCES * 3) + "\n")
    with count_ngrams([path] * 7, 3) as counts:
        expected = np.array(counts.rows), np.array(counts.counts)
    monkeypatch.setattr("asr.lm.counting.MERGE_ROWS", 5)
    with count_ngrams([path] * 7, 3, run_words=1) as counts:
        np.testing.assert_array_equal(counts.rows, expected[0])
        np.testing.assert_array_equal(counts.counts, expected[1])


def test_texts_may_be_gzip_and_several(tmp_path: Path) -> None:
    lines = COMMANDS.read_bytes().splitlines(keepends=True)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"".join(lines[:500])))
    (tmp_path / "b").write_bytes(b"".join(lines[500:]).rstrip(b"\n"))
    both = build_model([tmp_path / "a.gz", tmp_path / "b"], BuildOptions(order=2)).model
    assert_same_ngrams(ngrams_of(both), read_ngrams(GOLDEN / "commands.o2.arpa"), 1e-5)


@pytest.mark.parametrize("block_bytes", [3, 30, 1 << 22])
def test_the_lines_of_a_manifest_are_its_transcripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
) -> None:
    monkeypatch.setattr("asr.lm.counting.BLOCK_BYTES", block_bytes)
    lines = [
        '{"id": "a", "text": "Zwei  B\u00e4ume!"}',
        "",
        '{"text": "", "id": "b"}',
        '{"text": "a\\nb"}',
    ]
    for name, content in (
        ("m.jsonl", "\n".join(lines).encode()),
        ("m.jsonl.gz", gzip.compress("\ufeff".encode() + "\n".join([*lines, ""]).encode())),
    ):
        (tmp_path / name).write_bytes(content)
        numbered = [
            (number + index, line)
            for block, number in text_blocks(tmp_path / name)
            for index, line in enumerate(block.decode().removesuffix("\n").split("\n"))
        ]
        assert numbered == [(1, "Zwei  B\u00e4ume!"), (3, ""), (4, "a b")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"just a text", "m.jsonl, line 3: not JSON: .*give other texts another name"),
        (b'{"id": "a"}', "m.jsonl, line 3: `text` must be a string, got none"),
        (b'{"text": null}', "m.jsonl, line 3: `text` must be a string, got null"),
        (b'{"text": "\\ud800"}', "m.jsonl, line 3: `text` holds half a surrogate pair"),
        (b'{"text": "\xff"}', "m.jsonl, line 3: not UTF-8"),
        (b'{"text": "a <s> b"}', "m.jsonl, line 3: contains <s>"),
    ],
)
def test_what_is_no_line_of_a_manifest(tmp_path: Path, line: bytes, message: str) -> None:
    (tmp_path / "m.jsonl").write_bytes(b'{"text": "a"}\n\n' + line + b"\n")
    with pytest.raises(DataError, match=message), count_ngrams([tmp_path / "m.jsonl"], 2):
        pass


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffein satz\nein \ufeffwort\n".encode())
    assert list(text_blocks(path)) == [("ein satz\nein \ufeffwort\n".encode(), 1)]
    path.write_bytes("\ufeff".encode())
    assert list(text_blocks(path)) == []


def test_blocks_hold_whole_lines_whatever_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "ab\n\ncde f\nlast")
    for size in range(1, 14):
        monkeypatch.setattr("asr.lm.counting.BLOCK_BYTES", size)
        blocks = list(text_blocks(path))
        assert b"".join(block for block, _ in blocks) == b"ab\n\ncde f\nlast\n"
        assert all(block.endswith(b"\n") for block, _ in blocks)
        starts = [b"".join(b for b, _ in blocks[:i]).count(b"\n") + 1 for i in range(len(blocks))]
        assert [first for _, first in blocks] == starts


def test_only_ascii_white_space_separates_words(tmp_path: Path) -> None:
    model = build_model([write(tmp_path, "a\u00a0b\tc\u3000d\r\n")], BuildOptions(order=1)).model
    assert model.words[3:] == ("a\u00a0b", "c\u3000d")


def test_a_small_text_falls_back_on_fixed_discounts(tmp_path: Path) -> None:
    built = build_model([write(tmp_path, "a b\n")], BuildOptions(order=2))
    assert all(discount.is_fallback for discount in built.discounts)
    assert built.discounts[0].amounts == FALLBACK_DISCOUNTS == (0.5, 1.0, 1.5)


def test_a_discount_out_of_range_falls_back() -> None:
    # n1 … n4 = 1, 1, 1, 9: y = 1/3 and 3 - 4 y 9/1 = -9.
    counts = np.array([1, 2, 3, *[4] * 9])
    assert discounts_of(counts).is_fallback
    assert not discounts_of(np.array([1, 1, 1, 2, 2, 3])).is_fallback


@pytest.mark.parametrize("mark", ["<s>", "</s>", "<unk>"])
def test_marks_in_a_text_are_refused_with_their_line(tmp_path: Path, mark: str) -> None:
    path = write(tmp_path, f"a b\nx{mark} fine\nc {mark} d\n")
    with pytest.raises(DataError, match=rf"text\.txt, line 3: contains {mark}"):
        build_model([path], BuildOptions(order=2))


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"a b\nc \xff\n")
    with pytest.raises(DataError, match=r"line 2: not UTF-8"):
        build_model([path], BuildOptions(order=2))


def test_no_text_and_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no text in"):
        build_model([write(tmp_path, "")], BuildOptions(order=2))
    with pytest.raises(DataError, match="cannot read"):
        build_model([tmp_path / "missing"], BuildOptions(order=2))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"a b\n" * 1000)[:-12])
    with pytest.raises(DataError, match="damaged gzip data"):
        build_model([tmp_path / "cut.gz"], BuildOptions(order=2))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prune": (1,)}, "must begin with 0"),
        ({"prune": (0, 2, 1)}, "must not decrease"),
        ({"order": 0}, "greater than or equal to 1"),
        ({"order": 2, "prune": (0, 0, 5)}, "`prune` has 3 numbers, .* at most 2"),
        ({"prune": (0, 0, 0, 1)}, "`prune` has 4 numbers, .* where `order` is 3"),
    ],
)
def test_options_that_make_no_sense(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_options(BuildOptions, values, "options")


@pytest.mark.skipif("ASR_CORPORA" not in os.environ, reason="set ASR_CORPORA to the corpora")
@pytest.mark.parametrize("order", [2, 3, 4])
def test_an4_perplexities_equal_kenlms(order: int) -> None:
    directory = Path(os.environ["ASR_CORPORA"]) / "golden_lm"
    lines = (directory / f"an4_test.o{order}.query.txt").read_text().splitlines()
    golden = {name: float(value) for name, value in (line.split(":") for line in lines)}
    built = build_model([directory / "an4_train.txt"], BuildOptions(order=order)).model
    for model in (built, read_arpa(directory / f"an4_train.o{order}.arpa")):
        found = measure_perplexity(model, [directory / "an4_test.txt"])
        assert found.including_unknown == pytest.approx(
            golden["Perplexity including OOVs"], rel=1e-4
        )
        assert found.excluding_unknown == pytest.approx(
            golden["Perplexity excluding OOVs"], rel=1e-4
        )
        assert found.num_unknown == golden["OOVs"]
        assert found.num_words + found.num_sentences == golden["Tokens"]
