"""Settings, adapters, approvers, and the end of a run, as people see them."""

import json
from pathlib import Path

from nexus_control.execution.config import load_adapters
from nexus_control.execution.local_router import LocalRouter
from tests.cli.screens.golden import Screen, Shot, at_work, each
from tests.support.governed import ALICE, BOB, data_of

ADAPTERS = """
[adapters.services]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
timeout_seconds = 60
env = { REGION = "eu-1" }
[adapters.services.tools.say]
argv = ["sh", "-c", 'echo "$1"; exit "$2"', "sh", "{text}", "{code}"]
dry_run_argv = ["echo", "--", "{text}"]
[adapters.services.tools.restart]
argv = ["./restart.sh", "--service", "{service}"]
[adapters.keys]
kind = "subprocess"
protocol = "call"
command = ["sh", "keys.sh"]
capabilities = ["apply"]
"""
SIGNERS = """\
alice@example.com namespaces="nexus-control.approval.v1" ssh-ed25519 \
AAAAC3NzaC1lZDI1NTE5AAAAIP+Kyq1IdmvQJNJDXNaKOl34md2ACuSQcHtJArWkzGod
bob@example.com valid-before="20260101Z" ssh-ed25519 \
AAAAC3NzaC1lZDI1NTE5AAAAIKGB1tFksoX1+0RTOQypzBcqhV34YL257yF2WJ9WOrdx
carol@example.com ssh-dss AAAAB3NzaC1kc3M=
"""


def files(folder: Path) -> dict[str, str]:
    (folder / "nexus-control.toml").write_text(ADAPTERS)
    (folder / "allowed_signers").write_text(SIGNERS)
    return {}


RULES = """
default = "deny"
[[rules]]
tool = "Bash"
template = "two-people"
[[rules]]
tool = "Bash"
arguments = { "/command" = { in = ["git status", "git diff"] } }
verdict = "allow"
[[rules]]
tool = "services"
method = "restart"
mode = "apply"
labels = ["prod"]
requester = "system:*"
arguments = { "/service" = { glob = "billing-*" }, "/wait" = { gt = 0, lt = 60 } }
template = "owners"
[[rules]]
tool = "services"
method = "s*"
verdict = "allow"
"""


def rules(folder: Path) -> dict[str, str]:
    files(folder)
    (folder / "rules.toml").write_text(RULES)
    calls = [("s1", "restart", {"service": "billing-eu", "wait": 30}), ("s2", "say", {"text": "done"})]
    plan = [
        {"step_id": step, "intent": "Restart", "call": {"tool": "services", "method": method, "args": args}}
        for step, method, args in calls
    ]
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "unclear.json").write_text(json.dumps(plan).replace("30", '"30"'))
    bad = RULES.replace("Bash", "[Bash", 1).replace("lt = 60", "less = 60").replace('default = "deny"', "")
    (folder / "bad.toml").write_text(bad)
    (folder / "other.toml").write_text(RULES.replace('verdict = "allow"', 'template = "two-people"'))
    return {}


def a_cloned_repository(folder: Path) -> dict[str, str]:
    trusted = 'database = "theirs.db"\nallowed_signers = "theirs"\ndefault = "allow"\n'
    (folder / "nexus-control.toml").write_text(f"{trusted}{ADAPTERS}[[notify]]\n")
    own = folder / ".config" / "nexus-control"
    own.mkdir(parents=True)
    (own / "nexus-control.toml").write_text('database = "decisions.db"\n[groups]\nsecurity = ["alice"]\n')
    return {}


def a_broken_file(folder: Path) -> dict[str, str]:
    broken = ADAPTERS.replace("60", "0").replace("{service}", "{service").replace("protocol", "protocoll")
    (folder / "nexus-control.toml").write_text(broken)
    return {}


def approved(folder: Path, code: int) -> dict[str, str]:
    files(folder)
    with at_work(folder) as (tools, clock):
        clock.advance(hours=23)
        calls = [("s1", "two keys were rotated", 0), ("s2", "the third is in use", code)]
        plan = [
            {
                "step_id": step,
                "intent": "Rotate",
                "call": {"tool": "services", "method": "say", "args": {"text": text, "code": exit_code}},
            }
            for step, text, exit_code in calls
        ]
        asked = tools.request("Rotate the keys", ALICE, mode="apply", plan=plan)
        request_id = data_of(asked)["request_id"]
        data_of(tools.approve(request_id, BOB))
    return {"id": request_id}


def bound_otherwise(folder: Path) -> dict[str, str]:
    files(folder)
    with (
        at_work(folder) as (tools, clock),
        LocalRouter(load_adapters(folder / "nexus-control.toml")) as router,
    ):
        clock.advance(hours=23)
        bound = type(tools)(tools.store, plan_checker=router)
        call = {"tool": "services", "method": "restart", "args": {"service": "billing"}}
        plan = [{"step_id": "s1", "intent": "Restart", "call": call}]
        data_of(bound.request("Restart billing", ALICE, plan=plan, adapter_id="subprocess:services"))
    (folder / "nexus-control.toml").write_text(ADAPTERS.replace("eu-1", "eu-2"))
    return {}


BASH = ("--tool", "Bash", "--arguments", '{"command": "git status"}')
DEPLOY = ("--mode", "apply", "--label", "prod", "--as", "system:deploy")
SIGNING = ("--allowed-signers", "allowed_signers")
SCREENS = {
    "config-show": Screen("config", "show", store=a_cloned_repository),
    "adapter-list": Screen("adapter", "list", store=files),
    "adapter-show": Screen("adapter", "show", "services", store=files),
    "adapter-check": Screen("adapter", "check", store=bound_otherwise),
    "adapter-check-broken": Screen("adapter", "check", store=a_broken_file),
    "rules-check": Screen("rules", "check", "--config", "rules.toml", store=rules),
    "rules-check-broken": Screen("rules", "check", "--config", "bad.toml", store=rules),
    "rules-explain": Screen("rules", "explain", "plan.json", *DEPLOY, "--config", "rules.toml", store=rules),
    "rules-explain-call": Screen("rules", "explain", *BASH, "--config", "rules.toml", store=rules),
    "rules-explain-unclear": Screen(
        "rules", "explain", "unclear.json", *DEPLOY, "--config", "rules.toml", store=rules
    ),
    "rules-explain-disagreeing": Screen(
        "rules", "explain", "plan.json", *DEPLOY, "--config", "other.toml", store=rules
    ),
    "approver-list": Screen("approver", "list", *SIGNING, store=files),
    "approver-check": Screen("approver", "check", "alice@example.com", *SIGNING, store=files),
    "approver-check-no": Screen("approver", "check", "bob@example.com", *SIGNING, store=files),
    "execute": Screen("execute", store=lambda folder: approved(folder, 0)),
    "execute-rehearsed": Screen("execute", "--dry-run", store=lambda folder: approved(folder, 0)),
    "execute-failed": Screen("execute", store=lambda folder: approved(folder, 3)),
}


@each(SCREENS)
def test_settings_adapters_and_runs_look_as_they_did(shot: Shot) -> None:
    shot.check()
