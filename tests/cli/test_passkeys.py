"""Passkeys on the command line: whose line is added, and on which pages their signatures count."""

import json
from pathlib import Path
from typing import Any

import pytest

from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.statement import NAMESPACE
from tests.cli.office import Office, field
from tests.cli.running import nexus_control
from tests.facade.test_passkey_approvals import SIGNERS, package
from tests.support.passkey import ORIGIN, Passkey

ANOTHER = "https://approve.example.org"
PASSKEY = Passkey(4)
LINE = f'ada namespaces="{NAMESPACE}" {PASSKEY.line} passkey of ada'


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def configured(office: Office, text: str) -> str:
    file = office.folder / "nexus-control.toml"
    file.write_text(text)
    return str(file)


def statement_and_signature(office: Office, request_id: str) -> tuple[str, str]:
    text = office.answer("statement", request_id, "--as", "human:ada")["statement"]
    document, signature = office.folder / "approval.json", office.folder / "approval.json.sig"
    document.write_text(text)
    signature.write_text(PASSKEY.signed(text.encode()))
    return str(document), str(signature)


@pytest.mark.parametrize("content", [LINE, f"{PASSKEY.line} a comment", f"{LINE}\r\n"], ids=range(3))
def test_the_line_that_the_inbox_shows_is_added(office: Office, content: str) -> None:
    shown = office.folder / "shown.txt"
    shown.write_text(content, newline="")
    added = office.answer("approver", "add", "ada", str(shown))
    assert office.signers.read_text() == f'ada namespaces="{NAMESPACE}" {PASSKEY.line}\n'
    (line,) = office.answer("approver", "list")["approvers"]
    assert (line["fingerprint"], line["rp_id"]) == (added["fingerprint"], "localhost")
    assert "a passkey of localhost" in " ".join(office.run("approver", "list").split())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (LINE.replace("ada ", "bob ", 1), "is a line of bob, not of ada"),
        (LINE.replace("ada ", "ada,bob ", 1), "is a line of ada, bob, not of ada"),
        (LINE.replace("ada ", "* ", 1), "is a line of *, not of ada"),
        (LINE.replace(" sk-", ',valid-before="20300101Z" sk-', 1), "a line with options"),
        (LINE.replace(" sk-", ",verify-required sk-", 1), "a line with options"),
        (LINE.replace(NAMESPACE, "*"), "a line with options"),
        (f"{LINE}\n{LINE}", "must be a type and base64"),
        (LINE.replace("AAAA", "AAAB", 1), "must be a type and base64"),
    ],
    ids=range(8),
)
def test_the_line_of_another_or_with_options_is_not_added(office: Office, content: str, why: str) -> None:
    shown = office.folder / "shown.txt"
    shown.write_text(content)
    refused = office.answer("approver", "add", "ada", str(shown), code=2)
    assert field(refused) == "KEY.pub"
    assert why in refused["message"]
    assert office.signers.read_text() == ""


def test_a_passkeys_approval_is_handed_in_where_its_page_is_allowed(office: Office) -> None:
    office.signers.write_text(f"{LINE}\n")
    request_id = office.requested()
    document, signature = statement_and_signature(office, request_id)
    words = (
        "approve",
        request_id,
        "--yes",
        "--as",
        "human:ada",
        "--statement",
        document,
        "--signature",
        signature,
    )
    refused = office.answer(*words, code=3)
    assert refused["code"] == "SIGNATURE_INVALID"
    assert "--origin" in refused["next"]
    assert office.answer(*words, "--origin", ANOTHER, code=3)["code"] == "SIGNATURE_INVALID"
    assert office.answer(*words, "--origin", ANOTHER, "--origin", ORIGIN)["is_approved"]
    signers = ("--allowed-signers", str(office.signers))
    execution = office.execution(request_id)
    assert office.in_a_process(*execution, *signers, code=1)["code"] == "POLICY_NOT_SATISFIED"
    changes = {"NEXUS_CONTROL_ORIGINS": f"{ANOTHER}, {ORIGIN}"}
    office.in_a_process(*execution, *signers, changes=changes)
    assert office.answer("status", request_id)["state"] == "completed"


