"""Ways around the rules, over the facade, the guards and the hook: each is refused, and writes nothing."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.execution.plan import parse_plan
from nexus_control.guards import Guard, governed
from nexus_control.guards.calls import Denied, Pending, ToolCall
from nexus_control.values.actors import Actor
from tests.facade.routers import FakeRouter
from tests.rules.books import book
from tests.rules.demands import AGENT, BOOK, BOTH, DELETE, LIST, ROTATE, guarded, plan, step, with_templates
from tests.support.clock import FakeClock
from tests.support.contents import contents
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, data_of
from tests.support.hooking import Bench, saved

CAROL = Actor(type="human", id="carol")
WEAK: dict[str, Any] = {"min_approvals": 1}


@pytest.fixture
def tools() -> Iterator[NexusControlTools]:
    with NexusControlTools(rules=book(BOOK)) as tools:
        yield with_templates(tools)


def asking(plan: object, **fields: Any) -> dict[str, Any]:
    return {"plan": plan, "mode": "apply", **fields}


def nested(depth: int) -> str:
    return plan("money.send").replace("{}", '{"amount": ' + "[" * depth + "1000" + "]" * depth + "}")


TWICE = ROTATE.replace('"tool": "keys"', '"tool": "keys", "tool": "notes"')
METHOD_TWICE = ROTATE.replace('"method": "rotate"', '"method": "rotate", "method": "list"')
TAGGED = f"!!python/object/apply:json.loads ['{LIST}']"
ANCHORED = "- &a {step_id: s1, intent: x, call: {tool: keys, method: rotate, args: {}}}\n- *a\n"
ATTEMPTS: dict[str, tuple[dict[str, Any], str]] = {
    # the policy
    "a weaker override": (asking(ROTATE, **WEAK), "TEMPLATE_WEAKENED"),
    "a weaker override by its synonym": (asking(ROTATE, override_min_approvals=1), "TEMPLATE_WEAKENED"),
    "a weaker override of the very template": (
        asking(ROTATE, template_name="two-people", **WEAK),
        "TEMPLATE_WEAKENED",
    ),
    "another template": (asking(ROTATE, template_name="one-person"), "TEMPLATE_WEAKENED"),
    "a template whose name looks like it": (asking(ROTATE, template_name="two_people"), "TEMPLATE_WEAKENED"),
    "a template with its name in capitals": (asking(ROTATE, template_name="TWO-PEOPLE"), "TEMPLATE_WEAKENED"),
    "a policy of one's own": (
        asking(DELETE, min_approvals=2, approvers=["alice", "bob", "mallory"], min_assurance="signed"),
        "TEMPLATE_WEAKENED",
    ),
    "nobody named as approver": (asking(DELETE, approvers=[]), "TEMPLATE_WEAKENED"),
    "an approver who looks like one": (asking(DELETE, approvers=["alice", "b0b"]), "TEMPLATE_WEAKENED"),
    "a mode that the template does not allow": (asking(DELETE, allowed_modes=BOTH), "TEMPLATE_WEAKENED"),
    # the plan
    "steps in a text": (asking(f"Please:\n```json\n{ROTATE}\n```"), "RULE_UNDECIDED"),
    "steps in the goal": ({"goal": ROTATE, "mode": "apply"}, "RULE_UNDECIDED"),
    "steps in the intent of none": (asking("[]"), "RULE_UNDECIDED"),
    "steps as a text of JSON": (asking(json.dumps(ROTATE)), "RULE_UNDECIDED"),
    "steps in an object": (asking(json.dumps({"steps": json.loads(ROTATE)})), "RULE_UNDECIDED"),
    "steps in a step": (
        asking(json.dumps([{**step("notes.write"), "steps": json.loads(ROTATE)}])),
        "RULE_UNDECIDED",
    ),
    "a tool twice": (asking(TWICE), "RULE_UNDECIDED"),
    "a method twice": (asking(METHOD_TWICE), "RULE_UNDECIDED"),
    "steps in YAML, with an anchor": (asking(ANCHORED), "RULE_UNDECIDED"),
    "steps in YAML, with a tag": (asking(TAGGED), "RULE_UNDECIDED"),
    "a byte order mark": (asking(f"\ufeff{LIST}"), "RULE_UNDECIDED"),
    "two documents": (asking(f"{LIST}\n{ROTATE}"), "RULE_UNDECIDED"),
    "a comment": (asking(f"{LIST} // {ROTATE}"), "RULE_UNDECIDED"),
    "a hidden step among allowed ones": (
        asking(plan(*["keys.list"] * 40, "keys.rotate"), **WEAK),
        "TEMPLATE_WEAKENED",
    ),
    "steps that need different templates": (
        asking(plan("money.send", "data.delete", amount=1)),
        "RULES_DISAGREE",
    ),
    # the call
    "a tool with a letter that looks like its own": (asking(plan("k\u0435ys.rotate")), "DENIED_BY_RULE"),
    "a tool in capitals": (asking(plan("KEYS.rotate")), "DENIED_BY_RULE"),
    "a tool with a blank": (asking(plan("keys .rotate")), "DENIED_BY_RULE"),
    "a tool with an invisible letter": (asking(plan("ke\u200bys.rotate")), "RULE_UNDECIDED"),
    "a tool in fullwidth letters": (asking(plan("\uff4b\uff45\uff59\uff53.rotate")), "DENIED_BY_RULE"),
    "a tool and its method in one": (asking(plan("keys/rotate.list")), "DENIED_BY_RULE"),
    "another name of a method": (asking(plan("keys.rotate_all")), "DENIED_BY_RULE"),
    "a method in capitals": (asking(plan("keys.LIST")), "DENIED_BY_RULE"),
    "no method": (asking(plan("keys")), "RULE_UNDECIDED"),
    "a tool that is no text": (
        asking(json.dumps([{**step("x.y"), "call": ["keys", "rotate"]}])),
        "RULE_UNDECIDED",
    ),
    # its arguments
    "an argument that is missing": (asking(plan("money.send", amounts=1)), "RULE_UNDECIDED"),
    "an amount as text": (asking(plan("money.send", amount="1000")), "RULE_UNDECIDED"),
    "an amount that is true": (asking(plan("money.send", amount=True)), "RULE_UNDECIDED"),
    "an amount in a list": (asking(plan("money.send", amount=[1000])), "RULE_UNDECIDED"),
    "an amount in an object": (asking(plan("money.send", amount={"value": 1000})), "RULE_UNDECIDED"),
    "an amount in many lists": (asking(nested(30)), "RULE_UNDECIDED"),
    "an amount in too many lists": (asking(nested(500)), "RULE_UNDECIDED"),
    "an amount that is no number": (
        asking(plan("money.send", amount=1).replace("1}", "NaN}")),
        "RULE_UNDECIDED",
    ),
    "an amount beyond all numbers": (
        asking(plan("money.send", amount=1).replace("1}", "1e999}")),
        "RULE_UNDECIDED",
    ),
    "an amount that programs read differently": (asking(plan("money.send", amount=2**60)), "RULE_UNDECIDED"),
    "two amounts": (
        asking(plan("money.send", amount=1).replace('"amount": 1', '"amount": 1000, "amount": 1')),
        "RULE_UNDECIDED",
    ),
    "an amount under a name that looks like its own": (
        asking(plan("money.send", **{"\u0430mount": 1})),
        "RULE_UNDECIDED",
    ),
    # what is around the plan
    "a label that is left out of a template that has it": (asking(plan("logs.drop")), "TEMPLATE_WEAKENED"),
    "a label that is overridden": (asking(plan("notes.write"), labels=["prod"], **WEAK), "TEMPLATE_WEAKENED"),
    "a worker": (asking(ROTATE, adapter_id=ADAPTER, dispatch="worker", **WEAK), "TEMPLATE_WEAKENED"),
    "another adapter": (asking(ROTATE, adapter_id="mcp:files", **WEAK), "TEMPLATE_WEAKENED"),
    "steps as a guarded call": (asking(ROTATE, adapter_id="tool:notes"), "RULE_UNDECIDED"),
    "a guarded call of another tool's": ({**guarded("tax.pay"), "adapter_id": "tool:Bash"}, "RULE_UNDECIDED"),
    "a guarded call for a router": ({**guarded("Bash"), "adapter_id": ADAPTER}, "RULE_UNDECIDED"),
    "a guarded call for nobody": ({**guarded("Bash"), "adapter_id": None}, "RULE_UNDECIDED"),
    "a guarded call with more in it": (
        {**guarded("Bash"), "plan": '{"tool": "Bash", "arguments": {}, "then": {"tool": "tax"}}'},
        "RULE_UNDECIDED",
    ),
    "a guarded call as a dry run": ({**guarded("tax.pay"), "mode": "dry_run"}, "DENIED_BY_RULE"),
    "a requester of the same name": (
        asking(plan("desk.move"), actor=Actor("system", "alice")),
        "DENIED_BY_RULE",
    ),
    "a requester in capitals": (asking(plan("desk.move"), actor=Actor("human", "Alice")), "DENIED_BY_RULE"),
    "a requester who looks like one": (
        asking(plan("desk.move"), actor=Actor("human", "al1ce")),
        "DENIED_BY_RULE",
    ),
    "a mode that is judged beside the one asked for": (asking(plan("disk.wipe")), "DENIED_BY_RULE"),
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_a_way_around_the_rules_is_refused_and_writes_nothing(tools: NexusControlTools, name: str) -> None:
    for alike in ("two_people", "TWO-PEOPLE"):
        data_of(tools.template_create(alike, AGENT, min_approvals=1, allowed_modes=["dry_run", "apply"]))
    fields, code = ATTEMPTS[name]
    before = contents(tools.store)
    whole: dict[str, Any] = {"goal": "Do it", "actor": AGENT, **fields}
    asked = tools.request(**whole)
    assert asked.error_code == code, asked.error
    assert contents(tools.store) == before


def test_the_requester_of_a_rule_is_the_one_that_it_names(tools: NexusControlTools) -> None:
    assert tools.request("Do it", ALICE, "apply", plan("desk.move")).success


def test_what_replaces_a_request_is_judged_and_the_older_one_stays(tools: NexusControlTools) -> None:
    older = data_of(tools.request("Do it", AGENT, "apply", ROTATE))["request_id"]
    before = contents(tools.store)
    assert (
        tools.request("Do it", AGENT, "apply", ROTATE, supersedes=older, **WEAK).error_code
        == "TEMPLATE_WEAKENED"
    )
    assert contents(tools.store) == before


@pytest.mark.parametrize("modes", [None, BOTH])
def test_what_was_asked_for_as_a_dry_run_is_never_applied(
    tools: NexusControlTools, modes: list[Any] | None
) -> None:
    request_id = data_of(tools.request("Do it", AGENT, "dry_run", DELETE, allowed_modes=modes))["request_id"]
    data_of(tools.approve(request_id, BOB))
    router = FakeRouter()
    applied = tools.execute(request_id, ADAPTER, SCHEDULER, router, dry_run=False)
    claimed = tools.claim(request_id, ADAPTER, SCHEDULER, dry_run=False)
    assert (applied.error_code, claimed.error_code, router.calls) == (*["POLICY_NOT_SATISFIED"] * 2, [])


# A decision of another store.


def imported(
    tools: NexusControlTools, requester: Actor = AGENT, importer: Actor | None = AGENT, **fields: Any
) -> str:
    """A request of another store without rules, brought here, and approved here by bob and carol."""
    with NexusControlTools() as elsewhere:
        made = data_of(elsewhere.request("Do it", requester, **(asking(ROTATE) | fields)))["request_id"]
        bundle = data_of(elsewhere.export_bundle(made))["bundle"]
    data_of(tools.import_bundle(bundle, actor=importer))
    for approver in (BOB, CAROL):
        data_of(tools.approve(made, approver))
    return made


STRICT: dict[str, Any] = {"min_approvals": 2, "allow_requester_approval": False, "max_steps": 5}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "TEMPLATE_WEAKENED"),
        ({**STRICT, "min_approvals": 1}, "TEMPLATE_WEAKENED"),
        ({"plan": plan("tax.pay")}, "DENIED_BY_RULE"),
        ({"plan": "Rotate"}, "RULE_UNDECIDED"),
        ({"plan": plan("gone.run")}, "TEMPLATE_NOT_FOUND"),
        (STRICT, None),
        ({"plan": LIST}, None),
    ],
)
def test_an_imported_decision_is_executed_only_under_what_the_rules_demand(
    tools: NexusControlTools, fields: dict[str, Any], code: str | None
) -> None:
    request_id, router = imported(tools, **fields), FakeRouter()
    before = contents(tools.store)
    for dry_run in (True, None):
        done = tools.execute(request_id, ADAPTER, SCHEDULER, router, dry_run=dry_run)
        assert done.error_code == code, done.error
    if code is not None:
        assert tools.claim(request_id, ADAPTER, SCHEDULER).error_code == code
        assert (router.calls, contents(tools.store)) == ([], before)


class Swapping(FakeRouter):
    """Does something while it is asked for its capabilities."""

    def __init__(self, swap: Callable[[], object]) -> None:
        super().__init__()
        self.swap = swap

    def get_adapter_capabilities(self, adapter_id: str) -> set[str] | None:
        self.swap()
        return super().get_adapter_capabilities(adapter_id)


def test_an_import_in_the_middle_of_an_execution_does_not_pass_by_the_rules() -> None:
    with (
        NexusControlTools(clock=FakeClock()) as elsewhere,
        NexusControlTools(clock=FakeClock(), rules=book(BOOK)) as tools,
    ):
        weak = data_of(elsewhere.request("Do it", AGENT, "apply", ROTATE))["request_id"]
        bundle = data_of(elsewhere.export_bundle(weak))["bundle"]
        made = data_of(tools.request("Do it", AGENT, "apply", LIST))["request_id"]
        assert made == weak
        with_templates(tools)
        data_of(tools.approve(made, BOB))

        def swap() -> None:
            data_of(tools.import_bundle(bundle, actor=AGENT, conflict_mode="overwrite", allow_rollback=True))
            data_of(tools.approve(made, AGENT))

        router = Swapping(swap)
        assert tools.execute(made, ADAPTER, AGENT, router).error_code == "TEMPLATE_WEAKENED"
        assert router.calls == []


def test_what_was_asked_for_here_keeps_the_policy_that_it_was_made_with(tools: NexusControlTools) -> None:
    open_ = NexusControlTools(tools.store)
    request_id = data_of(open_.request("Do it", AGENT, "apply", ROTATE))["request_id"]
    data_of(open_.approve(request_id, BOB))
    assert tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()).success


BOSS = Actor("human", "boss")
BY_REQUESTER = """
default = "deny"
[[rules]]
tool = "keys"
template = "two-people"
[[rules]]
tool = "keys"
requester = "human:boss"
verdict = "allow"
"""


@pytest.mark.parametrize(
    ("requester", "importer", "code"),
    [
        (BOSS, AGENT, "TEMPLATE_WEAKENED"),
        (AGENT, BOSS, "TEMPLATE_WEAKENED"),
        (BOSS, None, "RULE_UNDECIDED"),
        (BOSS, BOSS, None),
    ],
    ids=["an agent's import", "of an agent's request", "an import of nobody's", "one's own"],
)
def test_who_imports_a_decision_must_be_one_who_may_ask_for_it(
    requester: Actor, importer: Actor | None, code: str | None
) -> None:
    with NexusControlTools(rules=book(BY_REQUESTER)) as tools:
        with_templates(tools)
        request_id, router = imported(tools, requester, importer), FakeRouter()
        assert tools.execute(request_id, ADAPTER, SCHEDULER, router).error_code == code
        assert len(router.calls) == (code is None)


def test_without_rules_for_requesters_it_does_not_matter_who_imported() -> None:
    with NexusControlTools(rules=book('default = "allow"')) as tools:
        request_id = imported(tools, importer=None)
        data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))


CYRILLIC_ACE = "\u0430\u0441\u0435"


@pytest.mark.parametrize("rules", [None, 'default = "allow"'], ids=["without rules", "with rules"])
@pytest.mark.parametrize(
    ("recorded", "here", "code"),
    [
        (["bob"], {"security": ["bob", "dan"]}, None),
        (["Bob"], {"security": ["bob"]}, None),
        (["bob", "mallory"], {"security": ["bob"]}, "TEMPLATE_WEAKENED"),
        (["bob"], {"platform": ["bob"]}, "TEMPLATE_WEAKENED"),
        (["bob", CYRILLIC_ACE], {"security": ["bob", "ace"]}, "TEMPLATE_WEAKENED"),
        (["bob", "ace"], {"security": ["bob", CYRILLIC_ACE]}, "TEMPLATE_WEAKENED"),
    ],
)
def test_an_imported_decision_names_no_members_of_groups_who_are_none_here(
    recorded: list[str], here: dict[str, list[str]], code: str | None, rules: str | None
) -> None:
    slots: Any = {"security": 1}
    with NexusControlTools(groups={"security": recorded}) as elsewhere:
        made = data_of(elsewhere.request("Do it", AGENT, "apply", ROTATE, required_from=slots))["request_id"]
        bundle = data_of(elsewhere.export_bundle(made))["bundle"]
    with NexusControlTools(rules=rules and book(rules), groups=here) as tools:
        data_of(tools.import_bundle(bundle, actor=AGENT))
        data_of(tools.approve(made, BOB))
        router = FakeRouter()
        done = tools.execute(made, ADAPTER, SCHEDULER, router)
        assert (done.error_code, len(router.calls)) == (code, code is None)


# What a guard calls a tool.


@pytest.mark.parametrize("kind", ["tool", "function"])
@pytest.mark.parametrize(
    ("tool", "adapter"),
    [
        (" Bash", "Bash"),
        ("Bash ", "Bash"),
        ("\tBash", "Bash"),
        ("\u00a0Bash", "Bash"),
        ("Bash\u200b", "Bash\u200b"),
        ("Ba\u00adsh", "Ba\u00adsh"),
        ("bash", "Bash"),
        ("\uff22ash", "Bash"),
        ("", "-"),
    ],
)
def test_a_guarded_tool_is_judged_under_the_name_that_runs(kind: str, tool: str, adapter: str) -> None:
    denied = 'default = "allow"\n[[rules]]\ntool = "Bash"\nverdict = "deny"'
    with NexusControlTools(rules=book(denied)) as tools:
        call = json.dumps({"tool": tool, "arguments": {}})
        asked = tools.request("Do it", AGENT, "apply", call, adapter_id=f"{kind}:{adapter}")
        assert asked.error_code in ("RULE_UNDECIDED", "INVALID_ARGUMENT"), asked
        assert data_of(tools.list_requests())["count"] == 0


# Guards in Python.


def turn(key: str) -> str:
    return key


def test_a_guard_asks_for_no_less_than_the_rules_of_its_tools_demand(tools: NexusControlTools) -> None:
    call = ToolCall(tool="Bash", arguments={"command": "git push"}, call_id="c1")
    waits = Guard(tools, host="host").check(call)
    assert isinstance(waits, Pending)
    assert data_of(tools.status(waits.request_id))["template_name"] == "one-person"
    for tool, template in (("Write", "three-people"), ("money", "one-person"), ("logs", "one-person")):
        guard = Guard(tools, host="host", template_name=template)
        verdict = guard.check(ToolCall(tool=tool, arguments={}, call_id="c2"))
        assert isinstance(verdict, Denied)
        assert verdict.reason.startswith("Not run: ")


def test_rules_of_the_tools_let_no_guard_pass_a_call_unasked(tools: NexusControlTools) -> None:
    call = ToolCall(tool="notes", arguments={}, call_id="c1")
    assert isinstance(Guard(tools, host="host", min_approvals=1).check(call), Pending)


def test_what_the_rules_of_a_guard_judged_is_recorded_with_their_digest() -> None:
    with NexusControlTools() as tools:
        with_templates(tools)
        waits = Guard(tools, host="host", rules=book(BOOK)).check(
            ToolCall(tool="Bash", arguments={}, call_id="1")
        )
        assert isinstance(waits, Pending)
        assert data_of(tools.status(waits.request_id))["rules_digest"] == book(BOOK).digest


@pytest.mark.parametrize(
    ("rule", "given", "found"),
    [
        ('template = "two-people"', {}, "two-people"),
        ('template = "two-people"', {"template": "three-people"}, "three-people"),
        ('template = "two-people"', {"template": "one-person"}, "TEMPLATE_WEAKENED"),
        ('template = "two-people"', {"min_approvals": 1}, "TEMPLATE_WEAKENED"),
        ('verdict = "deny"', {}, "DENIED_BY_RULE"),
        ('verdict = "allow"', {"min_approvals": 1}, None),
        ('arguments = { "/key" = { lt = 5 } }\nverdict = "allow"', {}, "RULE_UNDECIDED"),
    ],
)
def test_a_governed_function_is_proposed_under_the_rules_of_its_tools(
    rule: str, given: dict[str, Any], found: str | None
) -> None:
    with NexusControlTools(rules=book(f'default = "deny"\n[[rules]]\ntool = "keys.turn"\n{rule}')) as tools:
        with_templates(tools)
        function = governed(tools, name="keys.turn", **given)(turn)
        if found is not None and found.isupper():
            with pytest.raises(ValueError, match=found):
                function.propose("billing")
            assert data_of(tools.list_requests())["count"] == 0
        else:
            status = data_of(tools.status(function.propose("billing").request_id))
            assert status.get("template_name") == found
            assert "rules_digest" in status


# The hook.

HOOKED = 'default = "deny"\n[[rules]]\ntool = "Bash"\ntemplate = "one"\n'
BASH = saved("claude_code-PreToolUse-Bash")


@pytest.mark.parametrize(
    "given",
    [
        {**BASH, "tool_name": "bash"},
        {**BASH, "tool_name": "B\u0430sh"},
        {**BASH, "tool_name": "Bash "},
        {**BASH, "tool_name": "mcp__shell__Bash"},
        json.dumps(BASH).replace('"tool_name": "Bash"', '"tool_name": "Read", "tool_name": "Bash"').encode(),
        json.dumps(BASH).replace('"command":', '"command": "ls", "command":').encode(),
    ],
    ids=["lower case", "a look-alike", "a blank", "another server's", "two tools", "two commands"],
)
def test_a_hook_denies_what_its_rules_do_not_name_and_asks_nobody(
    given: dict[str, Any] | bytes, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, HOOKED)
    assert bench.hook(given).denial
    assert bench.requests() == []


def test_a_hook_records_the_digest_and_finds_its_request_again_under_changed_rules(tmp_path: Path) -> None:
    bench = Bench(tmp_path, HOOKED)
    assert bench.hook(BASH).verdict == "defer"
    (request_id,) = bench.requests()
    assert bench.status(request_id)["rules_digest"] == book(HOOKED).digest
    bench.book.write_text(HOOKED + '[[rules]]\ntool = "Read"\nverdict = "allow"\n')
    bench.approve()
    assert bench.hook(BASH).verdict == "allow"
    assert bench.requests() == [request_id]


def test_a_request_that_an_agent_made_under_the_key_of_a_call_lets_no_call_run(tmp_path: Path) -> None:
    bench = Bench(tmp_path, HOOKED)
    assert bench.hook(BASH).verdict == "defer"
    known = bench.status(bench.requests()[0])
    requester = Actor(**known["requester"])
    (tmp_path / "other").mkdir()
    other = Bench(tmp_path / "other", HOOKED)
    with NexusControlTools(other.path) as tools:
        data_of(
            tools.request(
                known["goal"],
                requester,
                "apply",
                known["plan"],
                adapter_id=known["adapter_id"],
                idempotency_key=known["idempotency_key"],
                metadata=known["metadata"],
                allow_requester_approval=True,
            )
        )
        data_of(tools.approve(other.requests()[0], requester))
    assert other.hook(BASH).denial


def test_every_plan_of_steps_among_the_attempts_is_one_that_a_router_would_take() -> None:
    denied = [
        fields["plan"]
        for fields, code in ATTEMPTS.values()
        if code in ("TEMPLATE_WEAKENED", "DENIED_BY_RULE")
    ]
    assert all(parse_plan(each) for each in denied if not each.startswith('{"tool"'))
