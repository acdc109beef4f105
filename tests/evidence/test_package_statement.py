import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.dsse import parse_envelope
from nexus_control.evidence.package_statement import (
    LogPlace,
    PackageStatement,
    Predicate,
    parse_package_statement,
)
from tests.artifacts.samples import ABSENT, VECTORS, changed

INTEROP = VECTORS / "evidence" / "interop"
OURS = PackageStatement(
    package_sha256="ab" * 32,
    binding_sha256="cd" * 32,
    predicate=Predicate(
        decision_id="d",
        chain_head="sha256:" + "ef" * 32,
        events=7,
        log=LogPlace(origin="log", index=0),
        assurance="L2",
        issued_at="2026-01-02T03:04:05.000006+00:00",
        producer="nexus-control",
    ),
)
WRITTEN: dict[str, Any] = json.loads(OURS.to_payload())


def test_the_statement_of_others_is_of_their_package() -> None:
    package = (INTEROP / "package.json").read_bytes()
    statement = parse_package_statement(parse_envelope((INTEROP / "package.dsse.json").read_text()).payload)
    assert statement.package_sha256 == hashlib.sha256(package).hexdigest()
    assert f"sha256:{statement.binding_sha256}" == json.loads(package)["integrity"]["binding_digest"]
    assert statement.predicate.log == LogPlace(origin="nexus-control.example/8f14e45f", index=31)
    assert (statement.predicate.events, statement.predicate.assurance) == (7, None)


def test_a_statement_reads_back_as_it_was_written() -> None:
    assert parse_package_statement(OURS.to_payload()) == OURS
    assert [each["name"] for each in WRITTEN["subject"]] == ["package.json", "nexus-control:binding:0.6"]
    bare = PackageStatement(
        package_sha256="ab" * 32,
        binding_sha256="cd" * 32,
        predicate=Predicate(decision_id="d", chain_head="sha256:" + "ef" * 32, events=1),
    )
    assert set(json.loads(bare.to_payload())["predicate"]) == {"decision_id", "chain_head", "events"}


WRONG: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "no type": (("_type",), ABSENT),
    "another type": (("_type",), "https://in-toto.io/Statement/v0.1"),
    "another predicate": (("predicateType",), "https://slsa.dev/provenance/v1"),
    "one subject": (("subject", 1), ABSENT),
    "three subjects": (("subject",), [*WRITTEN["subject"], WRITTEN["subject"][0]]),
    "subjects in another order": (("subject",), WRITTEN["subject"][::-1]),
    "a digest in capitals": (("subject", 0, "digest", "sha256"), "AB" * 32),
    "another digest beside": (("subject", 0, "digest", "sha512"), "ab" * 64),
    "events of a boolean": (("predicate", "events"), True),
    "events of a float": (("predicate", "events"), 7.0),
    "no events": (("predicate", "events"), 0),
    "a negative place": (("predicate", "log", "index"), -1),
    "a bare chain hash": (("predicate", "chain_head"), "ef" * 32),
    "a time that is none": (("predicate", "issued_at"), "yesterday"),
    "a key more in the predicate": (("predicate", "alg"), "none"),
    "a key more": (("more",), 1),
}


@pytest.mark.parametrize(("path", "value"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_statement_of_a_package_is_refused(path: tuple[str | int, ...], value: Any) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_package_statement(canonical_json(changed(WRITTEN, path, value)).encode())
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH


@given(st.binary())
def test_junk_is_no_statement(junk: bytes) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_package_statement(junk)
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH
