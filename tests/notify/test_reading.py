"""What a `[[notify]]` may not say, and what it means."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nexus_control.configuration import FILE_NAME, look
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.notify.programs import Apprise, Command
from nexus_control.notify.reading import sinks_in
from nexus_control.notify.sinks import EVERYTHING, Sink
from nexus_control.notify.webhooks import Webhook

HOOK = 'name = "chat"\nkind = "webhook"\nurl = "https://e.org/x"\nsecret = { file = "f" }'
COMMAND = 'name = "pager"\nkind = "command"\ncommand = ["page", "ops"]'


def sinks(folder: Path, text: str) -> tuple[Sink, ...]:
    (folder / FILE_NAME).write_text(text)
    return sinks_in(look(folder / FILE_NAME, system=folder / "none", user=folder / "none"))


def hook(url: str) -> str:
    return f'name = "chat"\nkind = "webhook"\nurl = "{url}"\nsecret = {{ file = "f" }}'


@pytest.mark.parametrize("seed", ["0", "1", "2", "3"])
def test_problems_are_named_in_the_same_order_by_every_process(tmp_path: Path, seed: str) -> None:
    (tmp_path / FILE_NAME).write_text(
        '[[notify]]\nname = "a"\nkind = "apprise"\nurl = "https://e.org"\ncommand = ["x"]'
    )
    code = f"""
from pathlib import Path
from nexus_control.configuration import named_source
from nexus_control.notify.reading import sinks_of
try:
    sinks_of(named_source(Path({str(tmp_path / FILE_NAME)!r})))
except ValueError as fault:
    print(*(each.split()[0] for each in fault.details["problems"]))
"""
    words, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["notify[0].url", "notify[0].secret", "notify[0].command"]


def test_each_kind_is_read(tmp_path: Path) -> None:
    text = f"""
