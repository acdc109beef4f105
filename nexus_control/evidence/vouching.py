"""Makes the statement that a signer signs for a package, from the package and the bytes of its file.

Apart from `issued_at` and `producer`, every field is computed from the package's events and its log proof, so a
verifier can find the same values there. `assurance` is the weakest assurance among the approvals that counted at
dispatch.
"""

from nexus_control.audit_package import AuditPackage
from nexus_control.evidence.bundle_checks import History, history_of
from nexus_control.evidence.formats.tlog_proof import parse_log_proof
from nexus_control.evidence.log_section import Imported, LogSection, Section, read_section
from nexus_control.evidence.package_statement import LogPlace, PackageStatement, Predicate
from nexus_control.evidence.semantics import Case
from nexus_control.evidence.signatures import chain_of
from nexus_control.integrity import bare, prefixed, sha256_hex
from nexus_control.values.payloads import ASSURANCES


def state_package(
    package: AuditPackage, content: bytes, *, issued_at: str | None = None, producer: str | None = None
) -> PackageStatement:
    """The statement about `package`, whose bytes are `content`. Raises what replaying the package's events raises."""
    history = history_of(package.control_bundle)
    if not isinstance(history, History):
        raise history
    section = None if package.evidence is None else read_section(package.evidence)
    imported = section.events if isinstance(section, Imported) else 0
    return PackageStatement(
        package_sha256=sha256_hex(content),
        binding_sha256=bare(package.integrity.binding_digest),
        predicate=Predicate(
            decision_id=history.decision.decision_id,
            chain_head=prefixed(chain_of(history.decision, imported)[-1]),
            events=len(history.decision.events),
            log=_log_place(section),
            assurance=_assurance(Case(bundle=package.control_bundle, history=history)),
            issued_at=issued_at,
            producer=producer,
        ),
    )


def _log_place(section: Section | None) -> LogPlace | None:
    if not isinstance(section, LogSection):
        return None
    proof = parse_log_proof(section.log_proof)
    return LogPlace(origin=proof.origin, index=proof.index)


def _assurance(case: Case) -> str | None:
    execution = case.facts.linked_execution
    counted = case.counted(execution) if execution else ()
    known = [approval.assurance or ASSURANCES[0] for approval in counted]
    return min(known, key=ASSURANCES.index, default=None)