def test_the_configuration_says_where_passkeys_count(office: Office) -> None:
    config = configured(office, f'allowed_signers = "allowed_signers"\n[inbox]\norigins = ["{ORIGIN}"]')
    shown = office.plainly.answer("config", "show", "--config", config)
    (line,) = [each for each in shown["settings"] if each["name"] == "origins"]
    assert (line["value"], line["source"]) == (ORIGIN, config)
    named = office.plainly.answer("config", "show", "--config", config, "--origin", ANOTHER)
    (line,) = [each for each in named["settings"] if each["name"] == "origins"]
    assert (line["value"], line["source"]) == (ANOTHER, "--origin")


def test_a_section_that_is_not_right_refuses_what_would_use_it(office: Office) -> None:
    config = configured(office, '[inbox]\norigins = ["https://approve.example.org/"]')
    office.requested()
    for command in (["execute", "x", "--adapter", "a:b"], ["worker", "--once"]):
        refused = office.answer(*command, "--config", config, code=2)
        assert refused["code"] == "CONFIG_INVALID"
        assert "inbox.origins" in refused["message"]


@pytest.mark.parametrize("given", [{"option": True}, {"option": False}], ids=["option", "variable"])
def test_a_text_that_is_not_an_origin_is_refused_by_the_name_it_came_by(
    office: Office, given: dict[str, bool]
) -> None:
    office.requested()
    text, name = "http://127.0.0.1:8737", "--origin" if given["option"] else "NEXUS_CONTROL_ORIGINS"
    words = ("list", "--json", "--db", office.database)
    if given["option"]:
        ran = nexus_control("status", "x", *words[1:], "--origin", text)
    else:
        ran = nexus_control("status", "x", *words[1:], changes={"NEXUS_CONTROL_ORIGINS": text})
    refused = json.loads(ran.stdout)
    assert (ran.returncode, field(refused)) == (2, name)
    assert "an IP address" in refused["message"]


def test_doctor_names_passkeys_that_count_nowhere(office: Office) -> None:
    office.requested()
    office.signers.write_text(f"{LINE}\n")
    found = office.answer("doctor")["allowed_signers"]
    assert found["without_origin"] == [{"line": 1, "rp_id": "localhost"}]
    assert "for which neither --origin nor [inbox] allows an origin" in " ".join(office.run("doctor").split())
    assert office.answer("--origin", ORIGIN, "doctor")["allowed_signers"]["without_origin"] == []


@pytest.mark.parametrize(
    "options", [("--host", "codex"), ("--host", "claude-code", "--hook")], ids=["server", "hook"]
)
def test_what_is_registered_with_a_host_names_the_pages(office: Office, options: tuple[str, ...]) -> None:
    office.requested()
    made: dict[str, Any] = office.answer("install", *options, "--origin", ORIGIN, "--origin", ANOTHER)
    text = " ".join(made["command"]) if "command" in made else made["text"]
    assert all(f"--origin {each}" in text for each in (ORIGIN, ANOTHER))


def test_verify_trusts_a_passkey_on_the_pages_that_its_user_names(tmp_path: Path) -> None:
    made, log_key = package()
    file, signers = tmp_path / "package.json", tmp_path / "allowed_signers"
    file.write_text(canonical_json(made))
    signers.write_text(SIGNERS)
    words = ("verify", str(file), "--json", "--allowed-signers", str(signers), "--log-key", log_key)
    found = json.loads(nexus_control(*words, "--origin", ORIGIN).stdout)
    assert "L4" in found["reached"]
    (check,) = [each for each in found["checks"] if each["name"] == "approval_signatures"]
    assert f"with a passkey on {ORIGIN}" in check["detail"]
    by_variable = json.loads(nexus_control(*words, changes={"NEXUS_CONTROL_ORIGINS": ORIGIN}).stdout)
    assert "L4" in by_variable["reached"]
    for other in ((), ("--origin", ANOTHER)):
        found = json.loads(nexus_control(*words, *other).stdout)
        assert "L4" not in found["reached"]
        (check,) = [each for each in found["checks"] if each["name"] == "approval_signatures"]
        assert check["status"] == "skipped"
