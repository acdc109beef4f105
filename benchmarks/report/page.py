"""docs/performance.md: its part between the marks is written from a result, the rest by people."""

import re
from pathlib import Path

from benchmarks.report.table import table
from benchmarks.results import OF_BEFORE, Results
from benchmarks.sizes import FULL
from benchmarks.workloads import WORKLOADS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "performance.md"
FOLDER = DOCS / "performance"
RESULT = FOLDER / "results.json"
_PART = re.compile(r"(?<=<!-- generated: measured -->\n).*?(?=<!-- end -->)", re.DOTALL)


def filled(page: str, results: Results) -> str:
    """The page with the tables of this result. A page without the marks is a ValueError."""
    new, count = _PART.subn(lambda _: f"\n{table(results)}\n\n", page)
    if count != 1:
        raise ValueError("the page needs exactly one generated part")
    return new


def why_no_page(results: Results) -> str | None:
    """Why the page does not show this result; None where it may. Readers take its figures for those of the version."""
    if results.sizes.model_copy(update={"rounds": FULL.rounds}) != FULL:
        return "it was measured in small sizes"
    if left := [name for name in WORKLOADS if name not in results.workloads]:
        return f"it was measured without {', '.join(left)}"
    left_out = {name: why for name, why in results.skipped.items() if not name.startswith(OF_BEFORE)}
    if left_out:
        return "; ".join(f"{name} was left out: {why}" for name, why in sorted(left_out.items()))
    return None


def write_page(results: Results) -> list[Path]:
    """The page, its plots, and the result that they show."""
    from benchmarks.report.plots import draw

    FOLDER.mkdir(exist_ok=True)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    RESULT.write_text(results.model_dump_json() + "\n", encoding="utf-8")
    return [PAGE, RESULT, *draw(results, FOLDER)]
