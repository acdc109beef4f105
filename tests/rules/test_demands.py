"""The table of requests under a book, at the facade, at a real server and on the command line; and other books."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from nexus_control import NexusControlTools
from nexus_control.rules import read_rules
from tests.cli.running import nexus_control
from tests.mcp.serving import client
from tests.rules.books import book
from tests.rules.demands import AGENT, BOOK, LIST, ROTATE, ROWS, TEMPLATES, Row, guarded, plan, with_templates
from tests.support.contents import contents
from tests.support.governed import data_of

DIGEST = book(BOOK).digest


@pytest.fixture
def tools() -> Iterator[NexusControlTools]:
    with NexusControlTools(rules=book(BOOK)) as tools:
        yield with_templates(tools)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.toml").write_text(BOOK, encoding="utf-8")
    with NexusControlTools(tmp_path / "store.db") as tools:
        with_templates(tools)
    return tmp_path


def require_as_demanded(row: Row, data: Mapping[str, Any], status: Mapping[str, Any]) -> None:
    """The answer of a request, and its status, have the policy, the template and the digest of this row."""
    assert data.get("template_name") == row.of
    assert data["rules_digest"] == status["rules_digest"] == DIGEST
    known = {name: status["policy"][name] for name in row.policy}
    assert known == row.policy


@pytest.mark.parametrize("name", ROWS)
def test_a_request_gets_the_policy_that_the_rules_demand_or_is_refused(
    tools: NexusControlTools, name: str
) -> None:
    row, before = ROWS[name], contents(tools.store)
    asked = tools.request("Do it", AGENT, **row.request)
    assert asked.error_code == row.code, asked.error
    if row.code is None:
        require_as_demanded(row, asked.data, data_of(tools.status(asked.data["request_id"])))
    else:
        assert asked.next
        assert contents(tools.store) == before


@pytest.mark.anyio
async def test_a_server_demands_the_same_of_every_row(folder: Path) -> None:
    options = ("--config", "rules.toml", "--actor", "system:agent")
    async with client(*options, folder=folder) as connected:
        for name, row in ROWS.items():
            if "adapter_id" in row.request:  # a guarded call, which no adapter of a server takes
                continue
            result = await connected.call_tool("nexus-control.request", {"goal": "Do it", **row.request})
            answer: Any = result.structured_content
            assert (answer.get("code"), bool(result.is_error)) == (row.code, row.code is not None), name
            if row.code is None:
                with NexusControlTools(folder / "store.db") as tools:
                    require_as_demanded(row, answer, data_of(tools.status(answer["request_id"])))
            else:
                assert "nexus-control " not in answer["next"]


# Without adapter_id: only guarded calls have one here, and a configuration declares no adapter for those.
OPTIONS = {
    "plan": "--plan",
    "mode": "--mode",
    "template_name": "--template",
    "min_approvals": "--min-approvals",
    "labels": "--label",
    "max_steps": "--max-steps",
    "approvers": "--approver",
    "min_assurance": "--min-assurance",
}


def words(request: dict[str, Any]) -> list[str]:
    """The options of the command line for these fields."""
    said: list[str] = []
    for name, value in request.items():
        several = cast("list[object]", value) if isinstance(value, list) else [value]
        said += [word for each in several for word in (OPTIONS[name], str(each))]
    return said


@pytest.mark.sample(6)
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if OPTIONS.keys() >= row.request.keys()])
def test_the_command_line_demands_the_same(folder: Path, name: str) -> None:
    row = ROWS[name]
    asking = [
        "request",
        "Do it",
        "--db",
        "store.db",
        "--config",
        "rules.toml",
        "--as",
        "system:agent",
        "--json",
    ]
    ran = nexus_control(*asking, *words(row.request), folder=folder)
    answer = json.loads(ran.stdout)
    assert answer.get("code") == row.code, ran.stdout
    if row.code is None:
        with NexusControlTools(folder / "store.db") as tools:
            require_as_demanded(row, answer, data_of(tools.status(answer["request_id"])))


# Other books.


@pytest.mark.parametrize(
    ("text", "request_", "expected"),
    [
        ('default = "allow"', {}, None),
        ('default = "allow"', {"plan": "all of it"}, None),
        ('default = "allow"\n[[rules]]\ntool = "keys"\nverdict = "allow"', {"plan": "all of it"}, None),
        ('default = "deny"', {"plan": LIST}, "DENIED_BY_RULE"),
        ('default = "deny"', {}, "DENIED_BY_RULE"),
        ('default = "allow"\n[[rules]]\ntool = "keys"\nverdict = "deny"', {}, "RULE_UNDECIDED"),
        ('default = "allow"\n[[rules]]\nmethod = "rotate"\nverdict = "deny"', {}, "RULE_UNDECIDED"),
        (
            'default = "allow"\n[[rules]]\narguments = { "/a" = { eq = 1 } }\nverdict = "deny"',
            {"plan": "text"},
            "RULE_UNDECIDED",
        ),
        ('default = "deny"\n[[rules]]\ntool = "keys"\nverdict = "allow"', {}, "RULE_UNDECIDED"),
        ('default = "allow"\n[[rules]]\nmode = "apply"\ntool = "keys"\nverdict = "deny"', {}, None),
        ('default = "allow"\n[[rules]]\nrequester = "human:*"\ntool = "keys"\nverdict = "deny"', {}, None),
        ('default = "allow"\n[[rules]]\nlabels = ["prod"]\ntool = "keys"\nverdict = "deny"', {}, None),
        (
            'default = "allow"\n[[rules]]\nlabels = ["prod"]\ntool = "keys"\nverdict = "deny"',
            {"labels": ["prod"]},
            "RULE_UNDECIDED",
        ),
        (
            'default = "deny"\n[[rules]]\nrequester = "system:agent"\ntemplate = "two-people"',
            {},
            "two-people",
        ),
        (
            'default = "deny"\n[[rules]]\nrequester = "system:agent"\ntemplate = "two-people"',
            {"plan": "text", "min_approvals": 1},
            "TEMPLATE_WEAKENED",
        ),
        ('default = "deny"\n[[rules]]\nrequester = "system:*"\nverdict = "allow"', {"plan": "text"}, None),
        (
            'default = "deny"\n[[rules]]\ntool = "keys"\nverdict = "allow"\n'
            '[[rules]]\nrequester = "system:*"\nverdict = "allow"',
            {"plan": "text"},
            "RULE_UNDECIDED",
        ),
        (
            'default = "deny"\n[[rules]]\nmode = "apply"\ntemplate = "two-people"\n'
            '[[rules]]\nmode = "dry_run"\ntemplate = "one-person"',
            {"plan": ROTATE, "mode": "apply"},
            "two-people",
        ),
        (
            'default = "deny"\n[[rules]]\nmode = "apply"\ntemplate = "one-person"\n'
            '[[rules]]\nmode = "dry_run"\ntemplate = "two-people"',
            {"plan": ROTATE, "mode": "apply"},
            "TEMPLATE_WEAKENED",
        ),
        (
            'default = "deny"\n[[rules]]\nmode = "apply"\ntemplate = "one-person"\n'
            '[[rules]]\nmode = "dry_run"\ntemplate = "two-people"',
            {"plan": ROTATE, "mode": "apply", "allowed_modes": ["apply"]},
            "one-person",
        ),
        (
            'default = "deny"\n[[rules]]\ntool = "Bash"\nmode = "dry_run"\nverdict = "allow"',
            {**guarded("Bash"), "mode": "dry_run"},
            "DENIED_BY_RULE",
        ),
        (
            'default = "allow"\n[[rules]]\ntool = "Bash"\nmethod = "run"\nverdict = "allow"',
            guarded("Bash"),
            "RULE_UNDECIDED",
        ),
    ],
)
def test_a_book_says_what_a_request_gets(text: str, request_: dict[str, Any], expected: str | None) -> None:
    with NexusControlTools(rules=book(text)) as tools:
        asked = with_templates(tools).request("Do it", AGENT, **request_)
        found = asked.data.get("template_name") if asked.success else asked.error_code
    assert found == expected, asked.error


def test_a_requirement_of_a_rehearsal_is_a_field_like_any_other(tools: NexusControlTools) -> None:
    rules = book('default = "deny"\n[[rules]]\ntool = "keys"\ntemplate = "rehearsed"')
    required = {"max_age_seconds": 600}
    data_of(
        tools.template_create(
            "rehearsed", AGENT, allowed_modes=["dry_run", "apply"], require_rehearsal=required
        )
    )
    ruled = NexusControlTools(tools.store, rules=rules)
    asked = data_of(ruled.request("Do it", AGENT, "apply", ROTATE))
    assert data_of(ruled.status(asked["request_id"]))["policy"]["require_rehearsal"] == required
    longer = ruled.request("Do it", AGENT, "apply", ROTATE, require_rehearsal={"max_age_seconds": 601})
    assert (longer.error_code, longer.details["fields"]) == ("TEMPLATE_WEAKENED", ["require_rehearsal"])
    without = ruled.request("Do it", AGENT, "apply", ROTATE, template_name="three-people")
    assert (without.error_code, without.details["fields"]) == ("TEMPLATE_WEAKENED", ["require_rehearsal"])


def test_a_refusal_says_what_the_rules_demand_and_what_to_ask_instead(tools: NexusControlTools) -> None:
    refused = tools.request("Do it", AGENT, "apply", ROTATE, min_approvals=1, max_steps=9)
    assert refused.details == {
        "fields": ["min_approvals", "max_steps"],
        "template_name": "two-people",
        "decided_by": "rules[0], for step 's1'",
        "mode": "apply",
    }
    assert "Ask without a template and without these fields" in (refused.next or "")
    beside = tools.request("Do it", AGENT, "apply", plan("disk.wipe"))
    assert beside.details["mode"] == "dry_run"
    assert 'ask with allowed_modes ["apply"]' in (beside.next or "")
    assert "a plan of steps" in (tools.request("Do it", AGENT, "apply", "Rotate").next or "")


# The book of a program, and what it records.


def test_a_program_names_the_file_of_its_rules_or_reads_it(folder: Path) -> None:
    path = folder / "rules.toml"
    for rules in (path, str(path), read_rules(path)):
        with NexusControlTools(folder / "store.db", rules=rules) as tools:
            assert tools.rules == read_rules(path)
            assert tools.request("Do it", AGENT, "apply", plan("tax.pay")).error_code == "DENIED_BY_RULE"


def test_the_digest_of_the_book_is_in_the_event_and_only_with_a_book(tools: NexusControlTools) -> None:
    for ruled, digest in ((tools, DIGEST), (NexusControlTools(tools.store), None)):
        request_id = data_of(ruled.request("Do it", AGENT, "apply", ROTATE))["request_id"]
        event = tools.store.get_events(request_id)[1]
        assert event.payload.get("rules_digest") == digest
        assert ("rules_digest" in event.payload) is (digest is not None)
        assert data_of(tools.status(request_id)).get("rules_digest") == digest
        shown = data_of(tools.inspect(request_id))
        assert shown["decision"].get("rules_digest") == digest
        assert (DIGEST in shown["rendered"]) is (digest is not None)


def test_the_digest_goes_with_a_bundle(tools: NexusControlTools) -> None:
    request_id = data_of(tools.request("Do it", AGENT, "apply", ROTATE))["request_id"]
    bundle = data_of(tools.export_bundle(request_id))["bundle"]
    with NexusControlTools() as elsewhere:
        data_of(elsewhere.import_bundle(bundle))
        assert data_of(elsewhere.status(request_id))["rules_digest"] == DIGEST
        assert data_of(elsewhere.export_bundle(request_id))["bundle"]["events"] == bundle["events"]
    bundle["events"][1]["payload"]["rules_digest"] = "sha256:" + "0" * 64
    with NexusControlTools() as elsewhere:
        assert elsewhere.import_bundle(bundle).error_code == "INTEGRITY_MISMATCH"


# Asked again with the same key.


def test_a_request_that_was_made_is_answered_whatever_the_rules_are_now(tools: NexusControlTools) -> None:
    known: dict[str, Any] = {"mode": "apply", "plan": ROTATE, "idempotency_key": "k1"}
    made = data_of(tools.request("Do it", AGENT, **known))
    books = [
        'default = "deny"',
        'default = "allow"',
        'default = "deny"\n[[rules]]\ntool = "keys"\ntemplate = "owners"',
    ]
    for rules in (*map(book, books), None):
        again = data_of(NexusControlTools(tools.store, rules=rules).request("Do it", AGENT, **known))
        assert (again["created"], again["request_id"]) == (False, made["request_id"])
        kept = [again[name] for name in ("basis", "template_name", "min_approvals", "rules_digest")]
        assert kept == [made["basis"], "two-people", 2, DIGEST]


def test_a_request_that_was_made_without_rules_is_answered_under_rules(tools: NexusControlTools) -> None:
    known: dict[str, Any] = {"mode": "apply", "plan": ROTATE, "idempotency_key": "k1"}
    made = data_of(NexusControlTools(tools.store).request("Do it", AGENT, **known))
    again = data_of(tools.request("Do it", AGENT, **known))
    assert (again["created"], again["request_id"]) == (False, made["request_id"])
    assert "rules_digest" not in again


@pytest.mark.parametrize(
    "change",
    [
        {"plan": LIST},
        {"plan": ROTATE + " "},
        {"min_approvals": 3},
        {"template_name": "three-people"},
        {"labels": ["prod"]},
        {"adapter_id": "python:keys"},
    ],
    ids=str,
)
@pytest.mark.parametrize("with_rules", [True, False])
def test_under_a_key_no_other_content_slips_in_whatever_the_rules_are_now(
    tools: NexusControlTools, change: dict[str, Any], with_rules: bool
) -> None:
    known: dict[str, Any] = {"mode": "apply", "plan": ROTATE, "idempotency_key": "k1"}
    data_of((tools if with_rules else NexusControlTools(tools.store)).request("Do it", AGENT, **known))
    for rules in (None, book('default = "allow"'), book(BOOK)):
        again = NexusControlTools(tools.store, rules=rules).request("Do it", AGENT, **(known | change))
        assert again.error_code == "IDEMPOTENCY_CONFLICT", again


def test_the_templates_of_the_table_are_those_of_the_book() -> None:
    assert book(BOOK).templates - {"nowhere"} <= TEMPLATES.keys()
