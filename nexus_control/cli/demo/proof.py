"""The chapters of the evidence: the audit package is exported, signed and verified, and forged copies are caught.

The auditor of the demonstration got two public keys beforehand: the log's, and that which signs packages.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from nexus_control import __version__
from nexus_control.canonical_json import canonical_json
from nexus_control.cli.demo.chapter import Chapter, done, require
from nexus_control.cli.demo.forgeries import Forgery, forgeries
from nexus_control.cli.demo.scratch import Scratch
from nexus_control.cli.screen import Cell, Grid, Mark, columns
from nexus_control.evidence.formats import keys
from nexus_control.evidence.trust import Trust
from nexus_control.evidence.verify import CHECKS, EvidenceReport, verify_evidence
from nexus_control.execution.local_router import LocalRouter
from nexus_control.tool import NexusControlTools
from nexus_control.usecases.arguments import ExportAuditPackageArguments, validated
from nexus_control.usecases.exporting import export_signed_package

Json = dict[str, Any]

_HOLDS = {
    "L0": "it is what its digests say",
    "L1": "what ran is what had been approved",
    "L2": "it is in a log whose key you know",
    "L3": "a key that you know signed the file",
}
_FORGED: dict[str, tuple[set[str], set[str]]] = {
    "approver": (
        {"control_bundle_digest", "policy_satisfied", "chain", "log_inclusion"},
        {"control_bundle_digest", "policy_satisfied", "chain", "log_inclusion", "package_signature"},
    ),
    "quorum": ({"policy_within_template"}, {"policy_within_template", "package_signature"}),
    "resealed": (set(), {"package_signature"}),
    "relogged": (set(), {"package_signature", "checkpoint_signature"}),
}
"""Which checks fail of each forged copy: for whoever has no keys, and for who has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was handed to the auditor, and whom they trust."""

    package: Json
    envelope: str
    trust: Trust


def package_and_verify(
    tools: NexusControlTools, router: LocalRouter, request_id: str, scratch: Scratch
) -> tuple[Exported, Chapter]:
    """What was exported, and how its verification went, of the bytes that were written."""
    run_id = done(tools.status(request_id))["run"]["run_id"]
    run, key = router.export_run(run_id), keys.generate()
    asked = {"decision_id": request_id, "embed_router_bundle": True, "router_bundle": run, "render": False}
    arguments = validated(ExportAuditPackageArguments, asked)
    data = export_signed_package(tools.store, arguments, key, producer=f"nexus-control {__version__}")
    package: Json = data["package"]
    scratch.run_bundle.write_text(canonical_json(run), encoding="utf-8")
    scratch.package.write_text(canonical_json(package), encoding="utf-8")
    scratch.envelope.write_text(data["envelope"], encoding="utf-8")
    scratch.give_keys(package_key=key.public.to_pem(), log_key=package["evidence"]["log_key"])
    trust = Trust(
        package_keys=[scratch.package_key.read_text(encoding="utf-8")],
        log_keys=[scratch.log_key.read_text(encoding="utf-8").strip()],
    )
    written = scratch.package.read_bytes()
    report = verify_evidence(written, trust=trust, envelope=scratch.envelope.read_bytes(), require="L3")
    chapter = Chapter(
        title="The audit package",
        intent="One file binds what was allowed, by whom, and what ran. It proves its place in the log, and is signed.",
        found=f"{scratch.package.name}, {len(written):,} bytes: {len(report.checks)} checks, none failed; level"
        f" {report.level}, for an auditor who knows two public keys.",
        grids=(_record(tools, request_id), _levels(report)),
        facts={
            "digest": data["digest"],
            "bytes": len(written),
            "signed_by": data["signed_by"],
            "verification": report.to_dict(),
        },
    )
    require(report.ok, f"the package fails {', '.join(_failed(report)) or 'to reach L3'}")
    return Exported(package=package, envelope=data["envelope"], trust=trust), chapter


def forged_copies(exported: Exported, scratch: Scratch, bystander: str) -> Chapter:
    """Each forged copy is written, read back, and verified: by anybody, and by who has the keys."""
    rows: list[tuple[Cell, ...]] = []
    facts: list[Json] = []
    for forgery in forgeries(exported.package, exported.envelope, bystander=bystander):
        finding = _examine(forgery, exported.trust, scratch)
        facts.append(finding)
        rows.append((forgery.what, _caught(finding["without_keys"]), _caught(finding["with_keys"])))
        expected = _FORGED[forgery.name]
        found = set(finding["without_keys"]), set(finding["with_keys"])
        require(found == expected, f"of the copy {forgery.name} the checks catch {found}, not {expected}")
    return Chapter(
        title="Forged copies",
        intent="Somebody edits a copy, seals it again, and even puts it into a log of their own.",
        found=f"All {len(facts)} caught. Two of them only by keys that you got from elsewhere: without any, a package"
        " shows that it is consistent, and not who wrote it.",
        grids=(columns("what was forged|fails without keys|fails with your keys", rows),),
        facts={"forgeries": facts},
    )


def _examine(forgery: Forgery, trust: Trust, scratch: Scratch) -> Json:
    path = scratch.folder / f"forged-{forgery.name}.json"
    path.write_text(forgery.content, encoding="utf-8")
    without = verify_evidence(path.read_bytes())
    with_keys = verify_evidence(path.read_bytes(), trust=trust, envelope=forgery.envelope, require="L3")
    require(not with_keys.ok, f"the copy {forgery.name} passes")
    return {
        "name": forgery.name,
        "what": forgery.what,
        "file": path.name,
        "without_keys": _failed(without),
        "level_without_keys": without.level,
        "with_keys": _failed(with_keys),
    }


def _failed(report: EvidenceReport) -> list[str]:
    return [check.name for check in report.checks if check.status == "fail"]


def _caught(names: list[str]) -> Mark:
    return Mark(", ".join(names), "good") if names else Mark("nothing", "bad")


def _levels(report: EvidenceReport) -> Grid:
    rows: list[tuple[Cell, ...]] = []
    for level, meaning in _HOLDS.items():
        checks = [check for check in report.checks if CHECKS[check.name] == level]
        counts = Counter(check.status for check in checks)
        holds = Mark("holds", "good") if level in report.reached else Mark("does not hold", "bad")
        rows.append((level, holds, ", ".join(f"{n} {status}" for status, n in counts.items()), meaning))
    return columns("level||checks|what it means", rows)


def _record(tools: NexusControlTools, request_id: str) -> Grid:
    timeline = done(tools.inspect(request_id, render=False))["timeline"]
    return columns("seq|event|by", [(str(e["seq"]), e["label"], e["actor"]) for e in timeline])
