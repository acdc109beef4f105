"""The command `doctor`, for the operator of a store.

Each check passes, fails or is skipped; a skipped check says why, and is never reported as passed. Only `--rebuild` and
`--accept-rollback` write to the store. As with any command, a store that is not in WAL mode (after a dump) is switched
to it, and a file of an earlier schema is led to this version's; the report says so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.at_work import telling
from nexus_control.cli.exit_codes import NOT_VERIFIED
from nexus_control.cli.files import read_bytes
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.hook_chain import problems_of
from nexus_control.cli.hook_registrations import commands_in, problems_in
from nexus_control.cli.screen import Mark, Screen, columns, mark_of
from nexus_control.errors import NexusControlError
from nexus_control.log import upkeep
from nexus_control.log.beside import Look, look_at_key, look_beside
from nexus_control.log.upkeep import Fault
from nexus_control.notify.standing import problems_of_sinks, sink_lines
from nexus_control.storage import is_file
from nexus_control.storage.faults import described, is_damage, is_without_permission
from nexus_control.storage.sqlite_schema import EARLIER, VERSION, schema_in
from nexus_control.store import DecisionStore
from nexus_control.system.whole_files import is_database_in_use, is_regular, is_there
from nexus_control.usecases import listing
from nexus_control.usecases.answers import JsonObject
from nexus_control.usecases.checks import MAX_PAGE
from nexus_control.usecases.list_arguments import ListArguments
from nexus_control.usecases.signing import describe_allowed_signers
from nexus_control.values.results import fault_of

_REBUILD = (
    "The log is whole. Find out who changed the database without nexus-control. Then make the indexes, triggers and"
    " derived tables again from the log, with --rebuild:"
)
_LOG = "Execute nothing from this store. Compare it with packages and bundles that were exported, and restore a backup."
_LOST = (
    "Put back the newer database, which has the entries that the head and checkpoint beside it name. If it is lost,"
    " find out what was executed, denied or taken back since this copy was made, because this store would execute it"
    " again. Then the store's owner accepts the loss, with --accept-rollback:"
)
_RESTORED = (
    "This store was laid out from a backup, and executes and signs nothing yet. Find out what was executed, denied or"
    " taken back since the backup was made, because this store would execute it again. Then its owner accepts the"
    " loss, with --accept-rollback:"
)
_MIGRATED = (
    "The log of this store goes on at the place to which it was migrated: use that. Only if that place was given up,"
    " and nothing of it is used any more, its owner goes on here, with --accept-rollback:"
)
_UNREADABLE = (
    "Find out what happened to that file. Put it back, readable for you, or move it away; then look again:"
)
_EXPOSED = (
    "Make the key readable only for its owner (chmod 600). If somebody else may have read it, give the log a new key,"
    " with `key rotate`. Then look again:"
)

_UNHOOKED = (
    "Mend what is named above. What registers the hook stands in the file as `install --hook` prints it. Then look"
    " again, with --hooks."
)

_UNTOLD = (
    "Find out what the named sinks lack: `nexus-control notify test NAME --config FILE` sends one a test; FILE is the"
    " configuration that has it. Then send what was set aside with `nexus-control notify retry NAME --config FILE`, or"
    " give it up with `nexus-control notify forget NAME`."
)

_FORM = {"FORM_DIFFERS", "INDEX_DIFFERS"}
_UNWRITABLE = "STORE_UNWRITABLE"
_DERIVED = {"TREE_DIFFERS": "tree", "PROJECTION_DIFFERS": "projections"}
_STORE_RESTORED = "STORE_RESTORED"
_STORE_MIGRATED = "STORE_MIGRATED"
_CONTINUED = {"STORE_ROLLED_BACK", _STORE_RESTORED, _STORE_MIGRATED, "CHECKPOINT_DIFFERS"}
_ACCEPTED = (_LOST, _RESTORED, _MIGRATED)
"""What the owner can accept."""
_KEY_EXPOSED = "KEY_EXPOSED"
_BESIDE = {*_CONTINUED, "HEAD_UNREADABLE", "KEY_UNUSABLE", _KEY_EXPOSED, "CHECKPOINT_UNREADABLE"}
_LEFT_BESIDE = ("key", "key.next", "head", "checkpoint", "runs")

_CAN_BE_WRITTEN = "; the database can be written"
_MEANING = {
    "form": f"the tables, indexes and triggers are exactly those of this version{_CAN_BE_WRITTEN}",
    "log": "every entry has its place, digest and chain hash",
    "tree": "the Merkle tree over the log is computed from its entries",
    "projections": "the derived tables, from which lists and states are read, equal a replay of the log",
    "head": "the log has every execution, denial and revocation that the head beside the database names",
    "key": "the key that the log names is there, and readable only by its owner",
    "checkpoint": "the log continues the last signed checkpoint, which lies beside the database",
    "hooks": "the file of the agent host registers the hook for every call of a tool, and its rules and templates are"
    " there",
    "sinks": "every sink took its last message, and was told of every event that is for it",
}


@shared_options("acting_as", "db")
def doctor(
    frame: Frame,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild", help="Make again from the log what is derived from it, if the log is whole."
        ),
    ] = False,
    accept_rollback: Annotated[
        bool,
        typer.Option(
            "--accept-rollback",
            help="As the store's owner, accept that it goes on without the entries that its head and checkpoint name.",
        ),
    ] = False,
    hooks: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also whether this file of an agent host registers the hook for every call."
        ),
    ] = None,
) -> Answer:
    """Check the store: the log, the tables derived from it, and the head, key and checkpoint beside the database.

    Example: nexus-control doctor --db decisions.db
    """
    place = Path(frame.path)
    earlier = schema_in(place) if is_file(frame.path) and not is_database_in_use(place) else None
    unhooked = None if hooks is None else _unhooked(hooks)
    if is_regular(place) and not place.stat().st_size:
        return _answer(frame, _Found([_emptied(str(place))], unhooked=unhooked))
    try:
        frame.require_place(makes=False, maker="request" if hooks is None else "template create")
        # The report says which lines of the file of signers are used.
        store = frame.opened()
    except NexusControlError as fault:
        if not is_damage(fault):
            raise
        return _answer(
            frame, _Found([Fault(code="STORE_UNREADABLE", detail=fault.message)], unhooked=unhooked)
        )
    with store, telling(f"checking {frame.shown}"):
        found = _examined(frame, store, rebuild, accept_rollback)
        led_from = earlier if earlier in EARLIER else None
        found = replace(found, led_from=led_from, unhooked=unhooked, untold=_untold(store))
        return _answer(frame, found)


def _unhooked(file: Path) -> list[str]:
    content = read_bytes("--hooks", file)
    chains = [problem for words in commands_in(file, content) for problem in problems_of(words)]
    return [*problems_in(file, content), *dict.fromkeys(chains)]


@dataclass(frozen=True, slots=True)
class _Found:
    """The faults that were found in a store, and the repairs that were made. `beside` is empty if the files beside the
    database could not be compared with the log.
    """

    faults: list[Fault]
    beside: Mapping[str, Look] = field(default_factory=dict[str, Look])
    entries: int | None = None
    rebuilt: int = 0
    in_vain: bool = False
    """Rebuilding was not enough: the tables that hold data differ, and they are never made again."""
    accepted: bool = False
    approved: list[str] = field(default_factory=list[str])
    signers: JsonObject | None = None
    unwritable: str | None = None
    """Why this user may read the store and not write to it."""
    led_from: int | None = None
    """The earlier schema from which the file was led to this version's when it was opened here."""
    unhooked: list[str] | None = None
    """Why the hook of an agent host would not guard every call; None where no file of a host was named."""
    untold: list[str] | None = None
    """What the sinks were not told; None for a store that has no sinks, or whose tables cannot be read."""

    @property
    def advice(self) -> str | None:
        if not self.faults and self.unhooked:
            return _UNHOOKED
        if not self.faults and self.untold:
            return _UNTOLD
        return _LOG if self.in_vain else _advice(self.faults)

    @property
    def done(self) -> str | None:
        if self.accepted:
            return "It is recorded that the store goes on without the lost entries"
        return f"{self.rebuilt} decisions were made again from the log" if self.rebuilt else None


