"""The registration of the hook that `install --hook` prints, and what `doctor --hooks` finds wrong with another one."""

import json
import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import LAUNCHER, nexus_control
from tests.support.hooking import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def printed(bench: Bench, host: str) -> str:
    ended = nexus_control("install", "--host", host, "--hook", *bench.options)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def problems(bench: Bench, name: str, text: str) -> list[str]:
    file = bench.folder / name
    file.write_text(text, encoding="utf-8")
    ended = nexus_control("doctor", "--db", str(bench.path), "--hooks", str(file), "--json")
    answer = json.loads(ended.stdout)
    found = answer["hooks"]
    assert (ended.returncode, answer["ok"], answer["checks"]["hooks"]) == (
        (3, False, "fail") if found else (0, True, "pass")
    )
    return found


def test_claude_code_is_told_to_call_the_hook_for_every_tool_and_to_block_where_it_fails(
    bench: Bench,
) -> None:
    hooks = json.loads(printed(bench, "claude-code"))["hooks"]
    assert set(hooks) == {"PreToolUse", "PostToolUse", "PostToolUseFailure"}
    for (entry,) in hooks.values():
        (handler,) = entry["hooks"]
        assert (entry["matcher"], handler["type"]) == ("*", "command")
        assert (handler["timeout"], handler["onFailure"]) == (60, "block")
        words = shlex.split(handler["command"])
        assert [word for word in words if word != "-E"] == [
            *(word for word in LAUNCHER if word != "-E"),
            "hook",
            *bench.options,
        ]


def test_codex_is_told_the_same_in_its_own_form_and_keeps_hooks_on(bench: Bench) -> None:
    table = tomllib.loads(printed(bench, "codex"))
    assert table["features"] == {"hooks": True}
    assert set(table["hooks"]) == {"PreToolUse", "PostToolUse"}
    for (entry,) in table["hooks"].values():
        (handler,) = entry["hooks"]
        assert (entry["matcher"], handler["type"], handler["timeout"]) == ("*", "command", 60)
        assert shlex.split(handler["command"])[-4:] == bench.options


@pytest.mark.parametrize(("host", "name"), [("claude-code", "settings.json"), ("codex", "requirements.toml")])
def test_what_is_printed_is_found_to_be_right(host: str, name: str, bench: Bench) -> None:
    assert problems(bench, name, printed(bench, host)) == []


def test_a_place_that_a_shell_would_read_otherwise_is_quoted(tmp_path: Path) -> None:
    folder = tmp_path / "it's $HOME"
    folder.mkdir()
    bench = Bench(folder)
    for host, name in (("claude-code", "settings.json"), ("codex", "requirements.toml")):
        text = printed(bench, host)
        assert problems(bench, name, text) == []
        hooks = (json.loads(text) if name.endswith("json") else tomllib.loads(text))["hooks"]
        assert shlex.split(hooks["PreToolUse"][0]["hooks"][0]["command"])[-4:] == bench.options


@pytest.mark.parametrize("host", ["cursor", "nobody"])
def test_a_host_without_hooks_is_refused(host: str, bench: Bench) -> None:
    ended = nexus_control("install", "--host", host, "--hook", *bench.options)
    assert (ended.returncode, "--host must be one of claude-code, codex" in ended.stderr) == (2, True)


def test_a_store_that_is_not_there_gets_no_hook(tmp_path: Path) -> None:
    ended = nexus_control("install", "--host", "codex", "--hook", "--db", str(tmp_path / "missing.db"))
    assert (ended.returncode, "There is no database" in ended.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


Change = Callable[[dict[str, Any]], object]


def handler_of(settings: dict[str, Any], event: str = "PreToolUse") -> dict[str, Any]:
    return settings["hooks"][event][0]["hooks"][0]


CHANGES: dict[str, tuple[Change, str]] = {
    "no failure event": (lambda s: s["hooks"].pop("PostToolUseFailure"), "PostToolUseFailure has no hook"),
    "another program": (
        lambda s: handler_of(s).update(command="/bin/true hook"),
        "PreToolUse has no hook of nexus-control",
    ),
    "some tools": (
        lambda s: s["hooks"]["PreToolUse"][0].update(matcher="Bash"),
        "is for the tools 'Bash' only",
    ),
    "some calls": (lambda s: handler_of(s).update({"if": "Bash(git *)"}), "has an `if`"),
    "a wrong value": (lambda s: handler_of(s).update(onFailure="blok"), 'another onFailure than "block"'),
    "no onFailure": (lambda s: handler_of(s).pop("onFailure"), 'has no "onFailure": "block"'),
    "a short timeout": (lambda s: handler_of(s).update(timeout=5), "has a timeout below 60"),
    "switched off": (lambda s: s.update(disableAllHooks=True), "disableAllHooks is true"),
    "twice": (
        lambda s: s["hooks"]["PreToolUse"].append(s["hooks"]["PreToolUse"][0]),
        "PreToolUse has 2 hooks of nexus-control",
    ),
    "a program on PATH": (
        lambda s: handler_of(s).update(command="nexus-control hook"),
        "which is looked for on PATH",
    ),
    "a program that is gone": (
        lambda s: handler_of(s).update(command="/gone/nexus-control hook"),
        "which is not there",
    ),
    "a quotation without an end": (
        lambda s: handler_of(s).update(command="nexus-control hook '"),
        "PreToolUse has no hook of nexus-control",
    ),
    "no hooks": (lambda s: s.update(hooks=[]), "PreToolUse has no hook of nexus-control"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_would_let_calls_pass_is_named(name: str, bench: Bench) -> None:
    change, said = CHANGES[name]
    settings = json.loads(printed(bench, "claude-code"))
    change(settings)
    assert any(said in each for each in problems(bench, "settings.json", json.dumps(settings)))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("settings.json", "{", "the host drops the whole file"),
        ("settings.json", "[]", "PreToolUse has no hook of nexus-control"),
        ("requirements.toml", "[", "it is not TOML"),
        ("requirements.toml", "", "[features] has no hooks = true"),
    ],
)
def test_a_file_without_hooks_is_named(name: str, text: str, said: str, bench: Bench) -> None:
    assert any(said in each for each in problems(bench, name, text))


def test_the_interpreter_of_the_hook_is_this_one(bench: Bench) -> None:
    command = handler_of(json.loads(printed(bench, "claude-code")))["command"]
    assert shlex.split(command)[0] == sys.executable
