"""Grammars: their text, their automata against enumeration, and every way they can be wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from grammar_reference import (
    Tree,
    accepts,
    arcs_of,
    has_bad_recursion,
    is_between_words,
    language_of,
    num_distinguishable,
    read,
    sentences,
    write,
    write_rules,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.decoding import automaton, grammar_parser
from asr.decoding.automaton import AutomatonTables, find_arc
from asr.decoding.grammar import MAX_BYTES, compile_grammar, parse_grammar, read_grammar
from asr.decoding.grammar_parser import MAX_NAME, MAX_NESTING
from asr.decoding.lexicon import build_spelling
from asr.errors import DataError
from asr.tokens import tokenizer_from_dict

LABELS = {letter: 1 + index for index, letter in enumerate("'abcdefghijklmnopqrstuvwxyzé")}
ORDER = "$order = (small | large) coffee [with milk]"
NUM_WORDS = 4


def compiled(text: str) -> AutomatonTables:
    return compile_grammar(parse_grammar(text), LABELS)


def language(text: str, num_words: int = NUM_WORDS) -> list[str]:
    found = language_of(compiled(text), LABELS, num_words)
    return sorted(" ".join(sentence) for sentence in found)


# What the text can say, by hand from the JSGF note's rules of precedence: brackets, then `+` and
# `*`, then sequences, then alternatives.
SAID = {
    ORDER: ["large coffee", "large coffee with milk", "small coffee", "small coffee with milk"],
    "$a = a b | c d;": ["a b", "c d"],
    "$a = a (b | c) d;": ["a b d", "a c d"],
    "$a = [a] b | c;": ["a b", "b", "c"],
    "$a = a b+;": ["a b", "a b b", "a b b b"],
    "$a = a [b]+;": ["a", "a b", "a b b", "a b b b"],
    "$a = (a b)*;": ["", "a b", "a b a b"],
    "$a = a b* c;": ["a b b c", "a b c", "a c"],
    "$a = a* b*;": sorted(" ".join("a" * i + "b" * j) for i in range(5) for j in range(5 - i)),
    '$a = "new york" | "a" "don\'t";': ["a don't", "new york"],
    '$a = "b\\c d" | e;': ["bc d", "e"],
    '$a = yes {answer="y"} {two; | tags \\} here} | no {n}* m;': [
        "m",
        "no m",
        "no no m",
        "no no no m",
        "yes",
    ],
    "$a = a <NULL> b | c <VOID> | <NULL>;": ["", "a b"],
    "$a = x $b; $b = y | z $b;": ["x y", "x z y", "x z z y"],
    "$one = one\n$two = two $one\n": ["two one"],
    "$two = two $one; $one = one;": ["two one"],
    "public $a = a $c; public $b = b $c; $c = c; $unused = d;": ["a c", "b c"],
    "public $even = <NULL> | a $odd; $odd = a $even;": ["", "a a", "a a a a"],
    "public $even = <NULL> | a $odd; public $odd = a $even;": ["", "a", "a a", "a a a", "a a a a"],
    "$a = [b] $a | c;": ["b b b c", "b b c", "b c", "c"],
    "#JSGF V1.0;\n$a = café;": ["café"],
    " \n#JSGF V1.0 ISO8859-1 en;\n\n grammar a.b;\n/** doc */ public <a.b-c> = x; // end": ["x"],
    "one two\n\n# a comment with = and <b>\n  three  \nthree\r\none": ["one", "one two", "three"],
    "grammar public import": ["grammar public import"],
    "$public = public grammar import": ["public grammar import"],
    "$a = a public $b = b": ["b"],
}


@pytest.mark.parametrize("text", SAID)
def test_what_can_be_said(text: str) -> None:
    assert language(text) == SAID[text]


def test_recursion_at_the_end_is_a_loop() -> None:
    digits = compiled("<d> = one | two; <ds> = <d> | <d> <ds>;")
    assert accepts(digits, "one two " * 50, LABELS)
    assert not accepts(digits, "", LABELS)
    repeated = compiled("<d> = one | two; <ds> = <d>+;")
    assert all(np.array_equal(a, b) for a, b in zip(digits, repeated, strict=True))


def test_the_path_of_a_sentence_has_a_boundary_after_each_word() -> None:
    tables = compiled("a bc")
    path = [LABELS["a"], 0, LABELS["b"], LABELS["c"], 0]
    assert [bool(tables.is_final[read(tables, path[:n])]) for n in range(6)] == [False] * 5 + [True]
    assert len(tables.is_final) == 6
    assert [array.dtype for array in tables] == [np.int32, np.int32, np.int32, np.bool_]


def test_another_boundary_than_zero() -> None:
    labels = {"a": 0, "b": 1}
    tables = compile_grammar(parse_grammar("ab a\nab"), labels, boundary=7)
    state = read(tables, [0, 1, 7])
    assert tables.is_final[state]
    assert tables.is_final[read(tables, [0, 1, 7, 0, 7])]
    assert read(tables, [0, 7]) == -1


def test_words_of_rules_that_can_be_used() -> None:
    grammar = parse_grammar('public $a = a ("b c" | $d); $d = e | f $d; $unused = g;')
    assert grammar.words() == {"a", "b", "c", "e", "f"}
    assert parse_grammar(r'$a = "\"" "a\\" "(" or/**/else;').words() == set('"(') | {
        "a\\",
        "or",
        "else",
    }


def test_words_are_normalised_on_demand() -> None:
    grammar = parse_grammar("$a = (Twenty-One | uh) Coffee [uh] $b; $b = (YES uh)+;")
    plain = grammar.normalized(lambda word: word.lower().replace("-", " ").replace("uh", ""))
    assert plain.words() == {"twenty", "one", "coffee", "yes"}
    found = language_of(compile_grammar(plain, LABELS), LABELS, 4)
    assert found == {
        ("twenty", "one", "coffee", "yes"),
        ("coffee", "yes"),
        ("coffee", "yes", "yes"),
        ("coffee", "yes", "yes", "yes"),
    }
    assert grammar.words() == {"Twenty-One", "uh", "Coffee", "YES"}


def test_labels_of_a_model() -> None:
    vocab = ["<blank>", " ", *"abcdefghijklmnopqrstuvwxyz"]
    _, labels = build_spelling(tokenizer_from_dict({"kind": "char", "vocab": vocab}))
    tables = compile_grammar(parse_grammar(ORDER), labels)
    assert accepts(tables, "small coffee with milk", labels)
    assert not accepts(tables, "small coffee with", labels)


# Random grammars. Words share beginnings and endings, so that automata have states to merge.


def trees() -> st.SearchStrategy[Tree]:
    leaves = st.sampled_from(
        [
            *[("word", word) for word in ("a", "ab", "b", "bab", "ba", "a b") for _ in range(3)],
            *[("ref", name) for name in ("r1", "r2")],
            *[("ref", "r0"), ("null",), ("void",)],
        ]
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: ("seq", *parts)),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: ("alt", *parts)),
            st.tuples(st.sampled_from(["opt", "star", "plus"]), inner),
        ),
        max_leaves=9,
    )


@st.composite
def grammars(draw: st.DrawFn) -> tuple[dict[str, Tree], list[str], str]:
    rules = {name: draw(trees()) for name in ("r0", "r1", "r2")}
    public = draw(st.lists(st.sampled_from(list(rules)), min_size=1, unique=True))

    def choose(ways: Sequence[str]) -> str:
        return draw(st.sampled_from(ways))

    return rules, public, write_rules(rules, public, choose)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(grammars())
def test_automaton_reads_what_the_grammar_says(
    drawn: tuple[dict[str, Tree], list[str], str],
) -> None:
    rules, public, text = drawn
    if has_bad_recursion(rules):
        with pytest.raises(DataError, match="recursion"):
            parse_grammar(text)
        return
    grammar = parse_grammar(text)
    expected = set().union(*(sentences(rules, name, NUM_WORDS) for name in public))
    if expected <= {()}:
        try:
            tables = compile_grammar(grammar, LABELS)
        except DataError as error:
            assert ("only the empty sentence" if expected else "no sentence") in error.message
            return
        assert language_of(tables, LABELS, 12) > expected, "a sentence must be possible"
        return
    tables = compile_grammar(grammar, LABELS)
    assert language_of(tables, LABELS, NUM_WORDS) == expected
    check_structure(tables)


def check_structure(tables: AutomatonTables) -> None:
    """Sorted, all states reached, all reach a final one, finals between words, none superfluous."""
    num_states = len(tables.is_final)
    assert tables.first_arc[0] == 0
    assert tables.first_arc[-1] == len(tables.label) == len(tables.target)
    arcs = [arcs_of(tables, state) for state in range(num_states)]
    assert all(list(leaving) == sorted(leaving) for leaving in arcs)
    assert sum(map(len, arcs)) == len(tables.label), "a label twice in a state"
    reached, useful = {0}, set(np.flatnonzero(tables.is_final).tolist())
    for _ in range(num_states):
        reached |= {target for state in reached for target in arcs[state].values()}
        useful |= {state for state in range(num_states) if useful & set(arcs[state].values())}
    assert reached == useful == set(range(num_states))
    between = is_between_words(tables)
    assert not any(tables.is_final & ~np.array(between))
    assert num_distinguishable(tables) == num_states


@given(st.lists(st.lists(st.sampled_from(["a", "ab", "ba", "b"]), min_size=1, max_size=4)))
def test_list_of_sentences_reads_itself_in_any_order(said: list[list[str]]) -> None:
    if not said:
        return
    text = "\n".join(map(" ".join, said))
    tables = compiled(text)
    assert language_of(tables, LABELS, 9) == set(map(tuple, said))
    check_structure(tables)
    rule = "$a = " + " | ".join(map(" ".join, reversed(said)))
    assert all(np.array_equal(a, b) for a, b in zip(tables, compiled(rule), strict=True))


# Laws. Automata of one language are the same tables, so that equal ways to write are equal arrays.


def without_references(tree: Tree) -> Tree:
    kind, *parts = tree
    if kind == "ref":
        return ("word", {"r0": "a", "r1": "aab", "r2": "bb"}[parts[0]])
    return (kind, *(without_references(p) if isinstance(p, tuple) else p for p in parts))


def tables_or_problem(text: str) -> list[list[int]] | str:
    try:
        return [array.tolist() for array in compiled(text)]
    except DataError as error:
        return error.message.partition(": ")[2]


def plain(tree: Tree) -> str:
    return write(tree, lambda ways: ways[0])


closed_trees = trees().map(without_references)


@settings(max_examples=40, deadline=None)
@given(closed_trees, closed_trees, closed_trees)
def test_laws_of_regular_expressions(x: Tree, y: Tree, z: Tree) -> None:
    a, b, c = (f"({plain(tree)})" for tree in (x, y, z))
    equal = [
        (f"{a} | {b}", f"{b} | {a} | {b}"),
        (f"({a} {b}) {c}", f"{a} ({b} {c})"),
        (f"{a} ({b} | {c})", f"{a} {b} | {a} {c}"),
        (f"[{a}] {b}", f"({a} | <NULL>) {b}"),
        (f"{a}*", f"[{a}+]"),
        (f"{a}+", f"{a} {a}*"),
        (f"({a} | {b})*", f"({a}* {b}*)*"),
        (f"{a} <VOID> | {b}", f"{b} | <VOID>"),
        (f"{a} {b}", f"$a $b; $a = {a}; $b = {b}"),
    ]
    for left, right in equal:
        assert tables_or_problem(f"$x = {left};") == tables_or_problem(f"$x = {right};")


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from(["a", "ab", "b", "bab"]), min_size=1), closed_trees)
def test_recursion_is_repetition(words: set[str], tree: Tree) -> None:
    head, tail = " | ".join(sorted(words)), f"({plain(tree)})"
    recursive = f"$x = {tail} | ({head}) $x;"
    assert tables_or_problem(recursive) == tables_or_problem(f"$x = ({head})* {tail};")
    mutual = f"public $x = {tail} | ({head}) $y; $y = ({head}) $x;"
    repeated = f"$x = (({head}) ({head}))* {tail};"
    assert tables_or_problem(mutual) == tables_or_problem(repeated)


def as_regex(tree: Tree) -> str:
    """The tree for Python's `re`, each word followed by a blank."""
    kind, *parts = tree
    if kind == "word":
        return "(?:" + "".join(f"{word} " for word in parts[0].split()) + ")"
    if kind in ("null", "void"):
        return "(?:)" if kind == "null" else "(?!)"
    inner = [as_regex(part) for part in parts]
    if kind in ("seq", "alt"):
        return "(?:" + ("" if kind == "seq" else "|").join(inner) + ")"
    return f"(?:{inner[0]}){ {'opt': '?', 'star': '*', 'plus': '+'}[kind] }"


