"""Looking at requests: the state of one, everything about one, and lists."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from nexus_control import usecases
from nexus_control.decision import DecisionState
from nexus_control.tool.base import Tools
from nexus_control.usecases.answers import EventsData, InspectData, StatusData, WaitData
from nexus_control.usecases.list_answers import RequestsData
from nexus_control.usecases.run_answers import ResultData
from nexus_control.values.payloads import StateName
from nexus_control.values.results import ToolResult, result_of


class LookingTools(Tools):
    def status(self, request_id: str, include_events: bool = False) -> ToolResult[StatusData]:
        """The state of a request now. The cost does not grow with its history unless events are asked for.

            tools.status(request_id).data["state"]          # "approved"

        Data: request_id, state, decision_id, goal, plan, requested_mode, labels, requester, created_at, policy,
        expires_at, adapter_id, adapter_digest, as_of, basis, active_approvals, total_approvals, required_approvals,
        is_approved, blocking_reasons, approvals, awaited, executions, run, event_count; where they apply
        approver_groups, groups_missing, dispatch, idempotency_key, metadata, supersedes, template_name,
        template_digest, rules_digest, ending, rehearsal, imported, reconciled, late_outcome, cancel, events.
        `awaited` says whose approvals are missing; the last of `executions` has the `results` of its steps.
        Refused: DECISION_NOT_FOUND.
        """
        return self._run(
            partial(usecases.views.status, router=self._plan_checker),
            usecases.arguments.StatusArguments,
            locals(),
        )

    def result(self, request_id: str, execution: int | None = None) -> ToolResult[ResultData]:
        """What the steps of one execution gave back, also to another process than the one that executed.

            steps = tools.result(request_id).data["results"]
            steps[0]["output"]          # what the function returned, or what the program printed

        It is the execution that bundles link, else the last rehearsal, or the one whose `seq` is `execution`. After a
        crash it is what the router's run log knows.

        Data: request_id, execution_id, execution, rehearsal, outcome, run_id, response_digest (bare hex), effect,
        results, truncated; answer (the whole one, where the router lists no steps).
        Refused: DECISION_NOT_FOUND, INVALID_STATE.
        """
        return self._run(
            partial(usecases.resulting.result, router=self._plan_checker),
            usecases.arguments.ResultArguments,
            locals(),
        )

    def wait_for(
        self,
        request_id: str,
        until: Sequence[StateName | DecisionState] | None = None,
        timeout: float | str = 60,
    ) -> ToolResult[WaitData]:
        """Wait until a request is in one of these states, and answer its status.

            waited = tools.wait_for(request_id, timeout=3600)
            waited.data["timed_out"]    # False; waited.data["state"] is "approved", "denied", ...

        `timeout` is the longest wait: seconds, or a text such as "90s", "5m" or "1h". `until` is every state but draft,
        pending_approval and executing, unless it is given. A wait that times out is a success, with `timed_out` true.

        Data: request_id, state, timed_out, decision_id, goal, plan, requested_mode, labels, requester, created_at,
        policy, expires_at, adapter_id, adapter_digest, as_of, basis, active_approvals, total_approvals,
        required_approvals, is_approved, blocking_reasons, approvals, awaited, executions, run, event_count; where they
        apply approver_groups, groups_missing, dispatch, idempotency_key, metadata, supersedes, template_name,
        template_digest, rules_digest, ending, rehearsal, imported, reconciled, late_outcome, cancel, events.
        Refused: DECISION_NOT_FOUND.
        """
        return self._run(
            partial(usecases.following.wait_for, router=self._plan_checker),
            usecases.arguments.WaitArguments,
            locals(),
        )

    def events_since(self, cursor: int = 0, limit: int = 500) -> ToolResult[EventsData]:
        """The events of all decisions in the order in which the store committed them, from `cursor` on.

            page = tools.events_since().data
            later = tools.events_since(page["cursor"])

        Data: events (each with its position), cursor (the next position to read).
        """
        return self._run(usecases.following.events_since, usecases.arguments.EventsArguments, locals())

    def inspect(
        self,
        decision_id: str,
        render: bool = True,
        include_events: bool = False,
        include_compiled_router_request: bool = True,
    ) -> ToolResult[InspectData]:
        """Everything a reviewer wants to know, all at one instant.

            print(tools.inspect(request_id).data.get("rendered"))   # Markdown that begins with a verdict line

        Data: ok, decision, lifecycle, approval, policy, template, will_run, execution, timeline, basis, head;
        where they apply cancel; on request events, compiled_router_request, rendered.
        Refused: DECISION_NOT_FOUND.
        """
        return self._run(
            partial(usecases.views.inspect, router=self._plan_checker),
            usecases.arguments.InspectArguments,
            locals(),
        )

    def list_requests(
        self,
        limit: int = 100,
        offset: int = 0,
        after: str | None = None,
        state: StateName | DecisionState | None = None,
        label: str | None = None,
        requester: str | None = None,
        awaiting: str | None = None,
        executable: bool | None = None,
        since: str | datetime | None = None,
        text: str | None = None,
    ) -> ToolResult[RequestsData]:
        """A page of requests, newest first.

            page = tools.list_requests(state="pending_approval").data
            more = tools.list_requests(state="pending_approval", after=page["cursor"])

        `awaiting` is a person's id: the page then holds the pending requests that this person could still approve.
        `since` is an instant; `text` is a part of the goal, in any case of its letters. Lists verify no signature;
        `executable` says whether the approvals that were given here suffice.

        Data: requests, count, offset, limit, cursor (None on the last page).
        """
        return result_of(
            lambda: usecases.listing.list_requests(
                self.store,
                usecases.list_arguments.ListArguments(
                    limit=limit,
                    offset=offset,
                    after=after,
                    state=state,
                    label=label,
                    requester=requester,
                    awaiting=awaiting,
                    executable=executable,
                    since=since,
                    text=text,
                ),
            )
        )
