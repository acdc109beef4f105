"""The same commands give the same answers and the same rows on every storage, and the rows are those of a replay."""

import json
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_control.approvals import Since, Tally
from nexus_control.decision import Decision
from nexus_control.evidence.formats.keys import private_from_seed
from nexus_control.execution.router import RouterOutcomeUnknown
from nexus_control.facts import Facts, replay_facts
from nexus_control.lifecycle import compute_lifecycle
from nexus_control.log.projection import ConflictMode, Projection
from nexus_control.log.upkeep import find_faults, rebuild_derived
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools, ToolResult
from nexus_control.values.instants import format_instant
from nexus_control.values.payloads import Mode
from tests.facade.routers import ANSWER, FakeRouter, raising
from tests.support.amounts import number_of
from tests.support.clock import FakeClock
from tests.support.contents import contents
from tests.support.governed import require_whole
from tests.support.model_storage import ModelStorage

ADAPTER = "python:keys"
PEOPLE = ["alice", "bob", "BOB", "carol"]


REHEARSED = {"run_id": "run-6", "status": "ok", "results": [{"step_id": "1", "status": "ok", "output": 1}]}


class World:
    """One store with its own clock, driven by commands that name decisions by number."""

    def __init__(self, store: DecisionStore, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.tools = NexusControlTools(store)
        self.ids: list[str] = []
        self.bundles: list[str] = []

    def decision(self, number: int) -> str:
        return self.ids[number % len(self.ids)] if self.ids else "nowhere"

    def bundle(self, number: int) -> str:
        return self.bundles[number % len(self.bundles)] if self.bundles else "{}"

    def later(self, minutes: int | None) -> str | None:
        return None if minutes is None else format_instant(self.clock.instant + timedelta(minutes=minutes))


Command = Callable[[World], object]
Who = dict[str, str]
Document = dict[str, Any]


def answered(world: World, result: ToolResult[Any]) -> object:
    """The result, and what later commands can build on."""
    if not result:
        return result.to_dict()
    new = result.data.get("request_id") or result.data.get("imported", {}).get("decision_id")
    if isinstance(new, str) and new not in world.ids:
        world.ids.append(new)
    if "canonical_json" in result.data and "bundle" in result.data:
        world.bundles.append(result.data["canonical_json"])
    return result.to_dict()


def ran(command: Callable[[World], ToolResult[Any]]) -> Command:
    return lambda world: answered(world, command(world))


def requesting(
    who: Who, mode: Mode, policy: Document, minutes: int | None, labels: list[str] | None
) -> Command:
    return ran(
        lambda w: w.tools.request("g", who, mode, expires_at=w.later(minutes), labels=labels, **policy)
    )


def approving(number: int, who: Who, minutes: int | None) -> Command:
    return ran(lambda w: w.tools.approve(w.decision(number), who, expires_at=w.later(minutes)))


def revoking(number: int, who: Who) -> Command:
    return ran(lambda w: w.tools.revoke_approval(w.decision(number), who))


def ending(number: int, who: Who, denied: bool) -> Command:
    return ran(lambda w: (w.tools.deny if denied else w.tools.withdraw)(w.decision(number), who, "no"))


def executing(number: int, dry_run: bool | None, answer: object) -> Command:
    def run(world: World) -> object:
        router, scheduler = FakeRouter(answer, {"timeout"}), {"type": "system", "id": "ci"}
        try:
            result = world.tools.execute(world.decision(number), ADAPTER, scheduler, router, dry_run)
        except KeyboardInterrupt:
            return "interrupted"
        return answered(world, result)

    return run


def recovering() -> Command:
    return ran(lambda w: w.tools.recover())


def reconciling(number: int, who: Who, outcome: Literal["completed", "failed"]) -> Command:
    return ran(lambda w: w.tools.reconcile(w.decision(number), who, outcome, "seen", "run-9"))


def exporting(number: int, package: bool) -> Command:
    return ran(
        lambda w: (w.tools.export_audit_package if package else w.tools.export_bundle)(
            w.decision(number), render=False
        )
    )


def importing(number: int, mode: ConflictMode, rollback: bool, verify: bool) -> Command:
    return ran(
        lambda w: w.tools.import_bundle(
            w.bundle(number), conflict_mode=mode, allow_rollback=rollback, verify_digest=verify
        )
    )


def advancing(minutes: int) -> Command:
    return lambda world: world.clock.advance(minutes=minutes)


GROUPS = {"security": ["Alice", "bob"], "platform": ["BOB", "carol"]}
NUMBERS = st.integers(0, 4)
MINUTES = st.none() | st.integers(1, 30)
PERSON: st.SearchStrategy[Who] = st.fixed_dictionaries(
    {"type": st.sampled_from(["human", "human", "system"]), "id": st.sampled_from(PEOPLE)}
)
ANSWERS: st.SearchStrategy[object] = st.sampled_from(
    [
        ANSWER,
        ANSWER,
        {"run_id": "run-2", "status": "failed", "error": {"code": "E", "message": "m"}},
        {"run_id": "run-3", "status": "running"},
        {"status": "completed"},
        None,
        {"run_id": "run-4", "cost": float("nan"), "blob": b"\xff"},
        REHEARSED,
        REHEARSED,
        REHEARSED | {"results": [{"step_id": "1", "status": "ok", "output": 2}]},
        raising(RuntimeError("after it acted")),
        raising(TimeoutError("too slow")),
        raising(RouterOutcomeUnknown("cannot tell", "run-5")),
        raising(KeyboardInterrupt()),
    ]
)
POLICIES: st.SearchStrategy[Document] = st.fixed_dictionaries(
    {
        "min_approvals": st.sampled_from([None, 1, 2]),
        "approvers": st.sampled_from([None, None, ["alice", "Bob", "carol"]]),
        "allow_requester_approval": st.sampled_from([None, False]),
        "require_adapter_capabilities": st.sampled_from([None, ["timeout"], ["magic"]]),
        "require_rehearsal": st.sampled_from([None, {"max_age_seconds": 600}]),
        "required_from": st.sampled_from([None, None, {"security": 1}, {"security": 1, "platform": 1}]),
    }
)
REQUESTS = st.builds(
    requesting,
    PERSON,
    st.sampled_from(["apply", "apply", "dry_run"]),
    POLICIES,
    MINUTES,
    st.sampled_from([None, ["prod"], ["café", "prod", "prod"]]),
)
APPROVALS = st.builds(approving, NUMBERS, PERSON, MINUTES)
EXECUTIONS = st.builds(executing, NUMBERS, st.sampled_from([None, None, True, False]), ANSWERS)
IMPORTS = st.builds(
    importing,
    NUMBERS,
    st.sampled_from(["reject_on_conflict", "new_decision_id", "overwrite", "overwrite"]),
    st.booleans(),
    st.sampled_from([True, True, True, False]),
)
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    REQUESTS,
    APPROVALS,
    APPROVALS,
    EXECUTIONS,
    EXECUTIONS,
    EXECUTIONS,
    EXECUTIONS,
    IMPORTS,
    IMPORTS,
    st.builds(ending, NUMBERS, PERSON, st.booleans()),
    st.builds(revoking, NUMBERS, PERSON),
    st.builds(reconciling, NUMBERS, PERSON, st.sampled_from(["completed", "failed"])),
    st.builds(recovering),
    st.builds(exporting, NUMBERS, st.booleans()),
    st.builds(advancing, st.integers(-20, 40)),
)
ALICE, BOB = {"type": "human", "id": "alice"}, {"type": "human", "id": "bob"}
PRELUDE: list[Command] = [
    requesting(ALICE, "apply", {}, None, None),
    requesting(ALICE, "apply", {"min_approvals": 2}, None, ["prod"]),
    requesting(BOB, "dry_run", {"require_adapter_capabilities": ["timeout"]}, None, None),
    exporting(0, package=False),
    approving(0, BOB, 30),
    exporting(0, package=False),
    approving(1, BOB, None),
    approving(2, ALICE, None),
    requesting(ALICE, "apply", {"require_rehearsal": {"max_age_seconds": 600}}, None, None),
    executing(3, True, REHEARSED),
    approving(3, BOB, 30),
    requesting(ALICE, "apply", {"min_approvals": 2, "required_from": {"security": 1}}, None, None),
    approving(4, {"type": "human", "id": "carol"}, 20),
]
"""Decisions for the random commands to meet: one approved for a while, one of two, one for a dry run, one
rehearsed, one of a group."""
SEQUENCES = st.lists(COMMANDS, min_size=10, max_size=25).map(lambda commands: [*PRELUDE, *commands])
LISTS: list[Document] = [
    {},
    {"limit": 2},
    {"state": "approved"},
    {"state": "pending_approval"},
    {"state": "expired"},
    {"label": "café"},
    {"requester": "bob"},
    {"awaiting": "bob"},
]


