"""axe-core, which looks for what keeps people from using a page: contrast, names, landmarks, focus.

It is the npm package `axe-core`, and is found where the programs of npm packages are (tests/hosts/programs.py).
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.programs import VARIABLE, search_path
from tests.web.chromium import Page

_FOUND = [
    file
    for folder in search_path().split(os.pathsep)
    if folder.endswith("node_modules/.bin") and (file := Path(folder, "../axe-core/axe.min.js")).is_file()
]
# In CI it is installed: there a missing one is a failure, not a skip.
HAS_AXE = bool(_FOUND) or "CI" in os.environ
needs_axe = pytest.mark.skipif(
    not HAS_AXE,
    reason=f"axe-core of npm is neither beside the programs on PATH nor in the prefix that {VARIABLE} names",
)
_GRAVE = ("serious", "critical")


@cache
def _script() -> str:
    return _FOUND[0].read_text(encoding="utf-8")


def grave_findings(page: Page) -> list[str]:
    """What axe-core finds on the page as it is now, of those that are serious or critical: rule, element, and why."""
    page.run(f"{_script()}; undefined")
    found: list[dict[str, Any]] = json.loads(
        page.run(
            "axe.run(document, {resultTypes: ['violations']}).then(each => JSON.stringify(each.violations))"
        )
    )
    return [
        f"{each['id']}: {node['html']}: {node['failureSummary']}"
        for each in found
        if each["impact"] in _GRAVE
        for node in each["nodes"]
    ]
