"""Grammars: rules in a subset of JSGF, or a list of sentences, that say what can be said.

Rules, each up to its semicolon (which may be missing where the next rule or the end follows)::

    #JSGF V1.0;                          // this header and `grammar name;` may be missing
    $size = small | large;               // `$size` and `<size>` are the same rule
    public $order = $size coffee [with (milk | "oat milk")] {a tag} [please];
    <number> = <digit>+;  <digit> = one | two;

`( )` groups, `[ ]` may be left out, `|` separates alternatives, `+` says once or more often, `*`
any number of times; quotes join words or protect signs; `<NULL>` is nothing, `<VOID>` cannot be
said. Tags `{…}` are skipped. Weights and imports are refused. A rule may come back to itself only
as the last thing of a sequence. Sentences are those of the public rules; where none is public,
those of the only rule that no other one uses.

A text without rules is a list: each line a sentence, except blank lines and lines that begin
with `#`. Files are UTF-8; the encoding that a header names is not looked at.

References:
    JSpeech Grammar Format, W3C Note 5 June 2000.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from asr.decoding.automaton import (
    AutomatonTables,
    Budget,
    Dfa,
    Network,
    Sentences,
    minimal_dfa,
    spell_out,
)
from asr.decoding.grammar_parser import EXAMPLE, parse_rules, shortened
from asr.decoding.grammar_rules import (
    Expansion,
    Grammar,
    InOrder,
    OneOf,
    Reference,
    Repeated,
    Rule,
    Terminal,
    check_rules,
    in_order,
    leaves,
)
from asr.decoding.lexicon import itself
from asr.errors import DataError, not_utf8_hint
from asr.tokens import ADD_WORDS

MAX_BYTES = 4_000_000
"""Of a grammar's text; more is no grammar that somebody wrote."""

_HEADER = re.compile(r"\s*#JSGF\b([^;\n]*)(;?)")
_COMMENT = re.compile(r"(?ms)^[^\S\n]*#[^\n]*|/\*.*?(?:\*/|\Z)|//[^\n]*")
_RULE_HEAD = re.compile(r"(?:<[^\s<>]+>|\$[\w-]+)\s*=")
_NOT_IN_SENTENCES = re.compile(r"[=|<>\[\]{}]")


