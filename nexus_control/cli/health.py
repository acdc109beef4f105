"""The command of those who operate a store: doctor."""

from typing import TYPE_CHECKING, Annotated

import typer

from nexus_control import arguments as door
from nexus_control.cli.frame import (
    NOT_VERIFIED,
    ActingAs,
    AsJson,
    Data,
    Database,
    carry_out,
    frame_of,
    identity,
)
from nexus_control.cli.screen import Cell, Mark, Screen, columns
from nexus_control.store import DecisionStore
from nexus_control.usecases import listing

if TYPE_CHECKING:
    from nexus_control.upkeep import Fault

_REBUILD = "Run `nexus-control doctor --rebuild`: what is derived is made anew from the log, which is whole."
_LOG = "Execute nothing from this store. Compare it with packages and bundles that were exported, and restore a backup."
_LOST = (
    "Put back the database that continues what lies beside it. If it is lost, find out what was executed, denied or"
    " taken back since this copy was made, for this store would execute it again. Then whoever owns the store runs"
    " `nexus-control doctor --accept-rollback`."
)

_DERIVED = {"TREE_DIFFERS": "tree", "PROJECTION_DIFFERS": "projections"}
_BESIDE = {"STORE_ROLLED_BACK": "head", "CHECKPOINT_DIFFERS": "checkpoint"}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(doctor)


def doctor(
    context: typer.Context,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make what is derived anew from the log, if the log is whole.")
    ] = False,
    accept_rollback: Annotated[
        bool,
        typer.Option(
            "--accept-rollback",
            help="You own the store, and accept that it goes on without what its head and checkpoint know of.",
        ),
    ] = False,
    acting_as: ActingAs = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the store: is the log whole, and what is derived from it; does it continue what lies beside it.

    Example: nexus-control doctor --db decisions.db
    """
    frame = frame_of(context, db, as_json)

    def run(store: DecisionStore) -> Data:
        from nexus_control import upkeep

        faults = upkeep.find_faults(store)
        rebuilt, accepted = 0, False
        if rebuild and _next(faults) == _REBUILD:
            rebuilt = upkeep.rebuild_derived(store)
            faults = upkeep.find_faults(store)
        if accept_rollback and _next(faults) == _LOST:
            accepted = upkeep.accept_rollback(store, identity(acting_as)[0])
            faults = upkeep.find_faults(store)
        approved = list[Data]()
        if accepted:
            page = door.validated(door.ListArguments, {"state": "approved", "limit": door.MAX_PAGE})
            approved += listing.list_requests(store, page)["requests"]
        unknown = None if faults else upkeep.unknown_to_head(store)
        with store.reading() as session:
            entries = session.rows.log_size()
        return {
            "ok": not faults,
            "entries": entries,
            "rebuilt": rebuilt,
            "accepted": accepted,
            "approved": [line["request_id"] for line in approved],
            "checks": _checks(faults, unknown),
            "notes": [unknown] if unknown else [],
            "faults": [
                {"code": each.code, "position": each.position, "detail": each.detail} for each in faults
            ],
            "next": _next(faults),
        }

    if not carry_out(frame, run, _show, _done)["ok"]:
        raise typer.Exit(NOT_VERIFIED)


def _done(data: Data) -> str | None:
    if data["accepted"]:
        return "That the store goes on without what it has lost is recorded"
    return f"{data['rebuilt']} decisions were made anew from the log" if data["rebuilt"] else None


def _checks(faults: list["Fault"], unknown: str | None) -> Data:
    """A store that opened has all migrations; what is derived is only looked at where the log is whole, and what lies
    beside it only where that is, too. `unknown` is why the head says less than it might.
    """
    codes = {fault.code for fault in faults}
    if codes - _DERIVED.keys() - _BESIDE.keys():
        return dict.fromkeys(_MEANING, "skipped") | {"migrations": "pass", "log": "fail"}
    derived = {name: "fail" if code in codes else "pass" for code, name in _DERIVED.items()}
    if "fail" in derived.values():
        beside = dict.fromkeys(_BESIDE.values(), "skipped")
    else:
        beside = {name: "fail" if code in codes else "pass" for code, name in _BESIDE.items()}
        if unknown:
            beside["head"] = "info"
    return {"migrations": "pass", "log": "pass", **derived, **beside}


def _next(faults: list["Fault"]) -> str | None:
    codes = {fault.code for fault in faults}
    if not codes:
        return None
    if codes <= _DERIVED.keys():
        return _REBUILD
    return _LOST if codes <= _BESIDE.keys() else _LOG


_MEANING = {
    "migrations": "the database has the newest form",
    "log": "every entry has its place, digest and chain hash",
    "tree": "the Merkle tree over the log is that of its entries",
    "projections": "what lists and states are read from is a replay of the log",
    "head": "the log continues what was executed, denied or taken back, as the head beside it says",
    "checkpoint": "the log continues the last checkpoint that was signed, beside the database",
}


def _meaning(name: str, status: str) -> str:
    return f"not so: {_MEANING[name]}" if status == "fail" else _MEANING[name]


def _show(screen: Screen, data: Data) -> None:
    kinds = {"pass": "good", "fail": "bad", "info": "stopped", "skipped": "stopped"}
    rows: list[tuple[Cell, ...]] = [
        (name, Mark(status, kinds[status]), _meaning(name, status))  # pyright: ignore[reportArgumentType]
        for name, status in data["checks"].items()
    ]
    screen.grid(columns("check|status|what it says", rows))
    screen.blank()
    if data["rebuilt"]:
        screen.prose(f"{data['rebuilt']} decisions were made anew from the log.")
    if data["accepted"]:
        screen.prose("That the store goes on without what it has lost is recorded in its log.")
    if data["approved"]:
        screen.prose(
            "These requests are approved here, and may have been executed in what was lost. Deny each that was, or that"
            " nobody can tell:"
        )
        for request_id in data["approved"]:
            screen.verbatim(request_id)
    for note in data["notes"]:
        screen.prose(note, Mark("head:", "stopped"))
    if data["ok"]:
        screen.prose(f"{data['entries']} entries, recomputed.", Mark("Whole.", "good"))
        return
    for fault in data["faults"][:20]:
        screen.prose(fault["detail"], Mark(fault["code"], "bad"))
    screen.prose(data["next"])
