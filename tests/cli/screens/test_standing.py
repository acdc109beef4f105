from tests.cli.screens.golden import Screen, Shot, each, nothing
from tests.cli.screens.scenes import grouped, imported, one_of_each, settled, under_way

OWN = (
    "pending", "lapsed", "rehearsed", "dry_run", "signed", "completed", "failed", "failed_before", "unknown",
    "denied", "withdrawn", "expired",
)  # fmt: skip

SCREENS = {
    **{f"status-{name.replace('_', '-')}": Screen("status", f"@{name}", store=one_of_each) for name in OWN},
    **{
        f"status-imported-{name}": Screen("status", f"@{name}", store=imported)
        for name in ("checked", "evidence", "run")
    },
    **{f"status-{name}": Screen("status", f"@{name}", store=under_way) for name in ("draft", "executing")},
    **{
        f"status-settled-{name}": Screen("status", f"@{name}", store=settled)
        for name in ("completed", "failed")
    },
    **{
        f"status-groups-{name}": Screen("status", f"@{name}", store=grouped)
        for name in ("pending", "approved")
    },
    "inspect-groups": Screen("inspect", "@others", store=grouped),
    "review-groups": Screen("approve", "@pending", "--as", "human:erin", store=grouped, typed="n\n"),
    "status-utc": Screen("status", "@pending", "--utc", store=one_of_each),
    "status-ambiguous": Screen("status", store=imported),
    "status-no-database": Screen("status", store=nothing),
}


@each(SCREENS)
def test_where_a_request_stands_looks_as_it_did(shot: Shot) -> None:
    shot.check()
