"""Rules of a grammar from their text: tokens, and a parser by recursive descent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn

from asr.decoding.grammar_rules import (
    NULL,
    VOID,
    Expansion,
    OneOf,
    Reference,
    Repeated,
    Rule,
    Terminal,
    in_order,
)
from asr.errors import DataError

MAX_NESTING = 50
"""Brackets inside brackets."""

MAX_NAME = 100
"""Characters of a rule's name."""

MAX_SHOWN = 40
"""Characters of a text that errors quote."""

EXAMPLE = "$order = (small | large) coffee [with milk];"

_TOKEN = re.compile(
    r"""
      (?P<skipped> \s+ | //[^\n]* | /\*.*?\*/ )
    | (?P<name>    <[^\s<>]+> | \$[\w-]+ )
    | (?P<quoted>  "(?:[^"\\\n]|\\.)*" )
    | (?P<tag>     \{(?:[^{}\\]|\\.)*\} )
    | (?P<weight>  /[^/*\n]*/ )
    | (?P<sign>    [()\[\]|*+;=] )
    | (?P<word>    [^\s()\[\]{}<>|*+;="/$]+ )
    | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
_EXPECTED_ITEM = "a word, a rule or a bracket"
# What a sign that begins no token means, and what it should have been.
_STRAY = {
    '"': 'a closing `"` on the same line',
    "{": "a tag with its `}`, without braces inside",
    "}": "no `}` without a tag's `{`",
    "/": "no `/` but in comments; quote it where it belongs to a word",
    "<": "a rule's name without blanks and its `>`",
    ">": "no `>` without a rule's `<`",
    "$": "a rule's name after `$`; quote the sign where it belongs to a word",
}


def shortened(text: str) -> str:
    """A text as errors show it."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def parse_rules(text: str, begin: int, source: str) -> tuple[dict[str, Rule], list[str]]:
    """Parse rules as `grammar` describes them; references are not checked.

    Args:
        text: The whole text, for counting lines.
        begin: Where the rules begin in it, after the header.
        source: What to call the text in errors.

    Returns:
        The rules in the order of the text, and the names of the public ones.

    Raises:
        DataError: The text is malformed, or holds no rule; with line and column.
    """
    return _Parser(text, begin, source).parse()


class _Token(NamedTuple):
    kind: str
    text: str
    line: int
    column: int


def _tokens(text: str, begin: int, source: str) -> Iterator[_Token]:
    """Tokens from `begin` on, and two of kind `end` behind the last."""
    line = 1 + text.count("\n", 0, begin)
    line_begin = text.rfind("\n", 0, begin) + 1
    for found in _TOKEN.finditer(text, begin):
        kind = str(found.lastgroup)
        token = _Token(kind, found[0], line, found.start() - line_begin + 1)
        if kind == "other":
            expected = (
                "a comment's `*/`" if text.startswith("/*", found.start()) else _STRAY[found[0]]
            )
            raise _error(source, token, f"expected {expected}")
        if kind != "skipped":
            yield token._replace(kind=token.text) if kind == "sign" else token
        if "\n" in token.text:
            line += token.text.count("\n")
            line_begin = found.start() + token.text.rfind("\n") + 1
    while True:
        yield _Token("end", "the end", line, len(text) - line_begin + 1)


def _error(source: str, token: _Token, message: str, hint: str | None = None) -> DataError:
    return DataError(f"{source}, line {token.line}, column {token.column}: {message}", hint=hint)


class _Parser:
    """Recursive descent; `_ahead` holds the tokens that were looked at but not taken."""

    def __init__(self, text: str, begin: int, source: str) -> None:
        self._source = source
        self._tokens = _tokens(text, begin, source)
        self._ahead: list[_Token] = []
        self._terminals: dict[str, Terminal] = {}
        self._rules: dict[str, Rule] = {}

    def parse(self) -> tuple[dict[str, Rule], list[str]]:
        """The rules in the order of the text, and the names of the public ones."""
        public: list[str] = []
        if self._peek().text == "grammar":
            self._skip_declaration()
        while self._peek().kind != "end":
            if self._peek().text == "import":
                self._refuse("imports are not supported", "copy the rules into this grammar")
            is_public = self._peek().text == "public"
            if is_public:
                self._take()
            rule = self._rule()
            self._rules[rule.name] = rule
            if is_public:
                public.append(rule.name)
        if not self._rules:
            self._refuse("expected a rule, got the end", f"such as {EXAMPLE}")
        return self._rules, public

    def _peek(self, distance: int = 0) -> _Token:
        while len(self._ahead) <= distance:
            self._ahead.append(next(self._tokens))
        return self._ahead[distance]

    def _take(self) -> _Token:
        token = self._peek()
        del self._ahead[0]
        return token

    def _expect(self, kind: str, expected: str) -> _Token:
        if self._peek().kind != kind:
            self._refuse(f"expected {expected}, got {self._shown()}")
        return self._take()

    def _refuse(self, message: str, hint: str | None = None) -> NoReturn:
        raise _error(self._source, self._peek(), message, hint)

    def _shown(self) -> str:
        token = self._peek()
        return token.text if token.kind == "end" else repr(shortened(token.text))

    def _skip_declaration(self) -> None:
        self._take()
        self._expect("word", "the grammar's name after `grammar`")
        self._expect(";", "`;` after the grammar's name")

    def _rule(self) -> Rule:
        token = self._peek()
        if token.kind != "name":
            self._refuse(
                f"expected a rule's name, got {self._shown()}", f"a rule looks like {EXAMPLE}"
            )
        name = _name(self._take(), self._source)
        if name in ("NULL", "VOID"):
            raise _error(self._source, token, f"<{name}> has its meaning already; use another name")
        if name in self._rules:
            first = self._rules[name].line
            raise _error(
                self._source, token, f"the rule <{name}> is there already, in line {first}"
            )
        self._expect("=", f"`=` after <{name}>")
        expansion = self._alternatives(0)
        if not self._at_rule() and self._peek().kind != "end":
            self._expect(";", f"{_EXPECTED_ITEM}, or `;` to end <{name}>")
        return Rule(name, expansion, token.line, token.column)

    def _at_rule(self) -> bool:
        """Whether a rule begins here; `=` stands nowhere else."""
        skipped = 1 if self._peek().text == "public" else 0
        return self._peek(skipped).kind == "name" and self._peek(skipped + 1).kind == "="

    def _alternatives(self, nesting: int) -> Expansion:
        options = [self._sequence(nesting)]
        while self._peek().kind == "|":
            self._take()
            options.append(self._sequence(nesting))
        return options[0] if len(options) == 1 else OneOf(tuple(options))

    def _sequence(self, nesting: int) -> Expansion:
        if self._peek().kind == "weight":
            self._refuse(
                f"weights such as {self._shown()} are not supported",
                "a grammar says what can be said, not how likely it is; remove the weights",
            )
        items: list[Expansion] = []
        while not items or self._peek().kind in ("word", "quoted", "name", "(", "["):
            if items and self._at_rule():
                break
            items.append(self._item(nesting))
        return in_order(items)

    def _item(self, nesting: int) -> Expansion:
        item = self._atom(nesting)
        while self._peek().kind == "tag":
            self._take()
        if self._peek().kind in ("+", "*"):
            repeated = Repeated(item)
            item = repeated if self._take().kind == "+" else OneOf((repeated, NULL))
        while self._peek().kind == "tag":
            self._take()
        return item

    def _atom(self, nesting: int) -> Expansion:
        token = self._peek()
        if token.kind in ("(", "["):
            return self._bracket(nesting + 1)
        if token.kind not in ("word", "quoted", "name") or self._at_rule():
            self._refuse(f"expected {_EXPECTED_ITEM}, got {self._shown()}")
        self._take()
        if token.kind == "name":
            name = _name(token, self._source)
            special: Mapping[str, Expansion] = {"NULL": NULL, "VOID": VOID}
            return special.get(name) or Reference(name, token.line, token.column)
        quoted = token.kind == "quoted"
        words = re.sub(r"\\(.)", r"\1", token.text[1:-1]).split() if quoted else [token.text]
        if not words:
            raise _error(self._source, token, 'expected a word between the quotes, got ""')
        return in_order([self._terminals.setdefault(w, Terminal(w, token.line)) for w in words])

    def _bracket(self, nesting: int) -> Expansion:
        opening = self._take()
        if nesting > MAX_NESTING:
            message = f"brackets are nested more than {MAX_NESTING} deep"
            raise _error(self._source, opening, message, "name the inner part as a rule of its own")
        inside = self._alternatives(nesting)
        closing = ")" if opening.kind == "(" else "]"
        place = f"line {opening.line}, column {opening.column}"
        self._expect(
            closing, f"{_EXPECTED_ITEM}, or `{closing}` for the `{opening.kind}` of {place}"
        )
        return inside if opening.kind == "(" else OneOf((inside, NULL))


def _name(token: _Token, source: str) -> str:
    if len(token.text) > MAX_NAME:
        message = f"expected a rule's name of at most {MAX_NAME} characters"
        raise _error(source, token, f"{message}, got {shortened(token.text)!r}")
    return token.text[1:] if token.text.startswith("$") else token.text[1:-1]
