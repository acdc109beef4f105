"""Decodes the rule book of a `nexus-control.toml`. It is strict: an unknown key is an error.

    default = "deny"                        # what holds where no rule matches: "allow" or "deny"
    [[rules]]
    tool = "Bash"                           # a glob, for the whole name
    arguments = { "/command" = { prefix = "git " } }
    verdict = "allow"                       # or "deny"
    [[rules]]
    tool = "keys"
    method = "rotate"                       # a glob; a call before a hook has no method
    mode = "apply"                          # or "dry_run"
    labels = ["prod"]                       # the request has all of these
    requester = "system:*"                  # a glob for TYPE:ID
    template = "two-people"                 # instead of verdict

A rule has at least one matcher, and either `verdict` or `template`. `default` is required where there are rules.
Each problem is CONFIG_INVALID, and names the file and the key, such as `rules[1].arguments./command`.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

from nexus_control.configuration import DEFAULT, RULES, Configuration, Source, named_source, refused
from nexus_control.errors import ErrorCode
from nexus_control.integrity import json_digest, prefixed
from nexus_control.rules.book import Default, Mode, Rule, RuleBook, name_of
from nexus_control.rules.conditions import (
    EXACT,
    NUMBERS,
    TEXT,
    Condition,
    Operand,
    OperatorName,
    is_pointer,
    kind_of,
)
from nexus_control.rules.globs import MAX_GLOB, is_glob
from nexus_control.values.actors import MAX_ID_LENGTH
from nexus_control.values.records import check, decode, encode, problems_of

_GLOB: Final = f"a glob of 1 to {MAX_GLOB} characters, with each [ closed and each range forwards"
_OPERATORS: Final[dict[str, OperatorName]] = {
    "eq": "eq", "in": "in", "prefix": "prefix", "glob": "glob", "lt": "lt", "gt": "gt"
}  # fmt: skip
_MATCHERS: Final = ("tool", "method", "mode", "labels", "requester", "arguments")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTable:
    tool: str | None = check(is_glob, _GLOB, default=None)
    method: str | None = check(is_glob, _GLOB, default=None)
    mode: Mode | None = None
    labels: tuple[str, ...] | None = check(
        lambda labels: bool(labels) and all(labels), "a list of at least one label", default=None
    )
    requester: str | None = check(is_glob, _GLOB, default=None)
    arguments: Mapping[str, object] | None = check(bool, "at least one pointer", default=None)
    verdict: Literal["allow", "deny"] | None = None
    template: str | None = check(
        lambda name: 0 < len(name) <= MAX_ID_LENGTH, "the name of a template", default=None
    )


def rule_book(configuration: Configuration) -> RuleBook | None:
    """The book that holds for requests: of the system's file, else of the user's, else of `--config`; None where none
    has one.

        >>> rule_book(look(Path("nexus-control.toml")))
        RuleBook(default='deny', rules=(...), digest='sha256:...')

    A project's file has none: `configuration`. `--config` may name such a file, so a book of its own beside a book of
    the system or the user is refused, unless they are the same. A file of the system or the user that others may write
    is refused too, because what it says of rules cannot be relied on. Raises CONFIG_INVALID, naming the file and the
    key; `details.problems` has every problem.
    """
    for each in configuration.sources:
        if each.unsafe and each.kind != "project":
            raise refused(each.path, [f"is not used, because {each.unsafe}; it may have rules"])
    return configuration.agreed(RULES, book_of)


def read_rules(path: str | os.PathLike[str]) -> RuleBook:
    """The rule book of this file, which is trusted as it is.

        >>> guard = Guard(tools, host="my-agent", rules=read_rules("rules.toml"))

    Raises CONFIG_INVALID, naming the file and the key, also where the file is not there or has no rules;
    `details.problems` has every problem.
    """
    source = named_source(Path(path))
    if source.fault is None and not source.table.keys() & {DEFAULT, RULES}:
        raise refused(source.path, [f"has no rule book: {DEFAULT}, and a [[{RULES}]] for each rule"])
    return book_of(source)


def book_of(source: Source) -> RuleBook:
    """The book of a file that was read already, and that has one. Raises CONFIG_INVALID, as `rule_book`."""
    if source.fault is not None:
        raise source.fault
    reader = _Reader(source.path)
    default = source.table.get(DEFAULT)
    tables = source.table.get(RULES, [])
    if not isinstance(tables, list):
        reader.refuse(f"{RULES} must be a list of tables: begin each rule with [[{RULES}]]")
        tables = []
    items = cast("list[object]", tables)
    if default is None:
        below = any(isinstance(item, dict) and DEFAULT in item for item in items)
        where = f", above the first [[{RULES}]]: below it, it is a part of that rule" if below else ""
        reader.refuse(f'{DEFAULT} is required beside {RULES}: "allow" or "deny"{where}')
    elif default not in ("allow", "deny"):
        reader.refuse(f"{DEFAULT} must be one of allow, deny")
    rules = tuple(rule for n, item in enumerate(items) if (rule := reader.rule(item, name_of(n))))
    if reader.problems:
        raise refused(source.path, reader.problems)
    decoded = [encode(decode(RuleTable, each, where="", code=ErrorCode.CONFIG_INVALID)) for each in items]
    digest = prefixed(json_digest({DEFAULT: default, RULES: decoded}))
    return RuleBook(cast("Default", default), rules, digest)


@dataclass(frozen=True, slots=True)
class _Reader:
    """The file that is read, and its problems so far. What has a problem is read as None, and the reading goes on."""

    path: Path
    problems: list[str] = field(default_factory=list[str])

    def refuse(self, problem: str) -> None:
        self.problems.append(problem)

    def rule(self, data: object, key: str) -> Rule | None:
        before = len(self.problems)
        self.problems.extend(problems_of(RuleTable, data, where=key))
        if not isinstance(data, dict):
            return None
        given = cast("dict[str, object]", data)
        if ("verdict" in given) is ("template" in given):
            self.refuse(f"{key} must have exactly one of verdict and template")
        if not any(name in given for name in _MATCHERS):
            self.refuse(f"{key} has no matcher, so it would be for every call: use {DEFAULT}, or a matcher")
        arguments = given.get("arguments")
        named = cast("dict[str, object]", arguments) if isinstance(arguments, dict) else {}
        conditions = tuple(self.conditions(named, f"{key}.arguments"))
        if len(self.problems) > before:
            return None
        table = decode(RuleTable, given, where=key, code=ErrorCode.CONFIG_INVALID)
        return Rule(
            verdict=table.verdict or "template",
            template=table.template,
            tool=table.tool,
            method=table.method,
            mode=table.mode,
            labels=table.labels or (),
            requester=table.requester,
            conditions=conditions,
        )

    def conditions(self, arguments: Mapping[str, object], key: str) -> Iterator[Condition]:
        for pointer, operators in arguments.items():
            where = f"{key}.{pointer:.80}"
            if not is_pointer(pointer):
                self.refuse(f"{where} must be a JSON pointer: / and a name, in which ~ is ~0 and / is ~1")
            if not isinstance(operators, dict) or not operators:
                self.refuse(f"{where} must be a table of at least one of {', '.join(_OPERATORS)}")
                continue
            for name, operand in cast("dict[str, object]", operators).items():
                operator = _OPERATORS.get(name)
                if operator is None:
                    self.refuse(f"{where}.{name:.80} is not an operator: use {', '.join(_OPERATORS)}")
                elif problem := _problem(operator, operand):
                    self.refuse(f"{where}.{operator} {problem}")
                else:
                    kept = tuple(cast("list[str]", operand)) if operator == "in" else operand
                    yield Condition(pointer, operator, cast("Operand", kept))


def _problem(operator: OperatorName, operand: object) -> str | None:
    """What is wrong with the operand of this operator, as the end of a sentence; None if nothing is."""
    match operator:
        case "eq":
            return None if kind_of(operand) in EXACT else f"must be {_either(EXACT)} of at most 2^53-1"
        case "in":
            kinds = (
                {kind_of(each) for each in cast("list[object]", operand)} if isinstance(operand, list) else ()
            )
            good = len(kinds) == 1 and kinds <= set(EXACT)
            return None if good else f"must be a list of at least one value, all {_either(EXACT)}"
        case "prefix":
            return None if kind_of(operand) == TEXT and operand else "must be text, and not empty"
        case "glob":
            return None if isinstance(operand, str) and is_glob(operand) else f"must be {_GLOB}"
        case "lt" | "gt":
            return None if kind_of(operand) in NUMBERS else "must be a number, finite and at most 2^53-1"


def _either(kinds: tuple[str, ...]) -> str:
    return f"{', '.join(kinds[:-1])}, or {kinds[-1]}"
