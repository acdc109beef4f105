"""A rule book, and how it judges a call.

    >>> book.judge(Call(tool="Bash", arguments={"command": "git status"}, mode="apply", requester="system:agent"))
    Judgement(verdict='allow', template=None, rule=0, looks=(...))

Every rule is looked at, in the order of the file, and the last rule that matches holds. If no rule matches, the book's
default holds. A rule matches if all its matchers do. They are read in this order, up to the first that does not match:
tool, method, mode, labels, requester, arguments. So the arguments are read only if everything else matches.

A matcher that cannot be evaluated raises RULE_UNDECIDED, also where a later rule would match. That is what
`conditions` says of arguments, and `method` on a call that has no method, as a call before a hook has none: a rule that
denies a method must not be passed over because nobody knows the method.

Names are compared as they are. Upper and lower case differ, and look-alike letters are not made equal.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from nexus_control.rules.conditions import Condition, undecided
from nexus_control.rules.globs import fits

Mode: TypeAlias = Literal["dry_run", "apply"]
Default: TypeAlias = Literal["allow", "deny"]
Verdict: TypeAlias = Literal["allow", "deny", "template"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a tool, as rules read it. Before a hook `tool` is the host's whole name for it, and there is no method.
    `arguments` are JSON. `requester` is TYPE:ID, as `--as` takes it.
    """

    tool: str
    arguments: Mapping[str, object]
    mode: Mode
    requester: str
    method: str | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. A matcher that is None, or empty, matches every call. `tool`, `method` and `requester` are globs; of
    `labels` the call must have all. `template` is there exactly where the verdict is "template".
    """

    verdict: Verdict
    template: str | None = None
    tool: str | None = None
    method: str | None = None
    mode: Mode | None = None
    labels: tuple[str, ...] = ()
    requester: str | None = None
    conditions: tuple[Condition, ...] = ()

    def mismatch(self, call: Call, name: str) -> str | None:
        """The matcher that does not match the call, such as `tool` or `arguments./command`; None if the rule matches.
        `name` names the rule in an error. Raises RULE_UNDECIDED.
        """
        if self.tool is not None and not fits(self.tool, call.tool):
            return "tool"
        if self.method is not None:
            if call.method is None:
                problem = f"the call of {call.tool!r:.80} has no method"
                raise undecided(name, "method", problem, needed="a method", found="no method")
            if not fits(self.method, call.method):
                return "method"
        if mismatch := self.mismatch_of_request(call.mode, call.labels, call.requester):
            return mismatch
        failed = [each for each in self.conditions if not each.holds(call.arguments, name)]
        return f"arguments.{failed[0].pointer}" if failed else None

    def mismatch_of_request(self, mode: Mode, labels: Collection[str], requester: str) -> str | None:
        """Which of the matchers that read no call does not match: `mode`, `labels` or `requester`; None if all do."""
        if self.mode is not None and self.mode != mode:
            return "mode"
        if not set(self.labels) <= set(labels):
            return "labels"
        if self.requester is not None and not fits(self.requester, requester):
            return "requester"
        return None

    @property
    def matcher_of_calls(self) -> str | None:
        """The first matcher that reads a call, such as `tool` or `arguments./command`; None if the rule has none."""
        if self.tool is not None:
            return "tool"
        if self.method is not None:
            return "method"
        return f"arguments.{self.conditions[0].pointer}" if self.conditions else None


@dataclass(frozen=True, slots=True)
class Look:
    """A rule that was looked at. `mismatch` is the matcher that did not match; None if the rule matched."""

    rule: int
    mismatch: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What holds for a call: `rule` is the index of the rule that decided, None where that was the book's default."""

    verdict: Verdict
    template: str | None = None
    rule: int | None = None
    looks: tuple[Look, ...] = field(default=(), repr=False)

    @property
    def decided_by(self) -> str:
        """`rules[2]` or `default`."""
        return "default" if self.rule is None else name_of(self.rule)


@dataclass(frozen=True, slots=True)
class RuleBook:
    """The rules of one configuration file. `digest` is the prefixed digest of the canonical JSON of the decoded book:
    two books with one digest judge every call alike.
    """

    default: Default
    rules: tuple[Rule, ...]
    digest: str

    def judge(self, call: Call) -> Judgement:
        """What holds for this call. Raises RULE_UNDECIDED, whose details name the rule and the matcher."""
        looks = tuple(self._looks(call))
        matched = [each.rule for each in looks if each.mismatch is None]
        if not matched:
            return Judgement(verdict=self.default, looks=looks)
        rule = self.rules[matched[-1]]
        return Judgement(verdict=rule.verdict, template=rule.template, rule=matched[-1], looks=looks)

    @property
    def templates(self) -> frozenset[str]:
        """The names of the templates that the rules need."""
        return frozenset(rule.template for rule in self.rules if rule.template is not None)

    def _looks(self, call: Call) -> Iterator[Look]:
        for number, rule in enumerate(self.rules):
            yield Look(number, rule.mismatch(call, name_of(number)))


def name_of(rule: int) -> str:
    """How the rule with this index is named: `rules[2]` is the third."""
    return f"rules[{rule}]"
