import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import EventType, StoredEvent
from nexus_control.evidence.formats.allowed_signers import parse_allowed_signers
from nexus_control.evidence.formats.origins import NO_ORIGINS
from nexus_control.evidence.signed_approval import open_verdict
from nexus_control.evidence.statement import (
    ApprovalStatement,
    parse_statement,
    require_says,
    statement_of,
)
from nexus_control.facts import Facts, replay_facts
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import SignedStatement
from tests.artifacts.samples import VECTORS, changed, load
from tests.evidence.ssh import keygen, needs_ssh_keygen, verified_by_ssh_keygen

INTEROP = VECTORS / "evidence" / "interop"
GOLDEN = load("evidence", "golden.json")
TEXT: str = GOLDEN["approval_statement"]
WRITTEN: dict[str, Any] = json.loads(TEXT)
BASIS: str = GOLDEN["leaf_hash"][1].removeprefix("sha256:")


def golden_facts() -> Facts:
    events = [
        StoredEvent(
            decision_id=event["decision_id"],
            seq=event["seq"],
            event_type=EventType(event["type"]),
            ts=event["ts"],
            actor=Actor.of(event["actor"]),
            payload=event["payload"],
            digest=event["digest"],
        )
        for event in GOLDEN["events"]
    ]
    return replay_facts(events[0].decision_id, events)


def golden_statement(**changes: Any) -> ApprovalStatement:
    said: dict[str, Any] = {
        "approver": "bob@example.com",
        "verdict": "approve",
        "basis": BASIS,
        "log": "nexus-control.example/test",
        "nonce": "00112233445566778899aabbccddeeff",
        "issued_at": "2026-01-02T03:04:59+00:00",
        "expires_at": None,
        "rehearsal_digest": None,
    } | changes
    return statement_of(golden_facts(), **said)


def test_the_golden_statement_is_written_and_read() -> None:
    assert golden_statement().to_text() == TEXT
    assert parse_statement(TEXT) == golden_statement()


def test_the_golden_signature_verifies_and_so_says_ssh_keygen(tmp_path: Path) -> None:
    signed = SignedStatement(format="sshsig", statement=TEXT, signature=GOLDEN["approval_sshsig"])
    opened = open_verdict(signed)
    allowed = f"bob@example.com {GOLDEN['bob_ssh']}\n"
    opened.require_allowed(
        parse_allowed_signers(allowed), NO_ORIGINS, datetime.fromisoformat("2026-01-02T03:05:00+00:00")
    )
    assert verified_by_ssh_keygen(tmp_path, allowed, signed.signature, TEXT.encode())


@pytest.mark.parametrize(
    ("at", "is_allowed"),
    [
        ("2026-11-23T00:00:00+00:00", True),
        ("2025-06-01T00:00:00+00:00", False),
        ("2027-06-01T00:00:00+00:00", False),
    ],
    ids=["in its time", "before it", "after it"],
)
def test_the_signed_approval_of_others_is_allowed_in_its_time(at: str, is_allowed: bool) -> None:
    signed = SignedStatement(
        format="sshsig",
        statement=(INTEROP / "approval.json").read_text(),
        signature=(INTEROP / "approval.json.sig").read_text(),
    )
    allowed = parse_allowed_signers((INTEROP / "allowed_signers").read_text())
    try:
        open_verdict(signed).require_allowed(allowed, NO_ORIGINS, datetime.fromisoformat(at))
    except NexusControlError as refused:
        assert refused.code is ErrorCode.SIGNATURE_INVALID
        assert not is_allowed
    else:
        assert is_allowed


DIFFERENT: dict[tuple[str | int, ...], tuple[Any, str]] = {
    ("approver",): ("dan", "approver"),
    ("basis", "chain"): ("sha256:" + "ab" * 32, "basis"),
    ("basis", "seq"): (2, "basis"),
    ("decision_id",): ("another", "decision_id"),
    ("expires_at",): ("2036-01-01T00:00:00+00:00", "expires_at"),
    ("request", "goal"): ("delete API keys", "request"),
    ("request", "mode"): ("dry_run", "request"),
    ("request", "plan_sha256"): ("ab" * 32, "request"),
    ("verdict",): ("deny", "verdict"),
}


@pytest.mark.parametrize(("path", "changes"), DIFFERENT.items(), ids=lambda value: ".".join(map(str, value)))
def test_a_statement_of_something_else_is_refused_by_the_name_of_the_field(
    path: tuple[str | int, ...], changes: tuple[Any, str]
) -> None:
    value, field = changes
    data = changed(WRITTEN, path, value)
    statement = parse_statement(json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    with pytest.raises(NexusControlError) as caught:
        says(statement)
    assert (caught.value.code, caught.value.details) == (ErrorCode.SIGNATURE_INVALID, {"fields": [field]})


def says(statement: ApprovalStatement) -> None:
    require_says(
        statement,
        golden_facts(),
        approver="bob@example.com",
        verdict="approve",
        basis=BASIS,
        expires_at=None,
        rehearsal_digest=None,
    )


def test_when_it_was_made_and_in_which_case_the_name_is_written_are_free() -> None:
    says(golden_statement())
    says(golden_statement(issued_at="2030-01-01T00:00:00Z", nonce="ab" * 16, log="another"))
    says(golden_statement(approver="BOB@example.com"))


SPELLINGS = {
    "a space": TEXT.replace(",", ", ", 1),
    "another order": json.dumps(dict(reversed(WRITTEN.items())), separators=(",", ":")),
    "an escaped letter": TEXT.replace("rotate", "\\u0072otate"),
    "a line more": TEXT + "\n",
    "a key more": TEXT.replace("{", '{"Z":1,', 1),
    "a key less": TEXT.replace('"expires_at":null,', ""),
    "a key twice": TEXT.replace('"verdict"', '"verdict":"deny","verdict"'),
    "another type": TEXT.replace("approval/v1", "approval/v2"),
    "a nonce in capitals": TEXT.replace("aabb", "AABB"),
    "a time without an offset": TEXT.replace("59+00:00", "59"),
    "too long": TEXT.replace("rotate", "x" * 70_000),
    "a number": "1",
    "nothing": "",
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_statement_has_one_spelling(text: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_statement(text)
    assert caught.value.code is ErrorCode.SIGNATURE_INVALID


@given(st.text())
def test_junk_is_no_statement(junk: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_statement(junk)
    assert caught.value.code is ErrorCode.SIGNATURE_INVALID


@needs_ssh_keygen
@pytest.mark.parametrize(
    ("options", "taken"), [((), True), (("-O", "hashalg=sha256"), False)], ids=["512", "256"]
)
def test_a_verdict_is_signed_with_sha512(options: tuple[str, ...], taken: bool, tmp_path: Path) -> None:
    key = tmp_path / "id"
    assert keygen("-q", "-t", "ed25519", "-N", "", "-f", key).returncode == 0
    signature = keygen(
        "-Y", "sign", "-f", key, "-n", "nexus-control.approval.v1", *options, stdin=TEXT.encode()
    ).stdout.decode()
    signed = SignedStatement(format="sshsig", statement=TEXT, signature=signature)
    if taken:
        assert open_verdict(signed).statement == golden_statement()
        return
    with pytest.raises(NexusControlError) as caught:
        open_verdict(signed)
    assert caught.value.code is ErrorCode.SIGNATURE_INVALID
