import getpass
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import with_a_terminal
from tests.support import documents
from tests.support.places import REPOSITORY

PAGES = sorted(
    str(page.relative_to(REPOSITORY)) for glob in ("*.md", "docs/**/*.md") for page in REPOSITORY.glob(glob)
)
OPENING = """\
```console
$ pip install -e ".[dev]" && nexus-control demo
```

```console
$ pytest
```
"""
RUN = {"bash", "console", "python", "sh"}
SHOWN = {"", "diff", "html", "ini", "json", "mermaid", "pyi", "sql", "text", "toml", "yaml"}
LOGIN = f"{getpass.getuser()}@{os.uname().nodename}"
RUN_BY_CI = {"git", "make", "pip", "pre-commit", "pytest", "python3", ".ci/run"}


def read(page: str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def reader_environment(home: Path) -> dict[str, str]:
    """A new user's shell, in which `nexus-control` is the checkout's, run by this interpreter."""
    programs = home / ".programs"
    programs.mkdir()
    command = programs / "nexus-control"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nexus_control "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


def require_tools(source: str) -> None:
    """Skip where the reader would have to install something first."""
    missing = [tool for tool in ("jq", "openssl", "ssh-keygen") if tool in source and not shutil.which(tool)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def save_files(page: str, folder: Path) -> None:
    for name, text in documents.files(read(page)).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755 if text.startswith("#!") else 0o644)


def run(arguments: list[str], folder: Path, environment: dict[str, str]) -> str:
    ran = subprocess.run(
        arguments,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def answer(script: str, typed: str, folder: Path, environment: dict[str, str]) -> str:
    """Run it at a terminal of 80 columns, where the reader types this, unseen. A further question finds the end."""
    known = {**environment, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    ran = with_a_terminal(["bash", "-c", f"stty -echo\n{script}"], known, folder=folder, typed=typed)
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: str, tmp_path: Path) -> None:
    source = documents.python_source(read(page))
    require_tools(source)
    work = tmp_path / "work"
    work.mkdir()
    save_files(page, work)
    program = tmp_path / Path(page).name
    program.write_text(source, encoding="utf-8")
    run([sys.executable, str(program)], work, reader_environment(tmp_path))


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_exit_and_print_as_it_says(page: str, tmp_path: Path) -> None:
    script = documents.shell_script(page, read(page))
    require_tools(script)
    work = tmp_path / "work"
    work.mkdir()
    save_files(page, work)
    commands, environment = documents.commands(read(page)), reader_environment(tmp_path)
    typed = "".join(f"{said}\n" for each in commands for said in each.answers)
    printed = (
        answer(script, typed, work, environment) if typed else run(["bash", "-c", script], work, environment)
    )
    for command, output in zip(commands, printed.split(documents.SEPARATOR)[1:], strict=True):
        if command.output:
            printed_here = output.replace(str(work), "/home/ada/site").replace(LOGIN, "ada@laptop")
            assert documents.is_as_shown(printed_here, command), f"{page}:{command.line} prints:\n{output}"


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_is_run_or_only_shown(page: str) -> None:
    """No block escapes by its language, and no command by its program."""
    assert {block.language for block in documents.blocks(read(page))} <= RUN | SHOWN
    assert {text.split()[0] for text in documents.left_out(read(page))} <= RUN_BY_CI


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page: str) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", read(page)):
        assert ((REPOSITORY / page).parent / target).exists(), target


def test_the_readme_is_short_and_opens_with_the_two_commands() -> None:
    readme = read("README.md")
    assert len(readme.encode()) <= 9_000
    assert readme.startswith(f"# nexus-control\n\n{OPENING}")


def test_the_readme_has_python_and_commands_that_are_run() -> None:
    assert documents.python_source(read("README.md"))
    assert documents.commands(read("README.md"))


def test_a_new_user_types_at_most_12_commands_and_no_id() -> None:
    """From nothing to a change that was approved, executed and verified; that they work is tested with every page."""
    first, _, rest = read("docs/tutorial.md").partition("## From Python")
    typed = [command.text for command in documents.typed_in(first)]
    assert rest
    assert len(typed) <= 12
    assert not [text for text in typed if re.search(r"[$`]|--yes|--json|[0-9a-f]{4,}", text)]
    verbs = {text.split()[1] for text in typed if text.startswith("nexus-control ")}
    assert verbs >= {"request", "approve", "execute", "run", "status", "audit", "verify", "report"}


def test_a_package_is_verified_by_hand_with_the_tools_of_an_auditor() -> None:
    """Every line that checks something runs, and none of the checking asks nexus-control."""
    pages = [read(page) for page in PAGES if Path(page).name.startswith("verify")]
    checking = [
        command.text for page in pages for command in documents.commands(page[page.index("## 1. ") :])
    ]
    assert len(checking) > 25
    assert not any("nexus-control " in text for text in checking)
    assert {text.split()[0] for text in checking} >= {"jq", "openssl", "ssh-keygen", "test"}


EXAMPLE = """\
# A page

<!-- file: keys/rotate.sh -->
```sh
#!/bin/sh
nexus-control not-run-here
```

```python
answer = 1
```

<!-- no-run: needs a network -->

```python
raise SystemExit("never")
```

1. In a list:

   ```python
   if answer:
       answer += 41
   ```

```console
$ nexus-control request "Rotate" \\
>     --mode apply
req_1
$ pip install -e ".[dev]" && nexus-control demo
$ nexus-control verify forged.json  # exit 3
```

~~~bash
id=$(nexus-control list --json)
export NEXUS_CONTROL_DB=decisions.db
git clone nexus-control
~~~
"""

ASKED = """\
```console
$ nexus-control approve
…
Approve? [y/N]: y
req_1 is approved.
```
"""


def test_every_line_of_python_keeps_its_number_in_the_page() -> None:
    source = documents.python_source(EXAMPLE)
    lines = source.splitlines()
    assert {number: line for number, line in enumerate(lines, start=1) if line} == {
        10: "answer = 1",
        22: "if answer:",
        23: "    answer += 41",
    }
    assert "never" not in source


def test_a_page_says_which_commands_run_and_how_they_exit() -> None:
    assert [(command.line, command.text, command.exit_code) for command in documents.commands(EXAMPLE)] == [
        (27, 'nexus-control request "Rotate"     --mode apply', 0),
        (31, "nexus-control verify forged.json  # exit 3", 3),
        (35, "id=$(nexus-control list --json)", 0),
        (36, "export NEXUS_CONTROL_DB=decisions.db", 0),
    ]


def test_a_page_says_what_is_printed_and_what_is_answered() -> None:
    first, *_, last = documents.commands(EXAMPLE + ASKED)
    assert (first.output, first.answers) == ("req_1\n", [])
    assert (last.output, last.answers) == ("…\nApprove? [y/N]: y\nreq_1 is approved.\n", ["y"])


ID = "5b1b2b9c-6a55-4b8e-9c5e-0d1c0d39fd10"


@pytest.mark.parametrize(
    ("printed", "is_shown"),
    [
        ("A plan\nApprove? [y/N]: req_1 is\napproved.\n", True),
        ("Approve? [y/N]: req_1 is approved.\n", True),
        ("Approve? [y/N]: req_1 is denied.\n", False),
        ("Approve? [y/N]: req_1 is approved.\nAnd more.\n", False),
    ],
)
def test_what_a_command_prints_is_compared_with_what_its_page_shows(printed: str, is_shown: bool) -> None:
    (command,) = documents.commands(ASKED)
    assert documents.is_as_shown(printed, command) is is_shown


def test_what_differs_from_run_to_run_is_not_compared() -> None:
    command = documents.Command(1, "nexus-control list", f"{ID} at 2026-03-02 14:03 UTC, 3 minutes ago\n")
    other = ID.replace("5", "6")
    assert documents.is_as_shown(f"{other} at 2027-12-24 09:59 UTC, just now\n", command)
    assert not documents.is_as_shown("req_1 at 2027-12-24 09:59 UTC, just now\n", command)


def test_a_page_says_which_commands_it_leaves_to_others() -> None:
    assert documents.left_out(EXAMPLE) == [
        'pip install -e ".[dev]" && nexus-control demo',
        "git clone nexus-control",
    ]


def test_a_page_says_which_files_to_save() -> None:
    assert documents.files(EXAMPLE) == {"keys/rotate.sh": "#!/bin/sh\nnexus-control not-run-here\n"}


@pytest.mark.parametrize(("exit_code", "verdict"), [(3, 0), (4, 99)])
def test_a_command_that_exits_unlike_its_page_says_ends_the_script(exit_code: int, verdict: int) -> None:
    page = f"```console\n$ cd /\n$ cd /missing-folder-3 2>/dev/null || (exit 3)  # exit {exit_code}\n```\n"
    script = documents.shell_script("PAGE.md", page)
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=240)
    assert ran.returncode == verdict
    assert ("PAGE.md:3: expected exit 4" in ran.stderr) is (verdict == 99)
