"""Packages made to hurt their readers: every change is noticed, nothing raises, nothing takes long."""

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from nexus_control import AuditPackage, verify_evidence
from nexus_control.canonical_json import canonical_json, require_domain
from nexus_control.evidence.bundle_checks import History, history_of
from nexus_control.evidence.formats.keys import generate
from nexus_control.evidence.formats.note import Checkpoint, Verifier, sign_note
from nexus_control.evidence.formats.tlog_proof import LogProof
from nexus_control.evidence.log_section import LogSection
from nexus_control.evidence.signatures import chain_of
from nexus_control.evidence.verify import package_checks
from nexus_control.integrity import json_digest
from nexus_control.policy import Policy
from nexus_control.values.payloads import EventType, PolicyAttachedPayload, decode_payload
from tests.artifacts.samples import ABSENT, at, changed, nodes
from tests.evidence.packages import HONEST, Package, honest, resealed
from tests.support.places import REPOSITORY

KINDS = ["applied", "by_reference", "from_template", "reconciled"]


def other(value: Any) -> Any:
    """Another value of the same type, one step away."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return f"{value[:-1]}{'b' if value.endswith('a') else 'a'}" if value else "a"
        case None:
            return "something"
        case list():
            return [*value, "more"]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return {**value, "more": 1}


NOT_COVERED = {
    ("meta", "exported_at"),
    ("control_bundle", "meta", "exported_at"),
    ("router", "bundle", "exported_at"),
    ("router", "bundle", "bundle_version"),
}
"""Leaves that no digest without a key covers: when and in which form something was exported."""


def is_covered(path: tuple[str | int, ...]) -> bool:
    if path == ("evidence",):  # it can be left out as a whole: then the level is not reached
        return False
    in_run_provenance = path[:3] == ("router", "bundle", "provenance")
    return path not in NOT_COVERED and not in_run_provenance


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", KINDS)
def test_every_leaf_that_is_changed_or_left_out_is_noticed(name: str) -> None:
    package = honest(name)
    unnoticed = [
        path
        for path in nodes(package)
        if is_covered(path)
        for value in (other(at(package, path)), ABSENT)
        if not isinstance(at(package, path), dict | list) or value is ABSENT
        if not (isinstance(path[-1], int) and value is ABSENT)
        if verify_evidence(changed(package, path, value)).ok
    ]
    assert unnoticed == []


@pytest.mark.parametrize("path", [path for path in sorted(NOT_COVERED) if path[0] != "router"], ids=str)
def test_what_no_digest_covers_is_only_when_it_was_exported(path: tuple[str, ...]) -> None:
    package = changed(honest("applied"), path, "2030-01-01T00:00:00.000000+00:00")
    assert verify_evidence(package).ok


def test_no_byte_that_is_changed_raises() -> None:
    text = canonical_json(honest("by_reference")).encode()
    for position in range(0, len(text), 7):
        spoiled = text[:position] + bytes([text[position] ^ 0x01]) + text[position + 1 :]
        assert verify_evidence(spoiled).checks, position


def test_no_junk_raises() -> None:
    for junk in ("", "null", "[]", "{}", "0", '"text"', "{", "\x00", "[" * 100_000, '{"a":' * 100_000):
        report = verify_evidence(junk)
        assert (report.ok, report.level) == (False, None)


def big() -> Package:
    package = honest()
    bundle = package["control_bundle"]
    bundle["events"][0]["payload"]["plan"] = "x" * (50 * 2**20)
    return package


def a_million_events() -> str:
    event = canonical_json(honest()["control_bundle"]["events"][2])[:40] + '"'
    return (
        '{"package_version":"0.6","control_bundle":{"events":['
        + ",".join(["{}"] * 1_000_000)
        + "]},%s}" % (json.dumps("a") + ":" + json.dumps(event))
    )


def deep(depth: int) -> str:
    return '{"package_version":"0.6","control_bundle":' + "[" * depth + "]" * depth + "}"


def crowded(
    people: int = 0,
    rehearsals: int = 0,
    change: Callable[[list[dict[str, Any]]], None] | None = None,
) -> str:
    """A package whose history has so many approvers, and so many dry runs of what was to be applied."""
    package = honest("by_reference")
    listed = package["control_bundle"]["events"]
    if change is not None:
        change(listed)
    first = next(n for n, event in enumerate(listed) if event["type"] == "EXECUTION_REQUESTED")
    run = [copy.deepcopy(event) for event in listed[first : first + 3]]
    run[0]["payload"]["dry_run"] = True
    run[1]["payload"]["router_request_digest"] = asked_of_the_router(listed, run[0]["payload"])
    granted = listed[first - 1]
    listed[first:first] = [
        *(granted | {"actor": {"type": "human", "id": f"person {n}"}} for n in range(people)),
        *(dict(event) for _ in range(rehearsals) for event in run),
    ]
    for seq, event in enumerate(listed):
        listed[seq] = event | {"seq": seq, "event_id": f"evt_{event['decision_id']}_{seq}"}
    return canonical_json(resealed(package))


def asked_of_the_router(events: list[dict[str, Any]], execution: dict[str, Any]) -> str:
    attached = decode_payload(EventType.POLICY_ATTACHED, events[1]["payload"])
    assert isinstance(attached, PolicyAttachedPayload)
    created = events[0]["payload"]
    asked = Policy.of(attached).compile_to_router_request(created["goal"], created["plan"], **execution)
    return json_digest(asked)


def changed_opening(**policy: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda events: events[1]["payload"].update(policy)


def a_long_plan(events: list[dict[str, Any]]) -> None:
    events[0]["payload"]["plan"] = "x" * (40 * 2**20)


MANY = [str(number) for number in range(1_000_000)]

HOSTILE = {
    "rehearsals of a long plan": lambda: crowded(rehearsals=2_000, change=a_long_plan),
    "rehearsals under a long policy": lambda: crowded(
        rehearsals=2_000, change=changed_opening(require_adapter_capabilities=MANY)
    ),
    "rehearsals in any of a million modes": lambda: crowded(
        rehearsals=2_000, change=changed_opening(allowed_modes=["apply"] * 1_000_000 + ["dry_run"])
    ),
    "a crowd of a million who may approve": lambda: crowded(
        people=4_000, change=changed_opening(approvers=["bob", "carol", *MANY])
    ),
    "50 MB in a plan": lambda: canonical_json(big()),
    "more than is read at all": lambda: b"[" + b"0," * (33 * 2**20) + b"0]",
    "10,000 levels": lambda: deep(10_000),
    "a million events": a_million_events,
    "100,000 people": lambda: crowded(people=100_000),
    "30,000 rehearsals": lambda: crowded(rehearsals=30_000),
    "50 MB of empty lists": lambda: "[" + "[]," * 17_000_000 + "0]",
    "a million digits": lambda: '{"package_version":' + "9" * 1_000_000 + "}",
}


VERIFY_WITHIN = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
from nexus_control import verify_evidence
print(verify_evidence(sys.stdin.buffer.read()).ok)
"""
MOST_MEMORY, MOST_CPU_SECONDS = 3 * 2**30, 60
A_HANG = 1200