def _examined(frame: Frame, store: DecisionStore, rebuild: bool, accept_rollback: bool) -> _Found:
    refusal = upkeep.refusal_to_write(store)
    if (rebuild or accept_rollback) and refusal is not None and is_without_permission(refusal):
        raise refusal
    faults, found = upkeep.examine(store, refusal)
    signers = describe_allowed_signers(store)
    rebuilt, in_vain, accepted, approved = 0, False, False, list[str]()
    if rebuild and _advice(faults) == _REBUILD:
        rebuilt = upkeep.rebuild_derived(store)
        faults, found = upkeep.examine(store, refusal)
        in_vain = any(fault.code in _FORM for fault in faults)  # tables of data are never made again
    if accept_rollback and _advice(faults) in _ACCEPTED:
        accepted = upkeep.accept_rollback(store, frame.actor)
        faults, found = upkeep.examine(store, refusal)
    if accepted:
        page = ListArguments(state="approved", limit=MAX_PAGE)
        approved = [line["request_id"] for line in listing.list_requests(store, page)["requests"]]
    beside = dict[str, Look]()
    if not in_vain and {fault.code for fault in faults} <= {*_BESIDE, *_FORM, _UNWRITABLE}:
        key = look_at_key(store)
        if key.status == "fail":
            faults = [*faults, Fault(code=key.code, detail=key.reason)]
        beside = {**(found or look_beside(store)), "key": key}
    unwritable = _unwritable(refusal)
    return _Found(faults, beside, _entries(store), rebuilt, in_vain, accepted, approved, signers, unwritable)


