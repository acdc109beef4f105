"""What is said around runs and stores: run show, wait, recover, reconcile, init, backup, restore, events, doctor."""

from pathlib import Path
from typing import Any

from nexus_control import LocalRouter, PythonAdapter
from nexus_control.log import backup
from tests.cli.screens.golden import NOW, Screen, Shot, at_work, each
from tests.cli.screens.scenes import ALICE, BOB, GOOD, PROGRAM, RELEASES, Office, answer, one_of_each
from tests.support.governed import data_of

DATABASE = "nexus-control.db"


def cut_off(folder: Path) -> dict[str, str]:
    """A run that was cut off in its second step: its claim, and the run log with the first step."""
    seen: dict[Path, bytes] = {}

    def rotate() -> object:
        return {"rotated": 4}

    def look() -> object:
        seen.update({each: each.read_bytes() for each in folder.iterdir() if not each.name.endswith("-shm")})
        return None

    plan: list[dict[str, Any]] = [
        {"step_id": name, "intent": name, "call": {"tool": "keys", "method": name, "args": {}}}
        for name in ("rotate", "restart")
    ]
    adapter = PythonAdapter("keys", {"rotate": rotate, "restart": look})
    with (
        at_work(folder) as (tools, clock),
        LocalRouter([adapter], folder / f"{DATABASE}.runs", clock=clock) as router,
    ):
        clock.advance(hours=23)
        asked: dict[str, Any] = {"mode": "apply", "plan": plan, "adapter_id": "python:keys"}
        request_id = data_of(tools.request("Rotate the keys", ALICE, **asked))["request_id"]
        data_of(tools.approve(request_id, BOB))
        data_of(tools.execute(request_id, "python:keys", RELEASES, router))
    for path in folder.iterdir():
        path.unlink()
    for path, content in seen.items():
        path.write_bytes(content)
    return {"id": request_id}


def given_up(folder: Path) -> dict[str, str]:
    named = cut_off(folder)
    with at_work(folder) as (tools, clock):
        clock.advance(hours=23, minutes=30)
        data_of(tools.recover(named["id"], force=True))
    return named


def one(folder: Path) -> dict[str, str]:
    """A store with one request, which was carried out."""
    with at_work(folder) as (tools, clock):
        office = Office(tools, clock)
        office.ask("id", "Rotate the keys")
        office.agree("id")
        office.run("id", answer(GOOD, PROGRAM))
    return office.ids


def kept(folder: Path) -> dict[str, str]:
    named = one(folder)
    backup.back_up(folder / DATABASE, folder / "store.zip", at=NOW, with_keys=True)
    return named


SETTLED = ("reconcile", "--outcome", "failed", "--evidence", "the keys are as they were")
SCREENS = {
    "run-show": Screen("run", "show", "@completed", store=one_of_each),
    "run-show-failed": Screen("run", "show", "@failed", store=one_of_each),
    "run-show-cut-off": Screen("run", "show", store=given_up),
    "wait": Screen("wait", "@dry_run", store=one_of_each),
    "wait-time-is-up": Screen("wait", "@pending", "--timeout", "1s", store=one_of_each),
    "wait-ended-before": Screen("wait", store=one),
    "recover": Screen("recover", store=cut_off),
    "recover-forced": Screen("recover", "@id", "--force", store=cut_off),
    "reconcile": Screen(*SETTLED, store=given_up),
    "init": Screen("init"),
    "init-group": Screen("init", "--group", "team"),
    "backup": Screen("backup", "store.zip", store=one),
    "restore": Screen("restore", "store.zip", "--db", "restored.db", store=kept),
    "events": Screen("events", "--limit", "3", store=one),
    "audit-file": Screen("audit", "-o", "package.json", store=one),
    "doctor": Screen("doctor", store=one),
}


@each(SCREENS)
def test_runs_and_stores_look_as_they_did(shot: Shot) -> None:
    shot.check()
