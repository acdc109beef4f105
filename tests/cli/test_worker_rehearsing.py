"""A worker rehearses what people could not approve otherwise: on a clock that stands still, with real programs."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nexus_control import LocalRouter, NexusControlTools, load_adapters
from nexus_control.cli.worker_loop import Orders
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.usecases.arguments import ExecuteArguments, validated
from nexus_control.usecases.executing import execute
from nexus_control.usecases.working import FIRST_PAUSE
from nexus_control.values.results import ToolResult
from tests.cli.test_worker_loop import WORKER, Desk, nothing, row_reads
from tests.support.governed import ALICE, BOB, data_of

CONFIG = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.files.tools.copy]
argv = ["sh", "-c", "echo applied >> log; cp source.txt target.txt"]
dry_run_argv = ["sh", "-c", "echo rehearsed >> log; cat source.txt"]
"""
ADAPTER = "subprocess:files"
PLAN: list[dict[str, Any]] = [
    {"step_id": "1", "intent": "Copy", "call": {"tool": "files", "method": "copy", "args": {}}}
]
REHEARSED, EXECUTED = ("rehearse", "completed", ""), ("execute", "completed", "")


class Place:
    """A desk, and a folder whose file a program copies; its dry run prints what would be copied."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.desk = folder, Desk(folder)
        self.tools: NexusControlTools = self.desk.tools
        (folder / "nexus-control.toml").write_text(CONFIG)
        self.router = LocalRouter(
            load_adapters(folder / "nexus-control.toml"), folder / "runs.db", clock=self.desk.clock
        )
        self.source("one\n")

    def source(self, text: str) -> None:
        (self.folder / "source.txt").write_text(text)

    def is_broken(self) -> None:
        (self.folder / "source.txt").unlink()

    def asked(self, **request: Any) -> str:
        policy: dict[str, Any] = {
            "require_rehearsal": {"max_age_seconds": 3600},
            "dispatch": "worker",
            "plan": PLAN,
        }
        asked = self.tools.request("Copy", ALICE, mode="apply", adapter_id=ADAPTER, **(policy | request))
        return data_of(asked)["request_id"]

    def approve(self, request_id: str, actor: Any = BOB, **more: Any) -> ToolResult[Any]:
        return self.tools.approve(request_id, actor, **more)

    def work(self, *script: Any) -> list[tuple[str, ...]]:
        """What this worker told, beyond what earlier ones did."""
        before = len(self.desk.told)
        self.desk.waits.clear()
        return self.desk.work(*script, router=self.router)[before:]

    def log(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().split() if log.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_it_rehearses_at_once_and_executes_what_a_person_approved_of_it(place: Place) -> None:
    request_id = place.asked()
    assert place.approve(request_id).error_code == "REHEARSAL_REQUIRED"

    def approve() -> None:
        shown = data_of(place.tools.status(request_id))["rehearsal"]
        data_of(place.approve(request_id, rehearsal_digest=shown["digest"]))

    assert place.work(nothing, approve, nothing) == [REHEARSED, EXECUTED]
    assert place.log() == ["rehearsed", "applied"]
    assert [each.effect for each in place.desk.told] == ["none", "done"]
    assert data_of(place.tools.status(request_id))["state"] == "completed"


def test_what_needs_no_rehearsal_is_for_another_adapter_or_not_for_a_worker_is_not_rehearsed(
    place: Place,
) -> None:
    place.asked(require_rehearsal=None)
    place.asked(dispatch=None)
    data_of(
        place.tools.request(
            "x", ALICE, "apply", PLAN, adapter_id="subprocess:vault", dispatch="worker",
            require_rehearsal={"max_age_seconds": 1},
        )
    )  # fmt: skip
    ended = [place.asked(), place.asked(expires_in="1s")]
    data_of(place.tools.deny(ended[0], BOB, "no"))
    place.desk.clock.advance(seconds=2)
    assert (place.work(nothing), place.log()) == ([], [])


def test_it_rehearses_again_when_the_last_good_one_is_too_old_for_an_approval(place: Place) -> None:
    place.asked()
    place.desk.orders = Orders(actor=WORKER, poll=timedelta(minutes=50))
    assert place.work(*[nothing] * 3) == [REHEARSED] * 2  # at once, and 100 minutes later
    assert place.log() == ["rehearsed"] * 2


def test_it_makes_rehearsals_that_are_soon_too_old_at_a_pace(place: Place) -> None:
    place.asked(require_rehearsal={"max_age_seconds": 1})
    told = place.work(*[nothing] * 100)
    assert told == [REHEARSED] * (1 + 100 // (int(FIRST_PAUSE.total_seconds()) + 1))


def test_of_several_approvals_those_given_stay_and_the_rest_have_a_fresh_rehearsal(place: Place) -> None:
    request_id = place.asked(min_approvals=2)
    place.work(nothing, lambda: data_of(place.approve(request_id)))
    place.desk.clock.advance(hours=2)
    carol = {"type": "human", "id": "carol"}
    told = place.work(nothing, lambda: data_of(place.approve(request_id, carol)), nothing)
    assert told == [REHEARSED, EXECUTED]
    assert place.log() == ["rehearsed", "rehearsed", "applied"]


def test_a_request_that_has_expired_is_not_rehearsed_again(place: Place) -> None:
    place.asked(expires_in="90m")
    place.work(nothing)
    place.desk.clock.advance(hours=2)
    assert (place.work(nothing), place.log()) == ([], ["rehearsed"])


def test_a_rehearsal_that_failed_is_not_made_again_by_itself_by_any_worker(place: Place) -> None:
    request_id = place.asked()
    place.is_broken()
    assert place.work(*[nothing] * 50) == [("rehearse", "failed", "NONZERO_EXIT")]
    place.source("mended\n")
    place.desk.clock.advance(days=1)
    assert (place.work(*[nothing] * 50), place.log()) == ([], ["rehearsed"])
    refused = place.approve(request_id)
    assert (refused.error_code, "new request" in (refused.next or "")) == ("REHEARSAL_REQUIRED", True)


def test_a_rehearsal_that_failed_is_made_again_when_an_event_comes_after_it(place: Place) -> None:
    request_id = place.asked(min_approvals=2)
    place.work(nothing, lambda: data_of(place.approve(request_id)))
    place.is_broken()
    place.desk.clock.advance(hours=2)
    assert [each[1] for each in place.work(nothing)] == ["failed"]
    place.source("one\n")
    told = place.work(
        nothing, lambda: data_of(place.tools.revoke_approval(request_id, BOB, "I look again")), nothing
    )
    assert (told, len(place.log())) == ([REHEARSED], 3)


def test_a_rehearsal_whose_outcome_nobody_knew_is_made_again_once_a_person_found_out(place: Place) -> None:
    request_id = place.asked()
    values = {"request_id": request_id, "adapter_id": ADAPTER, "actor": WORKER, "dry_run": True}

    class Lost(LocalRouter):
        def run(self, *_: Any, **__: Any) -> Any:
            raise TimeoutError("lost")

    lost = Lost(place.router.adapters)
    with pytest.raises(NexusControlError) as fault:
        execute(place.tools.store, validated(ExecuteArguments, values), lost, by_worker=True)
    assert fault.value.code is ErrorCode.OUTCOME_UNKNOWN
    assert place.work(nothing) == []
    told = place.work(
        lambda: data_of(place.tools.reconcile(request_id, BOB, "failed", "nothing was done")), nothing
    )
    assert told == [REHEARSED]


def test_a_worker_that_comes_too_late_rehearses_nothing_and_makes_no_approval_stale(place: Place) -> None:
    request_id = place.asked()
    values = {"request_id": request_id, "adapter_id": ADAPTER, "actor": WORKER, "dry_run": True}
    rehearse = validated(ExecuteArguments, values)
    execute(place.tools.store, rehearse, place.router, by_worker=True)
    for state in ("pending_approval", "approved"):
        place.source(f"{state}\n")
        with pytest.raises(NexusControlError) as fault:
            execute(place.tools.store, rehearse, place.router, by_worker=True)
        assert (fault.value.code, place.log()) == (ErrorCode.INVALID_STATE, ["rehearsed"])
        if state == "pending_approval":
            data_of(place.approve(request_id))
            place.desk.clock.advance(hours=2)
    assert data_of(place.tools.status(request_id))["state"] == "approved"


def test_an_adapter_that_cannot_rehearse_is_told_once_and_tried_again_after_growing_pauses(
    place: Place,
) -> None:
    place.asked()
    config = place.folder / "nexus-control.toml"
    config.write_text(CONFIG.replace('"apply", "dry_run"', '"apply"'))
    place.router = LocalRouter(load_adapters(config), clock=place.desk.clock)
    assert place.work(*[nothing] * 100) == [("refuse", "refused", "ROUTER_NOT_READY")]


def test_an_idle_look_reads_nothing_of_what_waits_for_an_approval(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        place.asked()
    reads = row_reads(place.desk, monkeypatch)
    place.work(*[nothing] * 20)
    assert set(reads) == {0}
    assert len(place.log()) == 3
