"""Approval and proof before dangerous actions: people approve, a router runs it once, anybody can check.

    from nexus_control import Actor, NexusControlTools

    with NexusControlTools("decisions.db") as tools:
        asked = tools.request("Rotate the billing keys", Actor("human", "alice"), mode="apply")
        tools.approve(asked.data["request_id"], Actor("human", "bob"))
        print(tools.inspect(asked.data["request_id"]).data["rendered"])

`help(NexusControlTools)` lists the whole flow: request, approve, execute, export. Each method answers a `ToolResult`:
its data, or a refusal with an `ErrorCode` and the next step. The other names serve programs that embed the library:

    Run plans           LocalRouter, Adapters, load_adapters, PythonAdapter, SecretSource; RouterProtocol, PlanChecker
                        and RouterOutcomeUnknown for a router of your own
    Stores              DecisionStore, TemplateStore; StoredEvent, EventType
    Decisions           Decision, DecisionState, Policy, Template; compute_lifecycle: what blocks one, what happened
    Documents           export_decision, export_audit_package, import_bundle; DecisionBundle, AuditPackage
    Verify documents    verify_evidence, verify_bundle, verify_audit_package, verify_approval, Trust: these need no
                        store

The command line has the same verbs: see `nexus-control --help`. A name is loaded when it is first used (PEP 562): so a
program that only verifies one file does not load the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nexus_control.audit_export import export_audit_package, render_audit_package
    from nexus_control.audit_package import AuditPackage, VerificationResult, verify_audit_package
    from nexus_control.bundle import DecisionBundle, compute_bundle_digest, validate_bundle_schema
    from nexus_control.decision import Decision, DecisionState
    from nexus_control.errors import ErrorCode, NexusControlError
    from nexus_control.events import Actor, EventType, StoredEvent
    from nexus_control.evidence.signed_approval import VerifiedApproval, verify_approval
    from nexus_control.evidence.trust import Trust
    from nexus_control.evidence.verify import EvidenceReport, verify_bundle, verify_evidence
    from nexus_control.execution.adapter import Adapters
    from nexus_control.execution.config import load_adapters
    from nexus_control.execution.local_router import LocalRouter
    from nexus_control.execution.python_adapter import PythonAdapter
    from nexus_control.execution.router import PlanChecker, RouterOutcomeUnknown, RouterProtocol
    from nexus_control.execution.secrets import SecretSource
    from nexus_control.export import export_decision, render_export
    from nexus_control.import_ import import_bundle
    from nexus_control.lifecycle import (
        DEFAULT_TIMELINE_LIMIT,
        BlockingReason,
        Lifecycle,
        LifecycleEntry,
        LifecycleProgress,
        compute_blocking_reasons,
        compute_lifecycle,
        compute_progress,
        compute_timeline,
    )
    from nexus_control.policy import Policy, PolicyValidationResult, validate_execution_request
    from nexus_control.store import DecisionStore, TemplateStore
    from nexus_control.template import Template
    from nexus_control.tool import NexusControlTools, ToolResult

__version__ = "2.0.0"

__all__ = [
    "DEFAULT_TIMELINE_LIMIT",
    "Actor",
    "Adapters",
    "AuditPackage",
    "BlockingReason",
    "Decision",
    "DecisionBundle",
    "DecisionState",
    "DecisionStore",
    "ErrorCode",
    "EventType",
    "EvidenceReport",
    "Lifecycle",
    "LifecycleEntry",
    "LifecycleProgress",
    "LocalRouter",
    "NexusControlError",
    "NexusControlTools",
    "PlanChecker",
    "Policy",
    "PolicyValidationResult",
    "PythonAdapter",
    "RouterOutcomeUnknown",
    "RouterProtocol",
    "SecretSource",
    "StoredEvent",
    "Template",
    "TemplateStore",
    "ToolResult",
    "Trust",
    "VerificationResult",
    "VerifiedApproval",
    "compute_blocking_reasons",
    "compute_bundle_digest",
    "compute_lifecycle",
    "compute_progress",
    "compute_timeline",
    "export_audit_package",
    "export_decision",
    "import_bundle",
    "load_adapters",
    "render_audit_package",
    "render_export",
    "validate_bundle_schema",
    "validate_execution_request",
    "verify_approval",
    "verify_audit_package",
    "verify_bundle",
    "verify_evidence",
]

_NAMES = {
    "audit_export": ("export_audit_package", "render_audit_package"),
    "audit_package": ("AuditPackage", "VerificationResult", "verify_audit_package"),
    "bundle": ("DecisionBundle", "compute_bundle_digest", "validate_bundle_schema"),
    "decision": ("Decision", "DecisionState"),
    "evidence.signed_approval": ("VerifiedApproval", "verify_approval"),
    "evidence.trust": ("Trust",),
    "evidence.verify": ("EvidenceReport", "verify_bundle", "verify_evidence"),
    "errors": ("ErrorCode", "NexusControlError"),
    "events": ("Actor", "EventType", "StoredEvent"),
    "execution.adapter": ("Adapters",),
    "execution.config": ("load_adapters",),
    "execution.local_router": ("LocalRouter",),
    "execution.python_adapter": ("PythonAdapter",),
    "execution.secrets": ("SecretSource",),
    "execution.router": ("PlanChecker", "RouterOutcomeUnknown", "RouterProtocol"),
    "export": ("export_decision", "render_export"),
    "import_": ("import_bundle",),
    "lifecycle": (
        "DEFAULT_TIMELINE_LIMIT",
        "BlockingReason",
        "Lifecycle",
        "LifecycleEntry",
        "LifecycleProgress",
        "compute_blocking_reasons",
        "compute_lifecycle",
        "compute_progress",
        "compute_timeline",
    ),
    "policy": ("Policy", "PolicyValidationResult", "validate_execution_request"),
    "store": ("DecisionStore", "TemplateStore"),
    "template": ("Template",),
    "tool": ("NexusControlTools", "ToolResult"),
}
_HOMES = {name: f"nexus_control.{module}" for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'nexus_control' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))
