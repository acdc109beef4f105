from pathlib import Path

from tests.cli.screens.golden import Screen, Shot, at_work, each
from tests.support.governed import ALICE, data_of


def no_requests(folder: Path) -> dict[str, str]:
    with at_work(folder):
        return {}


def one_request(folder: Path) -> dict[str, str]:
    with at_work(folder) as (tools, _):
        return {"first": data_of(tools.request("Rotate the keys", ALICE))["request_id"]}


SCREENS = {
    "list-no-database": Screen("list"),
    "list-empty": Screen("list", store=no_requests),
    "list-one": Screen("list", store=one_request),
}


@each(SCREENS)
def test_lists_look_as_they_did(shot: Shot) -> None:
    shot.check()
