"""A session with a downstream MCP server: started, listed and compared with the pins before its first call.

The server runs under our supervisor: it ends with the session, with all processes of its own session, and with us. It
gets two seconds to end by itself, unless an answer was cut off. The start, with the list of tools, has one deadline; so
has each step, with the list that it may need. What a call can come to:

    ok                the result says so
    tool_error        the result says that it is an error: the step failed
    protocol_error    an error of JSON-RPC, or an answer of another shape: the step failed
    timeout           no answer within the time limit; the server is killed: what was done is unknown
    transport_error   the server ended, or sent too much in one message: what was done is unknown

What a server says of its results is its own word.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import MAX_MESSAGE_LENGTH, StepError, StepResult, code_of
from nexus_control.execution.context import find_current
from nexus_control.execution.mcp_answers import Listing, NoAnswerError, Trouble
from nexus_control.execution.plan import Call, recorded
from nexus_control.execution.process_settings import ProcessSettings
from nexus_control.execution.revealing import masked, masked_json
from nexus_control.execution.spelling import bounded, portable, spell
from nexus_control.execution.stopping import order_given
from nexus_control.execution.talking import Talk, talking
from nexus_control.execution.tool_pins import Pin, moved, pin_of

if TYPE_CHECKING:
    from nexus_control.execution.mcp_client import Conversation

REQUEST_META: Final = "nexus-control/request_id"
EXECUTION_META: Final = "nexus-control/execution_id"
_PATIENCE_SECONDS = 2.0
_LAST_LOOK_SECONDS = 0.5
_SPARE_MESSAGE_BYTES = 1024 * 1024
_MOST_SAID = 500

_CUT_OFF: Final[Mapping[Trouble, tuple[StepError, str]]] = {
    "timeout": (StepError.TIMED_OUT, "The server was killed at the step's time limit"),
    "transport_error": (StepError.TRANSPORT_ERROR, "The connection was lost, because {detail}"),
    "stopped": (StepError.STOPPED, "The server was killed because {detail}"),
    "cancelled": (StepError.CANCELLED, "The server was killed because {detail}"),
}


@dataclass(frozen=True, slots=True)
class Server:
    """A server as it is declared: its adapter's id, and what is run and how."""

    adapter_id: str
    argv: tuple[str, ...]
    settings: ProcessSettings

    @property
    def most_message_bytes(self) -> int:
        """A text in a message is at most four times as long as what is kept of it: escaped, or said twice."""
        return 4 * self.settings.max_output_bytes + _SPARE_MESSAGE_BYTES

    def deadline(self) -> float:
        """Of what begins now."""
        return monotonic() + self.settings.timeout_seconds

    def not_ready(self, problem: str) -> NexusControlError:
        return NexusControlError(
            ErrorCode.ROUTER_NOT_READY,
            masked(f"the MCP server of {self.adapter_id} {problem}"),
            {"adapter_id": self.adapter_id},
        )


class Session:
    """A server that was started. `conversation` is with it; `pins` says which definitions its tools must have."""

    def __init__(self, server: Server, talk: Talk, conversation: "Conversation", deadline: float) -> None:
        self._server = server
        self._talk = talk
        self._conversation = conversation
        self._deadline = deadline
        """Of the start; later, of the step under way."""
        self.cut_off = False

    def listing(self, tools: Sequence[str]) -> Listing:
        """The definitions of these tools as they are now, without the values of secrets: what is pinned and compared
        does not change with a value. Raises ROUTER_NOT_READY.
        """
        try:
            listing = self._conversation.listed(tools, self._deadline)
        except NoAnswerError as trouble:
            self.cut_off = trouble.kind != "protocol_error"
            raise self._server.not_ready(self.told(_told_of(trouble, "does not list its tools"))) from None
        shown = {tool: masked_json(recorded(definition)) for tool, definition in listing.found.items()}
        return Listing(cast("dict[str, dict[str, Any]]", shown), listing.names)

    def require_pinned(self, pins: Mapping[str, Pin]) -> None:
        """Returns where each of these tools has its pinned definition. Raises ROUTER_NOT_READY for a tool that is not
        there, TOOL_DEFINITION_CHANGED for another definition.
        """
        listing = self.listing(tuple(pins))
        self.require_there(listing, pins)
        for tool, pin in sorted(pins.items()):
            found = pin_of(listing.found[tool])
            if found.text != pin.text:
                raise definition_changed(self._server.adapter_id, tool, difference(pin, found))

    def require_there(self, listing: Listing, tools: Collection[str]) -> None:
        """Returns where each of these tools is listed. Raises ROUTER_NOT_READY."""
        if (missing := min(set(tools) - listing.found.keys(), default=None)) is not None:
            has = bounded(", ".join(listing.names), 300) or "none"
            raise self._server.not_ready(f"has no tool {missing!r:.80}; it has: {has}")

    def call(self, call: Call, pins: Mapping[str, Pin]) -> StepResult:
        """Calls the tool. Where the server said that its tools are others now, they are compared again before."""
        self._deadline = self._server.deadline()
        if self._conversation.list_changed:
            try:
                self.require_pinned(pins)
            except NexusControlError as fault:
                order = order_given()
                code = StepError.NOT_STARTED if order is None else code_of(order)
                if fault.code is ErrorCode.TOOL_DEFINITION_CHANGED:
                    code = StepError.TOOL_DEFINITION_CHANGED
                return StepResult(
                    status="error", output={}, error_code=code, error_message=fault.message, untouched=True
                )
        try:
            result = self._conversation.call(call.method, call.args, _meta(), self._deadline)
        except NoAnswerError as trouble:
            return self._failed(trouble)
        return _result(result, self._server.settings.max_output_bytes)

    def _failed(self, trouble: NoAnswerError) -> StepResult:
        if trouble.kind == "protocol_error":
            message = f"The server gave no result: {trouble.detail}"
            return StepResult(
                status="error", output={}, error_code=StepError.PROTOCOL_ERROR, error_message=message
            )
        code, message = _CUT_OFF[trouble.kind]
        self.cut_off = True
        self._talk.kill()
        message = self.told(message.format(detail=trouble.detail))
        return StepResult(status="unknown", output={}, error_code=code, error_message=message)

    def told(self, text: str) -> str:
        """The text, with the end of what the server wrote to its standard error."""
        said = masked(self._conversation.last_words, cut_begin=True)[-_MOST_SAID:]
        return f"{text}: {said}" if said else text


