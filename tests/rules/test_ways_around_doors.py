"""Ways around the rules over the command line and a server: real processes, and the files of a machine."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.configuration import FILE_NAME
from nexus_control.usecases.working import Due, Worklist, work
from tests.cli.running import at_a_terminal, environment, nexus_control
from tests.facade.routers import FakeRouter
from tests.mcp.serving import client, data, refusal
from tests.rules.books import book
from tests.rules.demands import AGENT, BOOK, BOTH, LIST, ROTATE, plan, with_templates
from tests.support.governed import BOB, SCHEDULER, data_of

OPEN = 'default = "allow"\n'
ASKING = ("request", "Do it", "--mode", "apply", "--json")
ON_A_MACHINE = """
import sys
from functools import partial
from pathlib import Path
from nexus_control.cli import settings
settings.look = partial(settings.look, system=Path(sys.argv[1]), user=Path(sys.argv[2]))
sys.argv = ["nexus-control", *sys.argv[3:]]
from nexus_control.__main__ import main
main()
"""


@dataclass(frozen=True)
class Machine:
    """A machine with files of the system and the user, and a project in which commands are run."""

    folder: Path

    def file(self, place: str, text: str, mode: int = 0o644, name: str = FILE_NAME) -> Path:
        path = self.folder / place / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def run(self, *words: str, **changes: str) -> dict[str, Any]:
        """The document of a command."""
        return json.loads(self.ran(*words, **changes).stdout)

    def said(self, *words: str) -> str:
        """What a command says on standard error, with its lines joined."""
        return " ".join(self.ran(*words).stderr.split())

    def ran(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        places = [str(self.folder / place / FILE_NAME) for place in ("etc", "home")]
        return subprocess.run(
            [sys.executable, "-c", ON_A_MACHINE, *places, *words],
            cwd=self.folder / "project",
            env=environment(NEXUS_CONTROL_DB=str(self.folder / "store.db"), **changes),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def requests(self) -> int:
        with NexusControlTools(self.folder / "store.db") as tools:
            return data_of(tools.list_requests())["count"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.file("project", "")
    machine.file("etc", BOOK)
    with NexusControlTools(tmp_path / "store.db") as tools:
        with_templates(tools)
    return machine


def test_the_machines_rules_hold_for_a_command_in_any_folder(machine: Machine) -> None:
    made = machine.run(*ASKING, "--plan", ROTATE)
    assert (made["template_name"], made["rules_digest"]) == ("two-people", book(BOOK).digest)
    assert machine.run("status", made["request_id"], "--json")["rules_digest"] == book(BOOK).digest


def test_people_are_shown_the_digest_of_the_rules_wherever_they_are_shown_the_template(
    machine: Machine,
) -> None:
    request_id = machine.run(*ASKING, "--plan", LIST)["request_id"]
    digest = book(BOOK).digest
    shown = at_a_terminal(
        "approve", request_id, "--db", "store.db", folder=machine.folder, width=120, typed="n\n"
    )
    assert f"Rules {digest}" in shown.stdout
    store = ["--db", "store.db"]
    standing = nexus_control("status", request_id, *store, folder=machine.folder).stdout
    assert f"rules{digest}" in "".join(standing.split())  # its lines are as wide as a terminal's
    assert digest in nexus_control("inspect", request_id, *store, folder=machine.folder).stdout
    assert (
        digest
        in nexus_control("rules", "check", "--config", f"etc/{FILE_NAME}", folder=machine.folder).stdout
    )
    with NexusControlTools(machine.folder / "store.db") as tools:
        data_of(tools.approve(request_id, BOB))
        data_of(tools.execute(request_id, "python:keys", SCHEDULER, FakeRouter()))
        package = data_of(tools.export_audit_package(request_id))["package"]
    machine.file("project", json.dumps(package), name="package.json")
    verified = nexus_control("verify", "project/package.json", "--json", folder=machine.folder)
    checks = {each["name"]: each["detail"] for each in json.loads(verified.stdout)["checks"]}
    assert checks["policy_within_template"].endswith(f"it was asked for under the rules {digest}")
    nexus_control("report", "project/package.json", "-o", "report.html", folder=machine.folder)
    assert digest in (machine.folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ["--config", "--adapters-from"])
@pytest.mark.parametrize("command", [ASKING, ("call", "request", "--arguments")], ids=["request", "call"])
def test_an_option_for_a_file_brings_no_weaker_rules(
    machine: Machine, command: tuple[str, ...], option: str
) -> None:
    machine.file("project", OPEN)
    weak = {"plan": ROTATE, "min_approvals": 1, "mode": "apply", "goal": "Do it"}
    asking = [json.dumps(weak)] if command[0] == "call" else ["--plan", ROTATE, "--min-approvals", "1"]
    said = machine.run(*command, *asking, option, FILE_NAME)
    assert said["code"] == ("CONFIG_INVALID" if option == "--config" else "TEMPLATE_WEAKENED")
    assert machine.requests() == 0


def test_a_projects_own_rules_count_for_nothing(machine: Machine) -> None:
    machine.file("project", OPEN)
    assert machine.run(*ASKING, "--plan", ROTATE, "--min-approvals", "1")["code"] == "TEMPLATE_WEAKENED"
    assert machine.run(*ASKING, "--plan", plan("tax.pay"))["code"] == "DENIED_BY_RULE"


def test_no_variable_brings_other_rules(machine: Machine) -> None:
    weak = machine.file("weak", OPEN)
    machine.file("weak/.config", OPEN)
    machine.file("weak/.config/nexus-control", OPEN)
    named = {
        name: str(weak)
        for name in ("NEXUS_CONTROL_CONFIG", "NEXUS_CONTROL_RULES", "NEXUS_CONTROL_CONFIGURATION")
    }
    homes = {
        "HOME": str(weak.parent),
        "XDG_CONFIG_HOME": str(weak.parent / ".config"),
        "XDG_CONFIG_DIRS": str(weak.parent),
    }
    said = machine.run(*ASKING, "--plan", ROTATE, "--min-approvals", "1", **named, **homes)
    assert said["code"] == "TEMPLATE_WEAKENED"


@pytest.mark.parametrize("place", ["etc", "home"])
def test_rules_that_others_may_write_let_nobody_ask(machine: Machine, place: str) -> None:
    machine.file("etc", "")
    machine.file(place, OPEN, mode=0o666)
    said = machine.run(*ASKING, "--plan", ROTATE)
    assert (said["code"], "may have rules" in said["message"]) == ("CONFIG_INVALID", True)
    assert machine.requests() == 0


TRUST = {
    "groups": ('[groups]\nsecurity = ["alice", "bob"]\n', '[groups]\nsecurity = ["mallory"]\n'),
    "allowed_signers": ('allowed_signers = "ours"\n', 'allowed_signers = "theirs"\n'),
    "inbox": (
        '[inbox]\nrp_id = "a.org"\norigins = ["https://a.org", "https://b.a.org"]\n',
        '[inbox]\norigins = ["https://b.org"]\n',
    ),
}
REORDERED = {
    "groups": '[groups]\nsecurity = ["bob", "alice"]\n',
    "inbox": '[inbox]\nrp_id = "a.org"\norigins = ["https://b.a.org", "https://a.org"]\n',
}


@pytest.mark.parametrize("place", ["etc", "home"])
@pytest.mark.parametrize("name", TRUST)
def test_an_option_for_a_file_does_not_change_who_counts(machine: Machine, name: str, place: str) -> None:
    ours, theirs = TRUST[name]
    signers = "" if name == "allowed_signers" else f'allowed_signers = "{machine.folder}/signers"\n'
    for file in ("signers", f"{place}/ours", "project/theirs"):
        folder, _, _ = file.rpartition("/")
        machine.file(folder, "", name=file.removeprefix(f"{folder}/"))
    machine.file("etc", "")
    own = machine.file(place, f'default = "allow"\n{signers}{ours}')
    asking = [*ASKING, "--plan", LIST, "--required-from", "security=1"]
    if name != "groups":
        asking = asking[:-2]
    machine.file("project", theirs)
    said = machine.run(*asking, "--config", FILE_NAME)
    assert (said["code"], f"sets {name} otherwise than {own}" in said["message"]) == ("CONFIG_INVALID", True)
    assert machine.requests() == 0
    for text in ("", f"# the same\n{ours}", REORDERED[name]) if name in REORDERED else ("",):
        machine.file("project", text)
        assert machine.run(*asking, "--config", FILE_NAME)["created"] is True
    machine.file("project", theirs)
    shown = machine.run("config", "show", "--config", FILE_NAME, "--json")
    line = "origins" if name == "inbox" else name
    (setting,) = (each for each in shown["settings"] if each["name"] == line)
    assert (setting["value"], f"sets {name} otherwise" in setting["why"]) == (None, True)
    keys = {each["key"]: each["status"] for file in shown["files"] for each in file["keys"]}
    assert keys[name] == "refused"


def test_what_is_shown_of_the_rules_is_what_holds(machine: Machine) -> None:
    def shown(*words: str) -> dict[str, Any]:
        settings = machine.run("config", "show", "--json", *words)["settings"]
        return next(each for each in settings if each["name"] == "rules")

    assert shown()["value"] == book(BOOK).digest
    machine.file("project", OPEN)
    refused = shown("--config", FILE_NAME)
    assert (refused["value"], "sets rules otherwise" in refused["why"]) == (None, True)
    machine.file("etc", "", mode=0o666)
    assert "may have rules" in shown()["why"]


def test_a_project_file_whose_rules_are_not_used_is_named(machine: Machine) -> None:
    machine.file("etc", "")
    file = machine.file("project", f"{OPEN}[groups]\nsecurity = ['mallory']\n")
    asked = "".join(machine.said(*ASKING, "--plan", LIST).split())  # a long path is broken over lines
    assert f"{file} is a project's file, whose default, groups are not used.".replace(" ", "") in asked
    assert "project's file" not in machine.said(*ASKING, "--plan", LIST, "--config", FILE_NAME)
    assert "project's file" not in machine.said("list")
    checked = machine.run("rules", "check", "--json", NEXUS_CONTROL_CONFIG=FILE_NAME)
    assert (checked["code"], f"{file} is a project's file" in checked["message"]) == ("CONFIG_INVALID", True)


STEP = "- step_id: s1\n  intent: x\n  call: {tool: keys, method: rotate, args: {}}\n"


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("a.yaml", STEP, "TEMPLATE_WEAKENED"),
        ("a.yaml", "- &a {step_id: s1, intent: x, call: {tool: keys, method: list, args: {}}}\n- *a\n", None),
        ("a.yaml", STEP.replace("tool: keys", "tool: !!python/name:keys keys"), None),
        ("a.yaml", STEP.replace("tool: keys", "tool: keys, tool: notes"), None),
        ("a.yaml", STEP.replace("{tool", "{<<: {tool: notes}, tool"), None),
        ("a.json", ROTATE.replace('"tool"', '"tool": "notes", "tool"'), None),
        ("a.txt", f"Do this:\n{STEP}", "RULE_UNDECIDED"),
        ("a.txt", f" {STEP}", None),
    ],
)
def test_a_plan_of_a_file_hides_no_step(machine: Machine, name: str, text: str, code: str | None) -> None:
    machine.file("project", text, name=name)
    said = machine.run(*ASKING, "--plan-file", name, "--min-approvals", "1")
    # Without a code: the file is refused before the rules are asked.
    assert said["code"] in ((code,) if code else ("PLAN_INVALID", "JSON_INVALID", "INVALID_ARGUMENT")), said
    assert machine.requests() == 0


def test_one_who_only_looks_like_a_requester_of_the_rules_is_another(machine: Machine) -> None:
    asking = [*ASKING, "--plan", plan("desk.move"), "--as"]
    assert machine.run(*asking, "human:alice")["created"] is True
    for other in ("human:Alice", "system:alice", "human:al1ce", "human:\u0430\u217cice"):
        assert machine.run(*asking, other)["code"] in ("DENIED_BY_RULE", "INVALID_ARGUMENT")
    assert machine.requests() == 1


# Decisions that come by import.


KEYS = """
[adapters.keys]
kind = "subprocess"
capabilities = ["apply"]
[adapters.keys.tools.rotate]
argv = ["touch", "../ran"]
"""


def weak_bundle(**fields: Any) -> dict[str, Any]:
    with NexusControlTools() as elsewhere:
        made = data_of(elsewhere.request("Do it", AGENT, "apply", ROTATE, **fields))["request_id"]
        return data_of(elsewhere.export_bundle(made))["bundle"]


def test_a_command_executes_no_import_that_could_not_be_asked_for(machine: Machine) -> None:
    bundle = machine.file("project", json.dumps(weak_bundle()), name="weak.json")
    made = machine.run("import", str(bundle), "--json")["imported"]["decision_id"]
    with NexusControlTools(machine.folder / "store.db") as tools:
        data_of(tools.approve(made, BOB))
    machine.file("project", KEYS)
    executing = ["execute", made, "--adapter", "subprocess:keys", "--adapters-from", FILE_NAME, "--json"]
    assert machine.run(*executing)["code"] == "TEMPLATE_WEAKENED"
    assert not (machine.folder / "ran").exists()
    machine.file("etc", "")
    assert machine.run(*executing)["mode"] == "apply"
    assert (machine.folder / "ran").exists()


def test_a_worker_executes_no_import_that_could_not_be_asked_for(tmp_path: Path) -> None:
    with NexusControlTools(tmp_path / "store.db") as tools:
        with_templates(tools)
        bundle = weak_bundle(adapter_id="python:keys", dispatch="worker")
        data_of(tools.import_bundle(bundle, actor=AGENT))
        made = bundle["decision"]["decision_id"]
        data_of(tools.approve(made, BOB))
        router, list_ = FakeRouter(), Worklist(["python:keys"])
        list_.look(tools.store)
        due = Due(request_id=made, adapter_id="python:keys")
        action = work(tools.store, router, SCHEDULER, list_, due, book(BOOK))
        assert action is not None
        assert (action.what, action.error_code, router.calls) == ("refuse", "TEMPLATE_WEAKENED", [])
        assert work(tools.store, router, SCHEDULER, list_, due) is not None
        assert len(router.calls) == 1


# A server.


@pytest.mark.anyio
async def test_a_model_finds_no_way_around_the_rules_of_its_server(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(BOOK)
    with NexusControlTools(tmp_path / "store.db") as tools:
        with_templates(tools)
    bundle = weak_bundle()
    async with client("--config", "rules.toml", "--actor", "system:agent", folder=tmp_path) as connected:
        assert "Rules say which policy each call needs" in (connected.instructions or "")
        gone: dict[str, Any] = {"goal": "x", "mode": "apply", "plan": plan("gone.run")}
        refused = await refusal(connected, "request", **gone)
        assert (refused["code"], "owner of the rules" in refused["next"]) == ("TEMPLATE_NOT_FOUND", True)
        for name in ("nowhere", "two-people"):
            made = await refusal(connected, "template.create", name=name, allowed_modes=BOTH)
            assert (made["code"], made["details"]["fields"][0]["field"]) == ("INVALID_ARGUMENT", "name")
        assert (await refusal(connected, "request", **gone))["code"] == "TEMPLATE_NOT_FOUND"
        await data(connected, "template.create", name="nowhere-else", allowed_modes=BOTH)
        weak: dict[str, Any] = {"goal": "x", "mode": "apply", "plan": ROTATE}
        for fields, code in (
            ({"template_name": "nowhere-else"}, "TEMPLATE_WEAKENED"),
            ({"min_approvals": 1}, "TEMPLATE_WEAKENED"),
            ({"actor": {"type": "human", "id": "alice"}}, "ACTOR_MISMATCH"),
            ({"rules": None}, "INVALID_ARGUMENT"),
            ({"rules_digest": "sha256:" + "0" * 64}, "INVALID_ARGUMENT"),
            ({"plan": json.loads(ROTATE), "min_approvals": 1}, "TEMPLATE_WEAKENED"),
        ):
            assert (await refusal(connected, "request", **(weak | fields)))["code"] == code
        asked = await data(connected, "request", **weak)
        assert asked["template_name"] == "two-people"
        assert "The rules gave it the template two-people." in asked["summary"]
        made = (await data(connected, "import_bundle", bundle=bundle))["imported"]["decision_id"]
        with NexusControlTools(tmp_path / "store.db") as tools:
            data_of(tools.approve(made, BOB))
        executing = {"request_id": made, "adapter_id": "subprocess:files"}
        assert (await refusal(connected, "execute", **executing))["code"] == "TEMPLATE_WEAKENED"


@pytest.mark.anyio
async def test_a_server_without_rules_asks_as_before(tmp_path: Path) -> None:
    async with client(folder=tmp_path) as connected:
        assert "Rules say" not in (connected.instructions or "")
        made = await data(connected, "request", goal="x", plan=LIST)
        assert "rules_digest" not in made
