"""Looking at requests: the state of one, everything about one, and lists."""

from functools import partial

from nexus_control.decision import DecisionState
from nexus_control.tool.base import Tools
from nexus_control.usecases import listing, views
from nexus_control.usecases.answers import InspectData, RequestsData, StatusData
from nexus_control.usecases.arguments import InspectArguments, ListArguments, StatusArguments
from nexus_control.values.payloads import StateName
from nexus_control.values.results import ToolResult


class LookingTools(Tools):
    def status(self, request_id: str, include_events: bool = False) -> ToolResult[StatusData]:
        """The state of a request now. The cost does not grow with its history unless events are asked for.

            tools.status(request_id).data["state"]          # "approved"

        Data: request_id, state, decision_id, goal, plan, requested_mode, labels, requester, created_at, policy,
        expires_at, adapter_id, adapter_digest, as_of, basis, active_approvals, total_approvals, required_approvals,
        is_approved, blocking_reasons, executions, run, event_count; where they apply template_name, template_digest,
        ending, imported, late_outcome, events.
        Refused: DECISION_NOT_FOUND.
        """
        return self._run(views.status, StatusArguments, locals())

    def inspect(
        self,
        decision_id: str,
        render: bool = True,
        include_events: bool = False,
        include_compiled_router_request: bool = True,
    ) -> ToolResult[InspectData]:
        """Everything a reviewer wants to know, all at one instant.

            print(tools.inspect(request_id).data.get("rendered"))   # Markdown that begins with a verdict line

        Data: ok, decision, lifecycle, approval, policy, template, will_run, execution, timeline, basis, head; on
        request events, compiled_router_request, rendered.
        Refused: DECISION_NOT_FOUND.
        """
        return self._run(partial(views.inspect, router=self._plan_checker), InspectArguments, locals())

    def list_requests(
        self,
        limit: int = 100,
        offset: int = 0,
        after: str | None = None,
        state: StateName | DecisionState | None = None,
        label: str | None = None,
        requester: str | None = None,
        awaiting: str | None = None,
    ) -> ToolResult[RequestsData]:
        """A page of requests, newest first.

            page = tools.list_requests(state="pending_approval").data
            more = tools.list_requests(state="pending_approval", after=page["cursor"])

        `awaiting` is a person's id: the page then holds the pending requests that this person could still approve.
        Lists verify no signature; `executable` says whether the approvals that were given here suffice.

        Data: requests, count, offset, limit, cursor (None on the last page).
        """
        return self._run(listing.list_requests, ListArguments, locals())
