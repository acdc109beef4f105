"""The generated parts by their names, and how a page is filled with them."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.support.places import REPOSITORY
from tests.support.reference import commands, python_names, records, tools

FOLDER = REPOSITORY / "docs" / "reference"
END = "<!-- end -->"
_PART = re.compile(r"<!-- generated: (?P<name>[\w-]+) -->\n.*?(?=^<!-- end -->$)", re.DOTALL | re.MULTILINE)

SECTIONS: dict[str, Callable[[], str]] = {
    "adapter": records.adapter,
    "adapter-tool": records.adapter_tool,
    "mcp-adapter": records.mcp_adapter,
    "blocking-reasons": records.blocking_reasons,
    "command-table": commands.table_of_commands,
    "commands": commands.every_command,
    "common-options": commands.common_options,
    "configuration-example": records.configuration_example,
    "errors": records.errors,
    "event-fields": records.event_fields,
    "events": records.events,
    "parts-of-payloads": records.parts_of_payloads,
    "guards": python_names.guard_names,
    "policy": records.policy,
    "python": python_names.public_names,
    "rule": records.rule,
    "tool-table": tools.table_of_tools,
    "tools": tools.every_tool,
}


@cache
def section(name: str) -> str:
    """The text of a generated part, without blanks at its ends."""
    return SECTIONS[name]().strip()


def filled(page: str) -> str:
    """The page with every generated part as the code has it. A name that nobody makes is a KeyError."""
    return _PART.sub(lambda part: f"<!-- generated: {part['name']} -->\n\n{section(part['name'])}\n\n", page)


def parts_of(page: str) -> list[str]:
    """The names of the generated parts of a page."""
    return [part["name"] for part in _PART.finditer(page)]


def fill_pages() -> list[Path]:
    """Write each page whose generated parts changed; answers those."""
    changed: list[Path] = []
    for path in sorted(FOLDER.glob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    return changed
