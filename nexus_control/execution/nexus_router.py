"""A bridge to nexus-router, the optional package `nexus_router`, which is imported when a bridge is made.

    request   {"goal", "mode": "apply" | "dry_run", "policy": {"allow_apply", "max_steps"?},
               "dispatch": {"adapter_id", "require_capabilities"?}, "plan_override"?: [step, ...]}
    answer    nexus_router.tool.run(request, db_path=..., adapters=...)
    export    nexus_router.tool.export({"db_path", "run_id"}) -> {"ok": true, "artifact": run bundle}

Given a plan with more than `max_steps` steps, nexus-router executes the first `max_steps` and only then reports a
failure. So the bridge refuses a longer plan with PLAN_INVALID, and nothing is executed. An exported bundle whose digest
does not match its content is refused with INTEGRITY_MISMATCH.
"""

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.run_bundle import run_bundle_digest
from nexus_control.execution.plan import items_of, require_at_most
from nexus_control.execution.spelling import bounded, spell
from nexus_control.system.whole_files import is_there


class AdapterRegistry(Protocol):
    """nexus-router's adapters. For an unknown id `get` answers None or raises LookupError."""

    def get(self, adapter_id: str, /) -> Any: ...


class NexusRouterBridge:
    """Runs nexus-router with its own adapters and database. Raises ROUTER_NOT_CONFIGURED where it is not installed."""

    def __init__(self, *, adapters: AdapterRegistry, db_path: str) -> None:
        self._tool = _tool_module()
        self._adapters = adapters
        self._db_path = db_path

    def run(
        self,
        goal: str,
        adapter_id: str,
        dry_run: bool,
        plan: str | None = None,
        max_steps: int | None = None,
        require_capabilities: list[str] | None = None,
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "goal": goal,
            "mode": "dry_run" if dry_run else "apply",
            "policy": {"allow_apply": not dry_run},
            "dispatch": {"adapter_id": adapter_id},
        }
        if max_steps is not None:
            request["policy"]["max_steps"] = max_steps
        if require_capabilities:
            request["dispatch"]["require_capabilities"] = list(require_capabilities)
        if plan is not None:
            request["plan_override"] = _checked_plan(plan, max_steps)
        return self._tool.run(request, db_path=self._db_path, adapters=self._adapters)

    def get_adapter_capabilities(self, adapter_id: str) -> set[str] | None:
        capabilities = getattr(self._adapter(adapter_id), "capabilities", None)
        return None if capabilities is None else set(capabilities)

    def _adapter(self, adapter_id: str) -> object:
        try:
            return self._adapters.get(adapter_id)
        except LookupError:
            return None

    def adapter_digest(self, adapter_id: str) -> str | None:
        """Always None, because nexus-router's adapters have no declaration."""
        return None

    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None:
        """Raises ADAPTER_UNKNOWN for an adapter that the registry does not have, PLAN_INVALID for a bad plan."""
        if self._adapter(adapter_id) is None:
            raise NexusControlError(
                ErrorCode.ADAPTER_UNKNOWN, f"nexus-router has no adapter {adapter_id!r:.80}"
            )
        if plan is not None:
            _checked_plan(plan, max_steps)

    def require_ready(self, adapter_id: str, dry_run: bool, plan: str | None) -> None:
        database = Path(self._db_path)
        written = database if is_there(database) else database.parent
        if self._db_path != ":memory:" and not os.access(written, os.W_OK):
            raise NexusControlError(
                ErrorCode.ROUTER_NOT_READY,
                f"nexus-router cannot record its run: {database} may not be written",
            )

    def export_run(self, run_id: str) -> dict[str, Any]:
        answer: object = self._tool.export({"db_path": self._db_path, "run_id": run_id})
        artifact = _member(answer, "artifact")
        if _member(answer, "ok") is not True or not isinstance(artifact, dict):
            problem = bounded(spell(_member(answer, "error")).text, 300)
            raise NexusControlError(
                ErrorCode.ROUTER_RUN_NOT_FOUND, f"nexus-router did not export run {run_id!r:.80}: {problem}"
            )
        bundle = cast("dict[str, Any]", artifact)
        if _member(_member(bundle, "digests"), "sha256") != run_bundle_digest(bundle):
            raise NexusControlError(
                ErrorCode.INTEGRITY_MISMATCH, "the exported run's digest does not match its content"
            )
        if _member(_member(bundle, "run"), "run_id") != run_id:
            raise NexusControlError(ErrorCode.ROUTER_DIGEST_MISMATCH, "nexus-router exported another run")
        return bundle


def _tool_module() -> ModuleType:
    try:
        return import_module("nexus_router.tool")
    except ImportError as error:
        raise NexusControlError(
            ErrorCode.ROUTER_NOT_CONFIGURED,
            "nexus-router is not installed here: install the package nexus-router, or use LocalRouter",
        ) from error


def _checked_plan(plan: str, max_steps: int | None) -> list[object]:
    steps = items_of(plan)
    require_at_most(max_steps, steps)
    return steps


def _member(value: object, key: str) -> object:
    return cast("Mapping[str, object]", value).get(key) if isinstance(value, dict) else None
