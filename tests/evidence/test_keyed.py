"""Who says so: each keyed check passes for what is genuine, and catches what is not."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from nexus_control import AuditPackage, verify_evidence
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.bundle_checks import History, history_of
from nexus_control.evidence.formats.keys import generate, public_from_pem
from nexus_control.evidence.formats.note import Verifier, parse_checkpoint, sign_note
from nexus_control.evidence.formats.tlog_proof import parse_log_proof
from nexus_control.evidence.report import judged
from nexus_control.evidence.signatures import chain_of, package_signature
from nexus_control.evidence.verify import CHECKS, LEVELS
from nexus_control.log.checkpoints import publish, require_continued
from nexus_control.store import DecisionStore
from tests.artifacts.samples import at, changed, nodes
from tests.evidence.packages import resealed
from tests.evidence.signed_packages import (
    ALLOWED_SIGNERS,
    PACKAGE_KEY,
    SEEDS,
    WITNESS,
    Signed,
    cosigned,
    envelope_of,
    signed_package,
)
from tests.evidence.ssh import ed25519, public_line
from tests.evidence.ssh import signed as ssh_signed
from tests.evidence.test_hostile_packages import other
from tests.support.amounts import sample_of


def statuses(signed: Signed, **options: Any) -> dict[str, str]:
    return {check.name: check.status for check in signed.verified(**options).checks}


def sealed(data: dict[str, Any]) -> Signed:
    """A changed package, signed again by the owner of the package key: only the other keys are out of reach."""
    package = canonical_json(data).encode()
    signed = signed_package()
    return signed.but(package=package, envelope=envelope_of(package))


def test_a_package_that_everybody_signed_reaches_every_level() -> None:
    report = signed_package().verified(require="L5")
    assert [check for check in report.checks if check.status == "fail"] == []
    assert (report.ok, report.level, report.reached) == (True, "L5", LEVELS)


def test_without_trust_nothing_is_proved_of_who() -> None:
    report = verify_evidence(signed_package().package)
    assert (report.ok, report.level) == (True, "L2")
    by_name = {check.name: check for check in report.checks}
    assert by_name["checkpoint_signature"].status == "info"
    assert "self-signed" in by_name["checkpoint_signature"].detail
    for level in ("L3", "L4", "L5"):
        assert not verify_evidence(signed_package().package, require=level).ok


@pytest.mark.parametrize(
    ("missing", "check", "level"),
    [
        ({"allowed_signers": None}, "approval_signatures", "L3"),
        ({"package_keys": ()}, "package_signature", "L2"),
        ({"witnesses": ()}, "witness_quorum", "L4"),
        ({"witness_quorum": 2}, "witness_quorum", "L4"),
    ],
    ids=["no signers", "no package key", "no witness", "too few witnesses"],
)
def test_what_nobody_is_trusted_for_earns_no_level(missing: dict[str, Any], check: str, level: str) -> None:
    signed = signed_package().trusting(**missing)
    assert statuses(signed)[check] == "skipped"
    report = signed.verified(require="L5")
    assert (report.ok, report.level) == (False, level)
    assert check in {each.name for each in report.missing}
    assert signed.verified(require=level).missing == ()


def event(data: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(each for each in data["control_bundle"]["events"] if each["type"] == kind)


def with_evidence(**changes: str) -> Signed:
    data = signed_package().data
    data["evidence"] |= changes
    return sealed(data)


def with_proof(**changes: Any) -> Signed:
    proof = parse_log_proof(signed_package().data["evidence"]["log_proof"])
    return with_evidence(log_proof=replace(proof, **changes).to_text())


def rewritten(change: Callable[[dict[str, Any]], object]) -> Signed:
    """The history changed and sealed again, under the evidence that it had."""
    data = signed_package().data
    evidence = data["evidence"]
    change(data)
    return sealed(resealed(data) | {"evidence": evidence})


def another_signature() -> Signed:
    def change(data: dict[str, Any]) -> None:
        first, second = [e for e in data["control_bundle"]["events"] if e["type"] == "APPROVAL_GRANTED"]
        first["payload"]["signed"]["signature"] = second["payload"]["signed"]["signature"]

    return rewritten(change)


def statement_of_another_goal() -> Signed:
    def change(data: dict[str, Any]) -> None:
        event(data, "DECISION_CREATED")["payload"]["goal"] = "Delete the keys"

    return rewritten(change)


def signature_left_out() -> Signed:
    return rewritten(lambda data: event(data, "APPROVAL_GRANTED")["payload"].pop("signed"))


def statement_repeated() -> Signed:
    def change(data: dict[str, Any]) -> None:
        first, second = [e for e in data["control_bundle"]["events"] if e["type"] == "APPROVAL_GRANTED"]
        second |= {"actor": first["actor"], "payload": first["payload"]}

    return rewritten(change)


def policy_numbered_beyond_the_events() -> Signed:
    return rewritten(lambda data: event(data, "POLICY_ATTACHED").update(seq=2**63))


def issued_after_it_was_given() -> Signed:
    """Somebody signs what should have been approved before it ran, and the event is put where it should be."""

    def change(data: dict[str, Any]) -> None:
        granted = event(data, "APPROVAL_GRANTED")
        statement = json.loads(granted["payload"]["signed"]["statement"])
        text = canonical_json(statement | {"issued_at": "2026-03-01T00:00:00.000000+00:00"})
        signature = ssh_signed(SEEDS[granted["actor"]["id"]], text.encode())
        granted["payload"]["signed"] |= {"statement": text, "signature": signature}

    return rewritten(change)


def another_log() -> Signed:
    key = generate()
    proof = parse_log_proof(signed_package().data["evidence"]["log_proof"])
    text = proof.note.rpartition("\n\n")[0] + "\n"
    return with_proof(note=sign_note(text, proof.origin, key))


def false_cosignature() -> Signed:
    data = cosigned(signed_package().package, key=generate())
    return sealed(json.loads(data))


def no_proof() -> Signed:
    data = signed_package().data
    data["evidence"]["log_proof"] = "nonsense"
    return signed_package().but(package=canonical_json(data).encode())


def remembering(note: str, *proof: str) -> Signed:
    return signed_package().trusting(checkpoint=note, consistency=proof)


FORGED: dict[str, tuple[Callable[[], Signed], str]] = {
    "the chain hash of something else": (lambda: with_evidence(chain_head="sha256:" + "ab" * 32), "chain"),
    "an import of nothing": (lambda: with_evidence(imported="x"), "origin"),
    "an evidence section of something else": (lambda: with_evidence(surprise="x"), "chain"),
    "a time changed": (
        lambda: rewritten(
            lambda data: event(data, "POLICY_ATTACHED").update(ts="2026-01-02T03:04:05.000007+00:00")
        ),
        "chain",
    ),
    "another place in the log": (lambda: with_proof(index=0), "log_inclusion"),
    "no proof at all": (no_proof, "log_inclusion"),
    "another key for the log": (lambda: with_evidence(log_key="nonsense"), "log_inclusion"),
    "the checkpoint of a stranger": (another_log, "checkpoint_signature"),
    "a witness who did not sign": (false_cosignature, "witness_quorum"),
    "the signature of another approval": (another_signature, "approval_signatures"),
    "a goal that nobody signed": (statement_of_another_goal, "approval_signatures"),
    "a signature left out": (signature_left_out, "approval_signatures"),
    "a statement used twice": (statement_repeated, "approval_signatures"),
    "a policy of another number": (policy_numbered_beyond_the_events, "approval_signatures"),
    "a statement made after the run": (issued_after_it_was_given, "approval_signatures"),
    "the envelope of a stranger": (
        lambda: signed_package().but(envelope=envelope_of(signed_package().package, generate())),
        "package_signature",
    ),
    "another decision in the envelope": (
        lambda: signed_package().but(envelope=envelope_of(signed_package().package, decision_id="x")),
        "package_signature",
    ),
    "another number of events in it": (
        lambda: signed_package().but(envelope=envelope_of(signed_package().package, events=1)),
        "package_signature",
    ),
    "another place in it": (
        lambda: signed_package().but(
            envelope=envelope_of(signed_package().package, log={"origin": "x", "index": 0})
        ),
        "package_signature",
    ),
    "no envelope but something": (lambda: signed_package().but(envelope="{}"), "package_signature"),
    "a remembered checkpoint of another log": (
        lambda: remembering(publish(DecisionStore()).note),
        "consistency",
    ),
}


@pytest.mark.parametrize(("forge", "check"), FORGED.values(), ids=FORGED.keys())
def test_a_forgery_is_caught_by_its_check(forge: Callable[[], Signed], check: str) -> None:
    signed = forge()
    assert statuses(signed)[check] == "fail"
    assert not signed.verified(require="L0").ok


def test_every_keyed_check_that_can_fail_but_the_timestamp_has_been_made_to_fail_here() -> None:
    keyed = {name for name, level in CHECKS.items() if level not in ("L0", "L1")}
    assert keyed - {check for _, check in FORGED.values()} == {"timestamp", "allowed_signers"}


def test_lines_of_signers_that_are_skipped_are_told_and_spoil_nothing() -> None:
    signed = signed_package()
    assert signed.verified(require="L4").ok
    whole = signed.trust.allowed_signers
    assert isinstance(whole, str)
    spoiled = f"carol ssh-dss AAAAB3NzaC1kc3M=\n# M\xfcller\n{whole}".encode("latin-1")
    report = signed.trusting(allowed_signers=spoiled).verified(require="L4")
    check = next(check for check in report.checks if check.name == "allowed_signers")
    assert (report.ok, check.status) == (True, "info")
    assert "1 skipped: line 1 is skipped: key is of type 'ssh-dss'" in check.detail


def test_every_leaf_of_a_signed_package_is_covered() -> None:
    signed = signed_package()
    unnoticed = [
        path
        for path in nodes(signed.data)
        if not isinstance(value := at(signed.data, path), dict | list)
        if signed.but(package=canonical_json(changed(signed.data, path, other(value))).encode())
        .verified(require="L0")
        .ok
    ]
    assert unnoticed == []


def spoiled(signed: Signed, position: int) -> Signed:
    content = bytearray(signed.package)
    content[position] ^= 1
    return signed.but(package=bytes(content))


def spoiled_envelope(signed: Signed, position: int) -> Signed:
    text = signed.envelope
    return signed.but(envelope=text[:position] + chr(ord(text[position]) ^ 1) + text[position + 1 :])


def signature_alone(honest: Signed) -> Callable[[Signed], str]:
    """What the check of the signature says of other bytes than the honest ones; the other checks cost far more."""
    package = AuditPackage.from_dict(honest.data)
    history = history_of(package.control_bundle)
    assert isinstance(history, History)
    head = chain_of(history.decision)[-1]
    trusted = [public_from_pem(text) for text in honest.trust.package_keys]

    def status(signed: Signed) -> str:
        content, envelope = signed.package, signed.envelope
        check = judged("x", lambda: package_signature(package, content, head, trusted, envelope, None))
        return check.status

    assert status(honest) == "pass"
    return status


@pytest.mark.parametrize("part", range(4))
def test_every_byte_of_a_signed_package_is_covered(part: int) -> None:
    signed = signed_package()
    status, positions = signature_alone(signed), range(part, len(signed.package), 4)
    assert {status(spoiled(signed, position)) for position in positions} == {"fail"}
    for position in sample_of(positions, 25):
        assert not spoiled(signed, position).verified(require="L0").ok, position


def test_every_byte_of_its_envelope_is_covered_but_the_hint() -> None:
    signed = signed_package()
    hint = json.dumps(PACKAGE_KEY.public.fingerprint)
    start = signed.envelope.index(hint)
    hinting = range(start + 1, start + len(hint) - 1)
    positions = [position for position in range(len(signed.envelope)) if position not in hinting]
    status = signature_alone(signed)
    assert {status(spoiled_envelope(signed, position)) for position in positions} == {"fail"}
    for position in sample_of(positions, 40):
        assert not spoiled_envelope(signed, position).verified(require="L3").ok, position
    assert signed.but(envelope=signed.envelope.replace(hint, '"x"')).verified(require="L3").ok


def test_a_signed_package_is_verified_only_as_the_bytes_that_were_signed() -> None:
    signed = signed_package()
    for form in (signed.data, AuditPackage.from_dict(signed.data), json.dumps(signed.data)):
        report = verify_evidence(form, trust=signed.trust, envelope=signed.envelope, require="L0")
        assert {check.name for check in report.checks if check.status == "fail"} == {"package_signature"}


@pytest.mark.parametrize(
    "trust",
    [
        {"allowed_signers": ALLOWED_SIGNERS.replace("bob", "dan")},
        {"allowed_signers": ALLOWED_SIGNERS.replace("bob ", 'bob valid-before="20260101Z" ')},
        {"allowed_signers": ALLOWED_SIGNERS.replace("bob ", 'bob namespaces="file" ')},
        {"allowed_signers": ""},
    ],
    ids=["another person's key", "run out", "for something else", "nobody"],
)
def test_a_signer_who_was_not_trusted_at_the_time_does_not_count(trust: dict[str, str]) -> None:
    signed = signed_package().trusting(**trust)
    assert statuses(signed)["approval_signatures"] == "skipped"
    assert signed.verified(require="L3").ok
    assert not signed.verified(require="L4").ok


def test_one_key_that_signed_for_two_people_counts_once() -> None:
    def change(data: dict[str, Any]) -> None:
        granted = [e for e in data["control_bundle"]["events"] if e["type"] == "APPROVAL_GRANTED"][1]
        text = granted["payload"]["signed"]["statement"]
        granted["payload"]["signed"]["signature"] = ssh_signed(SEEDS["bob"], text.encode())

    shared = f"bob,carol {public_line(ed25519(SEEDS['bob'])[0])}\n"
    checks = {
        check.name: check for check in rewritten(change).trusting(allowed_signers=shared).verified().checks
    }
    found = checks["approval_signatures"]
    assert found.status == "skipped"
    assert "carol: signed with the key of another approver" in found.detail


def test_a_remembered_checkpoint_must_be_continued() -> None:
    signed = signed_package()
    note = parse_log_proof(signed.data["evidence"]["log_proof"]).note
    assert statuses(remembering(note))["consistency"] == "pass"
    store = DecisionStore(":memory:")
    first = publish(store)
    store.append_event(store.create_decision(), "DECISION_CREATED", {"type": "human", "id": "a"}, {
        "goal": "g", "plan": None, "requested_mode": "apply", "labels": []
    })  # fmt: skip
    later = publish(store)
    path = [base64.b64encode(step).decode() for step in require_continued(store, first.note).path]
    known = signed.trusting(log_keys=(str(first.verifier),))
    proof = replace(parse_log_proof(signed.data["evidence"]["log_proof"]), note=first.note)
    for remembered, expected in ((first.note, "pass"), (later.note, "skipped"), (None, "info")):
        found = statuses(known.trusting(checkpoint=remembered), log_proof=proof.to_text())
        assert found["consistency"] == expected
    found = statuses(known.trusting(checkpoint=later.note, consistency=path), log_proof=proof.to_text())
    assert found["consistency"] == "pass"
    for wrong in ([], path[::-1] + path, [base64.b64encode(bytes(32)).decode()]):
        if wrong:
            found = statuses(
                known.trusting(checkpoint=later.note, consistency=wrong), log_proof=proof.to_text()
            )
            assert found["consistency"] == "fail"


def test_a_remembered_checkpoint_without_its_proof_earns_no_level_of_the_log() -> None:
    signed = signed_package()
    proof = parse_log_proof(signed.data["evidence"]["log_proof"])
    own = parse_checkpoint(proof.note.rpartition("\n\n")[0] + "\n")
    key = generate()
    earlier = sign_note(replace(own, size=own.size - 1).to_text(), own.origin, key)
    trusting = signed.trusting(
        checkpoint=earlier, log_keys=(*signed.trust.log_keys, str(Verifier(name=own.origin, key=key.public)))
    )
    assert statuses(trusting)["consistency"] == "skipped"
    assert trusting.verified(require="L1").level == "L1"


Field: TypeAlias = tuple[str, Any]


@pytest.mark.parametrize(
    "field",
    [
        ("allowed_signers", "#" * 1_000_001),
        ("package_keys", ("nonsense",)),
        ("log_keys", ("nonsense",)),
        ("log_keys", (str(WITNESS),)),
        ("witnesses", ("nonsense",)),
        ("witness_quorum", 0),
    ],
    ids=["signers", "package key", "log key", "a witness for a log", "witness", "quorum of nobody"],
)
def test_a_trust_that_cannot_be_read_is_the_verifiers_own_mistake(field: Field) -> None:
    with pytest.raises(NexusControlError) as caught:
        signed_package().trusting(**dict([field])).verified()
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT
