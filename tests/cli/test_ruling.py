"""rules check and explain: what a book says, and what it says of a plan or of a call."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import nexus_control

RULES = """\
default = "deny"
[[rules]]
tool = "Bash"
arguments = { "/command" = { prefix = "git " } }
verdict = "allow"
[[rules]]
tool = "keys"
method = "rotate"
mode = "apply"
requester = "system:*"
template = "two-people"
[[rules]]
tool = "keys"
labels = ["prod"]
template = "owners"
[[rules]]
tool = "keys"
method = "list"
verdict = "allow"
"""


def step(name: str, method: str) -> dict[str, object]:
    return {"step_id": name, "intent": "do it", "call": {"tool": "keys", "method": method, "args": {}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.toml").write_text(RULES)
    (tmp_path / "plan.json").write_text(json.dumps([step("s1", "list"), step("s2", "rotate")]))
    (tmp_path / "plan.yaml").write_text(
        "- step_id: s1\n  intent: do it\n  call:\n    tool: keys\n    method: rotate\n    args: {}\n"
    )
    return tmp_path


def answer(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    """The document of a command of its own process, which ends with this code."""
    ran = nexus_control("rules", *words, "--config", "rules.toml", "--json", folder=folder)
    assert ran.returncode == code, ran.stderr + ran.stdout
    return json.loads(ran.stdout)


def explained(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    return answer(folder, "explain", *words, "--as", "system:agent", code=code)


def test_check_shows_the_rules_and_the_digest(folder: Path) -> None:
    data = answer(folder, "check")
    assert (data["ok"], data["default"], data["file"]) == (True, "deny", str(folder / "rules.toml"))
    assert [(each["rule"], each["verdict"], each["template"]) for each in data["rules"]] == [
        ("rules[0]", "allow", None),
        ("rules[1]", "template", "two-people"),
        ("rules[2]", "template", "owners"),
        ("rules[3]", "allow", None),
    ]
    assert data["rules"][0]["arguments"] == {"/command": {"prefix": "git "}}
    shown = nexus_control("rules", "check", "--config", "rules.toml", folder=folder).stdout
    assert data["digest"] in shown


def test_check_tells_every_problem_of_a_bad_book(folder: Path) -> None:
    (folder / "rules.toml").write_text('[[rules]]\ntool = "["\nverdict = "maybe"\n')
    data = answer(folder, "check", code=2)
    assert (data["ok"], len(data["problems"])) == (False, 3)
    ran = nexus_control("rules", "check", "--config", "rules.toml", folder=folder)
    assert (ran.returncode, "rules[0].verdict must be one of allow, deny" in ran.stdout) == (2, True)


@pytest.mark.parametrize("text", ["default =", 'defualt = "deny"'])
def test_check_tells_of_a_file_that_is_no_configuration(folder: Path, text: str) -> None:
    (folder / "rules.toml").write_text(text)
    assert answer(folder, "check", code=2)["ok"] is False
    assert explained(folder, "--tool", "Bash", code=2)["code"] == "CONFIG_INVALID"


def test_a_projects_file_gives_no_rules(folder: Path) -> None:
    (folder / "rules.toml").rename(folder / "nexus-control.toml")
    ran = nexus_control("rules", "check", "--json", folder=folder)
    refused = json.loads(ran.stdout)
    assert (ran.returncode, refused["code"]) == (2, "CONFIG_INVALID")
    assert "nexus-control.toml is a project's file, whose rules, default are not used" in refused["message"]


def test_explain_says_what_applies_to_each_step_and_by_which_rule(folder: Path) -> None:
    data = explained(folder, "plan.json", "--mode", "apply")
    assert (data["verdict"], data["template"], data["requester"]) == (
        "template",
        "two-people",
        "system:agent",
    )
    first, second = data["calls"]
    assert (first["step_id"], first["verdict"], first["decided_by"]) == ("s1", "allow", "rules[3]")
    assert (second["step_id"], second["template"], second["decided_by"]) == ("s2", "two-people", "rules[1]")
    assert [each["mismatch"] for each in second["rules"]] == ["tool", None, "labels", "method"]
    assert explained(folder, "plan.yaml", "--mode", "apply")["template"] == "two-people"


def test_a_plan_is_explained_as_a_dry_run_as_it_would_be_requested(folder: Path) -> None:
    data = explained(folder, "plan.json")
    assert (data["mode"], data["verdict"]) == ("dry_run", "deny")


def test_a_call_before_a_hook_is_explained_without_a_plan(folder: Path) -> None:
    data = explained(folder, "--tool", "Bash", "--arguments", '{"command": "git status"}')
    assert (data["verdict"], data["mode"], data["calls"][0]["decided_by"]) == ("allow", "apply", "rules[0]")
    denied = explained(folder, "--tool", "Bash", "--arguments", '{"command": "ls"}')
    assert (denied["verdict"], denied["calls"][0]["decided_by"]) == ("deny", "default")
    assert explained(folder, "--tool", "keys", "--method", "list")["verdict"] == "allow"


def test_a_rule_that_cannot_be_evaluated_ends_with_1_and_is_named(folder: Path) -> None:
    data = explained(folder, "--tool", "Bash", code=1)
    assert (data["code"], data["verdict"]) == ("RULE_UNDECIDED", None)
    assert (data["details"]["rule"], data["details"]["pointer"]) == ("rules[0]", "/command")
    assert explained(folder, "--tool", "keys", code=1)["details"]["matcher"] == "method"
    shown = nexus_control("rules", "explain", "--tool", "Bash", "--config", "rules.toml", folder=folder)
    assert (shown.returncode, shown.stdout.count("RULE_UNDECIDED")) == (1, 1)


def test_steps_that_need_different_templates_end_with_1_and_are_all_shown(folder: Path) -> None:
    (folder / "plan.json").write_text(json.dumps([step("s1", "rotate"), step("s2", "export")]))
    (folder / "rules.toml").write_text(
        'default = "allow"\n[[rules]]\ntool = "keys"\ntemplate = "a"\n'
        '[[rules]]\nmethod = "export"\ntemplate = "b"\n'
    )
    data = explained(folder, "plan.json", code=1)
    assert (data["code"], data["details"]["templates"]) == ("RULES_DISAGREE", ["a", "b"])
    assert [each["template"] for each in data["calls"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ("explain", "INVALID_ARGUMENT", "PLAN_FILE is missing"),
        ("explain plan.json --tool Bash", "INVALID_ARGUMENT", "--tool and PLAN_FILE exclude each other"),
        ("explain plan.json --method m", "INVALID_ARGUMENT", "--method belongs to --tool"),
        ("explain plan.json --arguments {}", "INVALID_ARGUMENT", "--arguments belongs to --tool"),
        ("explain --tool Bash --arguments []", "JSON_INVALID", "not a JSON object"),
        ("explain nothing.json", "INVALID_ARGUMENT", "PLAN_FILE"),
    ],
)
def test_what_is_not_one_plan_or_one_call_is_refused(folder: Path, words: str, code: str, says: str) -> None:
    refused = answer(folder, *words.split(), code=2)
    assert refused["code"] == code
    assert says in refused["message"]


def test_a_plan_of_text_has_no_steps_to_judge(folder: Path) -> None:
    (folder / "plan.txt").write_text("Rotate the keys")
    assert explained(folder, "plan.txt", code=1)["code"] == "PLAN_INVALID"
