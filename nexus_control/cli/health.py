"""The command of those who operate a store: doctor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nexus_control.cli.frame import NOT_VERIFIED, AsJson, Data, Database, carry_out, frame_of, refuse
from nexus_control.cli.screen import Cell, Mark, Screen, columns
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.store import DecisionStore

if TYPE_CHECKING:
    from nexus_control.upkeep import Fault

_REBUILD = "Run `nexus-control doctor --rebuild`: what is derived is made anew from the log, which is whole."
_LOG = "Execute nothing from this store. Compare it with packages and bundles that were exported, and restore a backup."

_DERIVED = {"TREE_DIFFERS": "tree", "PROJECTION_DIFFERS": "projections"}
_BESIDE = "CHECKPOINT_DIFFERS"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(doctor)


def doctor(
    context: typer.Context,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make what is derived anew from the log, if the log is whole.")
    ] = False,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the store: is the log whole, and what is derived from it; does it continue its last checkpoint.

    Example: nexus-control doctor --db decisions.db
    """
    frame = frame_of(context, db, as_json)
    if not Path(frame.path).is_file():
        raise refuse(
            frame, NexusControlError(ErrorCode.STORE_UNAVAILABLE, f"There is no database at {frame.path}")
        )

    def run(store: DecisionStore) -> Data:
        from nexus_control.upkeep import find_faults, rebuild_derived

        faults = find_faults(store)
        rebuilt = 0
        if rebuild and _next(faults) == _REBUILD:
            rebuilt = rebuild_derived(store)
            faults = find_faults(store)
        with store.reading() as session:
            entries = session.rows.log_size()
        return {
            "ok": not faults,
            "entries": entries,
            "rebuilt": rebuilt,
            "checks": _checks(faults),
            "faults": [
                {"code": each.code, "position": each.position, "detail": each.detail} for each in faults
            ],
            "next": _next(faults),
        }

    if not carry_out(frame, run, _show)["ok"]:
        raise typer.Exit(NOT_VERIFIED)


def _of_log(faults: list["Fault"]) -> bool:
    return any(fault.code not in _DERIVED and fault.code != _BESIDE for fault in faults)


def _checks(faults: list["Fault"]) -> Data:
    """A store that opened has all migrations; what is derived is only looked at where the log is whole, and the
    checkpoint only where that is, too.
    """
    codes = {fault.code for fault in faults}
    if _of_log(faults):
        return dict.fromkeys(_MEANING, "skipped") | {"migrations": "pass", "log": "fail"}
    derived = {name: "fail" if code in codes else "pass" for code, name in _DERIVED.items()}
    beside = "skipped" if "fail" in derived.values() else "fail" if _BESIDE in codes else "pass"
    return {"migrations": "pass", "log": "pass", **derived, "checkpoint": beside}


def _next(faults: list["Fault"]) -> str | None:
    if not faults:
        return None
    return _REBUILD if {fault.code for fault in faults} <= _DERIVED.keys() else _LOG


_MEANING = {
    "migrations": "the database has the newest form",
    "log": "every entry has its place, digest and chain hash",
    "tree": "the Merkle tree over the log is that of its entries",
    "projections": "what lists and states are read from is a replay of the log",
    "checkpoint": "the log continues the last checkpoint that was signed, beside the database",
}


def _show(screen: Screen, data: Data) -> None:
    kinds = {"pass": "good", "fail": "bad", "skipped": "stopped"}
    rows: list[tuple[Cell, ...]] = [
        (name, Mark(status, kinds[status]), _MEANING[name])  # pyright: ignore[reportArgumentType]
        for name, status in data["checks"].items()
    ]
    screen.grid(columns("check|status|what it says", rows))
    screen.blank()
    if data["rebuilt"]:
        screen.prose(f"{data['rebuilt']} decisions were made anew from the log.")
    if data["ok"]:
        screen.prose(f"{data['entries']} entries, recomputed.", Mark("Whole.", "good"))
        return
    for fault in data["faults"][:20]:
        screen.prose(fault["detail"], Mark(fault["code"], "bad"))
    screen.prose(data["next"])
