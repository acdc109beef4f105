"""The commands that decide: approve, deny, revoke, withdraw.

Before a person decides, the command shows the request (`cli.reviewing`) and asks; the answer `?` shows all of it. The
verdict is about the request as it was shown: its basis is part of the verdict, and of a signed statement too. In a pipe
nobody can be asked. There `--yes` says that the answer was given elsewhere, and the assurance is never *local*.
"""

import sys
import termios
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, Generic, TypeVar

import typer

from nexus_control.cli.adapters import adapters_at_hand, named_in_commands
from nexus_control.cli.frame import Answer, Frame, identity, shared_options
from nexus_control.cli.naming import MOST, Fit, approved_by, awaiting, chosen, requested_by, short
from nexus_control.cli.options import FittingId, UsualConfig
from nexus_control.cli.reviewing import Review, review_of
from nexus_control.cli.screen import DONE, Screen
from nexus_control.cli.signing import SignatureFile, Signing, SignKey, StatementFile
from nexus_control.cli.streams import require_shown
from nexus_control.cli.times import Times
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.router import RouterProtocol
from nexus_control.render.decision import render_decision
from nexus_control.render.guarded import how_to_go_on, is_guarded_call, who_runs
from nexus_control.render.policy import agreed, missing_words
from nexus_control.render.will_run import BY_WORKER, NOT_AT_HAND
from nexus_control.store import DecisionStore
from nexus_control.system.commands import Options
from nexus_control.usecases import arguments as door
from nexus_control.usecases import deciding, views
from nexus_control.usecases.answers import ApprovalData, InspectData, StateData
from nexus_control.usecases.list_answers import RequestLine
from nexus_control.usecases.signing import require_basis_of
from nexus_control.values.actors import Actor
from nexus_control.values.guarded import is_guarded
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import Assurance
from nexus_control.values.results import looking_after

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask: for where there is no terminal. Needs ID.")]
Full = Annotated[bool, typer.Option("--full", help="Show everything before the question, as ? does at it.")]
Reason = Annotated[str, typer.Option(help="Why; it is recorded.")]

_ArgumentsT = TypeVar("_ArgumentsT", bound=door.ShownArguments)


@dataclass(frozen=True, slots=True)
class Act(Generic[_ArgumentsT]):
    """A verdict: its verb, the model of its arguments, what was `said` for them, and the use case that records it."""

    verb: str
    model: type[_ArgumentsT]
    said: Mapping[str, object]
    record: Callable[[DecisionStore, _ArgumentsT, Assurance], ApprovalData | StateData]

    def arguments(self, **given: object) -> _ArgumentsT:
        return door.validated(self.model, {**given, **self.said})


@dataclass(frozen=True, slots=True)
class Asking:
    """The options that say what is shown before the question: with which adapters, all of it, or nothing (`yes`)."""

    config: Path | None
    full: bool
    yes: bool