[[notify]]
{HOOK}
events = ["pending", "unknown"]
labels = ["prod", "eu"]
goal = true
[[notify]]
{COMMAND}
[[notify]]
name = "slack"
kind = "apprise"
secret = {{ variable = "SLACK" }}
"""
    chat, pager, slack = sinks(tmp_path, text)
    assert (chat.name, set(chat.events), set(chat.labels), chat.goal) == (
        "chat",
        {"pending", "unknown"},
        {"prod", "eu"},
        True,
    )
    assert isinstance(chat.target, Webhook)
    assert (chat.target.url, chat.target.secret.base) == ("https://e.org/x", tmp_path)
    assert (set(pager.events), set(pager.labels), pager.goal) == (set(EVERYTHING), set(), False)
    assert pager.target == Command(("page", "ops"), tmp_path)
    assert isinstance(slack.target, Apprise)
    assert slack.target.secret.variable == "SLACK"


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org",
        "https://hooks.example.org:8443/a/b?c=d",
        "http://localhost:8080/x",
        "http://127.0.0.1/x",
        "http://127.9.9.9:1/",
        "http://[::1]:80/x",
        "https://[2001:db8::1]/x",
    ],
)
def test_an_address_is_https_or_this_machine(tmp_path: Path, url: str) -> None:
    assert len(sinks(tmp_path, f"[[notify]]\n{hook(url)}")) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/",
        "http://localhost.example.org/",
        "http://10.0.0.1/",
        "http://128.0.0.1/",
        "http://0.0.0.0/",
        "http://[::2]/",
        "https://user:s3cret@e.org/",
        "https://@e.org/",
        "https://e.org/#s3cret",
        "https:///x",
        "https:e.org",
        "https://e.org:99999/",
        "https://e.org:0/",
        "https://e.org:x/",
        "https://[::1/",
        "https://e.org/a b",
        "https://e.org/\\r\\nx: y",
        "https://e.org/\\t",
        "https://é.org/",
        "https://e.org\\\\@localhost/",
        "ftp://e.org/",
        "file:///etc/passwd",
        "e.org",
        "",
    ],
)
def test_no_other_address_is_taken_or_repeated(tmp_path: Path, url: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        sinks(tmp_path, f"[[notify]]\n{hook(url)}")
    assert caught.value.code == ErrorCode.CONFIG_INVALID
    assert "notify[0].url must be an https:// address" in caught.value.message
    assert 'secret = { file = "hook.secret" }' in str(caught.value.next)
    assert "s3cret" not in f"{caught.value.message}{caught.value.details}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('notify = "chat"', "notify must be a list of tables: begin each sink with [[notify]]"),
        ('[notify]\nname = "chat"', "notify must be a list of tables"),
        ('notify = ["chat"]', "notify[0] must be an object"),
        (f"[[notify]]\n{HOOK}\ncolour = 1", "Unknown field: notify[0].colour"),
        (f"[[notify]]\n{HOOK}\n[[notify]]\n{HOOK}", "notify[1].name is the name of another sink: chat"),
        ('[[notify]]\nkind = "command"\ncommand = ["x"]', "notify[0].name"),
        ('[[notify]]\nname = "a"', "notify[0].kind"),
        ('[[notify]]\nname = "a"\nkind = "mail"', "notify[0].kind must be one of webhook, command, apprise"),
        ('[[notify]]\nname = "a b"\nkind = "command"\ncommand = ["x"]', "notify[0].name must be 1 to 64 of"),
        ('[[notify]]\nname = ""\nkind = "command"\ncommand = ["x"]', "notify[0].name must be 1 to 64 of"),
        (f'[[notify]]\nname = "{"a" * 65}"\nkind = "command"\ncommand = ["x"]', "notify[0].name must be"),
        ('[[notify]]\nname = "a"\nkind = "command"', "notify[0].command is required for kind = command"),
        ('[[notify]]\nname = "a"\nkind = "command"\ncommand = "x"', "notify[0].command must be a list"),
        (
            '[[notify]]\nname = "a"\nkind = "command"\ncommand = []',
            "notify[0].command must be a list of words",
        ),
        (
            '[[notify]]\nname = "a"\nkind = "command"\ncommand = [""]',
            "notify[0].command must be a list of words",
        ),
        (
            f'[[notify]]\n{COMMAND}\nurl = "https://e.org"',
            "notify[0].url must not be given for kind = command",
        ),
        (f"[[notify]]\n{COMMAND}\nsecret = {{ file = 'f' }}", "notify[0].secret must not be given for kind"),
        (f'[[notify]]\n{HOOK}\ncommand = ["x"]', "notify[0].command must not be given for kind = webhook"),
        ('[[notify]]\nname = "a"\nkind = "webhook"\nsecret = { file = "f" }', "notify[0].url is required"),
        ('[[notify]]\nname = "a"\nkind = "webhook"\nurl = "https://e.org"', "notify[0].secret is required"),
        ('[[notify]]\nname = "a"\nkind = "apprise"', "notify[0].secret is required for kind = apprise"),
        ('[[notify]]\nname = "a"\nkind = "apprise"\nsecret = "s3cret"', "notify[0].secret must be an object"),
        ('[[notify]]\nname = "a"\nkind = "apprise"\nsecret = {}', "secret must have exactly one of file and"),
        (
            '[[notify]]\nname = "a"\nkind = "apprise"\nsecret = { file = "f", variable = "V" }',
            "notify[0].secret must have exactly one of file and variable",
        ),
        ('[[notify]]\nname = "a"\nkind = "apprise"\nsecret = { file = "" }', "notify[0].secret.file must be"),
        (
            '[[notify]]\nname = "a"\nkind = "apprise"\nsecret = { command = ["s3cret"] }',
            "Unknown field: notify[0].secret.command",
        ),
        (f"[[notify]]\n{COMMAND}\nevents = []", "notify[0].events must be a list of at least one event"),
        (f'[[notify]]\n{COMMAND}\nevents = ["revoked"]', "notify[0].events"),
        (f'[[notify]]\n{COMMAND}\nevents = "pending"', "notify[0].events must be a list"),
        (f"[[notify]]\n{COMMAND}\nlabels = []", "notify[0].labels must be a list of at least one label"),
        (f'[[notify]]\n{COMMAND}\ngoal = "yes"', "notify[0].goal must be"),
    ],
)
def test_a_problem_names_the_file_and_the_key_and_repeats_no_secret(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(NexusControlError) as caught:
        sinks(tmp_path, text)
    assert caught.value.code == ErrorCode.CONFIG_INVALID
    assert problem in str(caught.value.details["problems"])
    assert str(tmp_path / FILE_NAME) in caught.value.message
    assert "s3cret" not in f"{caught.value.message}{caught.value.details}"


def test_a_projects_file_has_no_sinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / FILE_NAME).write_text(f"[[notify]]\n{HOOK}")
    monkeypatch.chdir(tmp_path)
    assert sinks_in(look(system=tmp_path / "none", user=tmp_path / "none")) == ()
