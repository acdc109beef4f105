"""Approvals of groups on the command line: the options, the configuration's section, and the doors that read it."""

import json
from pathlib import Path
from typing import Any

import pytest

from nexus_control.configuration import FILE_NAME
from tests.cli.running import Commands, nexus_control

GROUPS = """
[groups]
security = ["bob", "carol"]
platform = ["carol", "dave"]
"""
SLOTS = ("--required-from", "security=1", "--required-from", "platform=1", "--min-approvals", "2")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "groups.toml"
    file.write_text(GROUPS)
    return file


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.chdir(tmp_path)
    return Commands(tmp_path)


def asked(commands: Commands, config: Path, *options: str, code: int = 0) -> dict[str, Any]:
    words = ("request", "g", "--mode", "apply", "--as", "human:alice", "--config", str(config))
    return commands.answer(*words, *options, code=code)


def approve(commands: Commands, request_id: str, *people: str) -> list[bool]:
    each = [commands.answer("approve", request_id, "--yes", "--as", f"human:{who}") for who in people]
    return [answer["is_approved"] for answer in each]


def test_a_request_needs_approvals_of_the_configured_groups(commands: Commands, config: Path) -> None:
    request_id = asked(commands, config, *SLOTS)["request_id"]
    status = commands.answer("status", request_id)
    assert status["policy"]["required_from"] == {"platform": 1, "security": 1}
    assert status["approver_groups"] == {"platform": ["carol", "dave"], "security": ["bob", "carol"]}
    assert approve(commands, request_id, "erin", "bob", "carol") == [False, False, True]
    assert commands.answer("list", "--state", "approved")["requests"][0]["request_id"] == request_id


def test_a_template_names_groups_and_its_requests_resolve_them(commands: Commands, config: Path) -> None:
    make = ("template", "create", "prod", "--as", "human:alice", "--tighten-only", *SLOTS)
    commands.run(*make, "--allowed-mode", "apply")
    shown = commands.run("template", "get", "prod")
    assert "platform=1, security=1" in shown
    request_id = asked(commands, config, "--template", "prod")["request_id"]
    assert commands.answer("status", request_id)["approver_groups"]["security"] == ["bob", "carol"]
    weaker = asked(commands, config, "--template", "prod", "--required-from", "security=1", code=1)
    assert weaker["code"] == "TEMPLATE_WEAKENED"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["security"], "must be GROUP=N"),
        (["security="], "must be GROUP=N"),
        (["=1"], "must be GROUP=N"),
        (["security=-1"], "must be GROUP=N"),
        (["security=one"], "must be GROUP=N"),
        (["security=1", "security=1"], "names security twice"),
        (["security=0"], "must be an object of groups"),
        (["security=2"], "must be at least 2, the sum of"),
        (["legal=1"], "which is not a group here (groups here: platform, security)"),
    ],
)
def test_slots_that_are_wrong_are_named_and_nothing_is_asked(
    commands: Commands, config: Path, options: list[str], words: str
) -> None:
    given = [part for each in options for part in ("--required-from", each)]
    refused = asked(commands, config, *given, code=2)
    assert refused["code"] == "INVALID_ARGUMENT"
    assert words in refused["message"]
    commands.run("list", code=0 if (commands.folder / "store.db").exists() else 2)


BROKEN = {
    "groups = 5": "groups must be an object of groups",
    '[groups]\nsecurity = "bob"': "groups.security must be a list of ids",
    "[groups]\nsecurity = []": "groups.security must have 1 to 256 members",
    '[groups]\nsecurity = ["bob", "BOB"]': "groups.security[1] is there twice",
    '[groups]\nsecurity = ["bob"]\nSECURITY = ["dave"]': "groups.SECURITY is there twice",
    '[groups]\na = ["bob"]\n"\u0430" = ["dave"]': "groups.\u0430 looks like the name of another group",
    '[groups]\nsecurity = ["bob\\u200b"]': "groups.security[0] must not hold control or invisible characters",
    '[groups]\nsecurity = ["b\\u043eb"]': "groups.security[0]",
    '[groups]\n"" = ["bob"]': "groups has a name that must not be empty",
}


