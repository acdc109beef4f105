"""A plan's numbers, from the request through the run to the evidence, through the facade and by commands."""

import json
from pathlib import Path
from typing import Any

import pytest

from nexus_control import DecisionStore, LocalRouter, NexusControlTools, verify_audit_package, verify_evidence
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.log.upkeep import find_faults
from tests.cli.running import Commands
from tests.support.governed import ALICE, BOB, SCHEDULER, data_of

CONFIG = """
[adapters.scale]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.scale.tools.set]
argv = ["printf", "%s|", "--factor={factor}", "{count}"]
dry_run_argv = ["echo", "{factor}", "{count}"]

[adapters.call]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
protocol = "call"
command = ["sh", "-c", 'cat "$5"', "tool"]
"""
ARGUMENTS = {"factor": 0.5, "count": 2**53 - 1}


def plan(tool: str, **args: object) -> list[dict[str, Any]]:
    return [{"step_id": "s1", "intent": "scale", "call": {"tool": tool, "method": "set", "args": args}}]


def checks_that_did_not_pass(package: object) -> set[str]:
    checks = verify_evidence(package).checks  # pyright: ignore[reportArgumentType]
    return {check.name for check in checks if check.status in ("failed", "info")}


@pytest.mark.parametrize("spelled", ["text", "a list"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_python_function_gets_the_number_and_what_it_did_is_proved(spelled: str, dry_run: bool) -> None:
    given: list[dict[str, object]] = []

    def scale(**arguments: object) -> float:
        given.append(arguments)
        return 1.5

    steps = plan("scale", **ARGUMENTS, nested=[{"of": 1e22}])
    router = LocalRouter(Adapters([PythonAdapter("scale", {"set": scale})]))
    tools = NexusControlTools(DecisionStore(), plan_checker=router)
    asked = tools.request(
        goal="g",
        actor=ALICE,
        adapter_id="python:scale",
        mode="dry_run" if dry_run else "apply",
        plan=json.dumps(steps, indent=1) if spelled == "text" else steps,
    )
    request_id = data_of(asked)["request_id"]
    data_of(tools.approve(request_id, BOB))
    ran = data_of(tools.execute(request_id, "python:scale", SCHEDULER, router, dry_run=dry_run))
    assert given == ([] if dry_run else [{**ARGUMENTS, "nested": [{"of": 1e22}]}])
    run = router.export_run(ran["run_id"])
    package = data_of(tools.export_audit_package(request_id, embed_router_bundle=True, router_bundle=run))[
        "package"
    ]
    assert verify_audit_package(package).ok
    assert verify_evidence(package).ok
    assert "canonical_domain" not in checks_that_did_not_pass(package)
    assert "not of canonical JSON" not in json.dumps(package)
    other = NexusControlTools(DecisionStore())
    bundle = data_of(tools.export_bundle(request_id))["bundle"]
    data_of(other.import_bundle(json.dumps(bundle)))
    assert data_of(other.export_bundle(request_id))["bundle"]["integrity"] == bundle["integrity"]
    assert find_faults(tools.store) == find_faults(other.store) == []


def test_a_program_gets_the_spelling_that_its_approver_saw_and_the_package_verifies(tmp_path: Path) -> None:
    commands, config = Commands(tmp_path), tmp_path / "adapters.toml"
    config.write_text(CONFIG)
    text = json.dumps(plan("scale", **ARGUMENTS)).replace("0.5", "5e-1")
    binding = ("--adapter", "subprocess:scale", "--config", str(config))
    asked = commands.answer(
        "request", "g", "--mode", "apply", "--as", "human:alice", "--plan", text, *binding
    )
    request_id = asked["request_id"]
    (step,) = commands.answer("inspect", request_id, "--config", str(config))["will_run"]["steps"]
    assert step["apply"]["argv"] == ["printf", "%s|", "--factor=0.5", "9007199254740991"]
    commands.run("approve", request_id, "--yes", "--as", "human:bob")
    commands.run("execute", request_id, *binding, "--dry-run")
    commands.run("execute", request_id, *binding)
    package = tmp_path / "package.json"
    commands.run("audit", request_id, "--embed", "--config", str(config), "-o", str(package))
    recorded = json.loads(package.read_bytes())["router"]["bundle"]["events"]
    (output,) = [each["payload"]["output"] for each in recorded if each["type"] == "TOOL_CALL_SUCCEEDED"]
    assert output["stdout"] == "--factor=0.5|9007199254740991|"
    assert commands.answer("status", request_id)["state"] == "completed"
    assert commands.answer("verify", str(package))["ok"]
    assert "canonical_domain" not in checks_that_did_not_pass(package.read_bytes())
    bundle = tmp_path / "bundle.json"
    written = commands.answer("export", request_id, "-o", str(bundle))
    other = Commands(tmp_path, "other.db")
    other.run("import", str(bundle))
    assert other.answer("export", request_id)["digest"] == written["digest"]
    assert commands.answer("doctor")["ok"]


def test_a_command_of_the_call_protocol_reads_the_number(tmp_path: Path) -> None:
    commands, config = Commands(tmp_path), tmp_path / "adapters.toml"
    config.write_text(CONFIG)
    binding = ("--adapter", "subprocess:call", "--config", str(config))
    text = json.dumps(plan("call", **ARGUMENTS))
    asked = ("request", "g", "--mode", "apply", "--as", "human:alice", "--plan", text, *binding)
    request_id = commands.answer(*asked)["request_id"]
    (step,) = commands.answer("inspect", request_id, "--config", str(config))["will_run"]["steps"]
    assert json.loads(step["apply"]["file"])["args"] == ARGUMENTS
    commands.run("approve", request_id, "--yes", "--as", "human:bob")
    commands.run("execute", request_id, *binding)
    assert commands.answer("status", request_id)["state"] == "completed"


@pytest.mark.parametrize(
    ("number", "says"),
    [
        ("1e999", "double"),
        ("-1e999", "double"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        (str(2**53), "2^53-1"),
    ],
)
def test_a_number_that_no_two_languages_agree_on_is_refused_by_name(
    number: str, says: str, tmp_path: Path
) -> None:
    commands, config = Commands(tmp_path), tmp_path / "adapters.toml"
    config.write_text(CONFIG)
    text = json.dumps(plan("scale", **ARGUMENTS)).replace("0.5", number)
    asked = ("request", "g", "--as", "human:alice", "--plan", text, "--config", str(config))
    refused = commands.answer(*asked, "--adapter", "subprocess:scale", code=1)
    assert refused["code"] == "PLAN_INVALID"
    assert says in refused["message"]
