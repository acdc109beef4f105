"""docs/performance.md: its part between the marks is written from a result, the rest by people."""

import re
from pathlib import Path

from benchmarks.report.table import table
from benchmarks.results import Results

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


def write_page(results: Results) -> list[Path]:
    """The page, its plots, and the result that they show."""
    from benchmarks.report.plots import draw

    FOLDER.mkdir(exist_ok=True)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    RESULT.write_text(results.model_dump_json() + "\n", encoding="utf-8")
    return [PAGE, RESULT, *draw(results, FOLDER)]
