"""`asr lm`: every verb from files to files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from lm_files import GOLDEN, assert_same_ngrams, ngrams_of, read_ngrams
from typer.testing import CliRunner

from asr.cli import app
from asr.errors import ConfigError, DataError, ModelFileError
from asr.lm.files import read_model

COMMANDS, HELDOUT = GOLDEN / "commands.txt", GOLDEN / "heldout.txt"
BASE = GOLDEN / "commands.o3.arpa"


def lm(*arguments: object) -> tuple[str, str]:
    """Standard output and standard error of a verb; its error is raised."""
    result = CliRunner().invoke(app, ["lm", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.stderr
    return result.stdout, result.stderr


def test_build_writes_kenlms_model_and_reports_discounts(tmp_path: Path) -> None:
    out = tmp_path / "lm.arpa"
    stdout, stderr = lm("build", COMMANDS, "-o", out, "--order", 3, "--prune", "0 0 1")
    assert_same_ngrams(read_ngrams(out), read_ngrams(GOLDEN / "commands.o3.prune001.arpa"), 1e-5)
    assert stdout == ""
    assert "3-grams: 950, discounts 0.5606 1.055 2.047" in stderr


def test_a_manifest_is_a_text_of_its_transcripts(tmp_path: Path) -> None:
    texts = COMMANDS.read_text(encoding="utf-8").splitlines()
    (tmp_path / "train.jsonl").write_text(
        "".join(json.dumps({"id": str(i), "text": text}) + "\n" for i, text in enumerate(texts))
    )
    for text in (COMMANDS, tmp_path / "train.jsonl"):
        lm("build", text, "-o", tmp_path / f"{text.suffix}.arpa")
    of_text, of_manifest = (tmp_path / f"{suffix}.arpa" for suffix in (".jsonl", COMMANDS.suffix))
    assert of_text.read_bytes() == of_manifest.read_bytes()
    measured = [lm("perplexity", BASE, text) for text in (COMMANDS, tmp_path / "train.jsonl")]
    assert measured[0] == measured[1]


def test_a_directory_as_output_is_refused_before_the_work(tmp_path: Path) -> None:
    out = tmp_path / "lm.arpa"
    out.mkdir()
    for verb in (("build", "nowhere.txt"), ("prune", "nowhere.arpa"), ("adapt", BASE, "nowhere")):
        with pytest.raises(DataError, match=r"cannot write .*lm\.arpa: it is a directory"):
            lm(*verb, "-o", out)


def test_build_with_a_vocabulary_into_a_binary(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("call marta\nunheard\n")
    out = tmp_path / "lm.bin"
    lm("build", COMMANDS, "-o", out, "--vocab", tmp_path / "words", "--run-words", 1000)
    assert read_model(out).words == ("<unk>", "<s>", "</s>", "call", "marta", "unheard")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\ufeffcall marta\r\n", ("call", "marta")),
        ("<unk>\n<s>\n</s>\ncall\ncall\n", ("call",)),
        ("# a\u00a0b\u3000c\n", ("#", "a\u00a0b\u3000c")),
    ],
)
def test_vocabularies_as_people_have_them(
    tmp_path: Path, content: str, words: tuple[str, ...]
) -> None:
    out = tmp_path / "lm.bin"
    for packed in (content.encode(), gzip.compress(content.encode())):
        (tmp_path / "words").write_bytes(packed)
        lm("build", COMMANDS, "-o", out, "--vocab", tmp_path / "words", "--order", 1)
        assert read_model(out).words == ("<unk>", "<s>", "</s>", *words)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "words holds no word"),
        (b"\n<unk> <s>\n", "words holds no word"),
        (b"a\n\xff\n", "words, line 2: not UTF-8"),
    ],
)
def test_vocabularies_that_make_no_sense(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "words").write_bytes(content)
    with pytest.raises(DataError, match=message):
        lm("build", COMMANDS, "-o", tmp_path / "lm.bin", "--vocab", tmp_path / "words")
    assert not (tmp_path / "lm.bin").exists()


def test_build_says_where_it_fell_back(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a b\n")
    _, stderr = lm("build", tmp_path / "text", "-o", tmp_path / "lm.arpa", "--order", 2)
    assert stderr.count("discounts 0.5 1 1.5 (fallback") == 2


def test_perplexity_prints_both_kinds(tmp_path: Path) -> None:
    stdout, _ = lm("perplexity", BASE, HELDOUT)
    assert "100 sentences, 404 words, " in stdout
    assert stdout.count("perplexity ") == 2


def test_perplexity_says_that_a_model_has_no_sentence_ends(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text("\\data\\\nngram 1=1\n\\1-grams:\n-1 a\n\\end\\\n")
    (tmp_path / "text").write_text("a a\na\n")
    stdout, stderr = lm("perplexity", tmp_path / "lm.arpa", tmp_path / "text")
    assert "including unknown words: 10.0000" in stdout
    assert stderr == "the model has no </s>: sentence ends are not scored and do not count\n"
    assert "</s>" not in lm("perplexity", BASE, tmp_path / "text")[1]


def test_interpolate_with_weights_or_a_text(tmp_path: Path) -> None:
    unigrams, out = GOLDEN / "commands.o1.arpa", tmp_path / "lm.arpa"
    _, stderr = lm("interpolate", BASE, unigrams, "-o", out, "--weights", "0.75,0.25")
    assert stderr == "weights: 0.7500 0.2500\n"
    _, stderr = lm("interpolate", BASE, unigrams, "-o", out, "--tune", COMMANDS)
    first, second = map(float, stderr.split()[1:])
    assert first > 0.9 > 0.1 > second
    assert read_model(out).order == 3


@pytest.mark.parametrize("choice", [(), ("--weights", "1 0", "--tune", COMMANDS)])
def test_interpolate_wants_one_source_of_weights(
    tmp_path: Path, choice: tuple[object, ...]
) -> None:
    with pytest.raises(ConfigError, match="either --weights or --tune"):
        lm("interpolate", BASE, BASE, "-o", tmp_path / "lm.arpa", *choice)


@pytest.mark.parametrize("choice", [("--weights", "1"), ("--tune", COMMANDS)])
def test_one_model_is_no_mixture(tmp_path: Path, choice: tuple[object, ...]) -> None:
    with pytest.raises(ConfigError, match="nothing to mix with one model"):
        lm("interpolate", BASE, "-o", tmp_path / "lm.arpa", *choice)
    assert not (tmp_path / "lm.arpa").exists()


def test_prune_reports_what_it_dropped(tmp_path: Path) -> None:
    out = tmp_path / "lm.arpa"
    _, stderr = lm("prune", BASE, "-o", out, "--threshold", "1e-4")
    sizes = read_model(out).num_ngrams
    assert f"3-grams: 1922 -> {sizes[2]}" in stderr
    assert sizes[2] < 1922


def test_prune_at_no_threshold_keeps_all_and_so_writes_the_other_kind(tmp_path: Path) -> None:
    # The loss of this bigram, which backing off would give too, is 0 but for rounding.
    rows = "\\1-grams:\n-99 <s> 0\n-0.30103 a 0\n-0.30103 </s>\n\\2-grams:\n-0.30103 a a\n"
    arpa, out = tmp_path / "lm.arpa", tmp_path / "lm.bin"
    arpa.write_text(f"\\data\\\nngram 1=3\nngram 2=1\n{rows}\\end\\\n")
    lm("prune", arpa, "-o", out, "--threshold", 0)
    assert_same_ngrams(ngrams_of(read_model(out)), ngrams_of(read_model(arpa)), 0.0)
    out.write_bytes(out.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match=r"`asr lm prune --threshold 0` from an ARPA file"):
        lm("perplexity", out, COMMANDS)


def test_adapt_adds_words(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("call zaphod\n")
    lm("adapt", BASE, tmp_path / "own", "-o", tmp_path / "lm.bin", "--weight", 0.1)
    adapted = read_model(tmp_path / "lm.bin")
    assert ("call", "zaphod") in ngrams_of(adapted)


@pytest.mark.parametrize("verb", ["build", "prune", "interpolate", "adapt"])
def test_a_name_that_says_nothing_is_refused_before_any_work(tmp_path: Path, verb: str) -> None:
    # The inputs do not exist, which would be the next thing to fail.
    inputs = [tmp_path / "a", tmp_path / "b"][: 1 if verb == "prune" else 2]
    with pytest.raises(DataError, match="does not say what to write"):
        lm(verb, *inputs, "-o", tmp_path / "lm.txt")


@pytest.mark.parametrize(
    "arguments",
    [
        ("build", COMMANDS, "t.arpa"),
        ("build", COMMANDS, "--vocab", "t.arpa"),
        ("build", COMMANDS, "--classes", "t.arpa"),
        ("build", COMMANDS, "--model", "t.arpa"),
        ("adapt", BASE, COMMANDS, "t.arpa"),
        ("interpolate", BASE, BASE, "--tune", "t.arpa"),
    ],
)
def test_a_text_is_not_overwritten_by_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.arpa").write_text("call: marta\n")
    with pytest.raises(DataError, match=r"t\.arpa is read and would be overwritten"):
        lm(*arguments, "-o", Path("t.arpa").absolute())
    assert Path("t.arpa").read_text() == "call: marta\n"


@pytest.mark.parametrize("name", ["lm.arpa", "lm.bin"])
def test_a_model_may_take_the_place_of_what_it_is_made_from(tmp_path: Path, name: str) -> None:
    """It was read whole; or its file, which is mapped, is replaced and not changed."""
    (tmp_path / "own").write_text("call zaphod\n")
    lm("prune", BASE, "-o", tmp_path / name, "--threshold", 1e-4)
    before = read_model(tmp_path / name).num_ngrams
    lm("adapt", tmp_path / name, tmp_path / "own", "-o", tmp_path / name)
    lm("interpolate", tmp_path / name, BASE, "-o", tmp_path / name, "--weights", "0.5 0.5")
    grown = read_model(tmp_path / name)
    assert grown.id_of("zaphod") >= 0
    assert grown.num_ngrams > before
    lm("prune", tmp_path / name, "-o", tmp_path / name, "--threshold", 1e-4)
    assert sum(read_model(tmp_path / name).num_ngrams) < sum(grown.num_ngrams)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--prune", "0 x", "cannot read numbers in '0 x'"),
        ("--prune", "1", "must begin with 0"),
        ("--prune", "0 0 1 5", "`prune` has 4 numbers, .* at most 3 where `order` is 3"),
        ("--order", "0", "greater than or equal to 1"),
        ("--vocab", "missing", "cannot read missing"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, option: str, value: str, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        lm("build", COMMANDS, "-o", tmp_path / "lm.arpa", option, value)
    assert list(tmp_path.iterdir()) == []
