"""Approvals that people sign with their own SSH keys: taken when they are genuine, and looked at again at dispatch."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from nexus_control import NexusControlTools, Trust, verify_bundle, verify_evidence
from nexus_control.bundle import DecisionBundle
from nexus_control.canonical_json import canonical_json
from nexus_control.events import EventType
from nexus_control.evidence.formats.allowed_signers import parse_allowed_signers
from nexus_control.evidence.formats.origins import NO_ORIGINS
from nexus_control.evidence.formats.sshsig import SshSignature
from nexus_control.evidence.signed_approval import open_verdict
from nexus_control.evidence.statement import Verdict
from nexus_control.log.log_keys import keys_of
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import SignedStatement
from nexus_control.values.results import ToolResult
from tests.evidence.ssh import ed25519, keygen, needs_ssh_keygen, public_line, signed
from tests.facade.routers import FakeRouter, raising
from tests.support.clock import FakeClock
from tests.support.governed import ADAPTER, ALICE, SCHEDULER, data_of, reasons

BOB = Actor(type="human", id="bob@example.com")
CAROL = Actor(type="human", id="carol@example.com")
SIX = [Actor(type="human", id=f"approver{number}@example.com") for number in range(6)]
SEEDS = {BOB.id: 2, CAROL.id: 3} | {person.id: 10 + number for number, person in enumerate(SIX)}


class Office:
    """A store whose owner trusts bob and carol to sign, and their keys."""

    def __init__(self, folder: Path, ids_used: int = 0, **options: Any) -> None:
        self.clock = FakeClock()
        for _ in range(ids_used):
            self.clock.new_id()
        self.signers = folder / "allowed_signers"
        self.trust(BOB.id, CAROL.id)
        self.tools = NexusControlTools(
            db_path=":memory:", clock=self.clock, allowed_signers=self.signers, **options
        )

    def trust(self, *people: str) -> None:
        lines = [f"{person} {public_line(ed25519(SEEDS[person])[0])}\n" for person in people]
        self.signers.write_text("".join(lines))

    def requested(self, **policy: Any) -> str:
        asked: dict[str, Any] = {"min_approvals": 2, "min_assurance": "signed", "plan": "1. rotate"} | policy
        return data_of(self.tools.request("Rotate the keys", ALICE, mode="apply", **asked))["request_id"]

    def statement(self, request_id: str, person: Actor, **options: Any) -> str:
        return data_of(self.tools.approval_statement(request_id, person.id, **options))["statement"]

    def sign(
        self, request_id: str, person: Actor, statement: str | None = None, **options: Any
    ) -> ToolResult[Any]:
        text = statement or self.statement(request_id, person)
        by = options.pop("by", person)
        signature = signed(SEEDS[by.id], text.encode(), **options)
        return self.tools.approve(request_id, person, statement=text, signature=signature)

    def execute(self, request_id: str) -> ToolResult[Any]:
        return self.tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())


Forge: TypeAlias = Callable[[Office, str], str]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def refusal(result: ToolResult[Any], tools: NexusControlTools, request_id: str) -> str | None:
    """The code of a refusal, which wrote nothing."""
    assert not result.success
    assert tools.status(request_id).data["event_count"] == 2
    return result.error_code


def test_signed_approvals_are_counted_recorded_and_executed(office: Office) -> None:
    request_id = office.requested()
    for person in (BOB, CAROL):
        data_of(office.sign(request_id, person))
    data_of(office.execute(request_id))
    events = data_of(office.tools.status(request_id, include_events=True))["events"]
    granted = [event for event in events if event["event_type"] == EventType.APPROVAL_GRANTED]
    assert [event["payload"]["assurance"] for event in granted] == ["signed", "signed"]
    said = json.loads(granted[0]["payload"]["signed"]["statement"])
    assert (said["approver"], said["decision_id"], said["verdict"]) == (BOB.id, request_id, "approve")


def test_an_unsigned_approval_is_not_enough_where_signed_ones_are_demanded(office: Office) -> None:
    request_id = office.requested()
    refused = office.tools.approve(request_id, BOB)
    assert refusal(refused, office.tools, request_id) == "ASSURANCE_TOO_LOW"


@needs_ssh_keygen
def test_a_signature_of_ssh_keygen_is_taken(office: Office, tmp_path: Path) -> None:
    request_id = office.requested(min_approvals=1)
    key = tmp_path / "id_ed25519"
    assert keygen("-q", "-t", "ed25519", "-N", "", "-C", "bob", "-f", key).returncode == 0
    office.signers.write_text(f"{BOB.id} {key.with_suffix('.pub').read_text()}")
    text = office.statement(request_id, BOB)
    document = tmp_path / "approval.json"
    document.write_text(text)
    assert keygen("-Y", "sign", "-f", key, "-n", "nexus-control.approval.v1", document).returncode == 0
    signature = document.with_suffix(".json.sig").read_text()
    data_of(office.tools.approve(request_id, BOB, statement=text, signature=signature))
    data_of(office.execute(request_id))


def other_request(office: Office) -> str:
    return office.statement(office.requested(), BOB)


def spoiled(field: str, value: object) -> Forge:
    def spoil(office: Office, statement: str) -> str:
        data = json.loads(statement)
        *parents, last = field.split(".")
        part = data
        for parent in parents:
            part = part[parent]
        part[last] = value
        return canonical_json(data)

    return spoil


FORGED: dict[str, Forge] = {
    "another request": lambda office, _statement: other_request(office),
    "another goal": spoiled("request.goal", "Delete the keys"),
    "another mode": spoiled("request.mode", "dry_run"),
    "another plan": spoiled("request.plan_sha256", "ab" * 32),
    "another policy": spoiled("basis.chain", "sha256:" + "ab" * 32),
    "another place": spoiled("basis.seq", 0),
    "another verdict": spoiled("verdict", "deny"),
    "another person": spoiled("approver", CAROL.id),
    "another log": spoiled("log", "nexus-control.local/elsewhere"),
    "the future": spoiled("issued_at", "2030-01-01T00:00:00.000000+00:00"),
    "an old kind": spoiled("_type", "nexus-control/approval/v0"),
    "spaces": lambda _office, statement: statement.replace(",", ", "),
    "nothing": lambda _office, _statement: "{}",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a_statement_of_anything_else_is_refused(forge: Forge, office: Office) -> None:
    request_id = office.requested()
    statement = forge(office, office.statement(request_id, BOB))
    assert refusal(office.sign(request_id, BOB, statement), office.tools, request_id) == "SIGNATURE_INVALID"


def test_a_signature_of_somebody_else_or_of_other_bytes_is_refused(office: Office) -> None:
    request_id = office.requested()
    statement = office.statement(request_id, BOB)
    other = office.statement(request_id, BOB)
    wrong = [
        office.sign(request_id, BOB, by=CAROL),
        office.sign(request_id, BOB, namespace="file"),
        office.tools.approve(request_id, BOB, statement=statement, signature=signed(2, other.encode())),
        office.tools.approve(request_id, BOB, statement=statement, signature="nonsense"),
    ]
    assert {refusal(each, office.tools, request_id) for each in wrong} == {"SIGNATURE_INVALID"}


def test_a_statement_without_its_signature_is_refused(office: Office) -> None:
    request_id = office.requested()
    statement = office.statement(request_id, BOB)
    refused = office.tools.approve(request_id, BOB, statement=statement)
    assert refusal(refused, office.tools, request_id) == "INVALID_ARGUMENT"
    assert refused.details["fields"][0]["field"] == "signature"


def test_a_store_that_trusts_nobody_takes_no_signature(office: Office) -> None:
    blind = NexusControlTools(office.tools.store.__class__(":memory:", clock=office.clock))
    request_id = data_of(blind.request("g", ALICE))["request_id"]
    text = data_of(blind.approval_statement(request_id, BOB.id))["statement"]
    refused = blind.approve(request_id, BOB, statement=text, signature=signed(2, text.encode()))
    assert refusal(refused, blind, request_id) == "SIGNATURE_INVALID"


def test_a_statement_is_good_once(office: Office) -> None:
    request_id = office.requested()
    statement = office.statement(request_id, BOB)
    data_of(office.sign(request_id, BOB, statement))
    data_of(office.tools.revoke_approval(request_id, BOB, "wait"))
    again = office.sign(request_id, BOB, statement)
    assert again.error_code == "SIGNATURE_INVALID"
    data_of(office.sign(request_id, BOB))


def test_the_expiry_is_the_statements(office: Office) -> None:
    request_id = office.requested(min_approvals=1)
    end = office.clock.now() + timedelta(hours=1)
    statement = office.statement(request_id, BOB, expires_at=end)
    signature = signed(2, statement.encode())
    later = office.tools.approve(
        request_id, BOB, statement=statement, signature=signature, expires_at=end + timedelta(hours=1)
    )
    assert refusal(later, office.tools, request_id) == "INVALID_ARGUMENT"
    data_of(office.tools.approve(request_id, BOB, statement=statement, signature=signature, expires_at=end))
    office.clock.advance(hours=2)
    assert reasons(office.execute(request_id)) == ["APPROVAL_EXPIRED", "MISSING_APPROVALS"]


def test_denials_and_revocations_are_signed_likewise(office: Office) -> None:
    request_id = office.requested()
    data_of(office.sign(request_id, BOB))
    others: tuple[tuple[Verdict, Any], ...] = (
        ("revoke", office.tools.revoke_approval),
        ("deny", office.tools.deny),
    )
    for verdict, act in others:
        text = office.statement(request_id, BOB, verdict=verdict)
        wrong = act(request_id, BOB, "no", statement=text, signature=signed(3, text.encode()))
        assert wrong.error_code == "SIGNATURE_INVALID"
        data_of(act(request_id, BOB, "no", statement=text, signature=signed(2, text.encode())))
    assert data_of(office.tools.status(request_id))["state"] == "denied"


def test_a_key_that_is_trusted_no_more_does_not_count_at_dispatch(office: Office) -> None:
    request_id = office.requested()
    for person in (BOB, CAROL):
        data_of(office.sign(request_id, person))
    office.trust(BOB.id)
    assert reasons(office.execute(request_id)) == ["IMPORTED_APPROVALS"]
    blocking = data_of(office.tools.status(request_id))["blocking_reasons"]
    assert blocking[0]["details"] == {"required": 2, "with_authority": 1, "imported": 1}
    office.trust(BOB.id, CAROL.id)
    data_of(office.execute(request_id))


def test_a_file_of_signers_that_cannot_be_read_stops_everything_that_rests_on_it(office: Office) -> None:
    request_id = office.requested(min_approvals=1)
    data_of(office.sign(request_id, BOB))
    office.signers.write_text("#" * 1_000_001)
    assert office.execute(request_id).error_code == "INVALID_ARGUMENT"
    office.signers.unlink()
    assert office.execute(request_id).error_code == "INVALID_ARGUMENT"


def test_a_line_of_signers_that_cannot_be_used_spoils_no_approval_and_is_named_to_its_signer(
    office: Office,
) -> None:
    request_id = office.requested(min_approvals=2)
    data_of(office.sign(request_id, BOB))
    usable = office.signers.read_text()
    odd = f"{CAROL.id} ssh-dss AAAAB3NzaC1kc3M=\n{CAROL.id} cert-authority {public_line(ed25519(9)[0])}\nnonsense\n"
    office.signers.write_text(odd + usable.splitlines()[0] + "\n")
    refused = office.sign(request_id, CAROL)
    assert refused.error_code == "SIGNATURE_INVALID"
    assert f"line 1 of the file names '{CAROL.id}', and is not supported: key is of type 'ssh-dss'" in str(
        refused.error
    )
    assert "line 2 of the file" in str(refused.error)
    office.signers.write_text(odd + usable)
    data_of(office.sign(request_id, CAROL))
    data_of(office.execute(request_id))


@pytest.mark.parametrize("verdict", ["approve", "deny", "revoke"])
def test_a_signature_with_crlf_is_stored_as_an_auditors_ssh_keygen_reads_it(
    office: Office, verdict: str
) -> None:
    request_id = office.requested()
    if verdict == "revoke":
        data_of(office.sign(request_id, BOB))
    text = office.statement(request_id, BOB, verdict=verdict)
    signature = signed(SEEDS[BOB.id], text.encode())
    tool, reason = (
        getattr(office.tools, verdict if verdict != "revoke" else "revoke_approval"),
        {"reason": "no"},
    )
    given = {"statement": text, "signature": "\ufeff" + signature.replace("\n", "\r\n")}
    data_of(tool(request_id, BOB, **given, **(reason if verdict != "approve" else {})))
    events = data_of(office.tools.status(request_id, include_events=True))["events"]
    assert events[-1]["payload"]["signed"] == {"format": "sshsig", "statement": text, "signature": signature}


def test_a_signature_that_was_stored_with_crlf_still_verifies(office: Office) -> None:
    text = office.statement(office.requested(), BOB)
    signature = signed(SEEDS[BOB.id], text.encode()).replace("\n", "\r\n")
    opened = open_verdict(SignedStatement(format="sshsig", statement=text, signature=signature))
    opened.require_allowed(parse_allowed_signers(office.signers.read_bytes()), NO_ORIGINS, office.clock.now())


def test_signers_that_cannot_be_read_keep_nobody_from_revoking(office: Office) -> None:
    request_id = office.requested()
    for person in (BOB, CAROL):
        data_of(office.sign(request_id, person))
    office.signers.write_text("#" * 1_000_001)
    revoked = data_of(office.tools.revoke_approval(request_id, BOB))
    assert (revoked["state"], revoked["current_approvals"]) == ("pending_approval", 0)


def test_signers_that_cannot_be_read_keep_nobody_from_settling_a_rehearsal(office: Office) -> None:
    request_id = office.requested(min_approvals=1)
    data_of(office.sign(request_id, BOB))
    lost = FakeRouter(raising(TimeoutError("too slow")))
    office.tools.execute(request_id, ADAPTER, SCHEDULER, lost, dry_run=True)
    office.signers.write_text("nonsense")
    settled = data_of(office.tools.reconcile(request_id, ALICE, "completed", "seen", "run-1"))
    assert settled["state"] == "pending_approval"


def test_an_approval_that_only_says_that_it_is_signed_does_not_count(office: Office) -> None:
    request_id = office.requested(min_approvals=1)
    office.tools.store.append_event(
        request_id, "APPROVAL_GRANTED", BOB, {"expires_at": None, "assurance": "signed"}
    )
    assert reasons(office.execute(request_id)) == ["IMPORTED_APPROVALS"]


def test_a_signed_approval_that_is_trusted_no_more_counts_in_no_view_that_verifies(office: Office) -> None:
    request_id = office.requested(min_approvals=1)
    granted = data_of(office.sign(request_id, BOB))
    assert (granted["state"], granted["current_approvals"], granted["is_approved"]) == ("approved", 1, True)
    office.trust(CAROL.id)
    status, inspected = data_of(office.tools.status(request_id)), data_of(office.tools.inspect(request_id))
    (approval,) = inspected["approval"]["approvals"]
    assert (status["state"], status["active_approvals"], status["is_approved"]) == (
        "pending_approval",
        0,
        False,
    )
    assert (approval["active"], approval["inactive_because"]) == (False, "not_trusted")
    assert "does not count: signed by nobody who is trusted here" in inspected["rendered"]
    (line,) = data_of(office.tools.list_requests())["requests"]  # a list verifies no signature
    assert (line["state"], line["current_approvals"]) == ("approved", 1)
    revoked = data_of(office.tools.revoke_approval(request_id, BOB))
    assert (revoked["state"], revoked["current_approvals"]) == ("pending_approval", 0)


def imported(office: Office, here: Office) -> str:
    request_id = office.requested()
    for person in (BOB, CAROL):
        data_of(office.sign(request_id, person))
    bundle = data_of(office.tools.export_bundle(request_id))["canonical_json"]
    here.clock.advance(minutes=1)
    return data_of(here.tools.import_bundle(bundle))["imported"]["decision_id"]


def test_imported_approvals_count_nowhere_and_those_that_are_signed_here_do(
    office: Office, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    here = Office(tmp_path / "here", ids_used=100)
    request_id = imported(office, here)
    assert reasons(here.execute(request_id)) == ["IMPORTED_APPROVALS"]
    for person in (BOB, CAROL):
        data_of(here.tools.revoke_approval(request_id, person, "given elsewhere"))
        data_of(here.sign(request_id, person))
    data_of(here.execute(request_id))


def test_a_history_that_was_cut_before_a_denial_authorises_nothing(office: Office, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    here = Office(tmp_path / "here")
    request_id = office.requested()
    for person in (BOB, CAROL):
        data_of(office.sign(request_id, person))
    whole = data_of(office.tools.export_bundle(request_id))["bundle"]
    data_of(office.tools.deny(request_id, CAROL, "the plan is wrong"))
    denied = data_of(office.tools.export_bundle(request_id))["bundle"]
    assert denied["events"][:-1] == whole["events"]  # nothing in it says that it was cut
    data_of(here.tools.import_bundle(whole))
    assert reasons(here.execute(request_id)) == ["IMPORTED_APPROVALS"]


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fingerprint of the key of each signature that is verified from here on."""
    keys: list[str] = []
    verify = SshSignature.require_over

    def counting(signature: SshSignature, message: bytes, namespace: str, **options: bool) -> None:
        keys.append(signature.key.fingerprint)
        verify(signature, message, namespace, **options)

    monkeypatch.setattr(SshSignature, "require_over", counting)
    return keys


def test_the_sixth_signed_approval_verifies_each_signature_once(office: Office, verified: list[str]) -> None:
    office.trust(*(person.id for person in SIX))
    request_id = office.requested(min_approvals=6)
    for person in SIX[:5]:
        data_of(office.sign(request_id, person))
    statement = office.statement(request_id, SIX[5])
    open_verdict.cache_clear()  # as in a process that has seen none of them
    verified.clear()
    assert data_of(office.sign(request_id, SIX[5], statement))["current_approvals"] == 6
    assert (len(verified), len(set(verified))) == (6, 6)


def test_what_was_verified_is_asked_again_whether_it_is_trusted(office: Office, verified: list[str]) -> None:
    request_id = office.requested()
    for person in (BOB, CAROL):
        data_of(office.sign(request_id, person))
    verified.clear()
    office.trust(BOB.id)
    assert data_of(office.tools.status(request_id))["active_approvals"] == 1
    office.trust(BOB.id, CAROL.id)
    assert data_of(office.tools.status(request_id))["active_approvals"] == 2
    assert verified == []


def test_a_bundle_shows_approvals_that_were_signed_before_and_after_an_import(
    office: Office, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    there = Office(elsewhere, ids_used=100)
    request_id = there.requested()
    data_of(there.sign(request_id, BOB))
    data_of(office.tools.import_bundle(data_of(there.tools.export_bundle(request_id))["canonical_json"]))
    data_of(office.tools.revoke_approval(request_id, BOB, "given elsewhere"))
    for person in (BOB, CAROL):
        data_of(office.sign(request_id, person))
    data_of(office.execute(request_id))
    bundle = data_of(office.tools.export_bundle(request_id))["bundle"]
    signers = office.signers.read_bytes()
    logs = [log_key(there), log_key(office)]
    report = verify_bundle(bundle, trust=Trust(allowed_signers=signers, log_keys=logs))
    assert (report.ok, report.reached) == (True, ("L0", "L1", "L4"))
    only_there = verify_bundle(bundle, trust=Trust(allowed_signers=signers, log_keys=logs[:1]))
    assert (only_there.ok, only_there.reached) == (True, ("L0", "L1"))


def test_a_package_shows_approvals_that_were_signed_before_and_after_an_import(
    office: Office, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    here = Office(tmp_path / "here", ids_used=100)
    request_id = office.requested()
    data_of(office.sign(request_id, BOB))
    data_of(here.tools.import_bundle(data_of(office.tools.export_bundle(request_id))["bundle"]))
    data_of(here.tools.revoke_approval(request_id, BOB, "given elsewhere"))
    for person in (BOB, CAROL):
        data_of(here.sign(request_id, person))
    data_of(here.execute(request_id))
    package = data_of(here.tools.export_audit_package(request_id))["package"]
    report = verify_evidence(package, trust=Trust(allowed_signers=here.signers.read_text()))
    found = {check.name: check for check in report.checks}
    assert [name for name, check in found.items() if check.status == "fail"] == []
    assert found["approval_signatures"].detail.startswith("0 of 2")  # for a log that nobody named
    log = json.loads(here.statement(here.requested(), BOB))["log"]
    assert f"given for the log {log}, whose key was not named" in found["approval_signatures"].detail
    trusting = Trust(allowed_signers=here.signers.read_text(), log_keys=(log_key(here),))
    named = verify_evidence(package, trust=trusting)
    assert {check.name: check.status for check in named.checks}["approval_signatures"] == "pass"
    assert named.level == "L1"


def log_key(office: Office) -> str:
    return str(keys_of(office.tools.store)[-1].verifier)


def test_a_copy_under_a_new_id_takes_no_approvals_along(office: Office, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    here = Office(tmp_path / "here")
    request_id = office.requested()
    for person in (BOB, CAROL):
        data_of(office.sign(request_id, person))
    bundle = data_of(office.tools.export_bundle(request_id))["canonical_json"]
    here.clock.advance(minutes=1)
    copied = data_of(here.tools.import_bundle(bundle, conflict_mode="new_decision_id"))
    assert reasons(here.execute(copied["imported"]["decision_id"])) == ["IMPORTED_APPROVALS"]


def share_a_key(office: Office) -> None:
    """Whoever keeps the file lets bob's key sign for carol too."""
    office.signers.write_text(f"{BOB.id},{CAROL.id} {public_line(ed25519(SEEDS[BOB.id])[0])}\n")


def test_one_key_does_not_approve_as_two_people(office: Office) -> None:
    share_a_key(office)
    request_id = office.requested()
    data_of(office.sign(request_id, BOB))
    refused = office.sign(request_id, CAROL, by=BOB)
    assert (refused.error_code, "one key is one person" in str(refused.error)) == ("SIGNATURE_INVALID", True)
    assert data_of(office.tools.status(request_id))["event_count"] == 3


def test_two_approvals_that_one_key_signed_count_once_at_dispatch(office: Office) -> None:
    share_a_key(office)
    request_id = office.requested()
    for person in (BOB, CAROL):
        text = office.statement(request_id, person)
        payload = {
            "expires_at": None,
            "assurance": "signed",
            "signed": {"format": "sshsig", "statement": text, "signature": signed(2, text.encode())},
        }
        office.tools.store.append_event(request_id, "APPROVAL_GRANTED", person, payload)
    assert reasons(office.execute(request_id)) == ["IMPORTED_APPROVALS"]
    assert data_of(office.tools.status(request_id))["blocking_reasons"][0]["details"]["with_authority"] == 1


def test_a_stored_signature_that_does_not_verify_keeps_nobody_from_signing(office: Office) -> None:
    request_id = office.requested()
    payload = {"reason": None, "signed": {"format": "sshsig", "statement": "{}", "signature": "x"}}
    office.tools.store.append_event(request_id, "APPROVAL_REVOKED", BOB, payload)
    for person in (BOB, CAROL):
        data_of(office.sign(request_id, person))
    data_of(office.execute(request_id))


def test_an_older_export_brings_no_revoked_approval_back_however_it_was_signed(
    office: Office, tmp_path: Path
) -> None:
    """Not even when its owner lets it over the longer history, and extends it afterwards."""
    (tmp_path / "here").mkdir()
    here = Office(tmp_path / "here")
    request_id = office.requested()
    for person in (BOB, CAROL):
        data_of(office.sign(request_id, person))
    older = data_of(office.tools.export_bundle(request_id))["canonical_json"]
    data_of(office.tools.revoke_approval(request_id, BOB, "the plan is wrong"))
    newer = data_of(office.tools.export_bundle(request_id))["canonical_json"]
    here.clock.advance(minutes=1)

    def imported(bundle: str, **options: object) -> ToolResult[Any]:
        return here.tools.import_bundle(bundle, conflict_mode="overwrite", **options)  # pyright: ignore[reportArgumentType]

    data_of(imported(newer))
    assert imported(older).error_code == "ROLLBACK_REFUSED"
    assert reasons(here.execute(request_id)) == ["MISSING_APPROVALS", "IMPORTED_APPROVALS"]
    data_of(imported(older, allow_rollback=True))
    assert reasons(here.execute(request_id)) == ["IMPORTED_APPROVALS"]
    data_of(imported(older))
    assert reasons(here.execute(request_id)) == ["IMPORTED_APPROVALS"]


def revoked(office: Office, text: str, request_id: str) -> None:
    data_of(office.sign(request_id, BOB, text))
    office.clock.advance(seconds=1)
    data_of(office.tools.revoke_approval(request_id, BOB, "the plan is wrong"))


def test_a_history_that_an_import_extends_brings_no_revoked_approval_back(office: Office) -> None:
    request_id = office.requested(min_approvals=1)
    revoked(office, office.statement(request_id, BOB), request_id)
    bundle = data_of(office.tools.export_bundle(request_id))["bundle"]
    granted, last = bundle["events"][2:]
    again = granted | {"seq": 4, "event_id": f"evt_{request_id}_4", "ts": last["ts"]}
    bundle["events"].append(again)
    bundle["decision"]["status"] = "APPROVED"
    bundle["integrity"]["canonical_digest"] = DecisionBundle.from_dict(bundle).content_digest()
    data_of(office.tools.import_bundle(bundle, conflict_mode="overwrite"))
    assert reasons(office.execute(request_id)) == ["IMPORTED_APPROVALS"]


def test_a_statement_that_was_used_is_refused_after_a_rollback_too(office: Office) -> None:
    request_id = office.requested(min_approvals=1)
    empty = data_of(office.tools.export_bundle(request_id))["canonical_json"]
    statement = office.statement(request_id, BOB)
    revoked(office, statement, request_id)
    data_of(office.tools.import_bundle(empty, conflict_mode="overwrite", allow_rollback=True))
    assert refusal(office.sign(request_id, BOB, statement), office.tools, request_id) == "SIGNATURE_INVALID"
    data_of(office.sign(request_id, BOB))
    data_of(office.execute(request_id))


def test_only_an_approval_has_an_end(office: Office) -> None:
    request_id = office.requested()
    end = office.clock.now() + timedelta(hours=1)
    data_of(office.sign(request_id, BOB))
    others: tuple[tuple[Verdict, Any], ...] = (
        ("revoke", office.tools.revoke_approval),
        ("deny", office.tools.deny),
    )
    for verdict, act in others:
        asked = office.tools.approval_statement(request_id, BOB.id, verdict=verdict, expires_at=end)
        assert asked.error_code == "INVALID_ARGUMENT"
        forged = spoiled("expires_at", end.isoformat())
        text = forged(office, office.statement(request_id, BOB, verdict=verdict))
        refused = act(request_id, BOB, "no", statement=text, signature=signed(2, text.encode()))
        assert refused.error_code == "SIGNATURE_INVALID"


def test_an_approval_that_was_issued_after_it_was_given_does_not_count(office: Office) -> None:
    request_id = office.requested(min_approvals=1)
    statement = json.loads(office.statement(request_id, BOB))
    late = spoiled("issued_at", (office.clock.now() + timedelta(hours=1)).isoformat())
    text = late(office, canonical_json(statement))
    payload = {
        "expires_at": None,
        "assurance": "signed",
        "signed": {"format": "sshsig", "statement": text, "signature": signed(2, text.encode())},
    }
    office.tools.store.append_event(request_id, "APPROVAL_GRANTED", BOB, payload)
    assert reasons(office.execute(request_id)) == ["IMPORTED_APPROVALS"]


def test_in_a_history_that_reaches_the_end_of_time_nothing_is_decided(office: Office) -> None:
    request_id = office.requested(min_approvals=1)
    bundle = data_of(office.tools.export_bundle(request_id))["bundle"]
    bundle["events"][1]["ts"] = "9999-12-31T23:59:59.999999+00:00"
    bundle["integrity"]["canonical_digest"] = DecisionBundle.from_dict(bundle).content_digest()
    over: dict[str, Any] = {"conflict_mode": "overwrite", "allow_rollback": True}
    assert office.tools.import_bundle(bundle, **over).error_code == "REPLAY_INVALID"
    data_of(office.tools.import_bundle(bundle, replay_after_import=False, **over))
    assert refusal(office.sign(request_id, BOB), office.tools, request_id) == "CLOCK_BEHIND"


def test_no_import_lets_a_key_sign_that_is_not_valid_yet(office: Office) -> None:
    """Valid from 2090, and the history says that it is 2099."""
    request_id = office.requested(min_approvals=1)
    line = public_line(ed25519(SEEDS[BOB.id])[0])
    office.signers.write_text(f'{BOB.id} valid-after="20900101Z" {line}\n')
    bundle = data_of(office.tools.export_bundle(request_id))["bundle"]
    bundle["events"][1]["ts"] = "2099-01-01T00:00:00+00:00"
    bundle["integrity"]["canonical_digest"] = DecisionBundle.from_dict(bundle).content_digest()
    over: dict[str, Any] = {"conflict_mode": "overwrite", "allow_rollback": True}
    assert office.tools.import_bundle(bundle, **over).error_code == "REPLAY_INVALID"
    data_of(office.tools.import_bundle(bundle, verify_digest=False, **over))
    for verdict, act in (("approve", None), ("deny", office.tools.deny)):
        text = office.statement(request_id, BOB, verdict=verdict)
        signature = signed(SEEDS[BOB.id], text.encode())
        if act is None:
            done = office.tools.approve(request_id, BOB, statement=text, signature=signature)
        else:
            done = act(request_id, BOB, "no", statement=text, signature=signature)
        assert refusal(done, office.tools, request_id) == "CLOCK_BEHIND"
    assert "CLOCK_BEHIND" in reasons(office.execute(request_id))
