"""`append_event` on a file and in memory, to one decision with 50 approvers and to 200 decisions in turns."""

from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import count, cycle

from benchmarks.people import append_verdict, begin_decision
from benchmarks.results import Outcome
from benchmarks.syncs import WHY_NOT
from benchmarks.timing import Timed, in_turns
from benchmarks.workloads import Setting
from benchmarks.workloads.limits import raw_commits
from nexus_control import DecisionStore

MANY = 200
PLACES = {"file_one": 1, "file_many": MANY, "memory_one": 1, "memory_many": MANY}


class Appending:
    """Appends to so many decisions in turns, each call one event."""

    def __init__(self, store: DecisionStore, decisions: int) -> None:
        self._store = store
        self._decisions = [begin_decision(store) for _ in range(decisions)]
        self._turn = cycle((each, count()) for each in self._decisions)
        self._appended = 0

    def __call__(self) -> None:
        decision_id, numbers = next(self._turn)
        append_verdict(self._store, decision_id, next(numbers))
        self._appended += 1

    def missing(self) -> int:
        """How many acknowledged events are not in the log, or stand at another place."""
        wanted = self._appended + 2 * len(self._decisions)
        events = [self._store.get_events(each) for each in self._decisions]
        in_place = sum(event.seq == seq for each in events for seq, event in enumerate(each))
        return abs(wanted - in_place)


def run(setting: Setting) -> Outcome:
    with ExitStack() as opened:
        ours: dict[str, Appending] = {}
        for place, decisions in PLACES.items():
            path = ":memory:" if place.startswith("memory") else str(setting.folder / f"{place}.db")
            ours[place] = Appending(opened.enter_context(DecisionStore(path)), decisions)
        raw = opened.enter_context(raw_commits(setting.folder / "raw.db"))
        peers, skipped = _peers(setting)
        timed = in_turns({"raw": raw, **ours, **peers}, setting.sizes.seconds)
        metrics = {f"{place}_events_per_s": timed[place].per_second for place in ours}
        metrics |= {f"info_{name}_events_per_s": timed[name].per_second for name in peers}
        metrics["calib_commits_per_s"] = timed["raw"].per_second
        metrics["bad_missing_events"] = sum(each.missing() for each in ours.values())
    synced = _syncs(timed)
    if synced:
        metrics |= synced
    else:
        skipped["check_each_append_is_synced"] = WHY_NOT
    return Outcome(metrics=metrics, skipped=skipped)


def _syncs(timed: dict[str, Timed]) -> dict[str, float]:
    counted = {name: each.syncs_per_call for name, each in timed.items() if "memory" not in name}
    given = {name: syncs for name, syncs in counted.items() if syncs is not None}
    if not given:
        return {}
    figures = {f"info_syncs_per_{name}_event": syncs for name, syncs in given.items()}
    synced = min(given["file_one"], given["file_many"]) >= 1
    return {**figures, "check_each_append_is_synced": float(synced)}


def _peers(setting: Setting) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
    if find_spec("eventsourcing") is None:
        return {}, {"info_peer_file_many_events_per_s": "the library eventsourcing is not installed"}
    from benchmarks.workloads.peer import appends

    return {
        "peer_file_one": appends(setting.folder / "peer-one.db", 1),
        "peer_file_many": appends(setting.folder / "peer-many.db", MANY),
        "peer_memory_one": appends(None, 1),
    }, {}
