"""The registration of the hook that `install --hook` prints, and what `doctor --hooks` finds wrong with another one."""

import json
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.system.commands import command, not_ignored
from tests.cli.running import LAUNCHER, nexus_control
from tests.support.governed import BOB, data_of
from tests.support.hooking import ASKING, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


INSTALLED = {"PYTHONPATH": ""}
"""As where nexus-control is installed, and not found through PYTHONPATH."""


def printed(bench: Bench, host: str) -> str:
    ended = installing(bench, host)
    assert "Note:" not in ended.stderr
    return ended.stdout


def installing(
    bench: Bench,
    host: str = "claude-code",
    changes: Mapping[str, str] = INSTALLED,
    options: list[str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    words = bench.options if options is None else options
    ended = nexus_control("install", "--host", host, "--hook", *words, changes=changes)
    assert ended.returncode == 0, ended.stderr
    return ended


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
        assert words == [*LAUNCHER, "hook", *bench.options]


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
    "a timeout that is text": (
        lambda s: handler_of(s).update(timeout="60"),
        'has the timeout "60", which is not a number',
    ),
    "a switch of another type": (
        lambda s: s.update(allowManagedHooksOnly="yes"),
        "allowManagedHooksOnly is neither true nor false",
    ),
    "a key of the host": (lambda s: s.update(model="opus"), "not judged: model."),
    "a wrong value of another key": (
        lambda s: s.update(cleanupPeriodDays="x"),
        "not judged: cleanupPeriodDays.",
    ),
    "an event of others": (lambda s: s["hooks"].update(Stop=[]), "not judged: hooks.Stop."),
    "a key of a hook": (
        lambda s: handler_of(s).update({"async": 1}),
        "not judged: async of the hook of PreToolUse.",
    ),
    "a key of an entry": (
        lambda s: s["hooks"]["PreToolUse"][0].update(enabled=1),
        "not judged: hooks.PreToolUse[].enabled.",
    ),
    "a hook of others": (
        lambda s: s["hooks"]["PreToolUse"][0]["hooks"].append({"type": "command", "command": 5}),
        "not judged: a hook of PreToolUse that is not nexus-control's.",
    ),
    "no env": (lambda s: s.pop("env"), "env does not set CLAUDE_CODE_SHELL_PREFIX, LD_DEBUG"),
    "half an env": (lambda s: s["env"].pop("OPENSSL_CONF"), "env does not set OPENSSL_CONF to an empty text"),
    "an env that is null": (lambda s: s["env"].update(LD_PRELOAD=None), "env is not an object of texts"),
    "a prefix": (
        lambda s: s["env"].update(CLAUDE_CODE_SHELL_PREFIX="/bin/true"),
        "env sets CLAUDE_CODE_SHELL_PREFIX, which runs something else",
    ),
    "a library of the folder": (
        lambda s: s["env"].update(LD_LIBRARY_PATH="lib"),
        "env sets LD_LIBRARY_PATH to a path that is not absolute",
    ),
    "a trace": (
        lambda s: s["env"].update(LD_TRACE_LOADED_OBJECTS=""),
        "env sets LD_TRACE_LOADED_OBJECTS: with any value no program runs",
    ),
    "a Python that reads the user's folder": (
        lambda s: handler_of(s).update(command=handler_of(s)["command"].replace(" -s ", " ")),
        "takes neither -I nor -s: it runs usercustomize.py",
    ),
    "a Python that reads its variables": (
        lambda s: handler_of(s).update(command=handler_of(s)["command"].replace(" -E ", " ")),
        "takes neither -I nor -E: it reads PYTHONPATH",
    ),
    "a script": (
        lambda s: handler_of(s).update(command="/bin/nexus-control hook"),
        "takes neither -I nor -P -E -s",
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


def isolated(settings: dict[str, Any]) -> None:
    for event in settings["hooks"]:
        handler = handler_of(settings, event)
        handler["command"] = handler["command"].replace("-P -E -s", "-I")


RIGHT: dict[str, Change] = {
    "switches": lambda s: s.update(allowManagedHooksOnly=True, disableAllHooks=False),
    "variables": lambda s: s["env"].update(LD_LIBRARY_PATH="/opt/lib", SOME_OTHER="x"),
    "isolated": isolated,
}


@pytest.mark.parametrize("change", RIGHT.values(), ids=RIGHT)
def test_what_is_known_to_be_right_passes(change: Change, bench: Bench) -> None:
    settings = json.loads(printed(bench, "claude-code"))
    change(settings)
    assert problems(bench, "settings.json", json.dumps(settings)) == []


def test_other_keys_of_codex_pass_because_codex_does_not_start_with_a_wrong_value(bench: Bench) -> None:
    text = 'allowed_approval_policies = ["never"]\n' + printed(bench, "codex")
    assert problems(bench, "requirements.toml", text) == []


def test_an_interpreter_with_the_printed_options_runs_no_file_of_the_users_folder(
    bench: Bench, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    site = home / ".local" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    site.mkdir(parents=True)
    (site / "usercustomize.py").write_text("print('it ran')\n", encoding="utf-8")
    # An interpreter of a virtual environment has no user site.
    interpreter = [str(vars(sys)["_base_executable"])]
    options = LAUNCHER[1 : LAUNCHER.index("-m")]
    said = [
        subprocess.run(
            [*interpreter, *each, "-c", ""], env={"HOME": str(home)}, capture_output=True, text=True
        ).stdout
        for each in (["-P", "-E"], options)
    ]
    assert said == ["it ran\n", ""]


def test_what_the_printed_command_cannot_ignore_is_said(bench: Bench) -> None:
    ended = installing(bench, changes={})
    assert "-E" not in ended.stdout.split()
    assert "has no -E" in " ".join(ended.stderr.split())
    found = problems(bench, "settings.json", ended.stdout)
    assert any("takes neither -I nor -E" in each for each in found)


def test_a_package_in_the_user_site_is_found_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr("site.USER_SITE", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert ("-s" in command(), not_ignored()) == (True, [])
    (tmp_path / "nexus_control-9.dist-info").mkdir()
    (tmp_path / "nexus_control-9.dist-info" / "METADATA").write_text("Name: nexus-control\nVersion: 9\n")
    assert "-s" not in command()
    assert "has no -s" in not_ignored()[0]


# --- what the hook leads to -----------------------------------------------------------------------------------------


CHAINS: dict[str, tuple[str, str]] = {
    "no rules": ('database = "decisions.db"\n', "there is no rule book"),
    "no TOML": ("default = ", "is not TOML"),
    "a wrong rule": ('default = "deny"\n[[rules]]\nverdict = "perhaps"\n', "rules[0]"),
    "no template": (ASKING.replace('"one"', '"two"'), "need the template two, which the store does not have"),
    "a template of another mode": (
        ASKING.replace('"one"', '"dry"'),
        "the template dry does not allow the mode apply",
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_rule_book_or_a_template_that_is_not_there_is_named_by_install_and_by_doctor(
    name: str, bench: Bench
) -> None:
    text = printed(bench, "claude-code")
    with NexusControlTools(bench.path) as tools:
        data_of(tools.template_create("dry", BOB, min_approvals=1, allowed_modes=["dry_run"]))
    book, said = CHAINS[name]
    bench.book.write_text(book, encoding="utf-8")
    assert any(said in each for each in problems(bench, "settings.json", text))
    ended = nexus_control("install", "--host", "codex", "--hook", *bench.options, changes=INSTALLED)
    assert said in " ".join(ended.stderr.split())


def test_a_book_that_is_gone_is_named(bench: Bench) -> None:
    text = printed(bench, "codex")
    bench.book.unlink()
    (found,) = problems(bench, "requirements.toml", text)
    assert found.startswith(f"the hook denies every call: {bench.book}: cannot be read")


@pytest.mark.skipif(Path("/etc/nexus-control").exists(), reason="this machine has a rule book")
def test_without_a_rule_book_install_says_so(bench: Bench) -> None:
    ended = installing(bench, options=["--db", str(bench.path)])
    assert "there is no rule book. A person writes one" in " ".join(ended.stderr.split())


def test_another_store_than_the_one_that_is_checked_is_looked_at(bench: Bench, tmp_path: Path) -> None:
    text = printed(bench, "codex").replace("decisions.db", "away.db")
    (found,) = problems(bench, "requirements.toml", text)
    assert f"There is no store at {bench.folder / 'away.db'}" in found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("hook --db decisions.db", "--db must be an absolute path"),
        ("hook --db", "--db needs a value"),
        ("hook --dbb /x", "--dbb is not an option of hook"),
    ],
)
def test_options_that_the_hook_refuses_are_named(options: str, said: str, bench: Bench) -> None:
    text = printed(bench, "codex").replace(shlex.join(["hook", *bench.options]), options)
    assert any(said in each for each in problems(bench, "requirements.toml", text))


@pytest.mark.parametrize(
    "words",
    [["install", "--host", "codex", "--hook"], ["doctor", "--hooks", "/dev/null"]],
    ids=["install", "doctor"],
)
def test_where_there_is_no_store_what_makes_one_for_a_hook_is_named(words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text("{}", encoding="utf-8")
    words = [str(file) if each == "/dev/null" else each for each in words]
    ended = nexus_control(*words, "--db", str(tmp_path / "missing.db"))
    assert "`template create` makes one" in " ".join(ended.stderr.split())


def test_doctor_names_what_is_wrong_with_the_hook_before_it_says_that_the_store_is_whole(
    bench: Bench,
) -> None:
    file = bench.folder / "settings.json"
    file.write_text("{}", encoding="utf-8")
    screen = " ".join(nexus_control("doctor", "--db", str(bench.path), "--hooks", str(file)).stdout.split())
    assert "hooks fail not every call of a tool is known to be guarded" in screen
    assert screen.index("hooks: PreToolUse has no hook") < screen.index("The store is whole.")


def test_an_emptied_store_does_not_hide_what_is_wrong_with_the_hook(bench: Bench) -> None:
    for path in bench.folder.glob("decisions.db*"):
        path.unlink()
    bench.path.touch()
    file = bench.folder / "settings.json"
    file.write_text("{}", encoding="utf-8")
    ended = nexus_control("doctor", "--db", str(bench.path), "--hooks", str(file), "--json")
    assert json.loads(ended.stdout)["checks"]["hooks"] == "fail"
