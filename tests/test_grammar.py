"""Grammars: their text, and their automata against enumeration of what they say."""

from __future__ import annotations

import re
from collections.abc import Sequence

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

from asr.decoding.automaton import AutomatonTables, find_arc
from asr.decoding.grammar import compile_grammar, parse_grammar
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


def test_a_comment_between_name_and_sign_leaves_it_a_rule() -> None:
    assert language("$a /* the\norder */ = b // or\n c;") == ["b c"]


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


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
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


@settings(max_examples=40)
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


@settings(max_examples=40)
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


@settings(max_examples=150)
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


@settings(max_examples=100)
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
