"""Documents by their number of events: export, import, a package from text, and both verifications.

The limits are the standard library's over the same text: reading it, writing it in the canonical spelling, hashing it.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from benchmarks.fixtures import copy_of, names_of, package_text
from benchmarks.people import opened
from benchmarks.results import Outcome
from benchmarks.timing import in_turns
from benchmarks.workloads import Setting
from nexus_control import (
    AuditPackage,
    NexusControlTools,
    Trust,
    export_audit_package,
    verify_audit_package,
    verify_evidence,
)

TURNS = 2
LIMITS = ("json_loads", "json_dumps", "sha256")


def run(setting: Setting) -> Outcome:
    metrics: dict[str, float] = {}
    whole = untouched = found = True
    database, names = copy_of(setting.fixtures, "events", setting.folder), names_of(setting.fixtures)
    with opened(database) as tools:
        for events in setting.sizes.events:
            documents = Documents(tools, names.executed[events], package_text(setting.fixtures, events))
            timed = in_turns(documents.calls(), setting.sizes.seconds / 2, turns=TURNS)
            for name, each in timed.items():
                metrics[f"{'calib_' if name in LIMITS else ''}{name}_{events}_ms"] = each.milliseconds
            metrics[f"info_package_{events}_kb"] = len(documents.text.encode()) / 1000
            untouched &= documents.export_has_its_digest()
            whole &= documents.imports_are_whole(events)
            found &= documents.tampering_is_found()
    checks = {
        "check_export_has_its_digest": float(untouched),
        "check_import_is_whole": float(whole),
        "check_tampering_is_found": float(found),
    }
    return Outcome(metrics=metrics | checks)


class Documents:
    """One executed decision, its bundle, and the text of its audit package."""

    def __init__(self, tools: NexusControlTools, decision_id: str, text: str) -> None:
        self.text = text
        self._tools, self._decision_id = tools, decision_id
        self._data: dict[str, Any] = json.loads(text)
        self._package = AuditPackage.from_dict(self._data)
        self._bundle: dict[str, Any] = tools.export_bundle(decision_id, render=False).data["bundle"]
        self._copies: list[str] = []

    def calls(self) -> dict[str, Callable[[], object]]:
        trust = Trust(log_keys=[self._data["evidence"]["log_key"]])
        encoded = self.text.encode()
        return {
            "export": lambda: self._tools.export_bundle(self._decision_id).data,
            "import": self._import,
            "audit_package": self._export_package,
            "from_text": lambda: AuditPackage.from_dict(json.loads(self.text)),
            "six_checks": lambda: _require(verify_audit_package(self._package).ok),
            "text_and_six_checks": lambda: _require(verify_audit_package(self.text).ok),
            "verify_evidence": lambda: _require(verify_evidence(self.text, trust=trust, require="L2").ok),
            "json_loads": lambda: json.loads(self.text),
            "json_dumps": lambda: json.dumps(
                self._data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
            ),
            "sha256": lambda: sha256(encoded).digest(),
        }

    def _import(self) -> None:
        imported = self._tools.import_bundle(self._bundle, conflict_mode="new_decision_id").data["imported"]
        self._copies.append(imported["decision_id"])

    def _export_package(self) -> None:
        _require(export_audit_package(self._tools.store, self._decision_id).success)

    def export_has_its_digest(self) -> bool:
        exported = self._tools.export_bundle(self._decision_id, render=False).data["bundle"]
        again = AuditPackage.from_dict(self._data).control_bundle
        return exported["integrity"]["canonical_digest"] == self._bundle["integrity"][
            "canonical_digest"
        ] and (len(again.events) == len(exported["events"]))

    def imports_are_whole(self, events: int) -> bool:
        last = self._tools.store.get_events(self._copies[-1])
        return len(set(self._copies)) == len(self._copies) and len(last) == events

    def tampering_is_found(self) -> bool:
        forged = json.loads(self.text)
        event = forged["control_bundle"]["events"][len(forged["control_bundle"]["events"]) // 2]
        event["payload"]["comment"] = "Another comment"
        text = json.dumps(forged, ensure_ascii=False)
        return not verify_audit_package(text).ok and not verify_evidence(text).ok


def _require(right: bool) -> None:
    if not right:
        raise RuntimeError("an honest document does not verify, or cannot be exported")
