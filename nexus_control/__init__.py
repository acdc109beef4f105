"""Approvals and proof between automation and the things that can hurt.

    from nexus_control import NexusControlTools

`NexusControlTools` is the governed flow: request, approve, execute, audit. Everything else here serves those who
embed it: the store, the domain types, and the functions that export and verify artifacts.
"""

from nexus_control.audit_export import export_audit_package, render_audit_package
from nexus_control.audit_package import AuditPackage, VerificationResult, verify_audit_package
from nexus_control.bundle import DecisionBundle, compute_bundle_digest, validate_bundle_schema
from nexus_control.decision import Decision, DecisionState
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import Actor, EventType, StoredEvent
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
    "AuditPackage",
    "BlockingReason",
    "Decision",
    "DecisionBundle",
    "DecisionState",
    "DecisionStore",
    "ErrorCode",
    "EventType",
    "Lifecycle",
    "LifecycleEntry",
    "LifecycleProgress",
    "NexusControlError",
    "NexusControlTools",
    "Policy",
    "PolicyValidationResult",
    "StoredEvent",
    "Template",
    "TemplateStore",
    "ToolResult",
    "VerificationResult",
    "compute_blocking_reasons",
    "compute_bundle_digest",
    "compute_lifecycle",
    "compute_progress",
    "compute_timeline",
    "export_audit_package",
    "export_decision",
    "import_bundle",
    "render_audit_package",
    "render_export",
    "validate_bundle_schema",
    "validate_execution_request",
    "verify_audit_package",
]
