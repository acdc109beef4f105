"""The hook at the store: asks for a call, claims it in the host's name, and records what became of it.

* Claude Code without a person (`CLAUDE_CODE_SESSION_ATTENDED` is 0): a call that waits is *deferred*. The host's run
  ends and can be resumed, under the same call id. So the request is found by that id, also from a fork.
* Everywhere else a call that waits is denied, and the model makes it again under another id: in an attended session,
  where `defer` lets the call run; in a subagent, where it is lost; in Codex, which has none. There the request is found
  by session, tool and arguments.
* Of two calls that are deferred at once the host keeps one. So one process of the host has one call that waits: the
  request that was made first. Another one is denied, and not asked for.
* The claim's owner is the process of the host. The hook itself ends long before the tool does.
* The event after the tool finds the execution by the call id of the claim, whatever its arguments are. Where these are
  not the approved ones, because another hook has changed them, the outcome is unknown.
"""

import json
import os
import signal
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, TypeGuard

from nexus_control.configuration import Configuration
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.guards import texts
from nexus_control.guards.calls import Denied, Pending, ToolCall, Verdict, key_of
from nexus_control.guards.guard import Claimed, Guard
from nexus_control.guards.hook import Places
from nexus_control.guards.hook_input import HookInput, Host
from nexus_control.guards.hook_replies import NO_OPINION, Reply, denial, not_recorded
from nexus_control.integrity import sha256_hex
from nexus_control.storage import is_file, is_made, place_of, shown_url
from nexus_control.store import DecisionStore
from nexus_control.system.ancestors import ancestors
from nexus_control.system.processes import owner_named
from nexus_control.system.signals import FATAL
from nexus_control.tool import NexusControlTools
from nexus_control.usecases.inbox_settings import configured_inbox
from nexus_control.usecases.requesting import made_with
from nexus_control.values.actors import Actor

_BUSY_SECONDS: Final = 15.0
_SHELLS: Final = {"ash", "bash", "busybox", "dash", "fish", "ksh", "mksh", "sh", "zsh"}
_NAMES: Final[dict[Host, str]] = {"claude-code": "claude", "codex": "codex"}
_Outcome = tuple[Literal["completed", "failed", "unknown"], object, str | None]


