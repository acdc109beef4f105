"""How a rule book judges a request: the calls that its plan holds, in one mode.

    [{"step_id": "s1", "intent": "…", "call": {"tool": "keys", "method": "rotate", "args": {}}}]     a plan of steps
    {"tool": "Bash", "arguments": {"command": "git push"}}               a guarded call, for the adapter `tool:Bash`

- The steps of a plan are judged as `rules.plans` says.
- A guarded call has no method, and is judged as one that is applied, as before a hook: its caller really runs it.
  Its adapter says which tool that is. A name that the adapter does not have as it is, such as " Bash" beside
  `tool:Bash`, cannot be read: another tool might run than the one that was judged.
- Every other request holds no call that the rules could read: one without a plan, or with a plan that is text, or
  steps with a mistake. A rule that reads tool, method or arguments cannot be evaluated on it (RULE_UNDECIDED). Rules
  that read only mode, labels and requester hold for it. If every rule that these let match is `allow`, and so is the
  default, then nothing is demanded, and it passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from nexus_control.canonical_json import parse_json_object
from nexus_control.errors import NexusControlError
from nexus_control.execution.plan import parse_plan
from nexus_control.execution.spelling import shortened
from nexus_control.rules.book import Call, Judgement, Mode, Rule, RuleBook, Verdict, name_of
from nexus_control.rules.conditions import undecided
from nexus_control.rules.plans import judge_plan
from nexus_control.values.actors import is_plain
from nexus_control.values.guarded import FUNCTION, TOOL, is_guarded
from nexus_control.values.results import fault_of

_AS_STEPS = (
    'Ask with a plan of steps, a list of {"step_id", "intent", "call": {"tool", "method", "args"}}: the rules read the'
    " call of each."
)
_OF_A_CALL = {"tool", "arguments", "folder"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What holds for a request in one mode. `because` names the rule, and the step that it decided."""

    verdict: Verdict
    template: str | None
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What rules read of a request. `requester` is TYPE:ID."""

    plan: str | None
    adapter_id: str | None
    requester: str
    labels: tuple[str, ...]

    def ruling(self, book: RuleBook, mode: Mode) -> Ruling:
        """What holds for it in this mode. Raises RULE_UNDECIDED, RULES_DISAGREE."""
        if is_guarded(self.adapter_id):
            call = _guarded_call(self, self.adapter_id)
            if isinstance(call, str):
                return _unread(book, self, "apply", call)
            return _ruling(book.judge(call))
        steps = fault_of(partial(parse_plan, self.plan))
        if isinstance(steps, NexusControlError):
            return _unread(book, self, mode, steps.message)
        judged = judge_plan(book, steps, mode=mode, requester=self.requester, labels=self.labels)
        deciding = next(
            (step_id, each)
            for step_id, each in judged.steps.items()
            if (each.verdict, each.template) == (judged.verdict, judged.template)
        )
        return _ruling(deciding[1], step_id=deciding[0])


def _ruling(judged: Judgement, step_id: str | None = None) -> Ruling:
    of_step = "" if step_id is None else f", for step {step_id!r:.80}"
    return Ruling(verdict=judged.verdict, template=judged.template, because=f"{judged.decided_by}{of_step}")


def _guarded_call(asked: Asked, adapter_id: str) -> Call | str:
    """The call that a guard has asked for, or why the plan is not one."""
    content = fault_of(partial(parse_json_object, asked.plan or ""))
    if isinstance(content, NexusControlError):
        return f"the plan of a guarded call is not JSON: {content.message}"
    match content:
        case {"tool": str() as tool, "arguments": dict() | str()} if content.keys() <= _OF_A_CALL:
            arguments = content["arguments"]
        case _:
            return f"the plan of a guarded call has {', '.join(sorted(_OF_A_CALL))}, and nothing else"
    if not is_plain(tool) or tool.strip() != tool or not tool:
        return "the tool's name is empty, begins or ends with a blank, or has invisible characters"
    if adapter_id not in (f"{TOOL}{shortened(tool)}", f"{FUNCTION}{shortened(tool)}"):
        return "the adapter is that of another tool"
    read = cast("dict[str, object]", arguments) if isinstance(arguments, dict) else {}
    return Call(tool=tool, arguments=read, mode="apply", requester=asked.requester, labels=asked.labels)


def _unread(book: RuleBook, asked: Asked, mode: Mode, why: str) -> Ruling:
    """What holds for a request whose calls cannot be read."""
    matching = [
        (number, rule)
        for number, rule in enumerate(book.rules)
        if rule.mismatch_of_request(mode, asked.labels, asked.requester) is None
    ]
    if not _demands(book, [rule for _, rule in matching]):
        return Ruling(verdict="allow", template=None, because="default")
    for number, rule in matching:
        if (matcher := rule.matcher_of_calls) is not None:
            fault = undecided(name_of(number), matcher, f"the request holds no call to read ({why})")
            fault.next = _AS_STEPS
            raise fault
    number = matching[-1][0] if matching else None
    held = Judgement(verdict=book.default) if number is None else _judgement(book.rules[number], number)
    return _ruling(held)


def _judgement(rule: Rule, number: int) -> Judgement:
    return Judgement(verdict=rule.verdict, template=rule.template, rule=number)


def _demands(book: RuleBook, rules: Sequence[Rule]) -> bool:
    return book.default != "allow" or any(rule.verdict != "allow" for rule in rules)
