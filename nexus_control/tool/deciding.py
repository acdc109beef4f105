"""What people do to a request: make it, approve, revoke, deny or withdraw it, and get the text that they sign."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from nexus_control import usecases
from nexus_control.errors import invalid_argument
from nexus_control.evidence.statement import Verdict
from nexus_control.tool.base import ActorLike, Tools, checked
from nexus_control.usecases.answers import ApprovalData, RequestData, StateData, StatementData
from nexus_control.values.payloads import Assurance, Dispatch, Mode
from nexus_control.values.results import ToolResult, result_of

_OVERRIDE = "override_"


class DecidingTools(Tools):
    def request(
        self,
        goal: str,
        actor: ActorLike,
        mode: Mode = "dry_run",
        plan: str | Sequence[Mapping[str, object]] | None = None,
        template_name: str | None = None,
        min_approvals: int | None = None,
        allowed_modes: Sequence[Mode] | None = None,
        require_adapter_capabilities: Sequence[str] | None = None,
        max_steps: int | None = None,
        labels: Sequence[str] | None = None,
        approvers: Sequence[str] | None = None,
        allow_requester_approval: bool | None = None,
        min_assurance: Assurance | None = None,
        expires_at: str | datetime | None = None,
        adapter_id: str | None = None,
        *,
        expires_in: str | timedelta | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        supersedes: str | None = None,
        dispatch: Dispatch | None = None,
        require_rehearsal: Mapping[str, int] | None = None,
        required_from: Mapping[str, int] | None = None,
        override_min_approvals: int | None = None,
        override_allowed_modes: Sequence[Mode] | None = None,
        override_require_adapter_capabilities: Sequence[str] | None = None,
        override_max_steps: int | None = None,
        override_labels: Sequence[str] | None = None,
        override_approvers: Sequence[str] | None = None,
        override_allow_requester_approval: bool | None = None,
        override_min_assurance: Assurance | None = None,
        override_require_rehearsal: Mapping[str, int] | None = None,
        override_required_from: Mapping[str, int] | None = None,
    ) -> ToolResult[RequestData]:
        """Ask for an execution under a policy. The request is checked as a whole, and never changes afterwards.

            tools.request("Rotate the keys", Actor("human", "alice"), mode="apply", min_approvals=2)

        `plan` is text, or a list of steps. The policy comes from the template, and from the policy fields given here,
        which override it; `override_<field>` is a synonym of a field. `expires_at` is an instant with an offset;
        instead of it `expires_in` is a duration from now, such as "4h". A request that names its `adapter_id` can run
        with that adapter only; with `dispatch` "worker" only `nexus-control worker` executes it. Under
        `require_rehearsal`, as in {"max_age_seconds": 600}, approvals cover what executing it with `dry_run` gave back;
        under `required_from`, as in {"security": 1}, so many members of each of the store's `groups` must approve.
        With an `idempotency_key` a request is made once: the same requester, key and content answer the one that is
        there, with `created` false. Under `rules` a request that names no template gets the one that they demand, and
        its policy must be no weaker. `supersedes` names an older request of the same requester, to withdraw with it.

        Data: request_id, created, state, current_approvals, required_approvals, is_approved, min_approvals, basis,
        warnings; where they apply rules_digest, groups_missing, template_name, template_digest, overrides_applied.
        Refused: TEMPLATE_NOT_FOUND, TEMPLATE_WEAKENED, PLAN_INVALID, ADAPTER_UNKNOWN, IDEMPOTENCY_CONFLICT,
        ROUTER_NOT_READY; by rules DENIED_BY_RULE, RULE_UNDECIDED, RULES_DISAGREE; of the request to supersede
        DECISION_NOT_FOUND, NOT_REQUESTER, INVALID_STATE.
        """
        given = locals()
        return result_of(
            lambda: self._requested(checked(usecases.arguments.RequestArguments, _with_overrides(given)))
        )

    def _requested(self, arguments: "usecases.arguments.RequestArguments") -> RequestData:
        return usecases.requesting.request(self.store, arguments, self._plan_checker, self.rules)

    def approve(
        self,
        request_id: str,
        actor: ActorLike,
        comment: str | None = None,
        expires_at: str | datetime | None = None,
        statement: str | None = None,
        signature: str | None = None,
        basis: str | None = None,
        rehearsal_digest: str | None = None,
    ) -> ToolResult[ApprovalData]:
        """Approve as one person. The caller vouches for who that is: the assurance is "declared".

            tools.approve(request_id, Actor("human", "bob"), basis=shown["basis"])

        With a `statement` (see `approval_statement`) and its SSH `signature` the assurance is "signed". Pass the
        `basis` that `status` or `inspect` showed: the approval is refused if the request is no longer the one shown.
        Under a policy that requires a rehearsal, pass the `digest` of the one that was shown as `rehearsal_digest`: the
        approval is refused if that is no longer the last. With None it covers whatever rehearsal is the last one.

        Data: request_id, state, current_approvals, required_approvals, is_approved; where they apply groups_missing.
        Refused: DECISION_NOT_FOUND, INVALID_STATE, ALREADY_APPROVED, NOT_ELIGIBLE, REQUESTER_MAY_NOT_APPROVE,
        ASSURANCE_TOO_LOW, REHEARSAL_REQUIRED, BASIS_CHANGED, SIGNATURE_INVALID.
        """
        return self._run(usecases.deciding.approve, usecases.arguments.ApproveArguments, locals())

    def revoke_approval(
        self,
        request_id: str,
        actor: ActorLike,
        reason: str | None = None,
        statement: str | None = None,
        signature: str | None = None,
        basis: str | None = None,
    ) -> ToolResult[ApprovalData]:
        """Take back one's own approval, before the request is executed.

            tools.revoke_approval(request_id, Actor("human", "bob"), "The window was moved")

        Data: request_id, state, current_approvals, required_approvals, is_approved; where they apply groups_missing.
        Refused: DECISION_NOT_FOUND, INVALID_STATE, NO_ACTIVE_APPROVAL, BASIS_CHANGED, SIGNATURE_INVALID.
        """
        return self._run(usecases.deciding.revoke_approval, usecases.arguments.RevokeArguments, locals())

    def deny(
        self,
        request_id: str,
        actor: ActorLike,
        reason: str,
        statement: str | None = None,
        signature: str | None = None,
        basis: str | None = None,
    ) -> ToolResult[StateData]:
        """Deny a request as one of its approvers, which ends it. `basis` and signature are as for `approve`.

            tools.deny(request_id, Actor("human", "bob"), "Not before the audit")

        Data: request_id, state.
        Refused: DECISION_NOT_FOUND, INVALID_STATE, NOT_ELIGIBLE, BASIS_CHANGED, SIGNATURE_INVALID.
        """
        return self._run(usecases.deciding.deny, usecases.arguments.DenyArguments, locals())

    def withdraw(
        self, request_id: str, actor: ActorLike, reason: str, basis: str | None = None
    ) -> ToolResult[StateData]:
        """Withdraw a request, as its requester.

            tools.withdraw(request_id, Actor("human", "alice"), "No longer needed")

        Data: request_id, state.
        Refused: DECISION_NOT_FOUND, INVALID_STATE, NOT_REQUESTER, BASIS_CHANGED.
        """
        return self._run(usecases.deciding.withdraw, usecases.arguments.WithdrawArguments, locals())

    def approval_statement(
        self,
        request_id: str,
        approver: str,
        verdict: Verdict = "approve",
        expires_at: str | datetime | None = None,
    ) -> ToolResult[StatementData]:
        """The exact text that an approver signs with `ssh-keygen -Y sign -n NAMESPACE`.

            text = tools.approval_statement(request_id, "bob").data["statement"]

        Data: request_id, approver, verdict, basis, statement, sha256 (bare hex), namespace.
        Refused: DECISION_NOT_FOUND, LOG_INCONSISTENT, KEY_UNUSABLE.
        """
        return self._run(usecases.signing.approval_statement, usecases.arguments.StatementArguments, locals())


def _with_overrides(given: Mapping[str, Any]) -> dict[str, Any]:
    """`override_<field>` as `<field>`. Raises INVALID_ARGUMENT where both are given."""
    merged = {name: value for name, value in given.items() if not name.startswith(_OVERRIDE)}
    for name, value in given.items():
        field = name.removeprefix(_OVERRIDE)
        if field != name and value is not None:
            if merged[field] is not None:
                raise invalid_argument(name, f"and {field} are the same argument: give one of them")
            merged[field] = value
    return merged
