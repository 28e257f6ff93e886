"""Grammars that are refused: what is wrong, where, and that nothing makes reading run away."""

from __future__ import annotations

from pathlib import Path

import pytest
from grammar_reference import (
    Tree,
    accepts,
    language_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_grammar import LABELS, ORDER, check_structure, compiled, grammars

from asr.decoding import automaton, grammar_parser
from asr.decoding.grammar import MAX_BYTES, compile_grammar, parse_grammar, read_grammar
from asr.decoding.grammar_parser import MAX_NAME, MAX_NESTING
from asr.errors import DataError

# Errors: what, where, and what was expected.

REFUSED = {
    "": (1, "expected a rule or a sentence, got none"),
    " \n# only = a comment\n": (1, "expected a rule or a sentence"),
    "one\ntwo | three": (2, "column 5: expected a sentence in plain words, got '|'"),
    "one\norder = small": (2, "column 7: expected a sentence in plain words, got '='"),
    "<order> small": (1, "column 1: expected a sentence in plain words, got '<'"),
    "#JSGF V1.0;\n": (2, "column 1: expected a rule, got the end"),
    "#JSGF V2.0;\n$a = b;": (1, "expected `#JSGF V1.0;`, got '#JSGF V2.0;'"),
    "\n#JSGF V1.0\n$a = b;": (2, "expected `#JSGF V1.0;`, got '#JSGF V1.0'"),
    "// late\n#JSGF V1.0;\n$a = b;": (2, "column 1: expected a rule's name, got '#JSGF'"),
    "grammar;\n$a = b;": (1, "column 8: expected the grammar's name after `grammar`, got ';'"),
    "grammar a\n$a = b;": (2, "column 1: expected `;` after the grammar's name, got '$a'"),
    "import <x.y>;\n$a = b;": (1, "column 1: imports are not supported"),
    "$a = b;\norder = c;": (2, "column 1: expected a rule's name, got 'order'"),
    "$a = b;\npublic;": (2, "column 7: expected a rule's name, got ';'"),
    "$a = b;\n$b c;": (2, "column 4: expected `=` after <b>, got 'c'"),
    "$a = ;": (1, "column 6: expected a word, a rule or a bracket, got ';'"),
    "$a =": (1, "column 5: expected a word, a rule or a bracket, got the end"),
    "$a =\n$b = c;": (2, "column 1: expected a word, a rule or a bracket, got '$b'"),
    "$a = b |\n | c;": (2, "column 2: expected a word, a rule or a bracket, got '|'"),
    "$a = b | ;": (1, "column 10: expected a word, a rule or a bracket, got ';'"),
    "$a = ();": (1, "column 7: expected a word, a rule or a bracket, got ')'"),
    "$a = b []\n;": (1, "column 9: expected a word, a rule or a bracket, got ']'"),
    "$a = + b;": (1, "column 6: expected a word, a rule or a bracket, got '+'"),
    "$a = b**;": (1, "column 8: expected a word, a rule or a bracket, or `;` to end <a>, got '*'"),
    "$a = b\n (c\n;": (3, "column 1: expected a word, a rule or a bracket, or `)` for the `(` of "
                      "line 2, column 2, got ';'"),
    "$a = [b": (1, "or `]` for the `[` of line 1, column 6, got the end"),
    "$a = [b)": (1, "column 8: expected a word, a rule or a bracket, or `]`"),
    "$a = b);": (1, "column 7: expected a word, a rule or a bracket, or `;` to end <a>, got ')'"),
    '$a = b\n"c;\n': (2, 'column 1: expected a closing `"` on the same line'),
    '$a = " " b;': (1, "column 6: expected a word between the quotes"),
    "$a = b {c;\n": (1, "column 8: expected a tag with its `}`"),
    "$a = b } c;": (1, "column 8: expected no `}`"),
    "$a = {c} b;": (1, "column 6: expected a word, a rule or a bracket, got '{c}'"),
    "$a = b; /* c\n": (1, "column 9: expected a comment's `*/`"),
    "$a = b/c;": (1, "column 7: expected no `/` but in comments"),
    "$a = b <c d>;": (1, "column 8: expected a rule's name without blanks and its `>`"),
    "$a = b > c;": (1, "column 8: expected no `>`"),
    "$a = b $;": (1, "column 8: expected a rule's name after `$`"),
    "$a = b | /0.3/ c;": (1, "column 10: weights such as '/0.3/' are not supported"),
    f"$a = b;\n${'n' * MAX_NAME} = c;": (2, "column 1: expected a rule's name of at most 100"),
    "$a = b;\n<VOID> = c;": (2, "column 1: <VOID> has its meaning already"),
    "$a = b;\n/* two\nlines */ <a> = c;": (3, "column 10: the rule <a> is there already, in line"),
    "$a = b\n $c;": (2, "column 2: the rule <c> is not defined"),
    "public $a = b;\n$unused = <c>;": (2, "column 11: the rule <c> is not defined"),
    "$a = b;\n$c = d;": (2, "expected only one rule that no other rule uses, got <a> and <c>"),
    "$a = b $c;\n$c = d $a;": (1, "expected only one rule that no other rule uses, got none"),
    "$a = <a> b | c;": (1, "column 6: left recursion: <a> → <a>"),
    "$a = c | <a>;": (1, "column 10: left recursion: <a> → <a>"),
    "public <a> = b | c\n <d>; <d> = e | <f> g; <f> = <d>;": (2, "left recursion: <d> → <f> → <d>"),
    "$a = b <a> c | d;": (1, "column 8: recursion before the end of a rule: <a> → <a>"),
    "$a = (b | c <a>)+;": (1, "column 13: recursion before the end of a rule: <a> → <a>"),
    "public <a> = b <c> x;\n<c> = d | e <a>;": (1, "recursion before the end of a rule: <a> → <c>"),
    "$a = " + "(" * (MAX_NESTING + 1): (1, "column 56: brackets are nested more than 50 deep"),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_bad_text_is_refused_where_it_is_bad(text: str) -> None:
    line, expected = REFUSED[text]
    with pytest.raises(DataError) as caught:
        parse_grammar(text, "my.gram")
    assert caught.value.message.startswith(f"my.gram, line {line}")
    assert expected in caught.value.message


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("$a = b\n| C3-PO;", 2, "the word 'C3-PO' has characters that the model's tokens lack: "),
        ("b\n\nc d e!", 3, "the word 'e!' has characters that the model's tokens lack: '!'"),
        ("b!\nc\nb!", 1, "the word 'b!'"),
        ("x" * 50 + "?", 1, f"the word '{'x' * 40}…' has"),
        ("// none\n$a = <NULL>;", 2, "only the empty sentence can be said"),
        ("$a = <NULL>* [<NULL>] | b <VOID>;", 1, "only the empty sentence can be said"),
        ("\n$a = <VOID>;", 2, "no sentence can be said"),
        ("$a = b $a;", 1, "no sentence can be said"),
    ],
)
def test_grammars_that_cannot_be_compiled(text: str, line: int, expected: str) -> None:
    grammar = parse_grammar(text, "my.gram")
    with pytest.raises(DataError) as caught:
        compile_grammar(grammar, LABELS)
    assert caught.value.message.startswith(f"my.gram, line {line}: {expected}")