def _untold(store: DecisionStore) -> list[str] | None:
    lines = fault_of(lambda: sink_lines(store))
    if isinstance(lines, NexusControlError):
        if not is_damage(lines):
            raise lines
        return None
    return problems_of_sinks(lines) if lines else None


def _unwritable(fault: NexusControlError | None) -> str | None:
    if fault is None or not is_without_permission(fault):
        return None
    file = fault.details.get("unwritable")
    return described(Path(file)) if isinstance(file, str) else fault.message


def _entries(store: DecisionStore) -> int | None:
    """The number of the log's entries; None if it cannot be read."""
    try:
        with store.reading() as session:
            return session.rows.log_size()
    except NexusControlError as fault:
        if not is_damage(fault):
            raise
        return None


def _emptied(path: str) -> Fault:
    left = [f"{path}.{name}" for name in _LEFT_BESIDE if is_there(f"{path}.{name}")]
    said = f": {', '.join(left)} beside it says that there was a store in it" if left else ""
    return Fault(code="STORE_EMPTIED", detail=f"{path} is an empty file, not a store{said}")


def _answer(frame: Frame, found: _Found) -> Answer:
    faults = found.faults
    checks, reasons = _checks(faults, found.beside)
    if found.unwritable is not None:
        checks["writing"], reasons["writing"] = "skipped", f"you may only read this store: {found.unwritable}"
    if found.unhooked is not None:
        checks["hooks"] = "fail" if found.unhooked else "pass"
    if found.untold is not None:
        checks["sinks"] = "fail" if found.untold else "pass"
    is_well = not found.unhooked and not found.untold
    options = {_REBUILD: ["--rebuild"]} | {each: ["--accept-rollback"] for each in _ACCEPTED}
    advice, command = found.advice, None
    if advice not in (None, _LOG, _UNHOOKED, _UNTOLD):
        command = frame.command("doctor", *options.get(advice, []))
    data = {
        "ok": not faults and is_well,
        "entries": found.entries,
        "rebuilt": found.rebuilt,
        "accepted": found.accepted,
        "led_from_schema": found.led_from,
        "approved": found.approved,
        "checks": checks,
        "reasons": reasons,
        "allowed_signers": found.signers,
        **({} if found.unhooked is None else {"hooks": found.unhooked}),
        **({} if found.untold is None else {"sinks": found.untold}),
        "faults": [{"code": each.code, "position": each.position, "detail": each.detail} for each in faults],
        "next": advice,
        "command": command,
    }

    unsaid = "" if found.unwritable is None else _CAN_BE_WRITTEN

    def show(screen: Screen) -> None:
        rows = [
            (name, mark_of(status), reasons.get(name) or _said(faults, name, status).removesuffix(unsaid))
            for name, status in checks.items()
        ]
        screen.grid(columns("check|status|what it says", rows))
        screen.blank()
        _show_done(screen, found)
        for problem in found.unhooked or ():
            screen.prose(f"{problem}.", Mark("hooks:", "bad"))
        for problem in found.untold or ():
            screen.prose(f"{problem}.", Mark("sinks:", "bad"))
        if not faults:
            skipped = f" Not looked at: {', '.join(reasons)}." if reasons else ""
            whole = "Whole." if is_well else "The store is whole."
            screen.prose(f"{found.entries} entries, recomputed.{skipped}", Mark(whole, "good"))
        for fault in faults[:20]:
            screen.prose(fault.detail, Mark(fault.code, "bad"))
        if advice:
            screen.prose(advice)
        if command:
            screen.verbatim(command)

    return Answer(data, show, found.done, 0 if not faults and is_well else NOT_VERIFIED)


