"""What the tables show: each figure, the limit that was measured in turns with it, and what grows with what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Limit:
    """What the same machine does at best: so many `times` of that metric."""

    name: str
    metric: str
    times: float = 1


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    workload: str
    metric: str
    limit: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing:
    """Costs by size: the metric of a name and a size is `NAME_PLACE_ms`."""

    title: str
    things: str
    workload: str
    names: Sequence[str]
    place: str
    sizes: Callable[[Sizes], tuple[int, ...]]
    plot: str
    limits: Sequence[str] = ()
    """Names of limits; only the plot shows them."""


RAW = Limit("raw commits", "calib_commits_per_s")


def _writing(_: Sizes) -> list[Row]:
    return [
        Row("`append_event`, one decision with 50 approvers", "append", "file_one_events_per_s", RAW),
        Row("`append_event`, 200 decisions", "append", "file_many_events_per_s", RAW),
        Row("the same by `eventsourcing`, one aggregate", "append", "info_peer_file_one_events_per_s", RAW),
        Row("the same by `eventsourcing`, 200 aggregates", "append", "info_peer_file_many_events_per_s", RAW),
        Row("`append_event` in memory, one decision", "append", "memory_one_events_per_s"),
        Row("`append_event` in memory, 200 decisions", "append", "memory_many_events_per_s"),
        Row("`eventsourcing` in memory, one aggregate", "append", "info_peer_memory_one_events_per_s"),
        Row("syncs an event", "append", "info_syncs_per_file_many_event"),
        Row("syncs an event of `eventsourcing`", "append", "info_syncs_per_peer_file_many_event"),
        Row(
            "a governed flow: request, two approvals, execute, audit package, verify",
            "flow",
            "flows_per_s",
            Limit("raw commits ÷ 5", "calib_commits_per_s", 1 / 5),
        ),
        Row("syncs a flow", "flow", "info_syncs_per_flow"),
        Row("`request`", "flow", "request_ms"),
        Row("`approve`", "flow", "approve_ms"),
        Row("`execute`, two commits", "flow", "execute_ms"),
        Row("`export_audit_package`, with its proof", "flow", "audit_package_ms"),
        Row("`verify_audit_package`", "flow", "verify_ms"),
    ]


def _together(sizes: Sizes) -> list[Row]:
    alone = Limit("one thread", "threads_1_events_per_s")
    threads = [
        Row(
            f"{count} thread{'s' * (count > 1)}, one file",
            "concurrency",
            f"threads_{count}_events_per_s",
            alone if count > 1 else None,
        )
        for count in sizes.threads
    ]
    processes = f"processes_{sizes.processes}_events_per_s"
    return [
        *threads,
        Row(f"{sizes.processes} processes, one file", "concurrency", processes, alone),
        Row("8 threads approve one decision", "concurrency", "hot_decision_approvals_per_s", alone),
    ]


def _postgresql(_: Sizes) -> list[Row]:
    together = Limit("8 raw connections", "calib_commits_8_per_s")
    return [
        Row("raw commits of psycopg, one connection", "postgresql", "calib_commits_per_s"),
        Row("raw commits of psycopg, 8 connections", "postgresql", "calib_commits_8_per_s"),
        Row("`append_event`, one connection", "postgresql", "events_per_s", RAW),
        Row("`append_event`, 8 connections", "postgresql", "events_8_per_s", together),
        Row(
            "the same beside one connection",
            "postgresql",
            "events_8_per_s",
            Limit("one connection", "events_per_s"),
        ),
    ]


def _lists(sizes: Sizes) -> list[Row]:
    return [
        Row(f"first page of {sizes.decisions[-1]:,} decisions", "listing", "first_page_ms"),
        Row("last page, by offset", "listing", "last_page_by_offset_ms"),
        Row("last page, by cursor", "listing", "last_page_by_cursor_ms"),
        Row("pending ones", "listing", "pending_ms"),
        Row("those that await one person", "listing", "awaiting_one_ms"),
        Row(
            "a page of the inbox's history", "inbox", "history_page_ms", Limit("its list", "history_list_ms")
        ),
        Row("a page of what waits", "inbox", "waiting_page_ms", Limit("its list", "waiting_list_ms")),
    ]


def _documents(sizes: Sizes) -> list[Row]:
    def row(what: str, name: str, events: int, limit: str | None = None) -> Row:
        beside = Limit(f"`{limit.replace('_', '.')}`", f"calib_{limit}_{events}_ms") if limit else None
        return Row(f"{what}, {events:,} events", "documents", f"{name}_{events}_ms", beside)

    small, large = sizes.events[0], sizes.events[-1]
    return [
        row("export of a bundle", "export", large, "json_dumps"),
        row("import of a bundle", "import", large),
        row("audit package", "audit_package", small),
        row("audit package", "audit_package", large),
        row("package from text", "from_text", large, "json_loads"),
        row("the six checks", "six_checks", large, "json_dumps"),
        row("package from text and the six checks", "text_and_six_checks", large, "json_loads"),
        row("`verify_evidence` from text, with the log's key", "verify_evidence", large, "json_loads"),
    ]


def _memory(sizes: Sizes) -> list[Row]:
    return [
        Row("the package imported", "memory", "imported_mib"),
        Row(f"listing {sizes.decisions[-1]:,} decisions", "memory", "listing_mib"),
        Row(f"exporting {sizes.events[-1]:,} events", "memory", "exporting_mib"),
        Row(f"verifying {sizes.events[-1]:,} events: the six checks", "memory", "verifying_mib"),
        Row("the same: `verify_evidence`", "memory", "proving_mib"),
    ]


def _hook(_: Sizes) -> list[Row]:
    beside = Limit("`nexus-control status`", "status_process_ms")
    return [
        Row("`nexus-control status`", "hook", "status_process_ms"),
        Row("`nexus-control hook`, a call that the rules allow", "hook", "hook_passes_ms", beside),
        Row("`nexus-control hook`, a call that people are asked about", "hook", "hook_asks_ms", beside),
    ]


def _steps(_: Sizes) -> list[Row]:
    def program(what: str, name: str) -> list[Row]:
        bare = Limit("the bare program", f"calib_program_{name}_ms")
        return [
            Row(f"{what}: each further step", "steps", f"program_{name}_step_ms", bare),
            Row(f"{what}: a run of one step", "steps", f"program_{name}_run_ms", bare),
        ]

    return [
        Row("a Python function", "steps", "python_step_ms", Limit("two raw commits", "calib_two_commits_ms")),
        Row("syncs of it", "steps", "info_syncs_per_step"),
        *program("`true`", "true"),
        *program("`git --version`", "git"),
        *program("a bare start of Python", "python"),
        *program("a Python script", "script"),
        Row(
            "an MCP call: each further step",
            "mcp_steps",
            "mcp_step_ms",
            Limit("the bare call", "calib_mcp_call_ms"),
        ),
        Row("two raw commits, beside it", "mcp_steps", "calib_two_commits_ms"),
        Row(
            "an MCP call: a run of one step, with the server's start",
            "mcp_steps",
            "mcp_run_ms",
            Limit("a bare session of one call", "calib_mcp_session_ms"),
        ),
    ]


SECTIONS: dict[str, Callable[[Sizes], list[Row]]] = {
    "Writing, on a file unless it says otherwise": _writing,
    "Several at once": _together,
    "Steps of the embedded router": _steps,
    "PostgreSQL": _postgresql,
    "Lists": _lists,
    "Documents": _documents,
    "Memory of a process": _memory,
    "A process at each call of a tool": _hook,
}

GROWING = (
    Growing(
        title="Against the length of a decision",
        things="events",
        workload="growth",
        names=("status", "inspect", "approve", "list", "open_and_status"),
        place="at_{}_events",
        sizes=lambda sizes: sizes.events,
        plot="events.svg",
    ),
    Growing(
        title="Against the size of the store",
        things="decisions",
        workload="growth",
        names=("status", "inspect", "approve", "request", "list"),
        place="in_{}_decisions",
        sizes=lambda sizes: sizes.decisions,
        plot="decisions.svg",
    ),
    Growing(
        title="Documents against their length",
        things="events",
        workload="documents",
        names=("export", "import", "from_text", "six_checks", "verify_evidence"),
        place="{}",
        sizes=lambda sizes: sizes.events,
        plot="documents.svg",
        limits=("calib_json_loads", "calib_json_dumps", "calib_sha256"),
    ),
)
