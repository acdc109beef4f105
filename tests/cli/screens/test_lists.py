from pathlib import Path

from tests.cli.screens.golden import Screen, Shot, at_work, each
from tests.cli.screens.scenes import grouped, imported, one_of_each, wide_goals


def no_requests(folder: Path) -> dict[str, str]:
    with at_work(folder):
        return {}


SCREENS = {
    "list-no-database": Screen("list"),
    "list-empty": Screen("list", store=no_requests),
    "list-every-state": Screen("list", store=one_of_each),
    "list-wide-goals": Screen("list", store=wide_goals),
    "list-imported": Screen("list", store=imported),
    "list-groups": Screen("list", store=grouped),
    "list-expired": Screen("list", "--state", "expired", store=one_of_each),
    "list-executable": Screen("list", "--executable", store=one_of_each),
    "list-mine": Screen("list", "--mine", "--as", "human:carol", store=one_of_each),
    "list-a-page": Screen("list", "--limit", "3", "--text", "keys", store=one_of_each),
    "list-no-such-state": Screen("list", "--state", "done", store=one_of_each),
}


@each(SCREENS)
def test_lists_look_as_they_did(shot: Shot) -> None:
    shot.check()