def _checks(faults: list[Fault], beside: Mapping[str, Look]) -> tuple[dict[str, str], dict[str, str]]:
    """The status of each check, and the reason of each skipped one. The derived tables are only checked if the log is
    whole; the files beside the database only if the derived tables are whole too.
    """
    codes = {fault.code for fault in faults}
    unread = bool(codes & {"STORE_UNREADABLE", "STORE_EMPTIED"})
    is_whole = not codes - _DERIVED.keys() - _BESIDE - _FORM - {_UNWRITABLE} or bool(beside)
    checks = {
        "form": "fail" if codes & {*_FORM, _UNWRITABLE} else "skipped" if unread and not beside else "pass"
    }
    checks["log"] = "pass" if is_whole else "fail"
    for code, name in _DERIVED.items():
        checks[name] = "skipped" if not is_whole else "fail" if code in codes else "pass"
    for name in ("head", "key", "checkpoint"):
        checks[name] = beside[name].status if name in beside else "skipped"
    reasons = {
        name: (beside[name].reason if name in beside else _NOT_LOOKED_AT)
        for name, status in checks.items()
        if status == "skipped"
    }
    return checks, reasons


_NOT_LOOKED_AT = "not looked at: it is compared with something that is not whole"


def _advice(faults: list[Fault]) -> str | None:
    codes = {fault.code for fault in faults}
    if not codes:
        return None
    if codes - _DERIVED.keys() - _BESIDE - _FORM:
        return _LOG
    if codes & {*_DERIVED, *_FORM}:
        return _REBUILD
    if codes <= _CONTINUED:
        return _MIGRATED if _STORE_MIGRATED in codes else _RESTORED if _STORE_RESTORED in codes else _LOST
    return _EXPOSED if codes == {_KEY_EXPOSED} else _UNREADABLE


def _said(faults: list[Fault], name: str, status: str) -> str:
    if name == "key" and any(fault.code == _KEY_EXPOSED for fault in faults):
        return "not only its owner may read it"
    if name == "hooks" and status == "fail":
        return "not every call of a tool is known to be guarded, or can be decided; below stands why"
    if name == "sinks" and status == "fail":
        return "a sink fails, or was not told of an event; below stands which"
    return f"not so: {_MEANING[name]}" if status == "fail" else _MEANING[name]


def _show_done(screen: Screen, found: _Found) -> None:
    """Shows the repairs, and the lines of the file of signers that let nobody sign. Prints nothing about the file if
    all its lines are used.
    """
    if found.led_from is not None:
        screen.prose(
            f"The file had schema {found.led_from}, of an earlier version. It was led to schema {VERSION} when it was"
            " opened now; earlier versions refuse it."
        )
    if found.rebuilt:
        screen.prose(f"{found.rebuilt} decisions were made again from the log.")
    if found.accepted:
        screen.prose("The log records that the store goes on without the lost entries.")
    if found.approved:
        screen.prose(
            "These requests are approved here, but their executions may be among the lost entries. Deny each request"
            " that was executed, or of which nobody knows:"
        )
        for request_id in found.approved:
            screen.verbatim(request_id)
    signers = found.signers or {"problem": None, "skipped": [], "without_origin": []}
    mark = Mark("allowed signers:", "stopped")
    if signers["problem"]:
        screen.prose(f"{signers['problem']}; no signed approval counts until then.", mark)
    for each in signers["skipped"]:
        screen.prose(f"line {each['line']} of {signers['file']} is skipped: {each['why']}.", mark)
    for each in signers["without_origin"]:
        said = f"line {each['line']} of {signers['file']} does not count: it is a passkey of {each['rp_id']}"
        screen.prose(f"{said}, for which neither --origin nor [inbox] allows an origin.", mark)