@contextmanager
def opened_session(server: Server) -> Generator[Session]:
    """A session with the server, which is started, and ended at the end of the block. Raises ROUTER_NOT_READY."""
    from nexus_control.execution.mcp_client import Conversation

    settings, deadline = server.settings, server.deadline()
    if (obstacle := settings.obstacle_to(server.argv[0])) is not None:
        raise server.not_ready(f"could not be started: {obstacle}")
    with ExitStack() as held:
        try:
            talked = talking(server.argv, cwd=settings.directory, environment=settings.revealed_environment())
            talk = held.enter_context(talked)
        except OSError as error:
            raise server.not_ready(f"could not be started: {error.strerror}") from None
        conversation = held.enter_context(Conversation(talk, server.most_message_bytes))
        session = Session(server, talk, conversation, deadline)
        try:
            conversation.open(deadline)
        except NoAnswerError as trouble:
            conversation.close()
            ended = talk.end(_LAST_LOOK_SECONDS if trouble.kind == "transport_error" else 0)
            detail = f"{ended} before it spoke MCP" if ended else _told_of(trouble, "does not speak MCP")
            raise server.not_ready(session.told(detail)) from None
        try:
            yield session
        finally:
            if not session.cut_off:
                conversation.close()
                talk.end(_PATIENCE_SECONDS)


def difference(pin: Pin, found: Pin) -> tuple[str, ...]:
    """Which words moved from the pin to the definition that was found; empty where it is the pinned one. The words are
    masked before they are cut: the pin may be older than the secret of which it holds a value.
    """
    if pin.text == found.text:
        return ()
    shown = pin_of(cast("dict[str, Any]", masked_json(pin.definition)))
    return moved(shown, found) or ("only the value of a secret, which a pin does not hold any more",)


def definition_changed(adapter_id: str, tool: str, words: Sequence[str]) -> NexusControlError:
    """TOOL_DEFINITION_CHANGED, with the words that moved."""
    return NexusControlError(
        ErrorCode.TOOL_DEFINITION_CHANGED,
        f"the tool {tool!r:.80} of {adapter_id} is not what was pinned: {bounded('; '.join(words), 1000)}",
        {"adapter_id": adapter_id, "tool": tool, "moved": list(words)},
    )


def _told_of(trouble: NoAnswerError, problem: str) -> str:
    """The problem of a server; or the order to stop, which is not its fault."""
    if trouble.kind in ("stopped", "cancelled"):
        return f"was killed because {trouble.detail}"
    return f"{problem}: {trouble.detail}"


def _meta() -> dict[str, str]:
    execution = find_current()
    if execution is None:
        return {}
    return {REQUEST_META: execution.request_id, EXECUTION_META: execution.execution_id}


def _result(result: Mapping[str, Any], most_bytes: int) -> StepResult:
    output = _output(result, most_bytes)
    if result.get("isError") is not True:
        return StepResult(status="ok", output=output)
    texts = [item["text"] for item in result["content"] if item.get("type") == "text"]
    said = bounded(masked(str(texts[0])) if texts else "", MAX_MESSAGE_LENGTH - 100)
    message = f"The tool answered with an error: {said}" if said else "The tool answered with an error"
    return StepResult(status="error", output=output, error_code=StepError.TOOL_ERROR, error_message=message)


def _output(result: Mapping[str, Any], most_bytes: int) -> dict[str, object]:
    """The content as it is recorded. A part that is longer than what is left of the limit is cut, as a text, in which
    no secret is left that the cut could make half of.
    """
    output: dict[str, object] = {}
    room, cut = most_bytes, False
    for name, key in (("content", "content"), ("structured_content", "structuredContent")):
        if key not in result:
            continue
        text = masked(spell(result[key]).text).encode()
        kept = text[:room].decode("utf-8", "ignore")
        output[name] = portable(result[key]) if len(text) <= room else kept
        cut, room = cut or len(text) > room, max(0, room - len(text))
    if cut:
        note = "the result was longer than max_output_bytes and was cut"
        return {**output, "truncated": True, "note": note}
    return output
