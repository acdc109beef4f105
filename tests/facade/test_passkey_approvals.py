"""Approvals that people sign with passkeys: where they count, and that every verifier judges the page for itself."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from nexus_control import DecisionStore, LocalRouter, NexusControlTools, Trust, verify_bundle, verify_evidence
from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.reading import read_evidence
from nexus_control.evidence.statement import Verdict
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.render.report import render_report
from nexus_control.values.actors import Actor
from tests.evidence.ssh import needs_ssh_keygen, to_sign, verified_by_ssh_keygen
from tests.facade.routers import FakeRouter
from tests.support.clock import FakeClock
from tests.support.governed import ADAPTER, ALICE, SCHEDULER, data_of
from tests.support.passkey import ORIGIN, Passkey

BOB, CAROL = (Actor(type="human", id=f"{name}@example.com") for name in ("bob", "carol"))
KEYS = {BOB.id: Passkey(2), CAROL.id: Passkey(3)}
SIGNERS = "".join(f"{person} {key.line}\n" for person, key in KEYS.items())
ANOTHER = "http://localhost:8791"


class Office:
    """A store that trusts the passkeys of bob and carol."""

    def __init__(self, folder: Path, origins: tuple[str, ...] = (ORIGIN,)) -> None:
        self.clock = FakeClock()
        self.database, self.signers = folder / "store.db", folder / "allowed_signers"
        self.signers.write_text(SIGNERS)
        self.tools = self.opened(origins)

    def opened(self, origins: tuple[str, ...]) -> NexusControlTools:
        return NexusControlTools(
            self.database, clock=self.clock, allowed_signers=self.signers, passkey_origins=origins
        )

    def requested(self, approvals: int = 2) -> str:
        policy: dict[str, Any] = {"min_approvals": approvals, "min_assurance": "signed", "plan": "1. rotate"}
        return data_of(self.tools.request("Rotate the keys", ALICE, mode="apply", **policy))["request_id"]

    def sign(self, request_id: str, person: Actor, **options: Any) -> Any:
        self.clock.advance(seconds=1)
        text = data_of(self.tools.approval_statement(request_id, person.id))["statement"]
        signature = KEYS[person.id].signed(text.encode(), **options)
        return self.tools.approve(request_id, person, statement=text, signature=signature)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_passkeys_approve_and_the_request_is_executed(office: Office) -> None:
    request_id = office.requested()
    data_of(office.sign(request_id, BOB))
    data_of(office.sign(request_id, CAROL, flags=0x1D))
    data_of(office.tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"origin": ANOTHER}, f"on a page of {ANOTHER}, and the allowed origins are {ORIGIN}"),
        ({"flags": 0x01}, "did not verify its user"),
        ({"flags": 0x04}, "user was present"),
        ({"namespace": "nexus-control.enrolment.v1"}, "for the namespace"),
        ({"hash_algorithm": "sha256"}, "sha512"),
    ],
    ids=["another page", "not verified", "not present", "an enrolment's proof", "sha256"],
)
def test_what_is_not_signed_as_it_must_be_is_refused_and_writes_nothing(
    office: Office, options: dict[str, Any], why: str
) -> None:
    request_id = office.requested()
    refused = office.sign(request_id, BOB, **options)
    assert (refused.success, refused.error_code) == (False, "SIGNATURE_INVALID")
    assert why in (refused.error or "")
    assert data_of(office.tools.status(request_id))["event_count"] == 2


def test_a_store_without_origins_says_which_one_to_allow_and_where(tmp_path: Path) -> None:
    office = Office(tmp_path, ())
    refused = office.sign(office.requested(), BOB)
    assert refused.error_code == "SIGNATURE_INVALID"
    assert f"on a page of {ORIGIN}, and no origin is allowed for this passkey" in (refused.error or "")
    assert all(
        word in (refused.next or "")
        for word in ("passkey_origins", "--origin", "NEXUS_CONTROL_ORIGINS", "[inbox]")
    )


@pytest.mark.parametrize("origins", [(), (ANOTHER,), ("https://approve.example.org",)], ids=range(3))
def test_what_was_signed_on_a_page_that_is_no_longer_allowed_does_not_count_at_dispatch(
    office: Office, origins: tuple[str, ...]
) -> None:
    request_id = office.requested(approvals=1)
    data_of(office.sign(request_id, BOB))
    with office.opened(origins) as tools:
        refused = tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter())
        assert refused.error_code == "POLICY_NOT_SATISFIED"
    with office.opened((*origins, ORIGIN)) as tools:
        data_of(tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter()))


def test_denials_and_revocations_are_judged_by_their_page_too(office: Office) -> None:
    verdicts: dict[Verdict, Any] = {"deny": office.tools.deny, "revoke": office.tools.revoke_approval}
    for verdict, tool in verdicts.items():
        request_id = office.requested()
        data_of(office.sign(request_id, BOB))
        for origin, is_taken in ((ANOTHER, False), (ORIGIN, True)):
            text = data_of(office.tools.approval_statement(request_id, BOB.id, verdict=verdict))["statement"]
            signature = KEYS[BOB.id].signed(text.encode(), origin=origin)
            given = {"reason": "no", "statement": text, "signature": signature}
            assert tool(request_id, BOB, **given).success is is_taken


def test_one_passkey_is_one_person(office: Office) -> None:
    office.signers.write_text(f"*@example.com {KEYS[BOB.id].line}\n")
    request_id = office.requested()
    data_of(office.sign(request_id, BOB))
    text = data_of(office.tools.approval_statement(request_id, CAROL.id))["statement"]
    signature = KEYS[BOB.id].signed(text.encode())
    refused = office.tools.approve(request_id, CAROL, statement=text, signature=signature)
    assert refused.error_code == "SIGNATURE_INVALID"


def test_origins_belong_to_the_store_that_is_handed_in() -> None:
    with DecisionStore(passkey_origins=[ORIGIN]) as store:
        assert store.passkey_origins.origins == (ORIGIN,)
        assert NexusControlTools(store).store is store
        with pytest.raises(ValueError, match="passkey_origins belongs to the store"):
            NexusControlTools(store, passkey_origins=[ORIGIN])


def _rotate(n: int) -> dict[str, object]:
    return {"rotated": n}


PLAN = json.dumps(
    [{"step_id": "s1", "intent": "i", "call": {"tool": "keys", "method": "rotate", "args": {"n": 1}}}]
)


@cache
def package() -> tuple[dict[str, Any], str]:
    """A package whose approvals are signed by passkeys, and its log's key."""
    with TemporaryDirectory() as folder:
        office = Office(Path(folder))
        router = LocalRouter(Adapters([PythonAdapter("keys", {"rotate": _rotate})]), clock=office.clock)
        policy: dict[str, Any] = {"min_approvals": 2, "min_assurance": "signed", "plan": PLAN}
        request_id = data_of(office.tools.request("Rotate", ALICE, mode="apply", **policy))["request_id"]
        data_of(office.sign(request_id, BOB))
        data_of(office.sign(request_id, CAROL, flags=0x1D))
        office.clock.advance(seconds=1)
        data_of(office.tools.execute(request_id, ADAPTER, SCHEDULER, router))
        made = data_of(office.tools.export_audit_package(request_id))["package"]
        office.tools.close()
    return made, made["evidence"]["log_key"]


