"""How a rule book judges a plan: each step is a call, and one verdict comes of all.

    step = {"call": {"tool": "keys", "method": "rotate", "args": {"service": "billing"}}, ...}

is, for a rule, the tool `keys`, its method `rotate`, and the arguments `{"service": "billing"}`. Rules do not read
which adapter carries the plan out: a request may name none, and its approvers are shown the one that it names.

- A step that cannot be judged refuses the plan (RULE_UNDECIDED).
- A step that is denied denies the plan.
- Steps that need different templates refuse the plan (RULES_DISAGREE).
- Otherwise the template that some steps need is that of the plan, and a plan whose steps all pass passes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.plan import Step, plan_invalid
from nexus_control.rules.book import Call, Judgement, Mode, RuleBook, Verdict
from nexus_control.values.results import fault_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanJudgement:
    """What holds for a plan, and the judgement of each step, by its id."""

    verdict: Verdict
    template: str | None
    steps: Mapping[str, Judgement]


def judge_plan(
    book: RuleBook, steps: Sequence[Step], *, mode: Mode, requester: str, labels: Sequence[str] = ()
) -> PlanJudgement:
    """What holds for these steps of `execution.plan.parse_plan`.

        >>> judge_plan(book, parse_plan(text), mode="apply", requester="system:agent").template
        'two-people'

    Raises RULE_UNDECIDED, whose details have the `step_id`; RULES_DISAGREE; and PLAN_INVALID where there is no step.
    """
    return joined(judge_steps(book, steps, mode=mode, requester=requester, labels=labels))


def judge_steps(
    book: RuleBook, steps: Sequence[Step], *, mode: Mode, requester: str, labels: Sequence[str] = ()
) -> dict[str, Judgement | NexusControlError]:
    """Each step by its id, with its judgement, or with the RULE_UNDECIDED that it gives."""
    judged: dict[str, Judgement | NexusControlError] = {}
    for step in steps:
        call = Call(
            tool=step.call.tool,
            method=step.call.method,
            arguments=step.call.args,
            mode=mode,
            requester=requester,
            labels=tuple(labels),
        )
        judged[step.step_id] = _of_step(step.step_id, fault_of(partial(book.judge, call)))
    return judged


def joined(judged: Mapping[str, Judgement | NexusControlError]) -> PlanJudgement:
    """What holds for the plan with these steps. Raises as `judge_plan`."""
    steps: dict[str, Judgement] = {}
    for step_id, each in judged.items():
        if isinstance(each, NexusControlError):
            raise each
        steps[step_id] = each
    if not steps:  # nothing was judged, and that must not pass
        raise plan_invalid("the plan has no steps")
    if any(each.verdict == "deny" for each in steps.values()):
        return PlanJudgement(verdict="deny", template=None, steps=steps)
    first_of = dict[str, str]()
    for step_id, each in steps.items():
        if each.template is not None:
            first_of.setdefault(each.template, step_id)
    if len(first_of) > 1:
        raise _disagreeing(first_of, steps)
    template = next(iter(first_of), None)
    return PlanJudgement(verdict="allow" if template is None else "template", template=template, steps=steps)


def _of_step(step_id: str, outcome: Judgement | NexusControlError) -> Judgement | NexusControlError:
    if isinstance(outcome, Judgement):
        return outcome
    message, details = f"Step {step_id!r:.80}: {outcome.message}", {**outcome.details, "step_id": step_id}
    return NexusControlError(outcome.code, message, details, outcome.next)


def _disagreeing(first_of: Mapping[str, str], steps: Mapping[str, Judgement]) -> NexusControlError:
    needs = [
        f"step {step_id!r:.80} needs {template!r:.80} by {steps[step_id].decided_by}"
        for template, step_id in first_of.items()
    ]
    details = [
        {"step_id": step_id, "template": each.template, "rule": each.decided_by}
        for step_id, each in steps.items()
        if each.template is not None
    ]
    return NexusControlError(
        ErrorCode.RULES_DISAGREE,
        f"The steps of one plan need different templates: {', '.join(needs)}",
        {"templates": list(first_of), "steps": details},
    )
