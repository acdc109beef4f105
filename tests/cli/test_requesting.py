"""What `request` and `template create` say beside the id, and how they name what is wrong."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.cli.frame import identity
from tests.cli.office import CONFIG, Office, field
from tests.cli.running import Commands
from tests.evidence.ssh import needs_ssh_keygen

ALICE = ("--as", "human:alice")


def said(folder: Path, *options: str) -> str:
    """What `request` says, without its line breaks."""
    return " ".join(Commands(folder).run("request", "g", *ALICE, *options).split())


def test_a_request_without_a_mode_is_said_to_be_a_dry_run(tmp_path: Path) -> None:
    assert "This is a dry run." in said(tmp_path)
    assert "--mode apply" in said(tmp_path)
    for mode in ("dry_run", "apply"):
        assert "This is a dry run." not in said(tmp_path, "--mode", mode)


@pytest.mark.parametrize(
    ("options", "may"),
    [
        ((), True),
        (("--no-requester-may-approve",), False),
        (("--approver", "bob"), False),
        (("--approver", "bob", "--approver", "ALICE"), True),
    ],
)
def test_who_may_approve_their_own_request_is_told(
    options: tuple[str, ...], may: bool, tmp_path: Path
) -> None:
    assert (
        "You may approve it yourself: --no-requester-may-approve forbids that." in said(tmp_path, *options)
    ) == may


def test_the_requester_may_not_approve_where_the_option_says_so(tmp_path: Path) -> None:
    request_id = Commands(tmp_path).answer("request", "g", *ALICE, "--no-requester-may-approve")["request_id"]
    refused = Commands(tmp_path).answer("approve", request_id, "--yes", *ALICE, code=1)
    assert (refused["code"], refused["details"]["approvers"]) == ("REQUESTER_MAY_NOT_APPROVE", [])
    assert "anybody else may" in refused["message"]


def test_a_refusal_names_who_may_approve(tmp_path: Path) -> None:
    named = ("--approver", "alice", "--approver", "bob", "--no-requester-may-approve")
    request_id = Commands(tmp_path).answer("request", "g", *ALICE, *named)["request_id"]
    for person, code in (("eve", "NOT_ELIGIBLE"), ("alice", "REQUESTER_MAY_NOT_APPROVE")):
        refused = Commands(tmp_path).answer("approve", request_id, "--yes", "--as", f"human:{person}", code=1)
        assert (refused["code"], refused["details"]["approvers"]) == (code, ["bob"])
        assert refused["message"].endswith("; bob may")


@needs_ssh_keygen
def test_an_approver_whom_nobody_here_can_act_as_is_warned_of(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.key("carol")
    login = identity(None)[0].id
    named = [
        f"--approver={each}"
        for each in ("bob", "carol@example.com", login, f"nobody-at-all@{os.uname().nodename}")
    ]
    told = " ".join(office.run("request", "g", *ALICE, *named).split())
    assert f"Note: bob, nobody-at-all@{os.uname().nodename}: not a login of this machine" in told
    assert "takes --as" in told
    told = " ".join(office.run("request", "g", *ALICE, *named, "--min-assurance", "local").split())
    assert "nobody here can approve as such an id" in told


def test_a_plan_that_nothing_checked_is_said_to_be_unchecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.toml").write_text(CONFIG)
    plan = '[{"step_id":"s","intent":"i","call":{"tool":"files","method":"write","args":{"text":"t","file":"f"}}}]'
    given = ("--plan", plan)
    assert "no adapter is named (--adapter)" in said(tmp_path, *given)
    assert "no adapter is named (--adapter)" in said(tmp_path, "--plan", "1. write", "--config", "a.toml")
    named = (*given, "--adapter", "subprocess:files")
    assert "no adapters file was found (--config)" in said(tmp_path, *named)
    assert "has checked the plan" not in said(tmp_path, *named, "--config", "a.toml")
    assert "has checked the plan" not in said(tmp_path)


def test_a_plan_is_bound_to_the_only_adapter_that_takes_it(tmp_path: Path) -> None:
    commands, config = Commands(tmp_path), tmp_path / "a.toml"
    config.write_text(CONFIG.replace("files", "others").replace("tools.write", "tools.read") + CONFIG)
    call = {"tool": "files", "method": "write", "args": {"text": "t", "file": "f"}}
    plan = json.dumps([{"step_id": "s", "intent": "i", "call": call}])
    asked = ("--mode", "apply", "--plan", plan, "--config", str(config))

    def bound(*options: str) -> str | None:
        request_id = commands.answer("request", "g", *ALICE, *asked, *options)["request_id"]
        return commands.answer("status", request_id)["adapter_id"]

    assert "It is bound to subprocess:files, the only adapter that takes the plan" in said(tmp_path, *asked)
    assert bound() == "subprocess:files"
    # Where another configuration is found, the same key with the same options is still the same request.
    assert bound("--key", "k1") is None
    config.write_text(CONFIG.replace("tools.write", "tools.read"))
    assert "No adapter of" in said(tmp_path, *asked)
    assert bound() is None
    config.write_text("[adapters.files]")
    assert "Nothing has checked the plan" in said(tmp_path, *asked)


def test_capabilities_metadata_a_key_an_end_and_what_is_superseded_are_recorded(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    older = commands.answer("request", "old", *ALICE)["request_id"]
    options = (
        "--require-capability",
        "timeout",
        "--metadata",
        "ticket=OPS-1=2",
        "--key",
        "k1",
        "--expires-in",
        "4h",
    )
    first = commands.answer("request", "g", *ALICE, *options, "--supersedes", older[:8])
    assert first["created"] is True
    assert commands.answer("request", "g", *ALICE, *options, "--supersedes", older)["created"] is False
    data: Any = NexusControlTools(db_path=tmp_path / "store.db").status(first["request_id"]).data
    assert data["policy"]["require_adapter_capabilities"] == ["timeout"]
    assert (data["metadata"], data["idempotency_key"]) == ({"ticket": "OPS-1=2"}, "k1")
    assert (data["supersedes"], data["expires_at"] is not None) == (older, True)
    assert commands.answer("status", older)["state"] == "withdrawn"


@pytest.mark.parametrize(
    ("options", "option"),
    [
        (("--min-approvals", "0"), "--min-approvals"),
        (("--approver", ""), "--approver"),
        (("--label", ""), "--label"),
        (("--template", ""), "--template"),
        (("--adapter", " "), "--adapter"),
        (("--expires-at", "soon"), "--expires-at"),
        (("--expires-at", "2001-01-01T00:00:00Z"), "--expires-at"),
        (("--expires-in", "soon"), "--expires-in"),
        (("--metadata", "ticket"), "--metadata"),
        (("--metadata", "a=1", "--metadata", "a=2"), "--metadata"),
        (("--key", ""), "--idempotency-key"),
        (("--require-capability", ""), "--require-capability"),
        (("--as", "human: "), "--as"),
    ],
)
def test_a_wrong_value_names_its_option(options: tuple[str, ...], option: str, tmp_path: Path) -> None:
    refused = Commands(tmp_path).answer("request", "g", *options, code=2)
    assert field(refused) == option
    assert refused["message"].startswith(option)


def test_a_first_request_that_is_refused_for_its_arguments_makes_no_store(tmp_path: Path) -> None:
    Commands(tmp_path).answer("request", "g", "--min-approvals", "-1", code=2)
    assert list(tmp_path.rglob("*.db")) == []


def test_a_wrong_goal_names_the_argument(tmp_path: Path) -> None:
    assert field(Commands(tmp_path).answer("request", "", code=2)) == "GOAL"


def test_a_template_says_what_requests_under_it_need(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    told = " ".join(commands.run("template", "create", "t", "--min-approvals", "2").split())
    assert "2 approvals, of anyone, also of the requester" in told
    assert "It allows dry runs only." in told
    both = ("--allowed-mode", "dry_run", "--allowed-mode", "apply", "--require-capability", "timeout")
    told = " ".join(commands.run("template", "create", "u", *both, "--no-requester-may-approve").split())
    assert (
        "NOT of the requester; assurance any; modes dry_run, apply; steps any number; capabilities timeout"
        in told
    )
    assert "dry runs only" not in told
    assert "--mode apply" in told


@pytest.mark.parametrize("options", [("--expires-in", "4h"), ()])
def test_a_request_says_when_it_ends(options: tuple[str, ...], tmp_path: Path) -> None:
    shown = " ".join(Commands(tmp_path).run("request", "g", *options).split())
    assert ("It ends" in shown, "in 3 h." in shown or "in 4 h." in shown) == (bool(options), bool(options))