@pytest.mark.parametrize(("text", "words"), BROKEN.items())
def test_groups_that_are_wrong_are_named_and_stand_in_the_way_of_no_other_request(
    commands: Commands, config: Path, text: str, words: str
) -> None:
    config.write_text(text)
    refused = asked(commands, config, "--required-from", "security=1", code=2)
    assert refused["code"] == "CONFIG_INVALID"
    assert f"{config}: {words}" in refused["message"]
    (shown,) = (
        each
        for each in commands.answer("config", "show", "--config", str(config))["settings"]
        if each["name"] == "groups"
    )
    assert words in shown["why"]
    assert asked(commands, config)["created"] is True


def test_config_show_names_the_members(commands: Commands, config: Path) -> None:
    shown = commands.answer("config", "show", "--config", str(config))["settings"]
    (groups,) = (each for each in shown if each["name"] == "groups")
    assert groups["value"] == "security: bob, carol; platform: carol, dave"
    assert str(config) in groups["why"]


def test_a_projects_file_gives_no_groups(commands: Commands) -> None:
    (commands.folder / FILE_NAME).write_text(GROUPS)
    refused = commands.answer("request", "g", "--as", "human:alice", "--required-from", "security=1", code=2)
    assert refused["code"] == "INVALID_ARGUMENT"
    assert "none is configured" in refused["message"]


def test_a_model_asks_under_the_configured_groups(commands: Commands, config: Path) -> None:
    content = {"goal": "g", "min_approvals": 2, "required_from": {"security": 1, "platform": 1}}
    words = ("call", "request", "--config", str(config), "--as", "system:agent")
    answer = json.loads(commands.run(*words, "--arguments", json.dumps(content)))
    approve(commands, answer["request_id"], "bob")
    status = json.loads(
        commands.run("call", "status", "--arguments", json.dumps({"request_id": answer["request_id"]}))
    )
    assert status["awaited"]["groups"] == {"platform": {"missing": 1, "eligible": ["carol", "dave"]}}
    unknown = content | {"required_from": {"legal": 1}}
    refused = json.loads(commands.run(*words, "--arguments", json.dumps(unknown), code=1))
    assert (refused["code"], refused["details"]["fields"][0]["field"]) == (
        "INVALID_ARGUMENT",
        "required_from",
    )


def test_an_auditor_finds_a_quorum_that_the_groups_do_not_make(commands: Commands, config: Path) -> None:
    request_id = asked(commands, config, *SLOTS)["request_id"]
    approve(commands, request_id, "bob", "dave")
    page = commands.run("report", request_id)
    assert "1 of platform, 1 of security" in page
    assert "Members of security" in page
    ran = nexus_control(
        "export", request_id, "--db", str(commands.folder / "store.db"), folder=commands.folder
    )
    assert ran.returncode == 0, ran.stderr
    bundle = json.loads(ran.stdout)
    attached = next(each["payload"] for each in bundle["events"] if each["type"] == "POLICY_ATTACHED")
    assert attached["approver_groups"]["platform"] == ["carol", "dave"]


def test_template_create_says_whether_anybody_checked_its_groups(commands: Commands, config: Path) -> None:
    misspelt = ("template", "create", "t", "--as", "human:alice", "--required-from", "secruity=1")
    refused = commands.answer(*misspelt, "--config", str(config), code=2)
    assert "names secruity, which is not a group here (groups here: platform, security)" in refused["message"]
    assert "Note: No groups are configured here" in commands.run(*misspelt)
    known = ("template", "create", "u", "--as", "human:alice", "--required-from", "security=1")
    assert "No groups are configured" not in commands.run(*known, "--config", str(config))
