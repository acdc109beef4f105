"""NexusControlTools: plain Python keywords in, `ToolResult` out. Bad input never raises and never writes.

Each method checks its arguments at the door (`arguments`), runs one use case, and turns a fault into a result.
"""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from nexus_control.errors import invalid_argument
from nexus_control.execution.router import PlanChecker, RouterProtocol
from nexus_control.facade import UseCase, Values, checked, load_door, with_overrides, with_signature
from nexus_control.store import DecisionStore, TemplateStore
from nexus_control.system.clock import SYSTEM_CLOCK, Clock
from nexus_control.usecases import (
    deciding,
    executing,
    exporting,
    listing,
    requesting,
    settling,
    templating,
    views,
)
from nexus_control.values.actors import Actor
from nexus_control.values.results import ToolResult, result_of

__all__ = ["ActorLike", "NexusControlTools", "ToolResult"]

ActorLike = Actor | Mapping[str, str]


class NexusControlTools:
    """The governed flow over one store: request, approve, execute, audit.

    Give it a `store`, or let it open `db_path`. `plan_checker` (a `LocalRouter`, say) lets a request that names its
    adapter be checked, and bound to the adapter's declaration, before anybody approves it. `allowed_signers` (the path
    of an OpenSSH file) says whose signed approvals count.
    """

    def __init__(
        self,
        store: DecisionStore | None = None,
        db_path: str | os.PathLike[str] = ":memory:",
        *,
        allowed_signers: str | os.PathLike[str] | None = None,
        plan_checker: PlanChecker | None = None,
        clock: Clock | None = None,
    ) -> None:
        load_door()
        if store is not None and allowed_signers is not None:
            raise invalid_argument("allowed_signers", "is the store's: give it to DecisionStore")
        self.store = store or DecisionStore(
            db_path, clock=clock or SYSTEM_CLOCK, allowed_signers=allowed_signers
        )
        self.template_store = TemplateStore(self.store)
        self._plan_checker = plan_checker

    def _run(self, use_case: UseCase, model: str, **values: object) -> ToolResult:
        """Check `values` as the named model of the door, and run the use case."""
        return result_of(lambda: use_case(self.store, checked(model, values)))

    def request(
        self,
        goal: str,
        actor: ActorLike,
        mode: str = "dry_run",
        plan: str | Sequence[Mapping[str, object]] | None = None,
        template_name: str | None = None,
        min_approvals: int | None = None,
        allowed_modes: Sequence[str] | None = None,
        require_adapter_capabilities: Sequence[str] | None = None,
        max_steps: int | None = None,
        labels: Sequence[str] | None = None,
        approvers: Sequence[str] | None = None,
        allow_requester_approval: bool | None = None,
        min_assurance: str | None = None,
        expires_at: str | datetime | None = None,
        adapter_id: str | None = None,
        **overrides: object,
    ) -> ToolResult:
        """Ask for an execution. `override_<field>` is a synonym of a policy field, for use with a template."""
        values: Values = {
            "goal": goal,
            "actor": actor,
            "mode": mode,
            "plan": plan,
            "template_name": template_name,
            "min_approvals": min_approvals,
            "allowed_modes": allowed_modes,
            "require_adapter_capabilities": require_adapter_capabilities,
            "max_steps": max_steps,
            "labels": labels,
            "approvers": approvers,
            "allow_requester_approval": allow_requester_approval,
            "min_assurance": min_assurance,
            "expires_at": expires_at,
            "adapter_id": adapter_id,
        }

        def run() -> Values:
            arguments = checked("RequestArguments", with_overrides(values, overrides))
            return requesting.request(self.store, arguments, self._plan_checker)

        return result_of(run)

    def approve(
        self,
        request_id: str,
        actor: ActorLike,
        comment: str | None = None,
        expires_at: str | datetime | None = None,
        statement: str | None = None,
        signature: str | None = None,
        basis: str | None = None,
    ) -> ToolResult:
        """Approve as one person. The caller vouches for who it is: the assurance is "declared".

        With a `statement` (`approval_statement`) and its SSH signature it is "signed". With the `basis` that `status`
        or `inspect` showed, what has become another request since is refused.
        """
        return self._run(
            with_signature(deciding.approve, statement, signature),
            "ApproveArguments",
            request_id=request_id,
            actor=actor,
            comment=comment,
            expires_at=expires_at,
            basis=basis,
        )

    def revoke_approval(
        self,
        request_id: str,
        actor: ActorLike,
        reason: str | None = None,
        statement: str | None = None,
        signature: str | None = None,
    ) -> ToolResult:
        """Take one's own approval back."""
        return self._run(
            with_signature(deciding.revoke_approval, statement, signature),
            "RevokeArguments",
            request_id=request_id,
            actor=actor,
            reason=reason,
        )

    def deny(
        self,
        request_id: str,
        actor: ActorLike,
        reason: str,
        statement: str | None = None,
        signature: str | None = None,
        basis: str | None = None,
    ) -> ToolResult:
        """Refuse as an approver; it ends the decision. `basis` as for `approve`."""
        return self._run(
            with_signature(deciding.deny, statement, signature),
            "EndArguments",
            request_id=request_id,
            actor=actor,
            reason=reason,
            basis=basis,
        )

    def approval_statement(
        self,
        request_id: str,
        approver: str,
        verdict: str = "approve",
        expires_at: str | datetime | None = None,
    ) -> ToolResult:
        """The exact text for an approver to sign with `ssh-keygen -Y sign`, in `statement`."""

        def state(store: DecisionStore, arguments: Any) -> Values:
            from nexus_control.usecases import signing  # cryptography is loaded at the first signature

            return signing.approval_statement(store, arguments)

        return self._run(
            state,
            "StatementArguments",
            request_id=request_id,
            approver=approver,
            verdict=verdict,
            expires_at=expires_at,
        )

    def withdraw(self, request_id: str, actor: ActorLike, reason: str) -> ToolResult:
        """Take the request back, as its requester."""
        return self._run(deciding.withdraw, "EndArguments", request_id=request_id, actor=actor, reason=reason)

    def execute(
        self,
        request_id: str,
        adapter_id: str,
        actor: ActorLike,
        router: RouterProtocol | None,
        dry_run: bool | None = None,
    ) -> ToolResult:
        """Run an approved decision, once. `dry_run` defaults to what was requested."""
        return self._run(
            partial(executing.execute, router=router),
            "ExecuteArguments",
            request_id=request_id,
            adapter_id=adapter_id,
            actor=actor,
            dry_run=dry_run,
        )

    def recover(self, request_id: str | None = None, force: bool = False) -> ToolResult:
        """Turn executions whose process is gone into outcome unknown."""
        return self._run(settling.recover, "RecoverArguments", request_id=request_id, force=force)

    def reconcile(
        self,
        request_id: str,
        actor: ActorLike,
        outcome: str,
        evidence: str,
        run_id: str | None = None,
        response_digest: str | None = None,
    ) -> ToolResult:
        """Record what a person found out about an execution whose outcome was unknown."""
        return self._run(
            settling.reconcile,
            "ReconcileArguments",
            request_id=request_id,
            actor=actor,
            outcome=outcome,
            evidence=evidence,
            run_id=run_id,
            response_digest=response_digest,
        )

    def status(self, request_id: str, include_events: bool = False) -> ToolResult:
        """Where a decision stands now."""
        return self._run(
            views.status, "StatusArguments", request_id=request_id, include_events=include_events
        )

    def inspect(
        self,
        decision_id: str,
        render: bool = True,
        include_events: bool = False,
        include_compiled_router_request: bool = True,
    ) -> ToolResult:
        """Everything a reviewer wants to know; `rendered` is Markdown."""
        return self._run(
            partial(views.inspect, router=self._plan_checker),
            "InspectArguments",
            decision_id=decision_id,
            render=render,
            include_events=include_events,
            include_compiled_router_request=include_compiled_router_request,
        )

    def list_requests(
        self,
        limit: int = 100,
        offset: int = 0,
        after: str | None = None,
        state: str | None = None,
        label: str | None = None,
        requester: str | None = None,
        awaiting: str | None = None,
    ) -> ToolResult:
        """A page of decisions, newest first. `awaiting`: pending ones that this person could still approve.

        Lists verify no signature; `executable` says whether approvals that were given here suffice.
        """
        return self._run(
            listing.list_requests,
            "ListArguments",
            limit=limit,
            offset=offset,
            after=after,
            state=state,
            label=label,
            requester=requester,
            awaiting=awaiting,
        )

    def template_create(
        self,
        name: str,
        actor: ActorLike,
        description: str = "",
        min_approvals: int | None = None,
        allowed_modes: Sequence[str] | None = None,
        require_adapter_capabilities: Sequence[str] | None = None,
        max_steps: int | None = None,
        labels: Sequence[str] | None = None,
        approvers: Sequence[str] | None = None,
        allow_requester_approval: bool | None = None,
        min_assurance: str | None = None,
        overrides: str = "any",
    ) -> ToolResult:
        """A named, immutable policy. `overrides="tighten_only"`: requests may only demand more."""
        return self._run(
            templating.template_create,
            "TemplateCreateArguments",
            name=name,
            actor=actor,
            description=description,
            min_approvals=min_approvals,
            allowed_modes=allowed_modes,
            require_adapter_capabilities=require_adapter_capabilities,
            max_steps=max_steps,
            labels=labels,
            approvers=approvers,
            allow_requester_approval=allow_requester_approval,
            min_assurance=min_assurance,
            overrides=overrides,
        )

    def template_get(self, name: str, include_events: bool = False) -> ToolResult:
        """One template."""
        return self._run(
            templating.template_get, "TemplateGetArguments", name=name, include_events=include_events
        )

    def template_list(self, limit: int = 100, offset: int = 0, label_filter: str | None = None) -> ToolResult:
        """A page of templates; `label_filter` matches one whole label."""
        return self._run(
            templating.template_list,
            "TemplateListArguments",
            limit=limit,
            offset=offset,
            label_filter=label_filter,
        )

    def export_bundle(
        self,
        decision_id: str,
        include_template_snapshot: bool = True,
        include_router_link: bool = True,
        render: bool = True,
    ) -> ToolResult:
        """The decision as a portable bundle 0.5."""
        return self._run(
            exporting.export_bundle,
            "ExportBundleArguments",
            decision_id=decision_id,
            include_template_snapshot=include_template_snapshot,
            include_router_link=include_router_link,
            render=render,
        )

    def import_bundle(
        self,
        bundle: Mapping[str, object] | str,
        verify_digest: bool = True,
        conflict_mode: str = "reject_on_conflict",
        replay_after_import: bool = True,
        allow_rollback: bool = False,
        actor: ActorLike | None = None,
    ) -> ToolResult:
        """Take in a bundle 0.5, as an object or JSON text; `actor` is recorded as who brought it."""
        return self._run(
            exporting.import_bundle,
            "ImportBundleArguments",
            bundle=bundle,
            verify_digest=verify_digest,
            conflict_mode=conflict_mode,
            replay_after_import=replay_after_import,
            allow_rollback=allow_rollback,
            actor=actor,
        )

    def export_audit_package(
        self,
        decision_id: str,
        embed_router_bundle: bool = False,
        router_bundle: Mapping[str, object] | None = None,
        router_bundle_digest: str | None = None,
        verify_router_bundle_digest: bool = True,
        render: bool = True,
    ) -> ToolResult:
        """The decision and its run, bound as an audit package 0.6."""
        return self._run(
            exporting.export_audit_package,
            "ExportAuditPackageArguments",
            decision_id=decision_id,
            embed_router_bundle=embed_router_bundle,
            router_bundle=router_bundle,
            router_bundle_digest=router_bundle_digest,
            verify_router_bundle_digest=verify_router_bundle_digest,
            render=render,
        )

    def export_audit_record(self, request_id: str) -> ToolResult:
        """The flat record of 0.5-1.0: decision, events, approvals and executions with one digest."""
        return self._run(exporting.export_audit_record, "RecordArguments", request_id=request_id)
