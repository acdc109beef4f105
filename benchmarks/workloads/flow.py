"""A governed change from request to verified package, on a file.

Its five acknowledged steps are five durable commits: the request, two approvals, the claim, the outcome. So a fifth of
the raw commits is the limit.
"""

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import TypeVar

from benchmarks.people import ALICE, BOB, CAROL, DAVE, CountingRouter, opened
from benchmarks.results import Outcome
from benchmarks.syncs import WHY_NOT
from benchmarks.timing import in_turns
from benchmarks.workloads import Setting
from benchmarks.workloads.limits import raw_commits
from nexus_control import NexusControlTools, export_audit_package, verify_audit_package

COMMITS = 5
T = TypeVar("T")


class Flow:
    """Each call is a whole flow; `spans` are the milliseconds of its parts."""

    def __init__(self, tools: NexusControlTools) -> None:
        self.spans: dict[str, list[float]] = {}
        self._tools, self._router, self._last = tools, CountingRouter(), ""

    def __call__(self) -> None:
        tools = self._tools
        asked = self._timed(
            "request", lambda: tools.request("Rotate", ALICE, mode="apply", min_approvals=2).data
        )
        self._last = decision_id = asked["request_id"]
        for person in (BOB, CAROL):
            self._timed("approve", lambda person=person: tools.approve(decision_id, person).data)
        self._timed("execute", lambda: tools.execute(decision_id, "python:keys", DAVE, self._router).data)
        exported = self._timed("audit_package", lambda: export_audit_package(tools.store, decision_id))
        if exported.package is None:
            raise RuntimeError(f"export: {exported.error_message}")
        package = exported.package
        if not self._timed("verify", lambda: verify_audit_package(package)).ok:
            raise RuntimeError("the package of a new flow does not verify")

    def _timed(self, part: str, call: Callable[[], T]) -> T:
        begun = perf_counter()
        answer = call()
        self.spans.setdefault(part, []).append(1000 * (perf_counter() - begun))
        return answer

    def events_of_the_last(self) -> int:
        return len(self._tools.store.get_events(self._last))


def run(setting: Setting) -> Outcome:
    with opened(setting.folder / "flow.db") as tools, raw_commits(setting.folder / "raw.db") as raw:
        flow = Flow(tools)
        flow()  # the first loads what is loaded late, and makes the log's key
        timed = in_turns({"raw": raw, "flow": flow}, 2 * setting.sizes.seconds)
        events = flow.events_of_the_last()
    metrics = {
        "flows_per_s": timed["flow"].per_second,
        "calib_commits_per_s": timed["raw"].per_second,
        "check_flow_has_7_events": float(events == 7),
        **{f"{part}_ms": median(spans) for part, spans in flow.spans.items()},
    }
    syncs = timed["flow"].syncs_per_call
    if syncs is None:
        return Outcome(metrics=metrics, skipped={"check_each_commit_is_synced": WHY_NOT})
    metrics |= {"info_syncs_per_flow": syncs, "check_each_commit_is_synced": float(syncs >= COMMITS)}
    return Outcome(metrics=metrics)