@contextmanager
def worlds() -> Generator[list[World]]:
    """A world on each storage: the model, SQLite in memory, SQLite in a file."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        made: list[World] = []
        for place in (None, ":memory:", folder / "decisions.db"):
            clock = FakeClock()
            storage = ModelStorage() if place is None else None
            store = DecisionStore(place or ":memory:", clock=clock, storage=storage, groups=GROUPS)
            store.sidecar.create_secret("key", private_from_seed(bytes([1]) * 32).to_pem())
            made.append(World(stack.enter_context(store), clock))
        yield made


def shown(world: World) -> object:
    """What people see of the whole store."""
    return [
        *(world.tools.list_requests(**filters).to_dict() for filters in LISTS),
        *(world.tools.status(each).to_dict() for each in world.ids),
        *(world.tools.inspect(each).to_dict() for each in world.ids),
    ]


def require_projections_of_a_replay(world: World) -> None:
    """Every decision's row decodes to its replay, its chain recomputes, and status counts what a replay counts."""
    for decision_id in world.ids:
        events = world.store.get_events(decision_id)
        stored = world.store.load(decision_id)
        replayed = replay_facts(decision_id, events)
        assert stored.facts.progress.tally == replayed.progress.tally
        assert stored.facts == (replayed if not stored.imported_count else _imported(replayed, stored))
        require_whole(world.store, decision_id)
        decision = Decision.load(world.store, decision_id)
        here = compute_lifecycle(decision, authority=world.store.load(decision_id).authority)
        status = world.tools.status(decision_id).data
        assert status["state"] == here.state
        assert status["active_approvals"] == here.progress.approvals_current
        assert status["total_approvals"] == len(decision.approvals)
        enough = decision.policy and here.progress.approvals_current >= decision.policy.min_approvals
        filled = not stored.facts.lacking(world.clock.now(), stored.authority)
        assert status["is_approved"] == bool(enough and filled)
        assert status["event_count"] == len(events)
        assert [line["run_id"] for line in status["executions"]] == [e.run_id for e in decision.executions]


