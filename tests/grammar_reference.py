"""Grammars the slow way: trees as tuples, their text, their sentences, and what automata read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

from asr.decoding.automaton import AutomatonTables

# ("word", text) ("ref", name) ("seq", tree, …) ("alt", tree, …) ("opt"|"star"|"plus", tree)
# ("null",) ("void",)
Tree = tuple
Sentence = tuple[str, ...]


def write(tree: Tree, choose: Callable[[Sequence[str]], str]) -> str:
    """The tree as grammar text; `choose` picks among ways to write the same."""
    kind, *parts = tree
    if kind == "word":
        quoted = f'"{parts[0]}"'
        return choose([f"({parts[0]})", quoted, f"{quoted} {{a | tag}}", f"( {quoted} ) {{}}"])
    if kind == "ref":
        return choose([f"<{parts[0]}>", f"${parts[0]} ", f"( <{parts[0]}> )"])
    if kind in ("null", "void"):
        return f"<{kind.upper()}>"
    texts = [write(part, choose) for part in parts]
    if kind == "opt":
        return f"[{texts[0]}]"
    if kind in ("star", "plus"):
        return f"({texts[0]}){choose(['', ' ', ' /* comment */ '])}{'*' if kind == 'star' else '+'}"
    between = choose([" ", "\n", "\t// comment\n"]) if kind == "seq" else choose(["|", " | "])
    return f"({between.join(texts)})"


def write_rules(
    rules: Mapping[str, Tree], public: Sequence[str], choose: Callable[[Sequence[str]], str]
) -> str:
    text = choose(["", "#JSGF V1.0;\n", "#JSGF V1.0 UTF-8 en;\ngrammar com.example.test;\n"])
    for name, tree in rules.items():
        head = choose([f"<{name}> =", f"${name}="])
        modifier = "public " if name in public else ""
        text += f"{modifier}{head} {write(tree, choose)}{choose([';', ' ;', ''])}\n"
    return text


def sentences(rules: Mapping[str, Tree], name: str, num_words: int) -> set[Sentence]:
    """All sentences of a rule with up to so many words: the least fixed point, by iteration."""
    known: dict[str, set[Sentence]] = {rule: set() for rule in rules}

    def joined(*languages: set[Sentence]) -> set[Sentence]:
        result = {()}
        for language in languages:
            pairs = product(result, language)
            result = {a + b for a, b in pairs if len(a) + len(b) <= num_words}
        return result

    def language(tree: Tree) -> set[Sentence]:
        kind, *parts = tree
        if kind == "word":
            return {tuple(parts[0].split())}
        if kind == "ref":
            return known[parts[0]]
        inner = [language(part) for part in parts]
        if kind == "alt":
            return set().union(*inner)
        if kind == "opt":
            return {(), *inner[0]}
        if kind in ("star", "plus"):
            repeated = set(inner[0])
            while not joined(repeated, inner[0]) <= repeated:
                repeated |= joined(repeated, inner[0])
            return repeated if kind == "plus" else {(), *repeated}
        return set() if kind == "void" else joined(*inner)

    while True:
        found = {rule: language(tree) for rule, tree in rules.items()}
        if found == known:
            return known[name]
        known = found


Use = tuple[str, str, bool, bool]


def uses(name: str, tree: Tree, is_first: bool = True, is_last: bool = True) -> Iterator[Use]:
    """(user, used, nothing before it, nothing after it) of each reference; NULL is nothing."""
    kind, *parts = tree
    if kind == "ref":
        yield name, parts[0], is_first, is_last
    elif kind == "seq":
        kept = [part for part in parts if not is_null(part)]
        for index, part in enumerate(kept):
            last = index == len(kept) - 1
            yield from uses(name, part, is_first and index == 0, is_last and last)
    elif kind != "word":
        for part in parts:
            yield from uses(name, part, is_first, is_last and kind in ("alt", "opt"))


def is_null(tree: Tree) -> bool:
    return tree == ("null",) or (tree[0] == "seq" and all(map(is_null, tree[1:])))


def has_bad_recursion(rules: Mapping[str, Tree]) -> bool:
    """Whether a rule comes back to itself at its very beginning, or not as its last thing."""
    edges = [use for name, tree in rules.items() for use in uses(name, tree)]

    def reaches(start: str, end: str, allowed: list[Use]) -> bool:
        reached = {start}
        for _ in rules:
            reached |= {used for user, used, *_ in allowed if user in reached}
        return end in reached

    firsts = [edge for edge in edges if edge[2]]
    return any(reaches(used, user, firsts) for user, used, *_ in firsts) or any(
        not is_last and reaches(used, user, edges) for user, used, _, is_last in edges
    )


def arcs_of(tables: AutomatonTables, state: int) -> dict[int, int]:
    begin, end = tables.first_arc[state], tables.first_arc[state + 1]
    pairs = zip(tables.label[begin:end].tolist(), tables.target[begin:end].tolist(), strict=True)
    return dict(pairs)


def read(tables: AutomatonTables, labels: Sequence[int]) -> int:
    """State after some labels, or -1."""
    state = 0
    for label in labels:
        state = arcs_of(tables, state).get(label, -1)
        if state < 0:
            break
    return state


def accepts(tables: AutomatonTables, sentence: str, labels: Mapping[str, int]) -> bool:
    path = [label for word in sentence.split() for label in [*map(labels.__getitem__, word), 0]]
    state = read(tables, path)
    return state >= 0 and bool(tables.is_final[state])


def language_of(
    tables: AutomatonTables, labels: Mapping[str, int], num_words: int
) -> set[Sentence]:
    """All that an automaton reads in up to so many words, by walking every path."""
    letters = {label: letter for letter, label in labels.items()}
    found: set[Sentence] = set()
    stack: list[tuple[int, Sentence, str]] = [(0, (), "")]
    while stack:
        state, words, word = stack.pop()
        if tables.is_final[state]:
            assert not word
            found.add(words)
        for label, target in arcs_of(tables, state).items():
            if label != 0:
                stack.append((target, words, word + letters[label]))
            elif len(words) < num_words:
                stack.append((target, (*words, word), ""))
    return found


def is_between_words(tables: AutomatonTables) -> list[bool]:
    """Whether each state stands between words: the start, and what a boundary leads to."""
    between = {0, *tables.target[tables.label == 0].tolist()}
    return [state in between for state in range(len(tables.is_final))]


def num_distinguishable(tables: AutomatonTables) -> int:
    """How many states differ in what can follow, or in standing between words (Moore 1956)."""
    num_states = len(tables.is_final)
    kinds = list(zip(tables.is_final.tolist(), is_between_words(tables), strict=True))
    while True:
        described = [
            (
                kinds[state],
                tuple((lb, kinds[to]) for lb, to in sorted(arcs_of(tables, state).items())),
            )
            for state in range(num_states)
        ]
        numbers = {description: index for index, description in enumerate(dict.fromkeys(described))}
        if len(numbers) == len(set(kinds)):
            return len(numbers)
        kinds = [(numbers[description], 0) for description in described]
