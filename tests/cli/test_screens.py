"""What people look at fits 80 and 120 columns, on a terminal and in a pipe."""

import re
from io import StringIO

import pytest

from nexus_control.cli.screen import Screen, columns
from tests.cli.running import Commands, at_a_terminal, nexus_control
from tests.support.places import REPOSITORY

PACKAGE = str(REPOSITORY / "tests" / "vectors" / "control" / "audit-reference.json")
COLOURS = re.compile(r"\x1b\[[\d;]*m")
WIDTHS = [80, 120]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """Requests in different states, with long goals, and a template."""
    commands = Commands(tmp_path_factory.mktemp("screens"))
    commands.run("template", "create", "production", "--min-approvals", "2", "--description", "word " * 40)
    for number in range(4):
        goal = f"Rotate the API keys of service {number}, all of them, in every region, and tell nobody"
        request_id = commands.answer("request", goal, "--mode", "apply", "--plan", "1. rotate")["request_id"]
        if number % 2:
            commands.run("approve", request_id, "--yes", "--as", "human:bob@example.com")
    return commands


def screens(store: Commands) -> dict[str, tuple[str, ...]]:
    database = ("--db", str(store.folder / store.database))
    return {
        "doctor": ("doctor", *database),
        "template list": ("template", "list", *database),
        "template get": ("template", "get", "production", *database),
        "verify": ("verify", PACKAGE),
        "a refusal": ("status", "none", *database),
    }


@pytest.mark.sample(3)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["doctor", "template list", "template get", "verify", "a refusal"])
def test_a_screen_fits_its_width_in_colour_on_a_terminal_and_without_in_a_pipe(
    name: str, width: int, store: Commands
) -> None:
    arguments = screens(store)[name]
    on_terminal = at_a_terminal(*arguments, width=width).stdout
    assert "\x1b[" in on_terminal
    piped = nexus_control(*arguments, changes={"COLUMNS": str(width)})
    for text in (COLOURS.sub("", on_terminal).replace("\r", ""), piped.stdout + piped.stderr):
        lines = text.splitlines()
        assert lines
        assert max(map(len, lines)) <= width
        assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_everything_that_the_reviewer_may_ask_for_is_what_inspect_shows(width: int, store: Commands) -> None:
    database = ("--db", str(store.folder / store.database))
    request_id = store.answer("list", "--state", "pending_approval")["requests"][0]["request_id"]
    given = ("approve", request_id, *database, "--full")
    shown = at_a_terminal(*given, typed="n\n", width=width).stdout.replace("\r", "")
    inspected = nexus_control("inspect", request_id, *database).stdout
    expected = [line for line in inspected.splitlines() if line and not line.startswith("- Judged at")]
    assert [line for line in expected if f"    {line}" not in shown.splitlines()] == []


@pytest.mark.parametrize("width", ["60", "80", "120"])
def test_a_list_cuts_goal_and_requester_before_id_age_state_and_approvals(
    width: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    kept = ("0d1c0d39", "12mo", "approved, imported, blocked", "10/10")
    rows = [(*kept, "dry_run", f"{'maximiliane' * 3}@studio", "Rotate the keys of every service" * 3)]
    screen = Screen(shown := StringIO())
    screen.lines(columns("id|age|state|agreed|mode|requester|goal", rows), narrowing=5)
    line = shown.getvalue().splitlines()[1]
    assert line.startswith("  ".join(kept))
    assert len(line) <= int(width)