def _imported(replayed: Facts, stored: Projection) -> Facts:
    """The facts in the store that imported the first of the events."""
    here = Tally.of(replayed.standing_approvals(Since(stored.imported_count)))
    progress = replayed.progress._replace(given_here=here)
    return replayed._replace(progress=progress, given_from=stored.imported_count)


@settings(max_examples=number_of(40, few=15))
@given(SEQUENCES)
def test_random_commands_give_equal_answers_and_equal_rows_on_every_storage(commands: list[Command]) -> None:
    with worlds() as (model, *others):
        for command in commands:
            expected = command(model)
            assert "INTERNAL" not in json.dumps(expected, default=str)
            rows = contents(model.store)
            for other in others:
                assert command(other) == expected
                assert contents(other.store) == rows
            require_projections_of_a_replay(model)
        seen = shown(model)
        for other in others:
            require_projections_of_a_replay(other)
            assert shown(other) == seen


@settings(max_examples=number_of(40, few=15))
@given(SEQUENCES)
def test_projections_thrown_away_are_rebuilt_as_they_were(commands: list[Command]) -> None:
    clock = FakeClock()
    with DecisionStore(":memory:", clock=clock, groups=GROUPS) as store:
        world = World(store, clock)
        for command in commands:
            command(world)
        before = contents(store)
        assert find_faults(store) == []
        assert rebuild_derived(store) == len(world.ids)
        assert contents(store) == before