def test_words_that_vanish_leave_no_sentence() -> None:
    grammar = parse_grammar("well\nuh").normalized(lambda word: "")
    with pytest.raises(DataError, match="only the empty sentence"):
        compile_grammar(grammar, LABELS)


def test_long_cycles_are_shortened() -> None:
    rules = "".join(f"<r{i}> = <r{(i + 1) % 5000}>;\n" for i in range(5000))
    with pytest.raises(DataError) as caught:
        parse_grammar("public " + rules)
    assert "<r0> → <r1> → <r2> → <r3> → … → <r4997> → <r4998> → <r4999> → <r0>" in str(caught.value)


BLANKS = st.sampled_from([" ", "\n", "\n\n  ", "\t", " // $note = ( | \n", "/* two\nlines */"])
PARTS = (
    *(
        "public",
        "$order",
        "=",
        "(",
        "small",
        "|",
        "large",
        ")",
        "coffee",
        "[",
        "with",
        '"oat milk"',
    ),
    *("{tag}", "]", "+", "<rest>", ";", "<rest>", "=", "please", "*", "|", "<order>", ";"),
)


@given(st.lists(BLANKS, min_size=len(PARTS), max_size=len(PARTS)), st.integers(0, len(PARTS) - 1))
def test_first_stray_sign_is_found_among_any_blanks(blanks: list[str], place: int) -> None:
    pieces = [part + blank for part, blank in zip(PARTS, blanks, strict=True)]
    before, after = "".join(pieces[:place]), "".join(pieces[place:])
    assert parse_grammar(before + after).words() == {
        *("small", "large", "coffee", "with", "oat", "milk", "please")
    }
    line = 1 + before.count("\n")
    column = len(before) - (before.rfind("\n") + 1) + 1
    with pytest.raises(
        DataError, match=f"^grammar, line {line}, column {column}: expected no `}}`"
    ):
        parse_grammar(before + "} " + after)


# Files.