@dataclass(frozen=True, slots=True)
class Desk:
    """One event of a call that needs a template, at the store."""

    given: HookInput
    template: str
    actor: Actor
    places: Places
    configuration: Configuration

    def before(self) -> Reply:
        """Whether the call may run."""
        owner = host_process(self.given.host, os.environ)
        with self._tools() as tools:
            guard, call, verdict = self._asked(tools, owner)
            if isinstance(verdict, Denied):
                return denial(verdict.reason)
            if isinstance(verdict, Pending):
                return Reply("defer", f"Waiting for approval (request {verdict.request_id}).")
            # From here to the end of the process: what was claimed is either let through or given back.
            signal.pthread_sigmask(signal.SIG_BLOCK, FATAL)
            claimed = guard.claim(call, verdict.request_id or "", owner_pid=owner)
            if isinstance(claimed, Denied):
                return denial(claimed.reason)
            if signal.sigpending() & FATAL:
                guard.give_back(claimed, "the hook was ended before the tool ran")
                return denial(texts.unavailable("the hook was ended"))
        undo = partial(self._give_back, claimed)
        if self.given.host == "codex":
            return Reply(undelivered=undo)
        return Reply("allow", f"Approved (request {claimed.request_id}).", undelivered=undo)

    def after(self) -> Reply:
        """Records what became of the call, if it was claimed."""
        with self._tools() as tools:
            guard = self._guard(tools)
            claimed = guard.claimed_by(self._call) or self._ended(tools, guard)
            if claimed is None:
                return NO_OPINION
            status = tools.status(claimed.request_id).data
            asked_in = status.get("metadata", {}).get("session")
            if self.given.host == "codex" and asked_in and asked_in != self.given.session:
                return not_recorded(f"request {claimed.request_id} was made in another session")
            approved = status["plan"] or ""
            outcome, output, error = _outcome(self.given)
            if not _is_same(approved, self._call.plan()):
                ran = json.dumps(self.given.arguments, ensure_ascii=False)
                outcome, error = "unknown", f"The host ran it with other arguments than were approved: {ran}"
            if guard.record(claimed.execution_id, outcome, output, error):
                return NO_OPINION
            return not_recorded(f"request {claimed.request_id}; standard error says why")

    def _ended(self, tools: NexusControlTools, guard: Guard) -> Claimed | None:
        """The execution of this call id that is not under way any more. Its record is compared with what is told now:
        the first one wins, and another one is refused.
        """
        runner = f"{self.given.host}/{self.given.call_id}"
        for request_id in self._asked_for(tools, guard):
            status = tools.status(request_id, include_events=True).data
            asked = [each for each in status.get("events", ()) if each["event_type"] == "EXECUTION_REQUESTED"]
            runners = [each["actor"]["id"] for each in asked]
            if runner in runners:
                return Claimed(request_id, status["executions"][runners.index(runner)]["execution_id"])
        return None

    def _asked_for(self, tools: NexusControlTools, guard: Guard) -> Generator[str]:
        """The requests that may be of this call: by its id, and by session, tool and arguments."""
        if (by_id := guard.find(self._call)) is not None:
            yield by_id
        content = replace(self._call, session=self.given.session).content_digest()
        for number in count():
            key = key_of(self.given.host, self.given.session, content, str(number))
            if (request_id := made_with(tools.store, self.actor, key)) is None:
                return
            yield request_id

    # --- asking --------------------------------------------------------------------------------------------------

    @property
    def _call(self) -> ToolCall:
        """The call as its request is found by its id, in any session."""
        given = self.given
        return ToolCall(
            tool=given.tool,
            arguments=given.arguments,
            call_id=given.call_id,
            # A server's tool does not run in the agent's folder.
            folder="" if given.tool.startswith("mcp__") else given.folder,
        )

    @property
    def _defers(self) -> bool:
        is_unattended = os.environ.get("CLAUDE_CODE_SESSION_ATTENDED") == "0"
        return self.given.host == "claude-code" and is_unattended and not self.given.in_subagent

    def _asked(self, tools: NexusControlTools, owner: int) -> tuple[Guard, ToolCall, Verdict]:
        process = _named(owner)
        by_id = self._guard(tools, about={"process": process})
        if self._defers:
            return self._asked_once(tools, by_id, process)
        if by_id.find(self._call) is not None:  # deferred before, and resumed by a person
            guard, call = by_id, self._call
        else:
            call = replace(self._call, session=self.given.session)
            guard = self._guard(tools, new_ids=True)
        verdict = guard.check(call)
        if isinstance(verdict, Pending):
            verdict = Denied(texts.pending_until_retried(verdict.request_id), verdict.request_id)
        return guard, call, verdict

    def _asked_once(
        self, tools: NexusControlTools, guard: Guard, process: str
    ) -> tuple[Guard, ToolCall, Verdict]:
        """A call that is deferred while it waits, unless another call of this process of the host waits already."""
        call = self._call
        is_new = guard.find(call) is None
        if is_new and (other := _waiting(tools, process)):
            return guard, call, Denied(texts.one_at_a_time(other))
        verdict = guard.check(call)
        if not is_new or not isinstance(verdict, Pending):
            return guard, call, verdict
        # A call at the same time may have been asked for between the two looks. The first request stays.
        if (other := _waiting(tools, process, before=verdict.request_id)) is None:
            return guard, call, verdict
        tools.withdraw(verdict.request_id, self.actor, f"only one call can wait, and {other} does")
        return guard, call, Denied(texts.one_at_a_time(other))

    def _guard(
        self, tools: NexusControlTools, *, new_ids: bool = False, about: Mapping[str, str] | None = None
    ) -> Guard:
        return Guard(
            tools,
            host=self.given.host,
            actor=self.actor,
            new_ids=new_ids,
            about=about,
            template_name=self.template,
        )

    # --- the store -----------------------------------------------------------------------------------------------

    @contextmanager
    def _tools(self) -> Generator[NexusControlTools]:
        with opened_store(self.places, self.configuration) as store:
            yield NexusControlTools(store)

    def _give_back(self, claimed: Claimed) -> None:
        with self._tools() as tools:
            self._guard(tools).give_back(claimed, "the host could not be told that it may run")


