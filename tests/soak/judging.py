"""After the writers have stopped: everything that was written down is held against everything that is stored.

`disagreements` opens the store, gives each line that is wrong, and an empty list where all agree.

* doctor finds no fault: chain, tree, index, projections, answers, head and checkpoint.
* Each decision equals its replay, and its chain is whole (`require_whole_store`).
* The feed from 0 has each event's position and no other, and seq without gaps. What followers read in pieces is it.
* Each acknowledged call has exactly its events; a refused one none; and each event belongs to a call that was begun,
  and was acknowledged or killed.
* A run had its effect at most once a decision, and the state says whether it had.
* The state, and how many approve, are those that a few lines here compute from the feed.
* Each checkpoint that was ever signed is one of this log.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.evidence.formats.merkle import reader, tree_root, whole_tree
from nexus_control.evidence.formats.note import open_note, parse_checkpoint
from nexus_control.log.log_keys import keys_of
from nexus_control.log.projection import import_record_of
from nexus_control.log.upkeep import examine, refusal_to_write
from nexus_control.storage.contract import Placed
from tests.soak.journal import Call, calls_in, lines_of
from tests.soak.places import Place
from tests.soak.watching import Follower
from tests.soak.working import digest_of_events
from tests.support.governed import ALICE, BOB, data_of, require_whole_store

EVENTS_OF = {
    "request": ["DECISION_CREATED", "POLICY_ATTACHED"],
    "approve": ["APPROVAL_GRANTED"],
    "revoke": ["APPROVAL_REVOKED"],
    "deny": ["APPROVAL_DENIED"],
    "withdraw": ["DECISION_WITHDRAWN"],
    "reconcile": ["EXECUTION_RECONCILED"],
    "execute": ["EXECUTION_REQUESTED", "EXECUTION_STARTED", "EXECUTION_COMPLETED"],
}
"""What an acknowledged call has made."""
FAILED = ["EXECUTION_REQUESTED", "EXECUTION_STARTED", "EXECUTION_FAILED"]
UNKNOWN = ["EXECUTION_REQUESTED", "EXECUTION_STARTED", "EXECUTION_OUTCOME_UNKNOWN"]
REFUSALS = {
    "request": set[str](),
    "approve": {"ALREADY_APPROVED", "INVALID_STATE"},
    "revoke": {"NO_ACTIVE_APPROVAL", "INVALID_STATE"},
    "deny": {"INVALID_STATE"},
    "withdraw": {"INVALID_STATE"},
    "reconcile": {"INVALID_STATE"},
    "execute": {"POLICY_NOT_SATISFIED", "EXECUTING", "ROUTER_ERROR", "OUTCOME_REFUSED"},
    "recover": set[str](),
    "export": set[str](),
    "package": {"NO_ROUTER_LINK"},
    "import": set[str](),
}
AWAY = {"STORE_UNAVAILABLE", "OUTCOME_UNKNOWN"}
"""Codes of calls whose outcome the caller does not know, where the server can be away."""
_NONCE = {
    "APPROVAL_GRANTED": "comment",
    "APPROVAL_REVOKED": "reason",
    "APPROVAL_DENIED": "reason",
    "DECISION_WITHDRAWN": "reason",
    "EXECUTION_RECONCILED": "evidence",
}
CLOSING = "close"
"""The nonce of the judge's own calls."""
_SHOWN = 20


@dataclass
class History:
    """The current generation of one decision, as the feed has it."""

    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def goal(self) -> str:
        return self.events[0]["payload"]["goal"]

    @property
    def is_imported(self) -> bool:
        return any(each["origin"] == "imported" for each in self.events)

    def standing(self) -> tuple[str, int]:
        """State, and how many of the approvals that were given here stand."""
        state, quorum, approving, rehearses = "pending_approval", 0, set[str](), False
        for each in self.events:
            payload, person = each["payload"], each["actor"]["id"]
            match each["event_type"]:
                case "POLICY_ATTACHED":
                    quorum = payload["min_approvals"]
                case "APPROVAL_GRANTED" if each["origin"] == "local":
                    approving.add(person)
                case "APPROVAL_REVOKED":
                    approving.discard(person)
                case "APPROVAL_DENIED":
                    state = "denied"
                case "DECISION_WITHDRAWN":
                    state = "withdrawn"
                case "EXECUTION_REQUESTED":
                    state, rehearses = "executing", payload["dry_run"]
                case "EXECUTION_COMPLETED" | "EXECUTION_FAILED" as kind:
                    ended = "completed" if kind == "EXECUTION_COMPLETED" else "failed"
                    state = "pending_approval" if rehearses else ended
                case "EXECUTION_OUTCOME_UNKNOWN":
                    state = "outcome_unknown"
                case "EXECUTION_RECONCILED":
                    state = "pending_approval" if rehearses else payload["outcome"]
                case _:
                    pass
        if state == "pending_approval" and len(approving) >= quorum:
            state = "approved"
        return state, len(approving)