def test_read_grammar(tmp_path: Path) -> None:
    path = tmp_path / "order.gram"
    path.write_bytes(b"\xef\xbb\xbf" + ORDER.encode() + b" \r\n | caf\xc3\xa9;\r\n")
    assert read_grammar(path).words() == {"small", "large", "coffee", "with", "milk", "café"}
    assert read_grammar(path).source == str(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.gram: No such file"):
        read_grammar(tmp_path / "none.gram")
    with pytest.raises(DataError, match="cannot read"):
        read_grammar(tmp_path)
    latin = tmp_path / "latin.gram"
    latin.write_bytes(b"one\ncaf\xe9\n")
    with pytest.raises(DataError, match=r"latin\.gram, line 2: not UTF-8 \(byte 7 of the file\)"):
        read_grammar(latin)
    large = tmp_path / "large.gram"
    large.write_bytes(b"a" * MAX_BYTES)
    assert read_grammar(large).words() == {"a" * MAX_BYTES}
    large.write_bytes(b"a" * MAX_BYTES + b"b")
    with pytest.raises(DataError, match=f"more than {MAX_BYTES:,} bytes"):
        read_grammar(large)


# Bounds.


def test_deep_texts_need_no_deep_stack() -> None:
    nested = "$a = " + "[b (c | " * (MAX_NESTING // 2) + "d" + ")+]" * (MAX_NESTING // 2)
    grammar = parse_grammar(nested).normalized(str.upper).normalized(str.lower)
    tables = compile_grammar(grammar, LABELS)
    assert accepts(tables, "b " * 25 + "d d c", LABELS)
    assert not accepts(tables, "b " * 24 + "d", LABELS)
    chain = "".join(f"<r{i}> = b <r{i + 1}>;" for i in range(3000)) + "<r3000> = c [<r0>];"
    tables = compiled("public " + chain)
    assert accepts(tables, "b " * 3000 + "c", LABELS)
    assert not accepts(tables, "b " * 2999 + "c", LABELS)
    word = "x" * 20_000
    assert accepts(compiled(word), word, LABELS)


def test_exponential_grammars_end_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automaton, "MAX_STATES", 2000)
    doubling = "".join(f"$r{i} = $r{i + 1} $r{i + 1};" for i in range(60))
    for last in ("x", "<NULL>"):
        with pytest.raises(DataError, match=r"grammar is too large.* more than 2,000 states"):
            compiled(f"{doubling} $r60 = {last};")
    with pytest.raises(DataError, match="more than 2,000 states"):
        compiled("x" * 2001)
    assert len(compiled("x" * 1998).is_final) == 2000


def test_subset_construction_has_a_bound() -> None:
    # Which of the last 40 words were `a` needs 2 ** 40 states.
    with pytest.raises(DataError, match="more than 10,000,000 steps of work"):
        compiled("$c = a | b; $a = $c* a " + "$c " * 40)


def test_vocabulary_loops_stay_small() -> None:
    words = [f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmnop" for c in "qrstuvwx"]
    tables = compiled(f"$word = {' | '.join(words)}; $all = $word+ stop;")
    assert len(tables.is_final) < 50
    assert accepts(tables, " ".join([*words, "stop"]), LABELS)


# Fuzz: an error that says where, or an automaton.

PIECES = st.sampled_from(
    (
        *'()[]|*+;={}/<>$"\\# \nxy\u2028',
        *("//", "/*", "*/", "$a", "<b>", "$a = ", "<b> =", "public ", "<NULL>", "<VOID>"),
        *("#JSGF V1.0;", "grammar g;", "import ", "/0.5/", '"x y"', "{t}"),
    )
)


def try_to_compile(text: str) -> None:
    try:
        tables = compile_grammar(parse_grammar(text, "fuzz"), LABELS)
    except DataError as error:
        assert error.message.startswith("fuzz, line ")
        assert len(error.message) < 500
    else:
        assert language_of(tables, LABELS, 0) <= {()}
        check_structure(tables)


@settings(max_examples=300)
@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    try_to_compile(text)


@settings(max_examples=150)
@given(grammars(), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 8), PIECES), max_size=4))
def test_damaged_grammars_are_read_or_refused(
    drawn: tuple[dict[str, Tree], list[str], str], edits: list[tuple[int, int, str]]
) -> None:
    text = drawn[2]
    for begin, length, piece in edits:
        at = begin % (len(text) + 1)
        text = text[:at] + piece + text[at + length :]
    try_to_compile(text)


def test_shortened_texts() -> None:
    assert grammar_parser.shortened("b" * 40) == "b" * 40
    assert grammar_parser.shortened("b" * 41) == "b" * 40 + "…"
