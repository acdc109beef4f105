"""What a type checker says of code that uses the library: right code passes, and each usual mistake is found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import python_source
from tests.support.places import REPOSITORY

PREAMBLE = """\
from nexus_control import (
    Actor, DecisionStore, LocalRouter, NexusControlTools, Policy, Trust, load_adapters, verify_bundle, verify_evidence,
)

ALICE, BOB, CI = Actor("human", "alice"), Actor("human", "bob"), Actor("system", "ci")
tools, router = NexusControlTools("decisions.db"), LocalRouter(load_adapters("nexus-control.toml"))
ID = "0d1c0d39-88f2-4c08-bb25-6637d1ade8a9"
"""
RIGHT = """\
asked = tools.request("Rotate", ALICE, mode="apply", plan=[{"step_id": "s"}], override_min_approvals=2)
if not asked:
    raise SystemExit(f"{asked.error_code}: {asked.next}")
request_id: str = asked.data["request_id"]
if asked.data["state"] == "pending_approval":
    approved = tools.approve(request_id, {"type": "human", "id": "bob"}, basis=asked.data["basis"])
    left: int = approved.data["required_approvals"] - approved.data["current_approvals"]
ran = tools.execute(request_id, "subprocess:keys", CI, router, dry_run=True)
digest: str = ran.data["response_digest"]
status = tools.status(request_id).data
if (policy := status["policy"]) is not None:
    needed: int = policy["min_approvals"]
codes: list[str] = [reason["code"] for reason in status["blocking_reasons"]]
effects = [each["effect"] for each in status["executions"] if each["outcome"] == "failed"]
rendered: str = tools.inspect(request_id).data.get("rendered", "")
page = tools.list_requests(state="approved").data
following = tools.list_requests(after=page["cursor"]).data["requests"]
tools.template_create("two", ALICE, min_approvals=2, allowed_modes=["dry_run", "apply"], overrides="tighten_only")
tools.reconcile(request_id, BOB, "completed", "seen").data["outcome"]
report = verify_evidence(tools.export_audit_package(request_id).data["package"], trust=Trust(), require="L1")
level: str | None = report.level
verify_bundle(tools.export_bundle(request_id).data["canonical_json"]).ok
two = Policy(2, ["apply"])
with DecisionStore("decisions.db") as store, NexusControlTools(store) as others:
    others.deny(request_id, BOB, "no").to_dict()