def opened_store(places: Places, configuration: Configuration) -> DecisionStore:
    """The store that the options name, else the configuration. A hook makes none. Raises INVALID_ARGUMENT,
    CONFIG_INVALID, STORE_UNAVAILABLE.
    """
    database, log_folder = places.database, places.log_folder
    if database is None:
        database = _configured(configuration, "database")
        folder = _configured(configuration, "log_folder")
        log_folder = log_folder or (Path(folder) if folder else None)
    if database is None:
        raise invalid_argument("--db", "is missing, and no configuration has a database")
    place = place_of(database)
    if not (_holds_something(place) if is_file(place) else is_made(place, _BUSY_SECONDS)):
        raise NexusControlError(ErrorCode.STORE_UNAVAILABLE, f"There is no store at {shown_url(place)}")
    signers = places.allowed_signers or _configured(configuration, "allowed_signers")
    return DecisionStore(
        place,
        allowed_signers=signers,
        passkey_origins=_origins(places, configuration) if signers else (),
        busy_timeout=_BUSY_SECONDS,
        log_folder=log_folder,
    )


def _origins(places: Places, configuration: Configuration) -> tuple[str, ...]:
    inbox = configured_inbox(configuration) if places.origins is None else None
    return places.origins or (inbox.origins.origins if inbox else ())


def _configured(configuration: Configuration, name: str) -> str | None:
    setting = configuration.setting(name)
    return setting and setting.value


def host_process(host: Host, environment: Mapping[str, str]) -> int:
    """The process of the host, which lives while the tool runs. Claude Code names it; otherwise it is the nearest
    ancestor of this process that has the host's name, or else that is not a shell.
    """
    found = ancestors()
    named = environment.get("CLAUDE_PID", "") if host == "claude-code" else ""
    if (
        named.isascii()
        and named.isdecimal()
        and (not found[0].name or int(named) in {each.pid for each in found})
    ):
        return int(named)
    of_host = (each.pid for each in found if each.name.startswith(_NAMES[host]))
    others = (each.pid for each in found if each.name not in _SHELLS)
    return next(of_host, next(others, found[0].pid))


def _named(pid: int) -> str:
    """A name for this process that no other one ever has."""
    owner = owner_named(pid)
    return sha256_hex(owner.to_text() if owner else str(pid))[:32]


def _waiting(tools: NexusControlTools, process: str, *, before: str | None = None) -> str | None:
    """The newest request that waits and was made for this process of the host; with `before` the newest one that was
    made before that. Requests at the same time are among the newest hundred.
    """
    waiting = [each["request_id"] for each in tools.list_requests(state="pending_approval").data["requests"]]
    if before is not None:
        waiting = waiting[waiting.index(before) + 1 :] if before in waiting else []
    for request_id in waiting:
        status = tools.status(request_id).data
        if status.get("metadata", {}).get("process") == process and status["state"] == "pending_approval":
            return request_id
    return None


def _outcome(given: HookInput) -> _Outcome:
    """What the event says of the call. Codex does not say how a command ended, only that it did."""
    document = given.document
    if given.event == "PostToolUseFailure":
        error = document.get("error")
        text = error if isinstance(error, str) else json.dumps(error)
        return ("unknown" if document.get("is_interrupt") is True else "failed"), None, text
    response: object = document.get("tool_response")
    said: Mapping[str, Any] = response if _is_object(response) else {}
    if said.get("interrupted") is True:
        return "unknown", response, "The host interrupted it"
    if said.get("backgroundTaskId") is not None or said.get("isAsync") is True:
        return "unknown", response, "The host only started it, in the background"
    if said.get("isError") is True:
        return "failed", response, "The tool answered an error"
    return "completed", response, None


def _is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, dict)


def _is_same(approved: str, ran: str) -> bool:
    """Whether two plans have the same tool and arguments. A command may change its folder while it runs."""
    one, other = json.loads(approved), json.loads(ran)
    return all(one[name] == other[name] for name in ("tool", "arguments"))


def _holds_something(place: str) -> bool:
    try:
        return Path(place).stat().st_size > 0
    except OSError:
        return False