@dataclass
class Judge:
    place: Place
    folder: Path
    tools: NexusControlTools
    calls: dict[str, Call]
    log: list[Placed]
    feed: list[dict[str, Any]]

    def disagreements(self) -> Iterator[str]:
        yield from self._feed()
        yield from self._pieces()
        yield from self._codes()
        yield from self._events_and_calls()
        yield from self._imports_and_exports()
        yield from self._effects_and_states()
        yield from self._checkpoints()
        for path in self.folder.glob("*.trouble"):
            for each in lines_of(path):
                if not (self.place.can_be_away and each["code"] in AWAY):
                    yield f"{path.stem}: {each['what']}: {each['code']}: {each['text']}"

    def _feed(self) -> Iterator[str]:
        expected = [placed.position for placed in self.log if placed.entry.kind == "decision"]
        if [each["position"] for each in self.feed] != expected:
            yield "the feed has other positions than the log has events"
        if [placed.position for placed in self.log] != list(range(len(self.log))):
            yield "the positions of the log have gaps"
        seqs: Counter[tuple[str, int]] = Counter()
        for each in self.feed:
            place = (each["request_id"], each["generation"])
            if each["seq"] != seqs[place]:
                yield f"feed position {each['position']}: seq {each['seq']}, not {seqs[place]}"
            seqs[place] += 1

    def _pieces(self) -> Iterator[str]:
        whole = [
            [each["position"], each["request_id"], each["generation"], each["seq"], each["event_type"]]
            for each in self.feed
        ]
        for path in sorted(self.folder.glob("*.feed")):
            follower = Follower(self.tools, self.folder, path.stem, f"{path.stem}-judge")
            while follower.catch_up():
                pass
            if [event for page in lines_of(path) for event in page["events"]] != whole:
                yield f"{path.stem} read other events in pieces than the feed has"

    # --- what was acknowledged, and what is stored ----------------------------------------------------------------

    def _is_uncertain(self, call: Call) -> bool:
        return not call.ended or (self.place.can_be_away and call.code in AWAY)

    def _codes(self) -> Iterator[str]:
        for call in self.calls.values():
            if (
                call.code is not None
                and call.code not in REFUSALS[call.what]
                and not self._is_uncertain(call)
            ):
                yield f"call {call.nonce}: {call.what} {call.on} was refused with {call.code}"

    def _events_and_calls(self) -> Iterator[str]:
        made, unknown = self._made()
        made.pop(CLOSING, None)
        by_goal: dict[str, list[Call]] = defaultdict(list)
        for call in self.calls.values():
            if call.what == "request" and call.on:
                by_goal[call.on].append(call)
            elif call.what in EVENTS_OF:
                yield from self._of_call(call, made.pop(call.nonce, []))
        for goal, calls in by_goal.items():
            yield from self._of_shared_request(goal, calls, made.pop(goal, []))
        yield from (f"nobody made {events}: {nonce}" for nonce, events in made.items())
        recovered = Counter(each for call in self.calls.values() for each in call.got.get("recovered", ()))
        killed = any(call.what == "recover" and self._is_uncertain(call) for call in self.calls.values())
        for request_id in unknown | recovered:
            if recovered[request_id] > unknown[request_id]:
                yield f"{request_id}: recovered {recovered[request_id]} times, stored {unknown[request_id]} times"
            if unknown[request_id] > recovered[request_id] and not killed:
                yield f"{request_id}: nobody recovered it, and it is stored"

    def _made(self) -> tuple[dict[str, list[tuple[str, str]]], Counter[str]]:
        """The types and decisions of local events by the nonce of their call, and the executions given up."""
        made: dict[str, list[tuple[str, str]]] = defaultdict(list)
        unknown: Counter[str] = Counter()
        running: dict[str, str] = {}
        goals: dict[str, str] = {}
        for each in self.feed:
            kind, name, payload = each["event_type"], each["request_id"], each["payload"]
            if each["origin"] == "imported":
                continue
            if kind == "EXECUTION_OUTCOME_UNKNOWN" and payload["reason"] == "OWNER_GONE":
                unknown[name] += 1
                continue
            match kind:
                case "DECISION_CREATED":
                    goals[name] = nonce = payload["goal"].removeprefix("own ")
                case "POLICY_ATTACHED":
                    nonce = goals[name]
                case "EXECUTION_REQUESTED":
                    running[name] = nonce = each["actor"]["id"].removeprefix("runner-")
                case _:
                    nonce = payload[_NONCE[kind]] if kind in _NONCE else running[name]
            made[nonce].append((kind, name))
        return made, unknown

    def _of_call(self, call: Call, events: list[tuple[str, str]]) -> Iterator[str]:
        kinds = [kind for kind, _ in events]
        on = call.on or call.got.get("request_id")
        expected = EVENTS_OF[call.what]
        if call.is_acknowledged:
            right = kinds == expected
        elif call.ended and call.code == "ROUTER_ERROR":
            right = kinds == FAILED
        elif self._is_uncertain(call) or call.code == "OUTCOME_REFUSED":
            possible = (expected, FAILED, UNKNOWN) if call.what == "execute" else (expected,)
            partly = call.what == "execute" and kinds == expected[:2]
            right = not kinds or partly or kinds in possible
        else:
            right = not kinds
        if not right or (on and any(name != on for _, name in events)):
            yield f"call {call.nonce}: {call.what} {on} ended with {call.code or call.ended}, and made {events}"

    def _of_shared_request(
        self, goal: str, calls: list[Call], events: list[tuple[str, str]]
    ) -> Iterator[str]:
        answers = [call for call in calls if call.is_acknowledged]
        made_it = sum(call.got["created"] for call in answers)
        names = {call.got["request_id"] for call in answers} | {name for _, name in events}
        uncertain = any(map(self._is_uncertain, calls))
        if [kind for kind, _ in events] not in ([], EVENTS_OF["request"]) or len(names) > 1:
            yield f"{goal} was made more than once: {events}"
        if bool(answers) > bool(events) or made_it > 1 or (events and not made_it and not uncertain):
            yield f"{goal}: {made_it} calls say that they made it, and {events} is stored"

    def _imports_and_exports(self) -> Iterator[str]:
        importers: dict[str, str] = {}
        for _, entry in self.log:
            if entry.kind == "import" and (who := import_record_of(entry.payload).imported_by) is not None:
                importers[who.id.removeprefix("importer-")] = entry.stream
        digests: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
        for _, entry in self.log:
            if entry.kind == "decision":
                digests[entry.stream][entry.generation].append(entry.digest)
        for call in self.calls.values():
            if call.what == "import":
                stored = importers.pop(call.nonce, None)
                imported = call.got["imported"] if call.is_acknowledged else None
                if imported is not None and not call.got["unchanged"] and stored != imported["decision_id"]:
                    yield f"call {call.nonce}: an acknowledged import is not stored: {imported}"
                if stored is not None and not (call.is_acknowledged or self._is_uncertain(call)):
                    yield f"call {call.nonce}: a refused import is stored"
            if call.what == "export" and call.is_acknowledged:
                count = call.got["count"]
                beginnings = [digest_of_events(found[:count]) for found in digests[call.on].values()]
                if call.got["events"] not in beginnings:
                    yield f"call {call.nonce}: the bundle of {call.on} is not the beginning of what is stored"
        yield from (f"nobody made the import {nonce}" for nonce in importers)

    # --- what really happened -------------------------------------------------------------------------------------

    def _effects_and_states(self) -> Iterator[str]:
        tally = (self.folder / "tally").read_text(encoding="utf-8").splitlines()
        by_call = Counter(line.split(" ", 1)[0] for line in tally)
        by_goal = Counter(line.split(" ", 1)[1] for line in tally)
        yield from (f"call {nonce} had its effect {n} times" for nonce, n in by_call.items() if n > 1)
        yield from (f"{goal} had its effect {n} times" for goal, n in by_goal.items() if n > 1)
        histories: dict[str, dict[int, History]] = defaultdict(lambda: defaultdict(History))
        for each in self.feed:
            histories[each["request_id"]][each["generation"]].events.append(each)
        local_goals: set[str] = set()
        for name, generations in histories.items():
            history = generations[max(generations)]
            state, approving = history.standing()
            status = data_of(self.tools.status(name))
            if status["state"] != state or status["active_approvals"] != approving:
                found = (status["state"], status["active_approvals"])
                yield f"{name}: the status says {found}, the events say {(state, approving)}"
            if status["event_count"] != len(history.events):
                yield f"{name}: the status counts {status['event_count']} events of {len(history.events)}"
            if history.is_imported:
                if any(e["event_type"].startswith("EXEC") and e["origin"] == "local" for e in history.events):
                    yield f"{name} was imported, and executed here"
                continue
            local_goals.add(history.goal)
            happened = by_goal[history.goal]
            possible = {"completed": (1,), "executing": (0, 1), "outcome_unknown": (0, 1)}.get(state, (0,))
            if happened not in possible:
                yield f"{name} is {state}, and its effect happened {happened} times"
        yield from (f"an effect of {goal}, which is not stored" for goal in by_goal.keys() - local_goals)

    def _checkpoints(self) -> Iterator[str]:
        verifiers = [record.verifier for record in keys_of(self.tools.store)]
        read = reader(whole_tree(bytes.fromhex(placed.entry.leaf) for placed in self.log))
        for path in self.folder.glob("*.notes"):
            for note in lines_of(path):
                opened = open_note(note, verifiers)
                signed = parse_checkpoint(opened.text)
                if not opened.signatures or signed.size > len(self.log):
                    yield f"{path.stem}: a checkpoint of {signed.size} entries is not of this log"
                elif tree_root(signed.size, read) != signed.root:
                    yield f"{path.stem}: the checkpoint of {signed.size} entries has another root"