"""
MISTAKES = [
    ("a key that is not there", "GeneralTypeIssues", 'tools.request("g", ALICE).data["request_idd"]'),
    ("a key of another answer", "GeneralTypeIssues", 'tools.deny(ID, BOB, "no").data["current_approvals"]'),
    ("a key deep inside", "GeneralTypeIssues", 'tools.status(ID).data["executions"][0]["exit"]'),
    ("a key that may be absent", "TypedDictNotRequiredAccess", 'tools.inspect(ID).data["rendered"].upper()'),
    ("a value that may be None", "OptionalSubscript", 'tools.status(ID).data["policy"]["min_approvals"]'),
    (
        "an answer of another type",
        "AssignmentType",
        'count: int = tools.request("g", ALICE).data["request_id"]',
    ),
    ("a mode that is none", "ArgumentType", 'tools.request("g", ALICE, mode="live")'),
    (
        "a mode in a list that is none",
        "ArgumentType",
        'tools.request("g", ALICE, allowed_modes=["apply", "live"])',
    ),
    ("an assurance that is none", "ArgumentType", 'tools.request("g", ALICE, min_assurance="strong")'),
    ("a state that is none", "ArgumentType", 'tools.list_requests(state="open")'),
    ("an outcome that is none", "ArgumentType", 'tools.reconcile(ID, ALICE, "done", "seen")'),
    ("a conflict mode that is none", "ArgumentType", 'tools.import_bundle("{}", conflict_mode="merge")'),
    ("overrides that are none", "ArgumentType", 'tools.template_create("two", ALICE, overrides="none")'),
    ("a verdict that is none", "ArgumentType", 'tools.approval_statement(ID, "bob", "accept")'),
    ("a level that is none", "ArgumentType", 'verify_evidence("{}", require="L9")'),
    ("an actor's type that is none", "ArgumentType", 'Actor("robot", "r2")'),
    ("a number for a text", "ArgumentType", "tools.request(5, ALICE)"),
    ("a text for a number", "ArgumentType", 'tools.request("g", ALICE, min_approvals="2")'),
    ("a text for an actor", "ArgumentType", 'tools.approve(ID, "bob")'),
    ("an object for a router", "ArgumentType", 'tools.execute(ID, "subprocess:keys", CI, object())'),
    ("a number for a store", "ArgumentType", "NexusControlTools(5)"),
    ("a text for a policy's number", "ArgumentType", 'Policy("2")'),
    ("a misspelt keyword", "CallIssue", 'tools.request("g", ALICE, prioity="high")'),
    ("a misspelt override", "CallIssue", 'tools.request("g", ALICE, override_quorum=2)'),
    ("a keyword of another method", "CallIssue", "tools.export_bundle(ID, rendered=False)"),
    ("no actor", "CallIssue", 'tools.request("g")'),
    ("no reason", "CallIssue", "tools.deny(ID, BOB)"),
    ("no router", "CallIssue", 'tools.execute(ID, "subprocess:keys", CI)'),
    ("a method that is not there", "AttributeAccessIssue", "tools.results(ID)"),
    ("an attribute that is not there", "AttributeAccessIssue", "tools.status(ID).value"),
    (
        "a state compared with what is none",
        "UnnecessaryComparison",
        'tools.status(ID).data["state"] == "aproved"',
    ),
]
"""What is wrong, the rule by which pyright finds it, and the code."""


UNUSED = ("reportUnusedExpression", "reportUnusedImport", "reportUnusedVariable")
"""A row of the table uses one name of the preamble, and does nothing with what it gets."""


def errors_in(folder: Path, sources: dict[str, str]) -> dict[str, list[str]]:
    """What pyright, strict as a careful user's, says against each file."""
    config = {"typeCheckingMode": "strict"} | dict.fromkeys(UNUSED, False)
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    for name, source in sources.items():
        (folder / name).write_text(source)
    ran = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"],
        cwd=folder, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    found: dict[str, list[str]] = {name: [] for name in sources}
    for each in json.loads(ran.stdout)["generalDiagnostics"]:
        if each["severity"] == "error":
            found[Path(each["file"]).name].append(f"{each['rule']}: {each['message']}")
    return found


PAGES = {
    str(page.relative_to(REPOSITORY)): source
    for page in sorted((*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")))
    if (source := python_source(page.read_text(encoding="utf-8")))
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    sources = {"right.py": PREAMBLE + RIGHT}
    sources |= {f"{page.replace('/', '_')}.py": source for page, source in PAGES.items()}
    sources["no_mistake.py"] = PREAMBLE
    sources |= {f"mistake_{number}.py": PREAMBLE + code for number, (_, _, code) in enumerate(MISTAKES)}
    return errors_in(tmp_path_factory.mktemp("user"), sources)


def test_right_code_passes(said: dict[str, list[str]]) -> None:
    assert said["right.py"] == []
    assert said["no_mistake.py"] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_passes(said: dict[str, list[str]], page: str) -> None:
    assert said[f"{page.replace('/', '_')}.py"] == []


def test_the_readme_and_the_tutorial_hold_code() -> None:
    assert {"README.md", "docs/tutorial.md"} <= set(PAGES)


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[name for name, _, _ in MISTAKES])
def test_a_mistake_is_found(said: dict[str, list[str]], number: int) -> None:
    _, rule, _ = MISTAKES[number]
    assert f"report{rule}" in {each.partition(":")[0] for each in said[f"mistake_{number}.py"]}
