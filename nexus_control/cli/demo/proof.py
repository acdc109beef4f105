"""The chapters of the evidence: the audit package is exported and verified, and forged copies of it are caught."""

import json
from typing import Any

from nexus_control.audit_package import router_bundle_digest, verify_audit_package
from nexus_control.canonical_json import canonical_json
from nexus_control.cli.demo.chapter import Chapter, done, require, short
from nexus_control.cli.demo.forgeries import Forgery, forgeries
from nexus_control.cli.demo.scratch import Scratch
from nexus_control.cli.screen import Cell, Grid, Mark, columns
from nexus_control.evidence.run_bundle import run_bundle_digest
from nexus_control.execution.local_router import LocalRouter
from nexus_control.integrity import prefixed
from nexus_control.tool import NexusControlTools

Json = dict[str, Any]


def package_and_verify(
    tools: NexusControlTools, router: LocalRouter, request_id: str, scratch: Scratch
) -> tuple[Json, Chapter]:
    """The data of the export, and how its verification went, of the bytes that were written."""
    run_id = done(tools.status(request_id))["run"]["run_id"]
    run = router.export_run(run_id)
    exported = done(tools.export_audit_package(request_id, embed_router_bundle=True, router_bundle=run))
    scratch.run_bundle.write_text(canonical_json(run), encoding="utf-8")
    scratch.package.write_text(canonical_json(exported["package"]), encoding="utf-8")
    written = scratch.package.read_bytes()
    result = verify_audit_package(written)
    embedded = json.loads(written)["router"]["bundle"]
    declared, recomputed = router_bundle_digest(embedded), prefixed(run_bundle_digest(embedded))
    rows: list[tuple[Cell, ...]] = [
        (check.name, _shown(check.ok), short(check.expected or ""), short(check.actual or ""))
        for check in result.checks
    ]
    rows.append(
        ("run bundle, recomputed", _shown(declared == recomputed), short(declared or ""), short(recomputed))
    )
    chapter = Chapter(
        title="The audit package",
        intent="One file binds what was allowed, by whom, and what ran.",
        found=f"{scratch.package.name}, {len(written):,} bytes: {result.to_dict()['passed']} of "
        f"{len(result.checks)} checks passed. Note its digest, away from here: {exported['digest']}",
        grids=(_record(tools, request_id), columns("check|result|expected|found", rows)),
        facts={
            "digest": exported["digest"],
            "run_bundle_digest": recomputed,
            "bytes": len(written),
            "verification": result.to_dict(),
        },
    )
    require(result.ok, f"the package fails {', '.join(c.name for c in result.checks if not c.ok)}")
    require(declared == recomputed, "the embedded run bundle has not the digest that it declares")
    return exported, chapter


def forged_copies(exported: Json, scratch: Scratch) -> Chapter:
    """Each forged copy is written, read back, and held against the checks and the digest that was noted."""
    rows: list[tuple[Cell, ...]] = []
    facts: list[Json] = []
    for forgery in forgeries(exported["package"]):
        finding = _examine(forgery, exported["digest"], scratch)
        facts.append(finding)
        failed = finding["failed_checks"]
        by = Mark(", ".join(failed), "good") if failed else _by_its_digest(finding)
        rows.append((forgery.what, f"{len(failed)} of {finding['checks']}", by))
    by_checks = [fact["name"] for fact in facts if fact["failed_checks"]]
    require(by_checks == ["approver", "quorum"], f"the checks catch {by_checks}, not approver and quorum")
    caught = sum(bool(fact["failed_checks"]) or not fact["digest_is_the_noted_one"] for fact in facts)
    require(caught == len(facts), f"only {caught} of {len(facts)} forged copies are caught")
    return Chapter(
        title="Forged copies",
        intent="Somebody edits a copy, and seals it again as far as they care to.",
        found=f"{caught} of {len(facts)} caught. The checks prove that a package is whole, not who wrote it:"
        " whoever seals all of it again passes them, and is caught by the digest that you noted.",
        grids=(columns("what was forged|failed|caught by", rows),),
        facts={"forgeries": facts},
    )


def _examine(forgery: Forgery, noted: str, scratch: Scratch) -> Json:
    path = scratch.folder / f"forged-{forgery.name}.json"
    path.write_text(canonical_json(forgery.package), encoding="utf-8")
    result = verify_audit_package(path.read_bytes())
    return {
        "name": forgery.name,
        "what": forgery.what,
        "file": path.name,
        "checks": len(result.checks),
        "failed_checks": [check.name for check in result.checks if not check.ok],
        "digest_is_the_noted_one": forgery.package["integrity"]["binding_digest"] == noted,
    }


def _record(tools: NexusControlTools, request_id: str) -> Grid:
    timeline = done(tools.inspect(request_id, render=False))["timeline"]
    return columns("seq|event|by", [(str(e["seq"]), e["label"], e["actor"]) for e in timeline])


def _shown(holds: bool) -> Mark:
    return Mark("ok", "good") if holds else Mark("FAILED", "bad")


def _by_its_digest(finding: Json) -> Mark:
    if finding["digest_is_the_noted_one"]:
        return Mark("nothing", "bad")
    return Mark("not the digest that was noted", "good")
