import inspect
import json
import subprocess
import sys
from importlib import import_module
from io import StringIO
from pathlib import Path

import pytest
import typer

from nexus_control import __version__
from nexus_control.cli.commands import COMMANDS, target_of
from nexus_control.cli.screen import Mark, Screen, columns
from nexus_control.cli.streams import visible, visible_json
from tests.cli.running import Commands, environment, nexus_control


def test_version_says_which_program_and_version() -> None:
    ran = nexus_control("--version")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"nexus-control {__version__}\n", "")


@pytest.mark.parametrize("arguments", [("demo", "--bogus"), ("bogus",), ("demo", "too", "many"), ()])
def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    assert nexus_control(*arguments).returncode == 2


def test_help_is_plain_text_that_names_every_command() -> None:
    ran = nexus_control("--help")
    assert ran.returncode == 0
    assert "demo" in ran.stdout
    assert all(line.isprintable() and line.isascii() for line in ran.stdout.splitlines())


PROBE = """
import json, sys
from nexus_control.cli.main import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
LIBRARIES = {"anyio", "cryptography", "mcp", "mcp_types", "pydantic", "pydantic_core", "rich", "sqlite3"}
HOME = "nexus_control.cli."


def loaded_by(*arguments: str, code: int = 0) -> set[str]:
    """The modules that a process has loaded when its command ends."""
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == code, ran.stderr
    return set(json.loads(ran.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    ("arguments", "code", "allowed"),
    [
        (["--version"], 0, set[str]()),
        (["--help"], 0, set[str]()),
        ([], 2, set[str]()),
        (["--db"], 2, set[str]()),
        (["bogus"], 2, {"pydantic", "pydantic_core"}),  # typer itself may read options with it
        (["bogus", "--json"], 2, {"pydantic", "pydantic_core"}),
    ],
)
def test_version_help_and_errors_before_a_command_load_no_command_and_no_library_of_one(
    arguments: list[str], code: int, allowed: set[str]
) -> None:
    # How long that takes is measured by `python -m tests.bench.start_cost`.
    modules = loaded_by(*arguments, code=code)
    assert HOME + "main" in modules
    assert modules.isdisjoint(LIBRARIES - allowed)
    assert modules.isdisjoint(HOME + where.partition(":")[0] for where, _ in COMMANDS.values())


@pytest.mark.parametrize("command", ["list", "request"])
def test_a_command_loads_neither_the_other_commands_nor_the_servers_library(
    command: str, tmp_path: Path
) -> None:
    Commands(tmp_path).run("request", "g")
    arguments = [command, *(["g"] if command == "request" else []), "--db", str(tmp_path / "store.db")]
    modules = loaded_by(*arguments)
    assert modules.isdisjoint({"anyio", "mcp", "mcp_types"})
    homes = {HOME + where.partition(":")[0] for where, _ in COMMANDS.values()}
    assert modules & homes == {HOME + COMMANDS[command][0].partition(":")[0]}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_of_a_command_what_its_own_help_begins_with(name: str) -> None:
    target, (where, text) = target_of(name), COMMANDS[name]
    own = target.info.help if isinstance(target, typer.Typer) else inspect.getdoc(target)
    assert own is not None
    assert own.splitlines()[0] == text
    assert isinstance(target, typer.Typer) or target.__module__ == HOME + where.partition(":")[0]


def test_every_function_that_takes_a_context_is_in_the_table_or_in_a_group_of_it() -> None:
    targets = [target_of(name) for name in COMMANDS]
    groups = [each for each in targets if isinstance(each, typer.Typer)]
    reached = [each for each in targets if each not in groups]
    reached += [each.callback for group in groups for each in group.registered_commands]
    homes = {where.partition(":")[0] for where, _ in COMMANDS.values()}
    written = [
        function
        for home in homes
        for name, function in inspect.getmembers(import_module(HOME + home), inspect.isfunction)
        if not name.startswith("_")
        and function.__module__ == HOME + home
        and "context" in inspect.signature(function).parameters
    ]
    assert sorted(map(id, reached)) == sorted(map(id, written))


HOSTILE = "[bold red]not markup[/] :warning: \x1b[31m\x9b\r\u202e\u200b"


def test_a_text_is_shown_as_it_is_and_never_commands_the_terminal() -> None:
    shown = StringIO()
    screen = Screen(shown)
    screen.heading(HOSTILE)
    screen.prose(HOSTILE, Mark(HOSTILE, "good"))
    screen.grid(columns("[i]name[/i]|value", [(HOSTILE, Mark(HOSTILE, "bad"))]))
    screen.verbatim(HOSTILE)
    lines = shown.getvalue().splitlines()
    assert all(line.isprintable() for line in lines)
    assert "[bold red]not markup[/] :warning: \\x1b[31m" in lines[1]
    assert "[i]name[/i]" in shown.getvalue()


def test_json_commands_no_terminal_either_and_says_the_same() -> None:
    data = {"goal": HOSTILE, "name": "café \U0001f511\U000e0001\x7f"}
    shown = visible_json(data)
    assert (json.loads(shown), shown.replace("\n", "").isprintable()) == (data, True)
    assert "café \U0001f511" in shown
    assert visible_json({"name": "é"}) == '{\n  "name": "é"\n}'


def test_what_does_not_print_is_spelled_out_and_the_rest_is_not_changed() -> None:
    assert visible("café\n\t\x07\u2066") == "café\n\\t\\x07\\u2066"
