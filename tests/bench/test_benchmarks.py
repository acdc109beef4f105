"""The benchmarks' own logic: no workload is run here, and nothing is timed."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import pytest

from benchmarks.__main__ import main
from benchmarks.job import Job, perform
from benchmarks.report.figures import digest_of, lines_of
from benchmarks.report.page import FOLDER, PAGE, RESULT, filled, why_no_page
from benchmarks.report.plots import draw
from benchmarks.report.rows import GROWING, Growing
from benchmarks.report.table import amount, table
from benchmarks.results import BEFORE, THIS, Machine, Outcome, Results, Spread, better, gather, ratios, spread
from benchmarks.running import kind_of
from benchmarks.sizes import FULL, SMOKE
from benchmarks.syncs import WHY_NOT, build_counter
from benchmarks.timing import in_turns
from benchmarks.verdict import complaints
from benchmarks.workloads import WORKLOADS
from tests.support.places import REPOSITORY

ROUNDS = 2
MACHINE = Machine(
    cores=2, system="Linux", python="3.11", sqlite="3.40", postgresql=None, psycopg=None, eventsourcing=None
)
Figures: TypeAlias = Mapping[str, Sequence[float | None]]
GOOD: Figures = {
    "bad_lost_events": [0, 0],
    "bad_unacknowledged_events": [0, 0],
    "bad_sequences": [0, 0],
    "bad_refusals": [0, 0],
    "threads_8_events_per_s": [2000, 3000],
    "threads_1_events_per_s": [1000, 2000],
}
UNCHECKED: Figures = {name: values for name, values in GOOD.items() if name != "bad_lost_events"}


def results(
    figures: Figures = GOOD,
    *,
    workload: str = "concurrency",
    before: Figures | None = None,
    skipped: dict[str, str] | None = None,
    problems: list[str] | None = None,
) -> Results:
    """Of two rounds."""
    given = {THIS: figures} if before is None else {THIS: figures, BEFORE: before}
    return Results(
        version="2.0.0",
        machine=MACHINE,
        sizes=SMOKE.model_copy(update={"rounds": ROUNDS}),
        seconds=1,
        workloads=(workload,),
        measured={workload: {name: _lists(each) for name, each in given.items()}},
        skipped=skipped or {},
        problems=problems or [],
    )


def _lists(figures: Figures) -> dict[str, list[float | None]]:
    return {name: list(values) for name, values in figures.items()}


def test_a_ratio_is_taken_within_a_round_and_only_where_both_have_a_figure() -> None:
    assert ratios([2, None, 9, 4], [1, 3, None, 8]) == [2, 0.5]


def test_where_smaller_is_better_a_ratio_is_turned_over() -> None:
    assert ratios([2.0, 4.0], [1.0, 8.0], better=-1) == [0.5, 2.0]


def test_a_spread_is_the_median_with_its_range() -> None:
    assert spread([5, 1, 3]) == Spread(3, 1, 5)
    assert spread([]) is None


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("events_per_s", 1),
        ("calib_commits_per_s", 1),
        ("status_at_10_events_ms", -1),
        ("listing_mib", -1),
        ("bad_lost_events_per_s", 0),
        ("check_x_ms", 0),
        ("info_package_10_kb", 0),
    ],
)
def test_a_metric_is_named_by_what_is_better(metric: str, direction: int) -> None:
    assert better(metric) == direction


def test_rounds_are_gathered_by_metric_and_what_a_round_did_not_give_is_null() -> None:
    first, second = Outcome(metrics={"a_ms": 1}), Outcome(metrics={"a_ms": 2, "b_ms": 3.00004})
    gathered = gather([{("flow", THIS): first}, {("flow", THIS): second}])
    assert gathered == {"flow": {THIS: {"a_ms": [1, 2], "b_ms": [None, 3]}}}


def test_contenders_take_turns_and_each_is_called_in_each_turn() -> None:
    called: list[str] = []
    timed = in_turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, 0, turns=3)
    assert called == ["a", "b"] * 3
    assert [len(each.spans) for each in timed.values()] == [3, 3]


def test_right_answers_give_no_complaint_and_exit_code_0(tmp_path: Path) -> None:
    assert complaints(results()) == []
    assert shown(tmp_path, results()) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        results({**GOOD, "bad_lost_events": [0, 1]}),
        results({**GOOD, "bad_lost_events": [None, 0]}),
        results({**GOOD, "bad_lost_events": [0]}),
        results({**GOOD, "bad_lost_events": []}),
        results(UNCHECKED),
        results({**GOOD, "bad_of_no_workload": [0, 0]}),
        results({**GOOD, "check_of_no_workload": [1, 1]}),
        results(problems=["flow: it ended"]),
        results(UNCHECKED, skipped={"concurrency.bad_lost_events": "no time"}),
        results(UNCHECKED, skipped={"concurrency": "no time"}),
        results().model_copy(update={"measured": {}}),
        results().model_copy(update={"workloads": ()}),
    ],
)
def test_a_wrong_or_missing_answer_is_a_complaint_and_exit_code_1(wrong: Results, tmp_path: Path) -> None:
    assert complaints(wrong) != []
    assert shown(tmp_path, wrong) == 1


@pytest.mark.parametrize("value", [0, 0.5, 2, None])
def test_a_check_passes_only_with_1(value: float | None) -> None:
    def of_growth(seen: float | None) -> Results:
        checks: Figures = {"check_event_count": [1, 1], "check_sees_other_writers": [1, seen]}
        return results(checks, workload="growth")

    assert complaints(of_growth(1)) == []
    assert len(complaints(of_growth(value))) == 1


def test_a_check_that_may_be_skipped_needs_a_reason() -> None:
    name = "append.check_each_append_is_synced"

    def of_append(skipped: dict[str, str]) -> Results:
        return results({"bad_missing_events": [0, 0]}, workload="append", skipped=skipped)

    assert complaints(of_append({name: WHY_NOT})) == []
    assert len(complaints(of_append({name: ""}))) == len(complaints(of_append({}))) == 1


@pytest.mark.parametrize("name", WORKLOADS)
def test_each_workload_has_a_module_and_checks_that_no_time_decides(name: str) -> None:
    workload = WORKLOADS[name]
    assert find_spec(f"benchmarks.workloads.{name}") is not None
    assert workload.checks
    assert workload.skippable <= workload.checks
    assert all(check.startswith(("bad_", "check_")) for check in workload.checks)


def test_a_result_that_is_wrong_writes_no_page(tmp_path: Path) -> None:
    before = PAGE.read_bytes()
    path = tmp_path / "wrong.json"
    path.write_text(results({**GOOD, "bad_lost_events": [1, 0]}).model_dump_json(), encoding="utf-8")
    assert main(["--report", str(path)]) == 1
    assert PAGE.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sizes": SMOKE}, "it was measured in small sizes"),
        ({"workloads": ("concurrency",)}, "it was measured without append"),
        ({"skipped": {"append.check_each_append_is_synced": WHY_NOT}}, WHY_NOT),
    ],
    ids=["small", "part", "skipped"],
)
def test_a_result_that_is_not_of_everything_writes_no_page(
    change: dict[str, object], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = whole_result()
    assert complaints(whole) == []
    assert why_no_page(whole) is None
    before, path = PAGE.read_bytes(), tmp_path / "part.json"
    path.write_text(whole.model_copy(update=change).model_dump_json(), encoding="utf-8")
    assert main(["--report", str(path)]) == 1
    assert why in capsys.readouterr().err
    assert PAGE.read_bytes() == before


def test_what_an_earlier_version_cannot_do_keeps_no_page_from_being_written_and_names_no_folder() -> None:
    lacking = whole_result().model_copy(update={"skipped": {"before steps": "ImportError"}})
    assert why_no_page(lacking) is None
    shown = Results.model_validate_json(RESULT.read_text(encoding="utf-8"))
    assert [why for why in shown.skipped.values() if "/" in why] == []


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        ("benchmarks.errors.Odd: in /somewhere", "benchmarks.errors.Odd"),
        ("KeyError", "KeyError"),
        ("exit code -11", "exit code -11"),
        ("/usr/bin/python3: No module named benchmarks.job", "a fault"),
        ("/somewhere/x.so: undefined symbol: y", "a fault"),
        ("", "a fault"),
    ],
)
def test_of_a_problem_of_an_earlier_version_only_its_kind_is_kept(problem: str, kind: str) -> None:
    assert kind_of(problem) == kind


def whole_result() -> Results:
    """Of every workload, in full sizes and one round; only the checks are given."""
    figures = {
        name: {THIS: {check: [0.0 if check.startswith("bad_") else 1.0] for check in workload.checks}}
        for name, workload in WORKLOADS.items()
    }
    sizes = FULL.model_copy(update={"rounds": 1})
    return results().model_copy(update={"sizes": sizes, "workloads": tuple(WORKLOADS), "measured": figures})


def test_a_run_ends_with_its_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(tmp_path, results()) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "All answers are right: 8 checks."
    assert shown(tmp_path, results(UNCHECKED)) == 1
    assert "All answers are right" not in capsys.readouterr().out


def test_a_table_has_no_empty_column_and_one_round_no_range() -> None:
    figures = {name: list(values)[:1] for name, values in GOOD.items()}
    lines = table(results(figures)).splitlines()
    assert "| what | measured | limit | share of the limit |" in lines
    assert "| 1 thread, one file | 1,000/s |  |  |" in lines
    assert "| 8 threads, one file | 2,000/s | one thread | 2.00 |" in lines


def test_a_table_shows_the_share_of_the_limit_and_how_many_times_better_it_became() -> None:
    lines = table(results(before={"threads_8_events_per_s": [1000, 1000]})).splitlines()
    (line,) = (line for line in lines if line.startswith("| 8 threads, one file"))
    assert line == "| 8 threads, one file | 2,500/s | one thread | 1.75 [1.50…2.00] | 2.50 [2.00…3.00] |"


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("x_per_s", 2468.0, "2,470/s"),
        ("x_ms", 1.3049, "1.30 ms"),
        ("x_ms", 0.00412, "0.004 ms"),
        ("x_mib", 36.0, "36.0 MiB"),
        ("info_syncs", 1.0, "1.00"),
        ("x_ms", 999.9, "1,000 ms"),
    ],
)
def test_an_amount_has_three_digits_and_its_unit(metric: str, value: float, text: str) -> None:
    assert amount(metric, value) == text


def test_the_page_shows_the_result_that_is_committed_with_it() -> None:
    committed = Results.model_validate_json(RESULT.read_bytes())
    assert complaints(committed) == []
    page = PAGE.read_text(encoding="utf-8")
    assert page == filled(page, committed), (
        "run `python -m benchmarks --report docs/performance/results.json`"
    )


@pytest.mark.parametrize("growing", GROWING, ids=lambda growing: growing.plot)
def test_each_plot_shows_the_result_that_is_committed_with_it(growing: Growing) -> None:
    lines = lines_of(Results.model_validate_json(RESULT.read_bytes()), growing)
    assert lines
    assert digest_of(lines) in (FOLDER / growing.plot).read_text(encoding="utf-8")


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        filled("# A page", results())


def test_a_result_is_drawn_to_the_same_bytes_every_time(tmp_path: Path) -> None:
    committed = Results.model_validate_json(RESULT.read_bytes())
    first, second = draw(committed, tmp_path / "first"), draw(committed, tmp_path / "second")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert [path.name for path in first] == [growing.plot for growing in GROWING]


def test_a_job_refuses_a_package_of_another_checkout(tmp_path: Path) -> None:
    job = Job(checkout=tmp_path, folder=tmp_path, fixtures=tmp_path, sizes=SMOKE, workload="flow")
    with pytest.raises(RuntimeError, match="imported from"):
        perform(job)


def test_the_counter_counts_each_sync_of_a_process(tmp_path: Path) -> None:
    library = build_counter(tmp_path)
    if library is None:
        pytest.skip(WHY_NOT)
    program = (
        "import os; from benchmarks.syncs import sync_count as count\n"
        "before = count(); os.fsync(1); os.fdatasync(1); print(count() - before)"
    )
    with (tmp_path / "out").open("w") as out:
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=REPOSITORY,
            env={**os.environ, "LD_PRELOAD": str(library)},
            stdout=out,
            check=True,
        )
    assert (tmp_path / "out").read_text() == "2\n"


def shown(folder: Path, given: Results) -> int:
    """The exit code for a result that was measured before."""
    path = folder / "result.json"
    path.write_text(given.model_dump_json(), encoding="utf-8")
    return main(["--show", str(path)])
