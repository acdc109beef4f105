"""What holds for a plan of several steps."""

import json

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.plan import Step, parse_plan
from nexus_control.rules.plans import PlanJudgement, judge_plan, judge_steps
from tests.rules.books import book

BOOK = book(
    'default = "allow"\n'
    '[[rules]]\ntool = "keys"\nmethod = "rotate"\ntemplate = "two-people"\n'
    '[[rules]]\ntool = "data*"\nmethod = "delete"\ntemplate = "owners"\n'
    '[[rules]]\ntool = "keys"\nmethod = "export"\nverdict = "deny"\n'
    '[[rules]]\ntool = "money"\narguments = { "/amount" = { gt = 100 } }\ntemplate = "owners"\n'
    '[[rules]]\nmode = "dry_run"\nverdict = "allow"\n'
)


def steps(*calls: str) -> tuple[Step, ...]:
    """The steps of a plan whose calls are written as `tool.method {args}`."""
    plan: list[object] = []
    for n, each in enumerate(calls, start=1):
        name, _, args = each.partition(" ")
        tool, _, method = name.partition(".")
        call = {"tool": tool, "method": method, "args": json.loads(args or "{}")}
        plan.append({"step_id": f"s{n}", "intent": "do it", "call": call})
    return parse_plan(json.dumps(plan))


def judged(*calls: str) -> PlanJudgement:
    return judge_plan(BOOK, steps(*calls), mode="apply", requester="system:agent")


def refused(*calls: str) -> NexusControlError:
    with pytest.raises(NexusControlError) as refusal:
        judged(*calls)
    return refusal.value


@pytest.mark.parametrize(
    ("calls", "verdict", "template"),
    [
        (["data.read"], "allow", None),
        (["data.read", "data.write"], "allow", None),
        (["keys.rotate"], "template", "two-people"),
        (["data.read", "keys.rotate", "keys.rotate"], "template", "two-people"),
        (["data.delete", 'money.send {"amount": 101}'], "template", "owners"),
        (['money.send {"amount": 100}'], "allow", None),
        (['money.send {"amount": 100.5}'], "template", "owners"),
        (["keys.export"], "deny", None),
        (["data.read", "keys.export"], "deny", None),
        (["keys.rotate", "keys.export", "data.delete"], "deny", None),
    ],
)
def test_a_plan_has_the_verdict_of_its_steps(calls: list[str], verdict: str, template: str | None) -> None:
    found = judged(*calls)
    assert (found.verdict, found.template) == (verdict, template)
    assert list(found.steps) == [f"s{n}" for n in range(1, len(calls) + 1)]


def test_steps_that_need_different_templates_refuse_the_plan_with_both_named() -> None:
    fault = refused("data.read", "keys.rotate", "data.delete", "keys.rotate")
    assert fault.code is ErrorCode.RULES_DISAGREE
    assert fault.details == {
        "templates": ["two-people", "owners"],
        "steps": [
            {"step_id": "s2", "template": "two-people", "rule": "rules[0]"},
            {"step_id": "s3", "template": "owners", "rule": "rules[1]"},
            {"step_id": "s4", "template": "two-people", "rule": "rules[0]"},
        ],
    }
    for named in ("'s2'", "'two-people'", "'s3'", "'owners'"):
        assert named in fault.message


@pytest.mark.parametrize("others", [[], ["keys.export"], ["keys.rotate", "data.delete"]])
def test_a_step_that_cannot_be_judged_refuses_the_plan_whatever_the_others_are(others: list[str]) -> None:
    fault = refused(*others, "money.send")
    assert fault.code is ErrorCode.RULE_UNDECIDED
    known = {name: fault.details[name] for name in ("step_id", "rule", "pointer", "found")}
    assert known == {
        "step_id": f"s{len(others) + 1}",
        "rule": "rules[3]",
        "pointer": "/amount",
        "found": "no such argument",
    }


def test_a_plan_without_a_step_does_not_pass() -> None:
    with pytest.raises(NexusControlError) as refusal:
        judge_plan(BOOK, (), mode="apply", requester="system:agent")
    assert refusal.value.code is ErrorCode.PLAN_INVALID


def test_mode_and_labels_and_requester_are_those_of_the_request() -> None:
    rules = book(
        'default = "allow"\n'
        '[[rules]]\nmode = "apply"\nlabels = ["prod"]\nrequester = "system:*"\nverdict = "deny"\n'
    )
    plan = steps("keys.rotate")
    assert judge_plan(rules, plan, mode="apply", requester="system:a", labels=["prod"]).verdict == "deny"
    assert judge_plan(rules, plan, mode="dry_run", requester="system:a", labels=["prod"]).verdict == "allow"
    assert judge_plan(rules, plan, mode="apply", requester="human:a", labels=["prod"]).verdict == "allow"
    assert judge_plan(rules, plan, mode="apply", requester="system:a").verdict == "allow"


def test_each_step_is_told_also_beside_one_that_cannot_be_judged() -> None:
    found = judge_steps(BOOK, steps("money.send", "keys.rotate"), mode="apply", requester="system:agent")
    assert [type(each).__name__ for each in found.values()] == ["NexusControlError", "Judgement"]
