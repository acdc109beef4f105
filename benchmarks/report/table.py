"""The tables, in Markdown. Every figure is the median over the rounds, with its range where it is a ratio."""

from collections.abc import Iterator, Sequence

from benchmarks.report.rows import GROWING, SECTIONS, Row
from benchmarks.results import BEFORE, Results, Spread, ratios, spread

HEAD = ("what", "measured", "limit", "share of the limit", "times better than before")


def table(results: Results) -> str:
    """All tables, and what was left out."""
    parts = [_machine(results)]
    for title, rows in SECTIONS.items():
        lines = [line for row in rows(results.sizes) for line in _row(results, row)]
        if lines:
            parts.append(f"### {title}\n\n{_markdown(HEAD, lines)}")
    parts += _growth(results)
    if results.skipped:
        parts.append(
            "Left out: " + "; ".join(f"{name} ({why})" for name, why in sorted(results.skipped.items())) + "."
        )
    return "\n\n".join(parts)


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """The table, without the columns in which every line is empty."""
    kept = [number for number in range(len(head)) if any(line[number] for line in lines)]
    first, *rest = (f"| {' | '.join(row[number] for number in kept)} |" for row in [head, *lines])
    return "\n".join([first, f"|{'---|' * len(kept)}", *rest])


def _machine(results: Results) -> str:
    here = results.machine
    libraries = {
        "Python": here.python,
        "SQLite": here.sqlite,
        "PostgreSQL": here.postgresql,
        "psycopg": here.psycopg,
        "eventsourcing": here.eventsourcing,
    }
    named = ", ".join(f"{name} {version}" for name, version in libraries.items() if version)
    rounds = results.sizes.rounds
    return (
        f"nexus-control {results.version} on {here.system} with {here.cores} cores, {named}; "
        f"{rounds} round{'s' * (rounds != 1)}, {results.seconds:.0f} seconds."
    )


def _row(results: Results, row: Row) -> Iterator[list[str]]:
    measured = results.spread(row.workload, row.metric)
    if measured is None:
        return
    limit, share = "", ""
    if row.limit is not None:
        values = results.values(row.workload, row.metric)
        best = [
            None if each is None else each * row.limit.times
            for each in results.values(row.workload, row.limit.metric)
        ]
        limit = row.limit.name
        share = _ratio(spread(ratios(values, best, better=-1 if row.metric.endswith("_ms") else 1)))
    before = _ratio(results.since_before(row.workload, row.metric))
    yield [row.what, amount(row.metric, measured.median), limit, share, before]


def _growth(results: Results) -> list[str]:
    """One table for each thing that grows: a column for each size, and the last as a multiple of the first."""
    parts: list[str] = []
    for growing in GROWING:
        sizes = growing.sizes(results.sizes)
        head = [f"milliseconds at … {growing.things}", *(f"{size:,}" for size in sizes), "growth", HEAD[-1]]
        lines = [
            line
            for name in growing.names
            for line in _growth_row(results, growing.workload, name, growing.place, sizes)
        ]
        if lines:
            parts.append(f"### {growing.title}\n\n{_markdown(head, lines)}")
    return parts


def _growth_row(
    results: Results, workload: str, name: str, place: str, sizes: tuple[int, ...]
) -> Iterator[list[str]]:
    metrics = [f"{name}_{place.format(size)}_ms" for size in sizes]
    spreads = [results.spread(workload, metric) for metric in metrics]
    if not any(spreads):
        return
    growth = spread(ratios(results.values(workload, metrics[-1]), results.values(workload, metrics[0])))
    before = (
        _ratio(results.since_before(workload, metrics[-1]))
        if results.values(workload, metrics[-1], BEFORE)
        else ""
    )
    cells = ["" if each is None else _digits(each.median) for each in spreads]
    yield [name.replace("_", " "), *cells, _ratio(growth), before]


def amount(metric: str, value: float) -> str:
    """A figure with its unit: 2,470/s, 1.3 ms, 36 MiB."""
    for suffix, unit in (("_per_s", "/s"), ("_ms", " ms"), ("_mib", " MiB")):
        if metric.endswith(suffix):
            return f"{_digits(value)}{unit}"
    return _digits(value)


def _ratio(given: Spread | None) -> str:
    if given is None:
        return ""
    if given.low == given.high:  # one round has no range
        return _digits(given.median)
    return f"{_digits(given.median)} [{_digits(given.low)}…{_digits(given.high)}]"


def _digits(value: float) -> str:
    """Three significant digits."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:#.3g}".rstrip(".") if value >= 0.01 else f"{value:.1g}"