def read_grammar(path: Path) -> Grammar:
    """Read rules, or a list of sentences: see the module.

    Raises:
        DataError: The file cannot be read, is larger than MAX_BYTES or not UTF-8, or
            `parse_grammar` refuses the text.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise DataError(f"{path} has more than {MAX_BYTES:,} bytes, which is no grammar")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        raise DataError(
            f"{path}, line {line}: not UTF-8 (byte {error.start} of the file)",
            hint=not_utf8_hint(content),
        ) from None
    return parse_grammar(text, str(path))


def parse_grammar(text: str, source: str = "grammar") -> Grammar:
    """Take a text as rules where it has a JSGF header or a rule, and as a list of sentences else.

    Args:
        text: See the module.
        source: What to call the text in errors.

    Raises:
        DataError: It is neither, with line and column: a bracket is open, a rule is empty, there
            twice or not defined, recursion is not at the end, or there is nothing at all.
    """
    header = _HEADER.match(text)
    if header is None:
        uncommented = _COMMENT.sub(" ", text)
        if not _RULE_HEAD.search(uncommented):
            return _parse_list(text, source)
    elif header[1].split()[:1] != ["V1.0"] or not header[2]:
        line = 1 + text.count("\n", 0, header.start(1))
        raise DataError(
            f"{source}, line {line}: expected `#JSGF V1.0;`, got {shortened(header[0].strip())!r}"
        )
    rules, public = parse_rules(text, header.end() if header else 0, source)
    check_rules(rules, source)
    return Grammar(rules, tuple(public) or (_only_unused(rules, source),), source)


def compile_grammar(
    grammar: Grammar,
    labels: Mapping[str, int],
    boundary: int = 0,
    spellings: Callable[[str], Sequence[str]] = itself,
) -> AutomatonTables:
    """The automaton that reads the sentences of a grammar, character by character.

    A sentence is read as the labels of its characters with one `boundary` after each word, the last
    one too. The automaton is deterministic and minimal (see `automaton`), and from each of its
    states a sentence can be completed. Words are taken as they stand: see `Grammar.normalized`.

    Args:
        grammar: As read.
        labels: Of each character that tokens have, as `lexicon.build_spelling` numbers them.
        boundary: The label between words; none of `labels`.
        spellings: Of a word; see `Tokenizer.spellings`.

    Raises:
        DataError: A word cannot be spelled; no sentence can be said, or none but the empty one;
            or the automaton becomes larger than `automaton.MAX_STATES` or takes more work than
            `automaton.MAX_STEPS`.
    """
    first_use: dict[str, Terminal] = {}
    for word in grammar.used_words():
        if word.text not in first_use or word.line < first_use[word.text].line:
            first_use[word.text] = word
    spelled = {
        text: _spell(word, spellings(text), labels, grammar.source)
        for text, word in sorted(first_use.items())
    }
    paths = sorted(set().union(*spelled.values()))
    place = {path: symbol for symbol, path in enumerate(paths)}
    symbols = {text: [place[path] for path in found] for text, found in spelled.items()}
    budget = Budget(grammar.source)
    dfa = _automaton_of(grammar, symbols, budget)
    if not dfa.arcs[0]:
        line = grammar.rules[grammar.roots[0]].line
        only = "only the empty sentence" if dfa.is_final[0] else "no sentence"
        raise DataError(
            f"{grammar.source}, line {line}: {only} can be said; expected one with a word",
            hint="look for <NULL>, <VOID>, recursion without an end, and words without letters",
        )
    return spell_out(dfa, paths, boundary, budget)


def _spell(
    word: Terminal, spellings: Sequence[str], labels: Mapping[str, int], source: str
) -> list[tuple[int, ...]]:
    """The labels of a word, one sequence for each of its spellings."""
    if not spellings:
        raise DataError(
            f"{source}, line {word.line}: the model has no pronunciation of the word "
            f"{shortened(word.text)!r}",
            hint=ADD_WORDS,
        )
    unknown = sorted(set("".join(spellings)) - labels.keys())
    if unknown:
        raise DataError(
            f"{source}, line {word.line}: the word {shortened(word.text)!r} has characters that "
            f"the model's tokens lack: {', '.join(map(repr, unknown[:10]))}",
            hint="write it as the model's transcripts are written: same case, no punctuation",
        )
    return [tuple(labels[character] for character in spelling) for spelling in spellings]


def compile_sentences(grammar: Grammar) -> Sentences:
    """The minimal automaton that reads the sentences of a grammar, word by word.

    Raises:
        DataError: It becomes larger than `automaton.MAX_STATES`, or takes too much work.
    """
    words = sorted(grammar.words())
    symbols = {word: [symbol] for symbol, word in enumerate(words)}
    arcs, is_final = _automaton_of(grammar, symbols, Budget(grammar.source))
    by_word = [{words[symbol]: target for symbol, target in leaving.items()} for leaving in arcs]
    return Sentences(by_word, is_final)


def _automaton_of(grammar: Grammar, symbols: Mapping[str, Sequence[int]], budget: Budget) -> Dfa:
    """The minimal automaton over symbols of words, several for a word said in several ways."""
    network = Network(budget)
    start, end = network.add_state(), network.add_state()
    _connect(grammar, symbols, network, start, end)
    return minimal_dfa(network, start, end)


def _connect(
    grammar: Grammar,
    symbols: Mapping[str, Sequence[int]],
    network: Network,
    start: int,
    end: int,
) -> None:
    """Add the ways from `start` to `end` that read the grammar's sentences.

    A rule is entered once for each state that it is to lead to: what comes back to itself as the
    last thing of a sequence leads to the same state, and so becomes a loop. Rules and repetitions
    are what more arcs may come to lead to, hence each begins with a state of its own.
    """
    entries: dict[tuple[str, int], int] = {}
    todo: list[tuple[Expansion, int, int]] = [
        (Reference(r, 0, 0), start, end) for r in grammar.roots
    ]
    while todo:
        part, source, target = todo.pop()
        network.budget.spend(1)
        match part:
            case Terminal(text):
                network.arcs[source] += [(symbol, target) for symbol in symbols[text]]
            case Reference(name):
                if (name, target) not in entries:
                    entries[name, target] = network.add_state()
                    todo.append((grammar.rules[name].expansion, entries[name, target], target))
                network.empty[source].append(entries[name, target])
            case OneOf(options):
                todo.extend((option, source, target) for option in options)
            case Repeated(item):
                first, last = network.add_state(), network.add_state()
                network.empty[source].append(first)
                network.empty[last] += [first, target]
                todo.append((item, first, last))
            case InOrder(()):
                network.empty[source].append(target)
            case InOrder(items):
                between = [network.add_state() for _ in items[1:]]
                ends = zip([source, *between], [*between, target], strict=True)
                todo.extend((item, *pair) for item, pair in zip(items, ends, strict=True))


def _parse_list(text: str, source: str) -> Grammar:
    terminals: dict[str, Terminal] = {}
    sentences: list[Expansion] = []
    first_line = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        if found := _NOT_IN_SENTENCES.search(line):
            raise DataError(
                f"{source}, line {number}, column {found.start() + 1}: expected a sentence in "
                f"plain words, got {found[0]!r}",
                hint=f"a rule begins with its name: {EXAMPLE}",
            )
        words = [terminals.setdefault(word, Terminal(word, number)) for word in line.split()]
        sentences.append(in_order(words))
        first_line = first_line or number
    if not sentences:
        raise DataError(
            f"{source}, line 1: expected a rule or a sentence, got none", hint=f"such as {EXAMPLE}"
        )
    rule = Rule("sentences", OneOf(tuple(sentences)), first_line, 1)
    return Grammar({rule.name: rule}, (rule.name,), source)


def _only_unused(rules: Mapping[str, Rule], source: str) -> str:
    """The only rule that no other rule refers to."""
    used = {
        part.name
        for rule in rules.values()
        for part in leaves(rule.expansion)
        if isinstance(part, Reference) and part.name != rule.name
    }
    unused = [rule for rule in rules.values() if rule.name not in used]
    if len(unused) != 1:
        line = unused[1].line if unused else next(iter(rules.values())).line
        got = " and ".join(f"<{rule.name}>" for rule in unused[:2]) or "none"
        raise DataError(
            f"{source}, line {line}: expected only one rule that no other rule uses, got {got}",
            hint="write `public` before the rules whose sentences can be said",
        )
    return unused[0].name
