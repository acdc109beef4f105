"""Pages of 100 out of the largest store: the first, the last by offset and by cursor, and pages of a filter."""

from collections import Counter
from typing import Any

from benchmarks.fixtures import copy_of
from benchmarks.people import opened
from benchmarks.results import Outcome
from benchmarks.timing import in_turns
from benchmarks.workloads import Setting

PAGE = 100
FIRST_PAGE = {"completed": 30, "approved": 30, "pending_approval": 40}


def run(setting: Setting) -> Outcome:
    size = setting.sizes.decisions[-1]
    database = copy_of(setting.fixtures, f"decisions-{size}", setting.folder)
    with opened(database) as tools:
        first = tools.list_requests(limit=PAGE).data
        states = Counter(str(request["state"]) for request in first["requests"])
        before_last: dict[str, Any] = {**tools.list_requests(limit=PAGE, offset=size - 2 * PAGE).data}
        deep = before_last.get("cursor") or before_last.get("next")  # as an earlier version calls it
        pages = {
            "first_page": lambda: tools.list_requests(limit=PAGE).data,
            "last_page_by_offset": lambda: tools.list_requests(limit=PAGE, offset=size - PAGE).data,
            "last_page_by_cursor": lambda: tools.list_requests(limit=PAGE, after=deep).data,
            "pending": lambda: tools.list_requests(limit=PAGE, state="pending_approval").data,
            "awaiting_one": lambda: tools.list_requests(limit=PAGE, awaiting="erin").data,
        }
        full = all(page()["count"] == PAGE for page in pages.values())
        approved = tools.list_requests(limit=PAGE, state="approved").data["count"]
        rare = tools.list_requests(limit=PAGE, label="rare").data["count"]
        timed = in_turns(pages, setting.sizes.seconds / 2)
    right = states == FIRST_PAGE and approved >= FIRST_PAGE["approved"] and rare == min(PAGE, size // 10)
    metrics = {f"{name}_ms": each.milliseconds for name, each in timed.items()}
    checks = {"check_pages_are_full": float(full), "check_states_of_first_page": float(right)}
    return Outcome(metrics=metrics | checks)
