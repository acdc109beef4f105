"""The commands by which people ask, decide, run and look."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nexus_control import NexusControlTools
from nexus_control.cli.main import app
from tests.cli.running import Commands, at_a_terminal, command_names, nexus_control

CONFIG = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.files.tools.write]
argv = ["sh", "-c", 'printf "%s" "$1" > "$2"', "sh", "{text}", "{file}"]
dry_run_argv = ["true"]
"""


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    return Commands(folder).run(*arguments, code=code)


def answer(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    return Commands(folder).answer(*arguments, code=code)


def requested(folder: Path, *options: str) -> str:
    return answer(folder, "request", "rotate the keys", "--mode", "apply", *options)["request_id"]


def test_the_whole_flow_by_commands_alone_changes_a_file(tmp_path: Path) -> None:
    config, target, plan = tmp_path / "adapters.toml", tmp_path / "target", tmp_path / "plan.json"
    config.write_text(CONFIG)
    call = {"tool": "files", "method": "write", "args": {"text": "new", "file": str(target)}}
    plan.write_text(json.dumps([{"step_id": "s1", "intent": "write", "call": call}]))
    binding = ("--adapter", "subprocess:files", "--config", str(config))
    request_id = requested(tmp_path, "--plan-file", str(plan), "--min-approvals", "2", *binding)
    early = answer(tmp_path, "execute", request_id, *binding, code=1)
    assert (early["code"], early["details"]["reasons"][0]["code"]) == (
        "POLICY_NOT_SATISFIED",
        "MISSING_APPROVALS",
    )
    run(tmp_path, "approve", request_id, "--yes", "--as", "human:alice", "--comment", "fine")
    run(tmp_path, "approve", request_id, "--yes", "--as", "human:bob")
    run(tmp_path, "execute", request_id, *binding, "--dry-run")
    assert not target.exists()
    assert ", 1 step." in " ".join(run(tmp_path, "execute", request_id, *binding).split())
    assert target.read_text() == "new"
    assert answer(tmp_path, "status", request_id)["state"] == "completed"


def test_a_plan_that_the_adapter_would_refuse_is_refused_at_the_request(tmp_path: Path) -> None:
    config = tmp_path / "adapters.toml"
    config.write_text(CONFIG)
    options = ("--plan", "[]", "--adapter", "subprocess:files", "--config", str(config))
    assert answer(tmp_path, "request", "g", *options, code=1)["code"] == "PLAN_INVALID"
    assert answer(tmp_path, "list")["requests"] == []


@pytest.mark.parametrize(
    ("command", "options", "state"),
    [
        ("deny", ("--as", "human:bob"), "denied"),
        ("withdraw", ("--as", "human:alice"), "withdrawn"),
        ("revoke", ("--as", "human:bob"), "pending_approval"),
    ],
)
def test_a_request_is_ended_or_an_approval_taken_back_with_a_reason(
    command: str, options: tuple[str, ...], state: str, tmp_path: Path
) -> None:
    request_id = requested(tmp_path, "--as", "human:alice")
    if command == "revoke":
        run(tmp_path, "approve", request_id, "--yes", "--as", "human:bob")
    run(tmp_path, command, request_id, "--yes", *options, code=2)  # without a reason
    ended = answer(tmp_path, command, request_id, "--yes", "--reason", "not now", *options)
    assert ended["state"] == state


def test_ones_own_login_is_local_and_a_name_that_was_given_is_declared(tmp_path: Path) -> None:
    request_id = requested(tmp_path, "--min-assurance", "local", "--as", "human:alice")
    database = ("--db", str(tmp_path / "store.db"))
    named = at_a_terminal("approve", request_id, "--as", "human:bob", *database, typed="y\n")
    assert (named.returncode, "ASSURANCE_TOO_LOW" in named.stdout) == (1, True)
    assert at_a_terminal("approve", request_id, *database, typed="y\n").returncode == 0
    (approval,) = answer(tmp_path, "inspect", request_id)["approval"]["approvals"]
    assert approval["assurance"] == "local"


UNASKED = {
    "from a pipe": nexus_control,
    "at a terminal": at_a_terminal,
}


@pytest.mark.parametrize("how", UNASKED)
def test_who_was_not_asked_at_a_terminal_is_only_declared(how: str, tmp_path: Path) -> None:
    demanding, plain = requested(tmp_path, "--min-assurance", "local"), requested(tmp_path)
    options = ("--yes", "--db", str(tmp_path / "store.db"))
    refused = UNASKED[how]("approve", demanding, *options)
    assert (refused.returncode, "ASSURANCE_TOO_LOW" in refused.stdout + refused.stderr) == (1, True)
    assert UNASKED[how]("approve", plain, *options).returncode == 0
    (approval,) = answer(tmp_path, "inspect", plain)["approval"]["approvals"]
    assert approval["assurance"] == "declared"
    assert UNASKED[how]("deny", demanding, "--reason", "no", *options).returncode == 0
    events = NexusControlTools(db_path=tmp_path / "store.db").store.get_events(demanding)
    assert events[-1].payload["assurance"] == "declared"


def test_no_variable_makes_somebody_else_of_ones_own_login(tmp_path: Path) -> None:
    request_id = requested(
        tmp_path, "--min-assurance", "local", "--min-approvals", "2", "--as", "human:alice"
    )
    approve = ("approve", request_id, "--db", str(tmp_path / "store.db"))
    given = {"LOGNAME": "mallory", "USER": "mallory", "LNAME": "mallory", "USERNAME": "mallory"}
    first = at_a_terminal(*approve, typed="y\n")
    again = at_a_terminal(*approve, typed="y\n", changes=given)
    assert (first.returncode, again.returncode) == (0, 1)
    assert "ALREADY_APPROVED" in again.stdout


@pytest.mark.parametrize(
    ("needed", "still"),
    [("1", "It needs no other approval"), ("2", "1 approval missing. Can still approve: bob")],
)
def test_a_second_approval_without_an_id_is_told_of_the_first(
    needed: str, still: str, tmp_path: Path
) -> None:
    approvers = ("--approver", "alice", "--approver", "bob", "--min-approvals", needed)
    request_id = requested(tmp_path, *approvers)
    approve = ("approve", "--as", "human:alice", "--db", str(tmp_path / "store.db"))
    assert at_a_terminal(*approve, typed="y\n").returncode == 0
    again = at_a_terminal(*approve)
    assert (again.returncode, "[y/N]" in again.stdout) == (1, False)
    assert "ALREADY_APPROVED" in again.stdout
    assert f"alice has approved request {request_id[:8]} already. {still}" in " ".join(again.stdout.split())
    requested(tmp_path, "--approver", "carol")  # another request, which is not alice's to approve
    assert "ALREADY_APPROVED" in at_a_terminal(*approve).stdout
    second = requested(tmp_path, *approvers)
    assert at_a_terminal("approve", second, *approve[1:], typed="y\n").returncode == 0
    assert "DECISION_NOT_FOUND" in at_a_terminal(*approve).stdout  # which of the two is meant is not known


def test_the_environment_names_database_and_actor(tmp_path: Path) -> None:
    variables = {"NEXUS_CONTROL_DB": str(tmp_path / "elsewhere.db"), "NEXUS_CONTROL_ACTOR": "system:robot"}
    ran = nexus_control("request", "g", "--json", folder=tmp_path, changes=variables)
    request_id = json.loads(ran.stdout)["request_id"]
    tools = NexusControlTools(db_path=tmp_path / "elsewhere.db")
    assert tools.status(request_id).data["requester"] == {"type": "system", "id": "robot"}


def test_the_list_is_filtered(tmp_path: Path) -> None:
    first = requested(tmp_path, "--label", "prod", "--as", "human:alice")
    second = requested(tmp_path, "--approver", "bob", "--as", "human:carol")
    run(tmp_path, "approve", second, "--yes", "--as", "human:bob")

    def listed(*options: str) -> list[str]:
        return [line["request_id"] for line in answer(tmp_path, "list", *options)["requests"]]

    assert listed() == [second, first]
    assert listed("--label", "prod") == listed("--requester", "ALICE") == [first]
    assert listed("--state", "approved") == [second]
    assert listed("--mine", "--as", "human:bob") == [first]
    assert listed("--limit", "1") == [second]
    cursor = answer(tmp_path, "list", "--limit", "1")["cursor"]
    assert listed("--after", cursor) == [first]
    assert "pending_approval" in run(tmp_path, "list")
    assert run(tmp_path, "list", "--label", "none") == ""


def test_a_tool_is_called_as_an_agent_does(tmp_path: Path) -> None:
    good = answer_of_call(tmp_path, "nexus-control.template.create", {"name": "rules"})
    assert good["template_name"] == "rules"
    assert answer_of_call(tmp_path, "nexus_control_template_list", {})["count"] == 1
    bad = answer_of_call(tmp_path, "nexus-control.template.get", {"name": "rules", "x": 1}, code=1)
    assert (bad["code"], bad["details"]["fields"][0]["field"]) == ("INVALID_ARGUMENT", "x")
    assert answer_of_call(tmp_path, "nexus-control.destroy", {}, code=2)["code"] == "INVALID_ARGUMENT"


def answer_of_call(folder: Path, tool: str, arguments: dict[str, object], code: int = 0) -> dict[str, Any]:
    return json.loads(run(folder, "call", tool, "--arguments", json.dumps(arguments), code=code))


def test_recover_and_reconcile_say_what_is_wrong(tmp_path: Path) -> None:
    request_id = requested(tmp_path)
    assert answer(tmp_path, "recover") == {"recovered": [], "still_held": 0, "runs": []}
    assert answer(tmp_path, "recover", request_id, code=1)["code"] == "INVALID_STATE"
    options = ("--outcome", "failed", "--evidence", "looked")
    assert answer(tmp_path, "reconcile", request_id, *options, code=1)["code"] == "INVALID_STATE"


@pytest.mark.parametrize(
    "arguments",
    [
        ("approve", "no-such-request", "--yes"),
        ("status", "no-such-request"),
        ("inspect", "no-such-request"),
        ("execute", "no-such-request", "--adapter", "x:y", "--router", "tests.cli.test_governing:Router"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_request_that_is_not_there_is_refused_with_exit_1(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    run(tmp_path, "template", "create", "t")
    refused = answer(tmp_path, *arguments, code=1)
    assert (refused["code"], bool(refused["next"])) == ("DECISION_NOT_FOUND", True)


class Router:
    """One that is never asked to run."""

    def run(self, **_request: object) -> dict[str, object]:
        raise AssertionError

    def get_adapter_capabilities(self, _adapter_id: str) -> set[str]:
        return set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("request", "g", "--mode", "wild"),
        ("request", "g", "--plan", "a", "--plan-file", "b"),
        ("request", "g", "--plan-file", "/nowhere"),
        ("request", "g", "--as", "robot:x"),
        ("list", "--state", "happy"),
        ("execute", "x", "--adapter", "a:b", "--config", "/nowhere.toml"),
        ("recover", "--force"),
        ("log", "prove"),
        ("approve", "--bogus"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_2_and_writes_nothing(arguments: tuple[str, ...], tmp_path: Path) -> None:
    run(tmp_path, "template", "create", "t")
    run(tmp_path, *arguments, code=2)
    assert answer(tmp_path, "list")["requests"] == []


def test_options_stand_before_or_after_the_command(tmp_path: Path) -> None:
    database = str(tmp_path / "store.db")
    run(tmp_path, "template", "create", "t")
    for arguments in (("--db", database, "--json", "list"), ("list", "--db", database, "--json")):
        ran = CliRunner().invoke(app, arguments)
        assert json.loads(ran.stdout)["requests"] == []


@pytest.mark.parametrize("command", command_names(app), ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    ran = CliRunner().invoke(app, [*command, "--help"], prog_name="nexus-control")
    assert ran.exit_code == 0
    assert f"Example: nexus-control {' '.join(command)}" in ran.stdout


def test_nobody_is_asked_in_a_pipe(tmp_path: Path) -> None:
    request_id = requested(tmp_path)
    ran = nexus_control("approve", request_id, "--db", str(tmp_path / "store.db"))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "--yes" in ran.stderr
    assert "\x1b" not in ran.stderr


@pytest.mark.parametrize(("typed", "code", "state"), [("y\n", 0, "approved"), ("n\n", 1, "pending_approval")])
def test_a_reviewer_sees_the_whole_request_before_they_are_asked(
    typed: str, code: int, state: str, tmp_path: Path
) -> None:
    hidden = "pay\u202egpj.exe"
    request_id = requested(tmp_path, "--plan", f"1. {hidden}")
    shown = at_a_terminal("approve", request_id, "--db", str(tmp_path / "store.db"), typed=typed)
    assert shown.returncode == code
    for expected in (
        "rotate the keys",
        "pay\\u202egpj.exe",
        "yours would be the last: then it can be executed.",
        "Approve this request as human:",
    ):
        assert expected in shown.stdout, shown.stdout
    assert hidden not in shown.stdout
    assert answer(tmp_path, "status", request_id)["state"] == state


def test_a_tool_is_called_by_its_whole_name_or_its_last_words(tmp_path: Path) -> None:
    request_id = requested(tmp_path)
    given = ("--arguments", json.dumps({"request_id": request_id}))
    whole, short = (
        json.loads(run(tmp_path, "call", name, *given)) for name in ("nexus-control.status", "status")
    )
    assert whole["request_id"] == short["request_id"] == request_id
    refused = CliRunner().invoke(app, ["call", "stauts", "--db", str(tmp_path / "store.db")])
    said = " ".join(refused.output.split())
    assert (refused.exit_code, "'stauts'" in said, "status, " in said) == (2, True, True), said
