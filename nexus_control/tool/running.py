"""Running an approved request, and settling a run whose outcome was not recorded."""

from functools import partial
from typing import Literal

from nexus_control import usecases
from nexus_control.execution.router import RouterProtocol
from nexus_control.tool.base import ActorLike, Tools
from nexus_control.usecases.answers import ReconcileData
from nexus_control.usecases.run_answers import (
    CancelData,
    ClaimData,
    ExecuteData,
    RecordOutcomeData,
    RecoverData,
)
from nexus_control.values.payloads import Effect
from nexus_control.values.results import ToolResult


class RunningTools(Tools):
    def execute(
        self,
        request_id: str,
        adapter_id: str,
        actor: ActorLike,
        router: RouterProtocol | None,
        dry_run: bool | None = None,
    ) -> ToolResult[ExecuteData]:
        """Run an approved request through the router, once.

            tools.execute(request_id, "subprocess:keys", Actor("system", "deployer"), router)

        `dry_run` defaults to the requested mode; True rehearses an apply request, and leaves it approved. A refusal
        names every reason, and nothing was run. After a failed run `details["effect"]` says what it is known to have
        done: none, done or unknown. Nothing is ever run again by itself.

        Data: request_id, execution_id, run_id, mode, steps_executed, request_digest (bare hex), response_digest (bare
        hex), effect, results (what each step gave back), truncated.
        Refused: DECISION_NOT_FOUND, POLICY_NOT_SATISFIED, EXECUTING, ADAPTER_UNKNOWN, PLAN_INVALID,
        ROUTER_NOT_CONFIGURED, ROUTER_NOT_READY, STORE_ROLLED_BACK, SHUTTING_DOWN. Failed: ROUTER_ERROR,
        OUTCOME_UNKNOWN, OUTCOME_REFUSED.
        """
        return self._run(
            partial(usecases.executing.execute, router=router, rules=self.rules),
            usecases.arguments.ExecuteArguments,
            locals(),
        )

    def claim(
        self,
        request_id: str,
        adapter_id: str,
        actor: ActorLike,
        dry_run: bool | None = None,
        owner_pid: int | None = None,
    ) -> ToolResult[ClaimData]:
        """Claim an approved request for a caller that runs the tool itself: `execute` without a router.

            claimed = tools.claim(request_id, "tool:rotate", Actor("system", "deployer")).data
            tools.record(claimed["execution_id"], "completed", output=rotate())

        The checks are those of `execute`, and the claim is given once: to one caller, in one process. A request that is
        bound to the declaration of a router's adapter, or demands capabilities, is for `execute` alone. `owner_pid` is
        the process that lives until the outcome is recorded; by default the caller's own. When it has ended without a
        record, `recover` makes the outcome unknown.

        Data: request_id, execution_id, run_id (the execution's id), mode, request_digest (bare hex).
        Refused: DECISION_NOT_FOUND, POLICY_NOT_SATISFIED, EXECUTING, STORE_ROLLED_BACK, SHUTTING_DOWN.
        """
        return self._run(
            partial(usecases.claiming.claim, rules=self.rules), usecases.arguments.ClaimArguments, locals()
        )

    def record(
        self,
        execution_id: str,
        outcome: Literal["completed", "failed", "unknown"],
        output: object = None,
        error: str | None = None,
        effect: Effect | None = None,
    ) -> ToolResult[RecordOutcomeData]:
        """Record what became of a claimed execution, in any process.

            tools.record(execution_id, "failed", error="the vault was locked", effect="none")

        The first record wins: the same again answers `recorded` false, and another one is refused. `output` is a JSON
        value, or is recorded as text; `result` gives it back. `effect` says what a failed tool is known to have done.

        Data: request_id, execution_id, run_id (the execution's id), mode, steps_executed, request_digest (bare hex),
        response_digest (bare hex, of the object with the key output), effect, results (empty), truncated, outcome,
        recorded.
        Refused: CLAIM_HELD for an execution that `execute` runs, OUTCOME_REFUSED.
        """
        return self._run(usecases.recording.record, usecases.arguments.RecordOutcomeArguments, locals())

    def cancel(self, request_id: str, actor: ActorLike, reason: str) -> ToolResult[CancelData]:
        """Ask that an execution under way ends: as the requester, an approver of the policy, or who executes it.

            tools.cancel(request_id, Actor("human", "alice"), "The wrong cluster")

        The process that executes begins no further step, kills the program that runs, and records the execution as
        failed: CANCELLED, with the effect as far as it is known. A Python function is waited for, unless it is an
        `async def`; so is another project's router. An outcome that is recorded before stands. Of several cancels the
        first counts, and `asked` says whether it is this one. `run_by` is "caller" where a caller runs the tool itself:
        then nothing here can stop it, and its `record` says what became of it.

        Data: request_id, state, execution_id, cancel (actor, ts, reason), asked, run_by.
        Refused: DECISION_NOT_FOUND, INVALID_STATE, NOT_ELIGIBLE, CLAIM_HELD.
        """
        return self._run(usecases.cancelling.cancel, usecases.arguments.CancelArguments, locals())

    def recover(self, request_id: str | None = None, force: bool = False) -> ToolResult[RecoverData]:
        """Turn executions whose process is gone into outcome unknown: all of this host's, or the named one.

            tools.recover().data["recovered"]

        `force` gives up a named execution whose owner cannot be seen from here.

        Data: recovered (request ids), still_held (how many executions somebody still owns), runs (what the run log
        knows of the steps of each).
        Refused: DECISION_NOT_FOUND, INVALID_STATE, CLAIM_HELD.
        """
        return self._run(
            partial(usecases.settling.recover, router=self._plan_checker),
            usecases.arguments.RecoverArguments,
            locals(),
        )

    def reconcile(
        self,
        request_id: str,
        actor: ActorLike,
        outcome: Literal["completed", "failed"],
        evidence: str,
        run_id: str | None = None,
        response_digest: str | None = None,
    ) -> ToolResult[ReconcileData]:
        """Record what a person found out about an execution whose outcome was unknown.

            tools.reconcile(request_id, Actor("human", "bob"), "completed", "The new key is in the vault")

        `response_digest` is bare hex.

        Data: request_id, state, outcome.
        Refused: DECISION_NOT_FOUND, INVALID_STATE.
        """
        return self._run(usecases.settling.reconcile, usecases.arguments.ReconcileArguments, locals())
