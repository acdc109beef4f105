"""What a Markdown page asks its reader to type, as one Python file and one shell script.

    ```python        every block of a page runs, in order, in one namespace
    ```console       lines after `$ ` run; the other lines show output, … for a part that is left out
    ```bash, ```sh   every line runs
    ```anything      a block right below `<!-- file: NAME -->` is first saved as that file
    ```anything      a block right below `<!-- no-run: reason -->` is not run

Of shell commands only assignments, `export ...` and the programs below run; installing and the like is what .ci/run
does. A command must exit 0, or as a comment at its end says: `$ nexus-control verify forged.json  # exit 3`.
A backslash at the end of a line continues the command. Shell variables last to the end of the page.

Output that ends with the answer to a question, `... [y/N]: y`, says what the reader types.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

_FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<language>[\w-]*).*")
_REMARK = re.compile(r"\s*<!-- (?P<kind>no-run|file): (?P<value>.+?) -->\s*")
_PROGRAMS = (
    "bash",
    "cat",
    "cd",
    "jq",
    "nexus-control",
    "openssl",
    "printf",
    "python",
    "sed",
    "sh",
    "ssh-keygen",
    "test",
)
_RUNS = re.compile(rf"(?:export +)?\w+=\S|(?:{'|'.join(_PROGRAMS)})(?:\s|$)")
_EXIT = re.compile(r"# exit (\d+)\s*$")
_ANSWER = re.compile(r"\[y/N\]: (\S+)\s*$", re.MULTILINE)
_LEFT_OUT = re.compile(r"…|\.\.\.")
_DIFFERS = {
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}": "ID",
    r"[0-9a-f]{64}": "DIGEST",
    r"\b[0-9a-f]{8,16}\b": "ID",  # short ids, and names of logs
    r"\d{4}-\d{2}-\d{2}": "DAY",
    r"\d{2}:\d{2}(?: (?:UTC|today|yesterday))?": "TIME",
    r"just now|\d+ (?:second|minute)s? ago": "AGO",
    r"\b\d+ bytes": "SIZE",
}
SEPARATOR = "\x1e"
"""What the script prints before each command."""


@dataclass
class Block:
    """A fenced block. `line` is that of its first line of content, from 1."""

    language: str
    line: int
    indent: int
    remark: str = ""
    remark_value: str = ""
    lines: list[str] = field(default_factory=list[str])

    @property
    def runs(self) -> bool:
        return not self.remark

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


@dataclass(frozen=True)
class Command:
    """A shell command of a page. `output` is what the page shows below it."""

    line: int
    text: str
    output: str = ""

    @property
    def exit_code(self) -> int:
        return int(said[1]) if (said := _EXIT.search(self.text)) else 0

    @property
    def answers(self) -> list[str]:
        """What the reader types, a line each."""
        return _ANSWER.findall(self.output)


def is_as_shown(printed: str, command: Command) -> bool:
    """Whether a command printed what its page shows, line breaks aside, and what differs from run to run."""
    shown = _LEFT_OUT.split(_ANSWER.sub("[y/N]:", command.output))  # what is typed is not printed
    expected = ".*".join(re.escape(_plain(part)) for part in shown)
    return re.fullmatch(expected, _plain(printed)) is not None


def _plain(output: str) -> str:
    output = " ".join(output.split())
    for pattern, word in _DIFFERS.items():
        output = re.sub(pattern, word, output)
    return "".join(output.split())


def blocks(markdown: str) -> list[Block]:
    """The fenced blocks of a page."""
    found: list[Block] = []
    current: Block | None = None
    closing = remark = remark_value = ""
    for number, line in enumerate(markdown.splitlines(), start=1):
        if current is not None:
            if line.strip() == closing:
                current = None
            else:
                current.lines.append(line[min(current.indent, len(line) - len(line.lstrip())) :])
        elif opening := _FENCE.fullmatch(line):
            closing = opening["fence"]
            current = Block(opening["language"], number + 1, len(opening["indent"]), remark, remark_value)
            found.append(current)
            remark = remark_value = ""
        elif said := _REMARK.fullmatch(line):
            remark, remark_value = said["kind"], said["value"]
        elif line.strip():
            remark = remark_value = ""
    return found


def files(markdown: str) -> dict[str, str]:
    """The files that a page has its reader save."""
    return {block.remark_value: block.text for block in blocks(markdown) if block.remark == "file"}


def python_source(markdown: str) -> str:
    """The page's Python, every line at the number it has in the page, so that tracebacks point into the page."""
    lines = [""] * len(markdown.splitlines())
    for block in blocks(markdown):
        if block.language == "python" and block.runs:
            lines[block.line - 1 : block.line - 1 + len(block.lines)] = block.lines
    return "\n".join(lines) + "\n" if any(lines) else ""


def commands(markdown: str) -> list[Command]:
    """The page's shell commands that run."""
    return [each for each in typed_in(markdown) if _RUNS.match(each.text)]


def left_out(markdown: str) -> list[str]:
    """The page's shell commands that are not of those programs."""
    return [
        each.text
        for each in typed_in(markdown)
        if each.text and not each.text.startswith("#") and not _RUNS.match(each.text)
    ]


def typed_in(markdown: str) -> Iterator[Command]:
    """Every shell command of a page, also one that does not run."""
    for block in blocks(markdown):
        if block.language in ("console", "bash", "sh") and block.runs:
            yield from _typed(block)


def shell_script(page: str, markdown: str) -> str:
    """The commands in order; the script ends with 99 and the place of the first that exits differently."""
    lines: list[str] = []
    for command in commands(markdown):
        wrong = shlex.quote(f"{page}:{command.line}: expected exit {command.exit_code}: {command.text}")
        lines += [
            f"printf '\\{ord(SEPARATOR):03o}'",
            command.text,
            f'status=$?; [ "$status" -eq {command.exit_code} ] || '
            f'{{ printf "%s\\nbut exit was %s\\n" {wrong} "$status" >&2; exit 99; }}',
        ]
    return "\n".join(lines) + "\n" if lines else ""


def _typed(block: Block) -> Iterator[Command]:
    """Each command of a shell block with its line, continuation lines joined, and the output below it."""
    is_console = block.language == "console"
    typed = ""
    start = 0
    found: Command | None = None
    for number, line in enumerate(block.lines, start=block.line):
        if not typed:
            if is_console and not line.startswith("$ "):
                found = found and replace(found, output=f"{found.output}{line}\n")
                continue
            if found is not None:
                yield found
            start, found = number, None
            line = line.removeprefix("$ ")
        typed += line.removeprefix("> ") if typed else line
        if typed.endswith("\\"):
            typed = typed[:-1]
        else:
            found, typed = Command(start, typed.strip()), ""
    if found is not None:
        yield found