@settings(max_examples=150, deadline=None)
@given(closed_trees, st.lists(st.lists(st.sampled_from(["a", "ab", "b", "bab", "bb"]), max_size=9)))
def test_python_regular_expressions_agree(tree: Tree, said: list[list[str]]) -> None:
    tables = tables_or_problem(f"$x = {plain(tree)};")
    if isinstance(tables, str):
        return
    automaton_tables = AutomatonTables(*map(np.array, tables))
    some = sorted(language_of(automaton_tables, LABELS, 3))[:20]
    for words in [*said, *some, *(first + second for first in some for second in some[:5])]:
        matches = re.fullmatch(as_regex(tree), "".join(f"{word} " for word in words)) is not None
        assert accepts(automaton_tables, " ".join(words), LABELS) == matches


@settings(max_examples=100, deadline=None)
@given(closed_trees, st.dictionaries(
    st.sampled_from(["a", "b", "ab", "ba", "bab"]), st.sampled_from(["a", "b", "", "b a", "ab"])
))  # fmt: skip
def test_normalised_grammar_says_the_sentences_normalised(
    tree: Tree, table: dict[str, str]
) -> None:
    def normalize(word: str) -> str:
        return table.get(word, word)

    def rewritten(part: Tree) -> Tree:
        kind, *parts = part
        if kind == "word":
            return ("seq", ("null",), *(("word", normalize(word)) for word in parts[0].split()))
        return (kind, *map(rewritten, parts))

    grammar = parse_grammar(f"$x = {plain(tree)};").normalized(normalize)
    expected = sentences({"x": rewritten(tree)}, "x", NUM_WORDS)
    try:
        tables = compile_grammar(grammar, LABELS)
    except DataError:
        assert expected <= {()}
    else:
        assert language_of(tables, LABELS, NUM_WORDS) == expected
        assert grammar.words() >= set().union(*expected)


def test_find_arc_is_what_the_tables_say() -> None:
    tables = compiled("$a = (ab | ac | b | bad | café) (x | y)* [zoo];")
    for state in range(len(tables.is_final)):
        expected = [arcs_of(tables, state).get(label, -1) for label in range(-1, 40)]
        assert [find_arc(tables, state, label) for label in range(-1, 40)] == expected


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


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES).map("".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    try_to_compile(text)


@settings(max_examples=150, deadline=None)
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
