"""What a grammar is once it is read: rules as trees, and the recursion that they may have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from asr.errors import DataError

SHOWN_RULES = 8
"""Of a longer cycle, only the ends are named."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """A word as it stands in the grammar, and the line where it first does."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A rule in place of what it stands for."""

    name: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class InOrder:
    """One item after the other; without items it reads nothing, as `<NULL>` does."""

    items: tuple[Expansion, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    """Alternatives; without any it reads no sentence at all, as `<VOID>` does."""

    options: tuple[Expansion, ...]


@dataclass(frozen=True, slots=True)
class Repeated:
    """An item once or more often."""

    item: Expansion


Expansion = Terminal | Reference | InOrder | OneOf | Repeated
NULL = InOrder(())
VOID = OneOf(())


@dataclass(frozen=True, slots=True)
class Rule:
    """What a name stands for, and where its definition begins."""

    name: str
    expansion: Expansion
    line: int
    column: int


@dataclass(frozen=True)
class Grammar:
    """Which sentences can be said.

    Attributes:
        rules: By name. Every reference has its rule, and a rule refers back to itself only as the
            last thing of a sequence; `check_rules` makes sure.
        roots: Names of the rules whose sentences are the grammar's.
        source: Where it was read, for errors.
    """

    rules: Mapping[str, Rule]
    roots: tuple[str, ...]
    source: str

    def words(self) -> set[str]:
        """Every word that stands in a rule which a sentence can use."""
        return {word.text for word in self.used_words()}

    def used_words(self) -> Iterator[Terminal]:
        """The words of the rules that are reached from the roots; a word may come repeatedly."""
        names = list(self.roots)
        seen = set(names)
        for name in names:  # grows while it is walked
            for part in leaves(self.rules[name].expansion):
                if isinstance(part, Terminal):
                    yield part
                elif part.name not in seen:
                    seen.add(part.name)
                    names.append(part.name)

    def normalized(self, normalize: Callable[[str], str]) -> Grammar:
        """The grammar with each word written as `normalize` writes it.

        What a word becomes is split at blanks: it may be several words, one after the other, or
        none.
        """
        known: dict[Terminal, Expansion] = {}

        def rewrite(part: Expansion) -> Expansion:
            match part:
                case Terminal(text, line):
                    if part not in known:
                        words = normalize(text).split()
                        known[part] = in_order([Terminal(word, line) for word in words])
                    return known[part]
                case InOrder(items):
                    return in_order([rewrite(item) for item in items])
                case OneOf(options):
                    return OneOf(tuple(rewrite(option) for option in options))
                case Repeated(item):
                    return Repeated(rewrite(item))
            return part

        rules = self.rules.values()
        rewritten = {rule.name: replace(rule, expansion=rewrite(rule.expansion)) for rule in rules}
        return replace(self, rules=rewritten)


def in_order(items: list[Expansion] | list[Terminal]) -> Expansion:
    """A sequence without `<NULL>`; a single item stands for itself."""
    kept: tuple[Expansion, ...] = tuple(item for item in items if item != NULL)
    return kept[0] if len(kept) == 1 else InOrder(kept)


def leaves(expansion: Expansion) -> Iterator[Terminal | Reference]:
    """The words and references of an expansion, in no particular order."""
    stack = [expansion]
    while stack:
        match stack.pop():
            case (Terminal() | Reference()) as leaf:
                yield leaf
            case InOrder(parts) | OneOf(parts):
                stack.extend(parts)
            case Repeated(item):
                stack.append(item)


@dataclass(frozen=True, slots=True)
class _Use:
    """Where a rule refers to another: with nothing before it, or with nothing after it."""

    user: str
    reference: Reference
    is_first: bool
    is_last: bool


def _uses(rule: Rule) -> Iterator[_Use]:
    stack = [(rule.expansion, True, True)]
    while stack:
        part, is_first, is_last = stack.pop()
        match part:
            case Reference():
                yield _Use(rule.name, part, is_first, is_last)
            case InOrder(items):
                last = len(items) - 1
                for index, item in enumerate(items):
                    stack.append((item, is_first and index == 0, is_last and index == last))
            case OneOf(options):
                stack.extend((option, is_first, is_last) for option in options)
            case Repeated(item):
                stack.append((item, is_first, False))


def check_rules(rules: Mapping[str, Rule], source: str) -> None:
    """Refuse what no finite automaton can read.

    Raises:
        DataError: A rule is not defined; or one comes back to itself before it has read anything
            (left recursion), or with something left to read afterwards.
    """
    uses = [use for rule in rules.values() for use in _uses(rule)]
    uses.sort(key=lambda use: (use.reference.line, use.reference.column))
    for use in uses:
        if use.reference.name not in rules:
            raise _error(source, use, f"the rule <{use.reference.name}> is not defined")
    _refuse_cycles(
        [use for use in uses if use.is_first], lambda use: True, "left recursion", source
    )
    _refuse_cycles(uses, lambda use: not use.is_last, "recursion before the end of a rule", source)


def _refuse_cycles(
    uses: list[_Use], is_refused: Callable[[_Use], bool], kind: str, source: str
) -> None:
    """Raise for the first use that is refused and closes a cycle of `uses`."""
    successors: dict[str, list[str]] = {}
    for use in uses:
        successors.setdefault(use.user, []).append(use.reference.name)
    component = _components(successors)
    for use in uses:
        name = use.reference.name
        is_cycle = name == use.user or component.get(name, -1) == component[use.user]
        if is_cycle and is_refused(use):
            path = [use.user, *_path(successors, name, use.user)]
            raise _error(
                source,
                use,
                f"{kind}: {_shown(path)}",
                hint="repeat with + or *, as in <digit>+, or let the rule come last, as in "
                "<digits> = <digit> | <digit> <digits>",
            )


def _components(successors: Mapping[str, list[str]]) -> dict[str, int]:
    """Strongly connected components (Tarjan 1972, without recursion): a number for each name."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    component: dict[str, int] = {}
    undecided: list[str] = []
    for root in successors:
        calls = [] if root in order else [(root, iter(successors[root]))]
        while calls:
            name, rest = calls[-1]
            if name not in order:
                order[name] = low[name] = len(order)
                undecided.append(name)
            following = next(rest, None)
            if following is None:
                calls.pop()
                if calls:
                    low[calls[-1][0]] = min(low[calls[-1][0]], low[name])
                _decide(name, order, low, undecided, component)
            elif following not in order:
                calls.append((following, iter(successors.get(following, []))))
            elif following not in component:
                low[name] = min(low[name], order[following])
    return component


def _decide(
    name: str,
    order: Mapping[str, int],
    low: Mapping[str, int],
    undecided: list[str],
    component: dict[str, int],
) -> None:
    """Where a component began with `name`, give its members their number."""
    while low[name] == order[name] and name not in component:
        component[undecided.pop()] = order[name]


def _path(successors: Mapping[str, list[str]], start: str, end: str) -> list[str]:
    """A shortest way from `start` to `end`, both included."""
    before: dict[str, str] = {}
    queue = [start]
    for name in queue:  # grows while it is walked
        if name == end:
            break
        for following in successors.get(name, []):
            if following not in before and following != start:
                before[following] = name
                queue.append(following)
    path = [end]
    while path[-1] != start:
        path.append(before[path[-1]])
    return path[::-1]


def _shown(path: list[str]) -> str:
    names = [f"<{name}>" for name in path]
    if len(names) > SHOWN_RULES:
        half = SHOWN_RULES // 2
        names = [*names[:half], "…", *names[-half:]]
    return " → ".join(names)


def _error(source: str, use: _Use, message: str, hint: str | None = None) -> DataError:
    line, column = use.reference.line, use.reference.column
    return DataError(f"{source}, line {line}, column {column}: {message}", hint=hint)
