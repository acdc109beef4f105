"""The workloads, each a module with a function `run`, and the checks that each must give in every round."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from benchmarks.results import Outcome
from benchmarks.sizes import Sizes


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a workload is given: an empty folder on the disk to measure, the stores that were made beforehand, the
    sizes, and the URL of a PostgreSQL server where there is one.
    """

    folder: Path
    fixtures: Path
    sizes: Sizes
    postgresql: str | None = None


class Run(Protocol):
    def __call__(self, setting: Setting) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Workload:
    """`checks` are the metrics `bad_…` and `check_…` of every round. Only those in `skippable` may be left out, with a
    reason.
    """

    name: str
    meaning: str
    checks: frozenset[str]
    skippable: frozenset[str] = frozenset()

    def run(self, setting: Setting) -> Outcome:
        return cast("Run", import_module(f"benchmarks.workloads.{self.name}").run)(setting)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "append",
            "DecisionStore.append_event, beside raw commits and another library's appends",
            frozenset({"bad_missing_events", "check_each_append_is_synced"}),
            frozenset({"check_each_append_is_synced"}),
        ),
        Workload(
            "flow",
            "request, two approvals, execute, audit package, verification",
            frozenset({"check_each_commit_is_synced", "check_flow_has_7_events"}),
            frozenset({"check_each_commit_is_synced"}),
        ),
        Workload(
            "growth",
            "reading and approving, against the length of a decision and the size of the store",
            frozenset({"check_sees_other_writers", "check_event_count"}),
        ),
        Workload(
            "listing",
            "pages of the largest store",
            frozenset({"check_states_of_first_page", "check_pages_are_full"}),
        ),
        Workload(
            "inbox",
            "pages of the inbox, beside the lists that they are made from",
            frozenset({"check_pages_are_full"}),
        ),
        Workload(
            "concurrency",
            "threads and processes on one file",
            frozenset({"bad_lost_events", "bad_unacknowledged_events", "bad_sequences", "bad_refusals"}),
        ),
        Workload(
            "races",
            "executing and approving at the same moment",
            frozenset(
                {
                    "bad_second_runs_of_threads",
                    "bad_second_runs_of_processes",
                    "bad_races_without_a_run",
                    "bad_person_counted_twice",
                    "bad_execute_ran_again",
                }
            ),
        ),
        Workload(
            "documents",
            "export, import, packages and their verification",
            frozenset({"check_import_is_whole", "check_export_has_its_digest", "check_tampering_is_found"}),
        ),
        Workload(
            "memory",
            "the largest resident memory of processes that do one thing",
            frozenset({"check_probes_did_it"}),
        ),
        Workload(
            "hook",
            "the hook of an agent host as a process, beside another command",
            frozenset({"check_hook_passes", "check_hook_asks"}),
            frozenset({"check_hook_passes", "check_hook_asks"}),
        ),
        Workload(
            "steps",
            "steps of the embedded router, beside two commits and beside the bare program",
            frozenset({"bad_steps", "check_each_step_is_synced"}),
            frozenset({"check_each_step_is_synced"}),
        ),
        Workload(
            "mcp_steps",
            "steps that call an MCP server, beside the bare call",
            frozenset({"bad_steps"}),
            frozenset({"bad_steps"}),
        ),
        Workload(
            "postgresql",
            "append_event on PostgreSQL, beside raw commits of psycopg",
            frozenset({"bad_missing_events"}),
            frozenset({"bad_missing_events"}),
        ),
    )
}