@shared_options("acting_as", "allowed_signers", "utc", "db")
def approve(
    frame: Frame,
    request_id: FittingId = None,
    comment: Annotated[str | None, typer.Option(help="A comment; it is recorded.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="When the approval runs out (ISO 8601).")] = None,
    config: UsualConfig = None,
    full: Full = False,
    yes: Yes = False,
    sign: SignKey = None,
    signature: SignatureFile = None,
    statement: StatementFile = None,
) -> Answer:
    """Approve a request, after looking at it.

    Example: nexus-control approve 0d1c0d39 --comment "checked the plan"
    """

    def record(store: DecisionStore, checked: door.ApproveArguments, assurance: Assurance) -> ApprovalData:
        return deciding.approve(store, checked, assurance=assurance)

    act = Act("approve", door.ApproveArguments, {"comment": comment, "expires_at": expires_at}, record)
    signing = Signing("approve", sign, signature, statement, expires_at)
    return _decide(frame, request_id, _to_approve, act, Asking(config, full, yes), signing)


@shared_options("acting_as", "allowed_signers", "utc", "db")
def deny(
    frame: Frame,
    reason: Reason,
    request_id: FittingId = None,
    config: UsualConfig = None,
    full: Full = False,
    yes: Yes = False,
    sign: SignKey = None,
    signature: SignatureFile = None,
    statement: StatementFile = None,
) -> Answer:
    """Refuse a request as an approver; it ends there.

    Example: nexus-control deny 0d1c0d39 --reason "not during the freeze"
    """

    def record(store: DecisionStore, checked: door.DenyArguments, assurance: Assurance) -> StateData:
        return deciding.deny(store, checked, assurance=assurance)

    act = Act("deny", door.DenyArguments, {"reason": reason}, record)
    signing = Signing("deny", sign, signature, statement)
    return _decide(frame, request_id, awaiting, act, Asking(config, full, yes), signing)


@shared_options("acting_as", "allowed_signers", "utc", "db")
def revoke(
    frame: Frame,
    reason: Reason,
    request_id: FittingId = None,
    config: UsualConfig = None,
    full: Full = False,
    yes: Yes = False,
    sign: SignKey = None,
    signature: SignatureFile = None,
    statement: StatementFile = None,
) -> Answer:
    """Take your own approval back, before the execution.

    Example: nexus-control revoke 0d1c0d39 --reason "wrong window"
    """

    def record(store: DecisionStore, checked: door.RevokeArguments, _: Assurance) -> ApprovalData:
        return deciding.revoke_approval(store, checked)

    act = Act("revoke your approval of", door.RevokeArguments, {"reason": reason}, record)
    signing = Signing("revoke", sign, signature, statement)
    return _decide(frame, request_id, approved_by, act, Asking(config, full, yes), signing)


@shared_options("acting_as", "utc", "db")
def withdraw(
    frame: Frame, reason: Reason, request_id: FittingId = None, full: Full = False, yes: Yes = False
) -> Answer:
    """Take your own request back.

    Example: nexus-control withdraw 0d1c0d39 --reason "no longer needed"
    """

    def record(store: DecisionStore, checked: door.WithdrawArguments, _: Assurance) -> StateData:
        return deciding.withdraw(store, checked)

    act = Act("withdraw", door.WithdrawArguments, {"reason": reason}, record)
    return _decide(frame, request_id, requested_by, act, Asking(None, full, yes), Signing("withdraw"))


def _decide(
    frame: Frame,
    given: str | None,
    fitting: Callable[[Actor], Fit],
    act: Act[_ArgumentsT],
    asking: Asking,
    signing: Signing,
) -> Answer:
    with frame.store() as store:
        actor, assurance = identity(frame.acting_as)
        if not asking.yes:
            _require_somebody_to_ask(given)
        request_id = chosen(store, given, fitting(actor), yes=asking.yes)
        signing.require_usable(frame, store, actor)
        if asking.yes:
            assurance = "declared"  # because nobody answered at a terminal
        known = "signed" if signing.is_asked_for else assurance
        adapters = named_in_commands(asking.config, frame)
        with _naming_the_rehearsal(frame, request_id, adapters):
            deciding.require_may_decide(store, act.arguments(request_id=request_id, actor=actor), known)
        shown = None if asking.yes else _Shown.of(store, request_id, asking, act, frame.utc)
        basis = shown and shown.basis
        stated = signing.stated(store, request_id, actor)
        if stated is not None:
            require_basis_of(stated, basis)
        if shown is not None:
            shown.require_consent(f"{act.verb.capitalize()} this request as {actor} ({known})?")
        arguments: dict[str, object] = {"request_id": request_id, "actor": actor, "basis": basis}
        if act.model is door.ApproveArguments:
            arguments["rehearsal_digest"] = shown and shown.rehearsal_digest
        if stated is not None:
            arguments |= {"statement": stated, "signature": signing.signature_of(stated)}
        with _naming_the_rehearsal(frame, request_id, adapters):
            data = act.record(store, act.arguments(**arguments), assurance)
        done = f"It is recorded that you {act.verb} {data['request_id']}"
        with looking_after(done):
            decided, named = _inspected(store, request_id, None), short(store, request_id)
    return Answer(data, _told(frame, data, decided, named, adapters), done)


@contextmanager
def _naming_the_rehearsal(frame: Frame, request_id: str, adapters: Path | None) -> Generator[None]:
    """In the block, a refusal because nothing was rehearsed names the command that rehearses, with these adapters,
    unless a worker does.
    """
    try:
        yield
    except NexusControlError as fault:
        if fault.code is ErrorCode.REHEARSAL_REQUIRED and "dispatch" not in fault.details:
            fault.details["command"] = frame.executing(request_id, config=adapters, rehearses=True)
        raise


def _told(
    frame: Frame, data: ApprovalData | StateData, decided: InspectData, named: str, adapters: Path | None
) -> Callable[[Screen], None]:
    """Shows what the verdict made of the request, whose verdict is still needed, and what to type next. `adapters` is
    the file that declares adapters here, for the command that comes next.
    """
    is_signed = decided["policy"] is not None and decided["policy"].get("min_assurance") == "signed"
    signers: Options = frame.who_signs if is_signed else {}

    def show(screen: Screen) -> None:
        request_id, state = named if screen.is_terminal else data["request_id"], data["state"]
        approval = decided["approval"]
        count = agreed(approval["current"], approval["required"], approval.get("groups_missing"))
        if state in _ENDED:
            screen.prose(f"{request_id} is {state}. {_ENDED[state]}", DONE)
            return
        screen.prose(f"{request_id} is {state}: {count}.", DONE)
        if state == "pending_approval":
            screen.prose(f"{missing_words(decided)}.")
            screen.verbatim(frame.approving(request_id, config=adapters, signed=is_signed))
        elif not decided["lifecycle"]["blocking_reasons"]:
            adapter = decided["decision"]["adapter_id"]
            if is_guarded(adapter):
                screen.prose(f"{who_runs(adapter)} {how_to_go_on(adapter)}")
                return
            if "dispatch" in decided["decision"]:
                screen.prose(BY_WORKER)
                return
            screen.prose("It can be executed now:")
            # Where adapters are declared, `execute` finds the one that takes the plan.
            adapter = adapter or (None if adapters else "KIND:NAME")
            options = {"--adapter": adapter, **signers}
            screen.verbatim(frame.executing(request_id, config=adapters, options=options))

    return show


_ENDED: Final = {
    "denied": "It ends here and is never executed.",
    "withdrawn": "It ends here and is never executed.",
    "expired": "It is never executed; somebody has to ask again.",
}
"""What follows from a state in which nobody can approve."""


def _to_approve(actor: Actor) -> Fit:
    """What waits for this person. Where nothing does, the only open request that they have approved already is refused
    by that name: a second `approve` is a question about the first.
    """
    waiting = awaiting(actor)

    def lines(store: DecisionStore) -> Iterator[RequestLine]:
        found = list(islice(waiting.lines(store), MOST + 1))
        yield from found
        approved = [] if found else list(islice(approved_by(actor).lines(store), 2))
        if len(approved) == 1:
            raise _already_approved(store, approved[0]["request_id"], actor)

    return Fit(waiting.which, lines)


def _already_approved(store: DecisionStore, request_id: str, actor: Actor) -> NexusControlError:
    decided = _inspected(store, request_id, None)
    still, advice = "It needs no other approval", "Look at what is next with `status`."
    if not decided["approval"]["is_approved"]:
        still, advice = missing_words(decided), None
    return NexusControlError(
        ErrorCode.ALREADY_APPROVED,
        f"{actor.id} has approved request {short(store, request_id)} already. {still}",
        {"approver": actor.id, "request_id": request_id},
        advice,
    )


def _inspected(store: DecisionStore, request_id: str, router: RouterProtocol | None) -> InspectData:
    checked = door.validated(door.InspectArguments, {"decision_id": request_id, "render": False})
    return views.inspect(store, checked, router)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What was shown on standard error, because standard output is for the answer."""

    data: InspectData
    review: Review
    basis: str

    @classmethod
    def of(cls, store: DecisionStore, request_id: str, asking: Asking, act: Act[Any], utc: bool) -> "_Shown":
        """Show the request. Raises INVALID_STATE if no policy is attached yet."""
        with adapters_at_hand(asking.config) as router:
            data = _inspected(store, request_id, router)
        basis = data["basis"]
        if basis is None:
            raise NexusControlError(
                ErrorCode.INVALID_STATE, "There is nothing to decide before a policy is attached"
            )
        times = Times(parse_instant(data["decision"]["as_of"]), utc)
        is_approving = act.model is door.ApproveArguments
        shown = cls(data, review_of(data, times, is_approving=is_approving), basis)
        if asking.full:
            shown.show_everything()
        else:
            shown.review.show(Screen(sys.stderr))
        require_shown()
        return shown

    @property
    def rehearsal_digest(self) -> str | None:
        """The digest of the rehearsal that an approval covers, where one is required."""
        rehearsal = self.data["decision"].get("rehearsal")
        return rehearsal and rehearsal["digest"]

    def show_everything(self) -> None:
        """The page of `inspect`, and the last lines of the review again, so that the question follows them."""
        screen = Screen(sys.stderr)
        for line in render_decision(self.data).splitlines():
            screen.verbatim(line)
        if self.data["will_run"] is None and not is_guarded_call(self.data["decision"], None):
            screen.verbatim(f"- {NOT_AT_HAND}")
        Review(self.review.times, last=self.review.last).show(screen)

    def require_consent(self, question: str) -> None:
        """Ask until the answer is yes or no; `?` shows everything first. Raises NOT_CONFIRMED."""
        while True:
            said = _answer_to(f"{question} (? shows everything) [y/N]: ")
            match said.strip().lower():
                case "y" | "yes":
                    return
                case "?" | "more":
                    self.show_everything()
                    require_shown()
                case "" | "n" | "no":
                    raise NexusControlError(ErrorCode.NOT_CONFIRMED, "You answered no")
                case _:
                    Screen(sys.stderr).prose("Answer y, n or ?.")


def _answer_to(question: str) -> str:
    """What the person types at the question; empty at the end of the input and for Ctrl-C. What was typed before it was
    shown is thrown away: it answers something else.
    """
    termios.tcflush(sys.stdin, termios.TCIFLUSH)
    sys.stderr.write(question)
    sys.stderr.flush()
    try:
        said = sys.stdin.readline()
    except KeyboardInterrupt:
        said = ""
    if not said:
        sys.stderr.write("\n")
    return said


def _require_somebody_to_ask(given: str | None) -> None:
    if sys.stdin.isatty() and sys.stderr.isatty():
        return
    where = "needed where nobody can be shown the request and asked"
    raise (
        invalid_argument("--yes", f"is {where}")
        if given
        else invalid_argument("ID and --yes", f"are {where}")
    )
