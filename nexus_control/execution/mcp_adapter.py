"""`mcp:<name>`: tools of a downstream MCP server, over its standard input and output.

A call's method is the tool's name, and its arguments are the tool's. Only tools that are declared and pinned run: the
owner of the configuration looks at each whole definition (description, input schema, annotations) and pins it
(`tool_pins`). The digests of the pins are part of the declaration, so a request is bound to them.

The server is started before the execution is claimed, and the same session runs the steps. A server that does not
start, lacks a tool, or has another definition than the pinned one, is refused there, and nothing was used up. A dry run
starts nothing: it only describes the step.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from nexus_control.errors import NexusControlError
from nexus_control.execution.adapter import StepError, StepResult, undeclared_method
from nexus_control.execution.description import CallDescription
from nexus_control.execution.mcp_session import Server, Session, difference, opened_session
from nexus_control.execution.plan import Call, recorded
from nexus_control.execution.process_settings import ProcessSettings
from nexus_control.execution.revealing import masked_result, revealing
from nexus_control.execution.secrets import SecretSource
from nexus_control.execution.tool_pins import Pin, pin_of
from nexus_control.execution.tool_schema import argument_names, problem_with_arguments
from nexus_control.system.commands import command, shell_line

_SESSION: ContextVar["tuple[McpAdapter, Session] | None"] = ContextVar("mcp_session", default=None)
"""The session that this context's steps run in, and whose it is."""


@dataclass(frozen=True, slots=True)
class Found:
    """A definition that a server gives now. `moved` are the words that moved against its pin; None without a pin."""

    pin: Pin
    moved: tuple[str, ...] | None


class McpAdapter:
    """The declared tools of one server. `pins` may hold fewer: the others run nothing. `file` declares the adapter."""

    kind = "mcp"

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        tools: Iterable[str],
        pins: Mapping[str, Pin],
        capabilities: Iterable[str],
        settings: ProcessSettings,
        file: Path | None = None,
    ) -> None:
        self.name = name
        self._file = file
        self.capabilities = frozenset(capabilities)
        self._settings = settings
        self._pins = {tool: pins.get(tool) for tool in sorted(set(tools))}
        self._server = Server(f"{self.kind}:{name}", tuple(command), settings)

    @property
    def pins(self) -> Mapping[str, Pin | None]:
        """The pin of each declared tool; None for one that is not pinned."""
        return self._pins

    @property
    def secrets(self) -> Mapping[str, SecretSource]:
        return self._settings.secrets

    def secret_arguments(self, call: Call) -> frozenset[str]:
        """No argument takes a secret: the server gets them in its environment."""
        return frozenset()

    def secrets_of(self, call: Call, *, dry_run: bool) -> frozenset[str]:
        """The secrets of the server's environment."""
        return frozenset() if dry_run else self._settings.secrets_in_env()

    def declaration(self) -> dict[str, object]:
        program, *args = self._server.argv
        return {
            "kind": self.kind,
            "name": self.name,
            "protocol": "mcp",
            "capabilities": sorted(self.capabilities),
            "command": program,
            "args": args,
            "tools": {tool: pin and pin.digest for tool, pin in self._pins.items()},
            **self._settings.declaration(),
        }

    def methods(self) -> dict[str, list[str]]:
        """The pinned tools, each with the arguments of its input schema."""
        return {tool: argument_names(_schema(pin)) for tool, pin in self._pins.items() if pin is not None}

    def problem_with(self, call: Call) -> str | None:
        if call.method not in self._pins:
            return undeclared_method(call, self._pins, self._server.adapter_id)
        pin = self._pins[call.method]
        if pin is None:
            return (
                f"method {call.method!r} of {self._server.adapter_id} is not pinned: the owner of the configuration"
                " must look at its definition and pin it first"
            )
        return problem_with_arguments(_schema(pin), call.args)

    def command_for_owner(self, call: Call) -> str | None:
        """Pins the tool, where it is declared and not pinned."""
        if self._pins.get(call.method, "undeclared") is not None:
            return None
        return self.pin_command

    @property
    def pin_command(self) -> str | None:
        """The command that shows the definitions to the owner of the configuration, and pins them; None where no file
        is known.
        """
        if self._file is None:
            return None
        return shell_line(
            command("adapter", "pin", argument=self._server.adapter_id, options={"--config": self._file})
        )

    def describe(self, call: Call, *, dry_run: bool) -> CallDescription:
        if dry_run:
            return CallDescription()
        return replace(
            self._settings.describe(self._server.argv),
            environment=tuple(sorted(self._settings.environment)),
            tool=call.method,
            args=call.args,
        )

    def obstacle_to(self, call: Call, *, dry_run: bool) -> str | None:
        return None if dry_run else self._settings.obstacle_to(self._server.argv[0])

    @contextmanager
    def opened(self, calls: Sequence[Call]) -> Generator[None]:
        if self._session() is not None:
            yield
            return
        with opened_session(self._server) as session:
            session.require_pinned(self._pinned(calls))
            token = _SESSION.set((self, session))
            try:
                yield
            finally:
                _SESSION.reset(token)

    def found(self) -> dict[str, Found]:
        """The definitions of the declared tools as the server gives them now. Raises ROUTER_NOT_READY."""
        with revealing(self._settings.secrets):
            with opened_session(self._server) as session:
                listing = session.listing(tuple(self._pins))
                session.require_there(listing, self._pins)
            found = {tool: pin_of(definition) for tool, definition in sorted(listing.found.items())}
            return {tool: Found(pin, self._moved(tool, pin)) for tool, pin in found.items()}

    def execute(self, call: Call, *, dry_run: bool) -> StepResult:
        if dry_run:
            described = {"tool": call.method, "arguments": recorded(call.args)}
            return StepResult(status="ok", output={"would_call": described})
        if (session := self._session()) is not None:
            result = masked_result(session.call(call, self._pinned([call])))
            return result.kept_as(self._settings.record_output)
        try:
            with self.opened([call]):
                return self.execute(call, dry_run=False)
        except NexusControlError as fault:
            return StepResult(
                status="error", output={}, error_code=StepError.NOT_STARTED, error_message=fault.message
            )

    def _moved(self, tool: str, found: Pin) -> tuple[str, ...] | None:
        pin = self._pins[tool]
        return None if pin is None else difference(pin, found)

    def _session(self) -> Session | None:
        found = _SESSION.get()
        return found[1] if found is not None and found[0] is self else None

    def _pinned(self, calls: Iterable[Call]) -> dict[str, Pin]:
        found = {call.method: self._pins[call.method] for call in calls}
        return {tool: pin for tool, pin in found.items() if pin is not None}


def _schema(pin: Pin) -> Mapping[str, object]:
    schema: object = pin.definition.get("inputSchema")
    return cast("dict[str, object]", schema) if isinstance(schema, dict) else {}
