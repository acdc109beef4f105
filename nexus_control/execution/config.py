"""Decodes the adapters that `nexus-control.toml` declares. It is strict: an unknown key is an error.

    [adapters.keys]                       # adapter id "subprocess:keys"
    kind = "subprocess"
    capabilities = ["apply", "dry_run", "timeout"]
    cwd = "."                             # relative to this file; must exist
    timeout_seconds = 30                  # 1 to 86400
    max_output_bytes = 1_000_000          # of standard output and error together, 1 to 64 MiB; the rest is dropped
    record_output = "whole"               # or "digest": answers and run log hold only its SHA-256 and size
    env = { REGION = "eu-1" }             # added to PATH and LANG; a value may be "{secret:BILLING}"
    pin_files = ["rotate.sh"]             # relative to cwd; their digests are a part of what requests are bound to
    [adapters.keys.tools.rotate]
    argv = ["./rotate.sh", "--service", "{service}"]
    dry_run_argv = ["./rotate.sh", "--plan", "{service}"]
    args = { service = "str", token = "secret" }    # or int, float, bool
    env = { API_TOKEN = "{token}" }       # or stdin = "{token}", or files = { TOKEN_FILE = "{token}" }
    timeout_seconds = 300                 # of this tool
    [secrets.BILLING]
    file = "billing.token"                # relative to this file; or variable = "…", or command = ["pass", "billing"]

`kind` and `capabilities` are required. With `protocol = "call"`, write `command = ["./tool"]` instead of `tools`.

    [adapters.files]                      # adapter id "mcp:files"
    kind = "mcp"
    capabilities = ["apply", "dry_run", "timeout"]
    command = "npx"                       # an MCP server over standard input and output
    args = ["@modelcontextprotocol/server-filesystem", "/srv/files"]
    tools = ["write_file"]                # only these, and only once they are pinned: `tool_pins`

`cwd`, `env` and the limits are as above; `timeout_seconds` is a step's, and the start's.

Each problem is CONFIG_INVALID, and names the file and the dotted key.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar, cast

from nexus_control.configuration import ADAPTERS, SECRETS, Kind, Source, named_source, refused
from nexus_control.errors import ErrorCode
from nexus_control.execution.adapter import Adapter, Adapters, RecordOutput
from nexus_control.execution.argv_template import ArgvTemplate
from nexus_control.execution.declared_arguments import (
    SECRET,
    TYPE_NAMES,
    Passing,
    environment_problem,
    passing_problem,
)
from nexus_control.execution.mcp_adapter import McpAdapter
from nexus_control.execution.plan import is_name
from nexus_control.execution.process_settings import ProcessSettings
from nexus_control.execution.secrets import SecretSource, is_secret_name, secret_named, source_problem
from nexus_control.execution.subprocess_adapter import ArgvAdapter, ArgvTool, CallAdapter
from nexus_control.execution.tool_pins import PinsUnreadableError, read_pins
from nexus_control.system.commands import absolute
from nexus_control.system.whole_files import is_folder
from nexus_control.values.likely_names import meant
from nexus_control.values.records import check, decode, problems_of

_MAX_TIMEOUT_SECONDS = 86_400
_MAX_OUTPUT_BYTES = 64 * 1024 * 1024

_ADAPTER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

KINDS = ("subprocess", "mcp")

_TableT = TypeVar("_TableT")


def _are_names(values: tuple[str, ...]) -> bool:
    return all(map(is_name, values))


def _is_command(values: tuple[str, ...]) -> bool:
    return bool(values) and bool(values[0]) and not any("\0" in value for value in values)


def _are_variables(env: Mapping[str, object]) -> bool:
    return all(
        _VARIABLE.fullmatch(name) and isinstance(value, str) and "\0" not in value
        for name, value in env.items()
    )


def _is_file(text: str) -> bool:
    return bool(text) and "\0" not in text


def _are_types(args: Mapping[str, object]) -> bool:
    return all(each in TYPE_NAMES for each in args.values())


_TYPES = f"names, each with one of {', '.join(TYPE_NAMES)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProcessTable:
    """What the tables of both kinds hold."""

    capabilities: tuple[str, ...] = check(_are_names, "a list of words")
    cwd: str = check(_is_file, "a folder", default=".")
    timeout_seconds: int = check(
        lambda n: 1 <= n <= _MAX_TIMEOUT_SECONDS, f"1 to {_MAX_TIMEOUT_SECONDS}", default=30
    )
    max_output_bytes: int = check(
        lambda n: 1 <= n <= _MAX_OUTPUT_BYTES, f"1 to {_MAX_OUTPUT_BYTES}", default=1_000_000
    )
    record_output: RecordOutput = "whole"
    env: Mapping[str, object] | None = check(_are_variables, "variables, each with a text", default=None)
    pin_files: tuple[str, ...] = check(lambda files: all(map(_is_file, files)), "a list of files", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class SubprocessTable(_ProcessTable):
    kind: Literal["subprocess"]
    protocol: Literal["argv", "call"] = "argv"
    tools: Mapping[str, object] | None = None
    command: tuple[str, ...] | None = check(_is_command, "a program and its arguments", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class McpTable(_ProcessTable):
    kind: Literal["mcp"]
    command: str = check(lambda text: bool(text) and "\0" not in text, "a program")
    args: tuple[str, ...] = check(lambda words: not any("\0" in word for word in words), "words", default=())
    tools: tuple[str, ...] = check(lambda names: bool(names) and _are_names(names), "a list of tools")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolTable:
    argv: tuple[str, ...]
    dry_run_argv: tuple[str, ...] | None = None
    args: Mapping[str, object] | None = check(_are_types, _TYPES, default=None)
    env: Mapping[str, object] | None = check(_are_variables, "variables, each with a text", default=None)
    stdin: str | None = None
    files: Mapping[str, object] | None = check(_are_variables, "variables, each with a text", default=None)
    timeout_seconds: int | None = check(
        lambda n: 1 <= n <= _MAX_TIMEOUT_SECONDS, f"1 to {_MAX_TIMEOUT_SECONDS}", default=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretTable:
    file: str | None = check(_is_file, "a file", default=None)
    variable: str | None = check(
        lambda name: _VARIABLE.fullmatch(name) is not None, "a variable", default=None
    )
    command: tuple[str, ...] | None = check(_is_command, "a program and its arguments", default=None)


def load_adapters(path: str | Path) -> Adapters:
    """The adapters that a `nexus-control.toml` declares.

        >>> load_adapters("nexus-control.toml").ids()
        ('subprocess:keys',)

    The module's docstring shows such a file. Raises CONFIG_INVALID, naming the file and the key; `details.problems` has
    every problem.
    """
    return adapters_of(named_source(Path(path)))


def adapters_of(source: Source) -> Adapters:
    """The adapters of a file that was read already. Raises CONFIG_INVALID, as `load_adapters`."""
    if source.fault is not None:
        raise source.fault
    tables = source.table.get(ADAPTERS, {})
    if not isinstance(tables, dict):
        raise refused(source.path, [f"{ADAPTERS} must be an object"])
    tables, reader = cast("dict[str, object]", tables), _Reader(source.path, source.kind)
    if source.kind != "project":  # a cloned repository must not choose what is read as a secret
        reader.read_secrets(source.table.get(SECRETS, {}))
    declared = [reader.adapter(name, table) for name, table in tables.items()]
    if reader.problems:
        raise refused(source.path, reader.problems)
    return Adapters(adapter for adapter in declared if adapter is not None)


@dataclass(frozen=True, slots=True)
class _Reader:
    """The file that is read, and its problems so far. What has a problem is read as None, and the reading goes on."""

    path: Path
    source: Kind
    problems: list[str] = field(default_factory=list[str])
    secrets: dict[str, SecretSource] = field(default_factory=dict[str, SecretSource])

    def read_secrets(self, tables: object) -> None:
        if not isinstance(tables, dict):
            self.refuse(f"{SECRETS} must be an object")
            return
        for name, data in cast("dict[str, object]", tables).items():
            key = f"{SECRETS}.{name}"
            if not is_secret_name(name):
                self.refuse(f"{key!r:.80} must be named with at most 64 letters, digits, '_', '.' and '-'")
            elif (table := self.decode(SecretTable, data, key)) is not None:
                given = {"file": table.file, "variable": table.variable, "command": table.command}
                if problem := source_problem(
                    {name: each for name, each in given.items() if each is not None}
                ):
                    self.refuse(f"{key} {problem}")
                    continue
                base = absolute(self.path).parent
                self.secrets[name] = SecretSource(
                    file=table.file, variable=table.variable, command=table.command, base=base
                )

    def decode(self, table: type[_TableT], data: object, key: str) -> _TableT | None:
        if problems := problems_of(table, data, where=key):
            self.problems.extend(problems)
            return None
        return decode(table, data, where=key, code=ErrorCode.CONFIG_INVALID)

    def adapter(self, name: str, data: object) -> Adapter | None:
        key = f"{ADAPTERS}.{name}"
        if _ADAPTER_NAME.fullmatch(name) is None:
            self.refuse(f"{key!r:.80} must be named with at most 64 letters, digits, '_', '.' and '-'")
            return None
        given = cast("dict[str, object]", data) if isinstance(data, dict) else {"kind": "subprocess"}
        if (kind := given.get("kind")) not in KINDS:  # which keys there may be depends on it
            self.refuse(f"{key}.kind must be one of {', '.join(KINDS)}{meant(str(kind).lower(), KINDS)}")
            return None
        if kind == "mcp":
            return self.mcp(name, self.decode(McpTable, given, key), key)
        table = self.decode(SubprocessTable, cast("object", data), key)
        if table is None:
            inner = given.get("tools")
            if isinstance(inner, dict):  # their problems are told together with those of the adapter
                self.tools(cast("dict[str, object]", inner), key)
            return None
        settings = self.settings(table, key)
        if table.protocol == "call":
            if table.command is None or table.tools is not None:
                self.refuse(f"{key}.command must be there instead of tools when protocol is 'call'")
                return None
            return CallAdapter(name, table.command, capabilities=table.capabilities, settings=settings)
        if not table.tools or table.command is not None:
            self.refuse(f"{key}.tools must be there instead of command when protocol is 'argv'")
            return None
        tools = self.tools(table.tools, key)
        return ArgvAdapter(name, tools, capabilities=table.capabilities, settings=settings)

    def mcp(self, name: str, table: McpTable | None, key: str) -> McpAdapter | None:
        if table is None:
            return None
        try:
            pins = read_pins(self.path, self.source).get(f"mcp:{name}", {})
        except PinsUnreadableError as error:
            self.refuse(f"{key}: its pins in {error}")
            return None
        command = (table.command, *table.args)
        settings = self.settings(table, key)
        return McpAdapter(
            name,
            command,
            tools=table.tools,
            pins=pins,
            capabilities=table.capabilities,
            settings=settings,
            file=absolute(self.path),
        )

    def tools(self, tables: Mapping[str, object], key: str) -> dict[str, ArgvTool]:
        tools = {method: self.tool(tool, f"{key}.tools.{method}") for method, tool in tables.items()}
        return {method: tool for method, tool in tools.items() if tool is not None}

    def settings(self, table: SubprocessTable | McpTable, key: str) -> ProcessSettings:
        if os.name != "posix":
            self.refuse(f"{key}.kind {table.kind!r} needs a POSIX system")
        base = absolute(self.path).parent
        if not is_folder(base / table.cwd):
            self.refuse(f"{key}.cwd {table.cwd!r} is not a folder")
        env = cast("Mapping[str, str]", table.env or {})
        if problem := environment_problem(env, self.secrets):
            self.refuse(f"{key}.env.{problem}")
        settings = ProcessSettings(
            base=base,
            cwd=table.cwd,
            timeout_seconds=table.timeout_seconds,
            max_output_bytes=table.max_output_bytes,
            env=env,
            record_output=table.record_output,
            secrets=self.secrets_for(table, env),
            pin_files=table.pin_files,
        )
        for file in table.pin_files:
            if settings.pinned(file) is None:
                self.refuse(f"{key}.pin_files {file!r:.80} is not a file that can be read")
        return settings

    def secrets_for(
        self, table: SubprocessTable | McpTable, env: Mapping[str, str]
    ) -> dict[str, SecretSource]:
        """The secrets that belong to an adapter: all that its plans may name, or those that its variables name."""
        declared = table.tools if isinstance(table, SubprocessTable) else None
        tools = [
            cast("dict[str, object]", each) for each in (declared or {}).values() if isinstance(each, dict)
        ]
        arguments = [
            cast("dict[str, object]", tool["args"]) for tool in tools if isinstance(tool.get("args"), dict)
        ]
        if any(SECRET in each.values() for each in arguments):
            return self.secrets
        named = {secret_named(text) for text in env.values()}
        return {name: source for name, source in self.secrets.items() if name in named}

    def tool(self, data: object, key: str) -> ArgvTool | None:
        method = key.rpartition(".tools.")[2]
        if not is_name(method):
            self.refuse(f"{key!r:.80} must be named with printable text")
        table = self.decode(ToolTable, data, key)
        if table is None:
            return None
        argv = self.template(table.argv, f"{key}.argv")
        dry_run_argv = self.template(table.dry_run_argv, f"{key}.dry_run_argv")
        if argv is None:
            return None
        args = cast("Mapping[str, str] | None", table.args)
        passing = self.passing(table, argv, key)
        try:
            return ArgvTool(
                argv=argv,
                dry_run_argv=dry_run_argv,
                args=args,
                passing=passing,
                timeout_seconds=table.timeout_seconds,
            )
        except ValueError as error:
            self.refuse(f"{key}.dry_run_argv {error}")
            return None

    def passing(self, table: ToolTable, argv: ArgvTemplate, key: str) -> Passing:
        passing = Passing(
            env=cast("Mapping[str, str]", table.env or {}),
            stdin=table.stdin,
            files=cast("Mapping[str, str]", table.files or {}),
        )
        args = cast("Mapping[str, str] | None", table.args)
        try:
            problem = passing_problem(args, argv.names(), passing)
        except ValueError as error:
            problem = str(error)
        if problem:
            self.refuse(f"{key}.{problem}")
        return passing

    def template(self, words: tuple[str, ...] | None, key: str) -> ArgvTemplate | None:
        try:
            return None if words is None else ArgvTemplate.of(words)
        except ValueError as error:
            self.refuse(f"{key} {error}")
            return None

    def refuse(self, problem: str) -> None:
        self.problems.append(problem)