def verified_within_bounds(given: str | bytes) -> str:
    """What a process says that has so much memory and time of a processor and no more; it would end without a word."""
    ran = subprocess.run(
        [sys.executable, "-c", VERIFY_WITHIN, str(MOST_MEMORY), str(MOST_CPU_SECONDS)],
        input=given.encode() if isinstance(given, str) else given,
        capture_output=True,
        env={"PYTHONPATH": str(REPOSITORY)},
        timeout=A_HANG,
        check=False,
    )
    return ran.stdout.decode() + ran.stderr.decode()[-500:]


@pytest.mark.sample(3)
@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_package_fails_in_bounded_time_and_memory(make: Callable[[], str | bytes]) -> None:
    assert verified_within_bounds(make()) == "False\n"


@pytest.mark.sample(1)
@pytest.mark.parametrize(("people", "rehearsals"), [(4_400, 0), (0, 2_500)])
def test_a_crowd_is_no_alarm_and_read_in_the_same_bounds(people: int, rehearsals: int) -> None:
    assert verified_within_bounds(crowded(people, rehearsals)) == "True\n"


def long_package(count: int) -> Package:
    """An honest package in which people approved and revoked `count` times before the execution."""
    package = honest("by_reference")
    bundle = package["control_bundle"]
    granted = bundle["events"][3]
    revoked = granted | {"type": "APPROVAL_REVOKED", "payload": {"reason": None}}
    bundle["events"][3:4] = [
        copy.deepcopy(each) for _ in range(count // 2) for each in (granted, revoked)
    ] + [granted]
    for seq, event in enumerate(bundle["events"]):
        event |= {"seq": seq, "event_id": f"evt_{event['decision_id']}_{seq}"}
    package = resealed(package)
    history = history_of(AuditPackage.from_dict(package).control_bundle)
    assert isinstance(history, History)
    head, key = chain_of(history.decision)[-1], generate()
    checkpoint = Checkpoint(origin="log", size=1, root=bytes.fromhex(head))
    proof = LogProof(index=0, path=(), note=sign_note(checkpoint.to_text(), "log", key))
    verifier = Verifier(name="log", key=key.public)
    evidence = LogSection(chain_head=f"sha256:{head}", log_key=str(verifier), log_proof=proof.to_text())
    return package | {"evidence": evidence.to_dict()}


def test_checking_a_package_of_10_000_events_at_l2_costs_at_most_6_times_reading_it() -> None:
    data = long_package(10_000)
    package, text = AuditPackage.from_dict(data), canonical_json(data)
    assert len(package.control_bundle.events) > 10_000

    def all_checks() -> bool:
        require_domain(data, "package")
        checks = {check.name: check.status for check in package_checks(package)}
        assert (checks["chain"], checks["log_inclusion"]) == ("pass", "pass")
        assert checks["checkpoint_signature"] == "info"
        return "fail" not in checks.values()

    def reading() -> bool:
        return AuditPackage.from_json(text) == package

    def cost(verify: Callable[[], bool]) -> float:
        started = time.process_time()
        assert verify()
        return time.process_time() - started

    # In turns, so that what else the machine does falls on both.
    checked, read = (
        sum(each) for each in zip(*((cost(all_checks), cost(reading)) for _ in range(5)), strict=True)
    )
    assert checked < 6 * read


def test_the_kinds_that_are_changed_are_honest() -> None:
    assert set(KINDS) <= set(HONEST)
