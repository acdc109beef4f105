import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest

from nexus_control import __version__
from nexus_control.cli.screen import Mark, Screen, columns, visible, visible_json
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
from nexus_control.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(name for name in sys.modules if "." not in name)), file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["list", "request"])
def test_commands_that_neither_sign_nor_verify_wait_for_no_library_that_does(
    command: str, tmp_path: Path
) -> None:
    Commands(tmp_path).run("request", "g")
    arguments = [command, *(["g"] if command == "request" else []), "--db", str(tmp_path / "store.db")]
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stderr
    assert {"cryptography", "mcp"}.isdisjoint(json.loads(ran.stderr.splitlines()[-1]))


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
