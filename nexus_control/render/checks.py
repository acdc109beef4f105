"""The checks of a report: first each check that did not simply pass, with what was found; then those that did."""

from collections.abc import Iterator, Sequence

from nexus_control.evidence.reading import Reading
from nexus_control.evidence.report import Check
from nexus_control.render.html import Html, joined, table, tag

_ORDER = ("fail", "skipped", "info")


def check_parts(evidence: Reading) -> Iterator[Html]:
    """The table of the checks that failed, were skipped or found something to know, and the list of the others."""
    told = sorted(
        (check for check in evidence.checks if check.status in _ORDER),
        key=lambda check: _ORDER.index(check.status),
    )
    if told:
        rows = [(check.name, tag("span", check.status, kind=check.status), _found(check)) for check in told]
        yield table(["Check", "Result", "What was found"], rows, whole=["Check", "Result"])
    passed = [check for check in evidence.checks if check.status == "pass"]
    if passed:
        yield tag("p", f"Passed ({len(passed)}):", kind="note")
        yield tag("ul", joined(_passed(passed)), kind="passed")


def _passed(checks: Sequence[Check]) -> Iterator[Html]:
    for check in checks:
        yield tag(
            "li",
            tag("span", check.name, kind="pass"),
            *([tag("span", f": {check.detail}", kind="soft")] if check.detail else []),
        )


def _found(check: Check) -> str:
    if check.expected is None or check.status != "fail":
        return check.detail or "-"
    return f"{check.detail}\nexpected {check.expected}\nfound {check.actual}"