def faults_by_itself(store: DecisionStore) -> Iterator[str]:
    """What doctor finds, and each decision that is not its replay."""
    faults, beside = examine(store, refusal_to_write(store))
    yield from (f"doctor: {fault.code}: {fault.detail}" for fault in faults)
    yield from (f"doctor: {name}: {look}" for name, look in beside.items() if look.status != "pass")
    try:
        require_whole_store(store)
    except AssertionError as error:
        yield f"a decision is not its replay: {error}"


def closing_call(tools: NexusControlTools) -> None:
    """A denial, which brings the head forward: whoever was killed right after a commit left an older one."""
    request_id = data_of(tools.request(CLOSING, ALICE))["request_id"]
    data_of(tools.deny(request_id, BOB, CLOSING))


def whole_feed(tools: NexusControlTools) -> list[dict[str, Any]]:
    feed: list[dict[str, Any]] = []
    cursor = 0
    while (page := data_of(tools.events_since(cursor)))["cursor"] != cursor:
        feed += page["events"]
        cursor = page["cursor"]
    return feed


def judge(place: Place, folder: Path) -> tuple[list[str], dict[str, int]]:
    """The disagreements, and how much was compared."""
    tools = place.tools()
    closing_call(tools)
    store: DecisionStore = tools.store
    found = list(faults_by_itself(store))
    with store.reading() as session:
        log = session.rows.log()
    calls = calls_in(folder)
    found += list(Judge(place, folder, tools, calls, log, whole_feed(tools)).disagreements())
    figures = {
        "entries": len(log),
        "decisions": len({placed.entry.stream for placed in log if placed.entry.kind == "decision"}),
        "calls": len(calls),
        "acknowledged": sum(call.is_acknowledged for call in calls.values()),
        "executed": sum(call.what == "execute" and call.is_acknowledged for call in calls.values()),
        "refused": sum(call.ended and call.code is not None for call in calls.values()),
        "killed": sum(not call.ended for call in calls.values()),
    }
    store.close()
    return found[:_SHOWN], figures
