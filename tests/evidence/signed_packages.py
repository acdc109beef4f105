"""A package that everybody signed who can: its approvers, its log, a witness, and a person who vouches for it."""

import base64
import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nexus_control import AuditPackage, LocalRouter, NexusControlTools, Trust, verify_evidence
from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.formats.dsse import sign_envelope
from nexus_control.evidence.formats.keys import PrivateKey, private_from_seed
from nexus_control.evidence.formats.note import COSIGNATURE, Verifier
from nexus_control.evidence.formats.tlog_proof import parse_log_proof
from nexus_control.evidence.package_statement import PAYLOAD_TYPE, PackageStatement, Predicate
from nexus_control.evidence.verify import EvidenceReport
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.python_adapter import PythonAdapter
from tests.evidence.packages import CAROL, PLAN
from tests.evidence.ssh import ed25519, public_line, signed
from tests.support.clock import FakeClock
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, data_of

SEEDS = {BOB.id: 2, CAROL.id: 3}
PACKAGE_KEY, WITNESS_KEY = (private_from_seed(bytes([n]) * 32) for n in (7, 8))
WITNESS = Verifier(name="witness.example/w1", key=WITNESS_KEY.public, type=COSIGNATURE)
ALLOWED_SIGNERS = "".join(f"{person} {public_line(ed25519(seed)[0])}\n" for person, seed in SEEDS.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A signed package as files: its bytes, its envelope, and what its verifier trusts."""

    package: bytes
    envelope: str
    trust: Trust

    def verified(self, **options: Any) -> EvidenceReport:
        given: dict[str, Any] = {"trust": self.trust, "envelope": self.envelope, "require": "L4"} | options
        return verify_evidence(self.package, **given)

    def but(self, **changes: Any) -> "Signed":
        return replace(self, **changes)

    def trusting(self, **changes: Any) -> "Signed":
        return self.but(trust=replace(self.trust, **changes))

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.package)


def signed_package() -> Signed:
    package, log_key = _made()
    return Signed(
        package=package,
        envelope=envelope_of(package),
        trust=Trust(
            allowed_signers=ALLOWED_SIGNERS,
            package_keys=(PACKAGE_KEY.public.to_pem(),),
            log_keys=(log_key,),
            witnesses=(str(WITNESS),),
        ),
    )


def envelope_of(package: bytes, *keys: PrivateKey, **predicate: Any) -> str:
    """An honest envelope of these bytes, but for the parts of the predicate that are given."""
    read = AuditPackage.from_dict(json.loads(package))
    assert read.evidence is not None
    proof = parse_log_proof(str(read.evidence["log_proof"]))
    said: dict[str, Any] = {
        "decision_id": read.control_bundle.decision.decision_id,
        "chain_head": read.evidence["chain_head"],
        "events": len(read.control_bundle.events),
        "log": {"origin": proof.origin, "index": proof.index},
    } | predicate
    statement = PackageStatement(
        package_sha256=hashlib.sha256(package).hexdigest(),
        binding_sha256=read.integrity.binding_digest.removeprefix("sha256:"),
        predicate=Predicate(decision_id="", chain_head="", events=1),
    )
    payload = json.loads(statement.to_payload()) | {"predicate": said}
    return sign_envelope(PAYLOAD_TYPE, canonical_json(payload).encode(), *(keys or (PACKAGE_KEY,))).to_json()


def cosigned(package: bytes, time: int = 1_767_323_100, key: PrivateKey = WITNESS_KEY) -> bytes:
    """The package with a witness's line on its checkpoint."""
    data = json.loads(package)
    proof = parse_log_proof(data["evidence"]["log_proof"])
    text = proof.note.rpartition("\n\n")[0] + "\n"
    signature = key.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    line = base64.b64encode(WITNESS.key_id + time.to_bytes(8, "big") + signature).decode()
    note = f"{proof.note}\N{EM DASH} {WITNESS.name} {line}\n"
    data["evidence"]["log_proof"] = replace(proof, note=note).to_text()
    return canonical_json(data).encode()


def _rotate(n: int) -> dict[str, object]:
    return {"rotated": n}


@cache
def _made() -> tuple[bytes, str]:
    with TemporaryDirectory() as folder:
        signers = Path(folder, "allowed_signers")
        signers.write_text(ALLOWED_SIGNERS)
        clock = FakeClock()
        tools = NexusControlTools(db_path=":memory:", clock=clock, allowed_signers=signers)
        router = LocalRouter(Adapters([PythonAdapter("keys", {"rotate": _rotate})]), clock=clock)
        policy: dict[str, Any] = {"min_approvals": 2, "min_assurance": "signed", "plan": PLAN}
        request_id = data_of(tools.request("Rotate the keys", ALICE, mode="apply", **policy))["request_id"]
        for person in (BOB, CAROL):
            clock.advance(seconds=1)
            text = data_of(tools.approval_statement(request_id, person.id))["statement"]
            signature = signed(SEEDS[person.id], text.encode())
            data_of(tools.approve(request_id, person, statement=text, signature=signature))
        clock.advance(seconds=1)
        data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
        package = data_of(tools.export_audit_package(request_id))["package"]
    return cosigned(canonical_json(package).encode()), package["evidence"]["log_key"]