def trust(**changes: Any) -> Trust:
    _, log_key = package()
    given: dict[str, Any] = {
        "allowed_signers": SIGNERS,
        "passkey_origins": [ORIGIN],
        "log_keys": [log_key],
    } | changes
    return Trust(**given)


def found(made: dict[str, Any], trusted: Trust) -> tuple[str, str]:
    report = verify_evidence(canonical_json(made).encode(), trust=trusted, require="L1")
    (check,) = (each for each in report.checks if each.name == "approval_signatures")
    bundle = verify_bundle(made["control_bundle"], trust=trusted)
    assert check in bundle.checks
    assert ("L4" in report.reached) is (check.status == "pass")
    return check.status, check.detail


def test_a_package_reaches_l4_with_the_origin_and_says_who_used_a_passkey_where() -> None:
    made, _ = package()
    status, detail = found(made, trust())
    assert status == "pass"
    assert (
        f"bob@example.com with a passkey on {ORIGIN}; carol@example.com with a passkey (synced) on {ORIGIN}"
        in detail
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"passkey_origins": ()}, "no origin is allowed for this passkey (passkey_origins, --origin)"),
        ({"passkey_origins": [ANOTHER]}, f"and the allowed origins are {ANOTHER}"),
        ({"allowed_signers": SIGNERS.replace("bob", "dave")}, "1 of 2 approvals signed"),
    ],
    ids=["no origin", "another origin", "another person"],
)
def test_without_it_the_approvals_are_skipped_and_neither_trusted_nor_failed(
    changes: dict[str, Any], why: str
) -> None:
    status, detail = found(package()[0], trust(**changes))
    assert status == "skipped"
    assert why in detail


def signed_in(made: dict[str, Any], which: int) -> dict[str, str]:
    granted = [each for each in made["control_bundle"]["events"] if each["type"] == "APPROVAL_GRANTED"]
    return granted[which]["payload"]["signed"]


@pytest.mark.parametrize(
    "trusted", [trust, lambda: trust(passkey_origins=())], ids=["with", "without origins"]
)
@pytest.mark.parametrize(
    "options",
    [
        {"origin": ANOTHER, "claimed": ORIGIN},
        {"flags": 0x01},
        {"namespace": "file"},
        {"counter": 8, "cut": True},
    ],
    ids=["another page", "not verified", "another namespace", "cut short"],
)
def test_a_tampered_approval_fails_whatever_the_verifier_allows(
    trusted: Any, options: dict[str, Any]
) -> None:
    made = json.loads(canonical_json(package()[0]))
    signed = signed_in(made, 0)
    claimed, cut = options.get("claimed"), options.get("cut")
    key, made_with = KEYS[BOB.id], {name: options[name] for name in options.keys() - {"claimed", "cut"}}
    signature = key.signed(signed["statement"].encode(), **made_with)
    if claimed:
        made_elsewhere = key.asserted(to_sign(signed["statement"].encode()), origin=ANOTHER)
        signature = key.packed(made_elsewhere, claimed)
    signed["signature"] = signature[:-60] if cut else signature
    status, _ = found(made, trusted())
    assert status == "fail"


@needs_ssh_keygen
def test_ssh_keygen_verifies_what_the_package_holds(tmp_path: Path) -> None:
    made, _ = package()
    for number, person in enumerate((BOB, CAROL)):
        signed = signed_in(made, number)
        given = (SIGNERS, signed["signature"], signed["statement"].encode())
        assert verified_by_ssh_keygen(tmp_path, *given, principal=person.id)
        other = CAROL if person is BOB else BOB
        assert not verified_by_ssh_keygen(tmp_path, *given, principal=other.id)


def test_a_report_says_who_used_a_passkey_where() -> None:
    made, _ = package()
    page = render_report(read_evidence(canonical_json(made).encode(), trust=trust()))
    assert f"with a passkey on {ORIGIN}" in page
    assert f"with a passkey (synced) on {ORIGIN}" in page
