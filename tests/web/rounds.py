"""Every page of an inbox, with everything on it that a person meets; and pictures of all of them.

python -m tests.web.rounds FOLDER      a PNG of each page at 390, 768 and 1280 pixels, light and dark
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cli.office import CONFIG
from tests.support.swapping import Swap
from tests.web.chromium import DESK, PHONE, TABLET, Page, open_chromium
from tests.web.house import House, open_house
from tests.web.people import decide, enrol, enrolled, look_at

ADA, EVE = "ada@example.com", "eve@example.com"
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> \u202egnirts"
LONG = "w" * 900


def furnished(house: House, page: Page) -> dict[str, str]:
    """An inbox with requests in each state, and the id of one of each. `page` is Ada's, who is enrolled then."""
    office = house.office
    (office.folder / "adapters.toml").write_text(CONFIG)
    enrolled(house, page, ADA)
    ids = {name: office.requested(approvals=2) for name in ("open", "approved", "denied")}
    office.run("template", "create", "two-people", "--min-approvals", "2", "--as", "human:olga@example.com")
    ids["executed"] = office.requested("--adapter", "subprocess:files")
    for name, verdict in (("approved", "approve"), ("denied", "deny"), ("executed", "approve")):
        look_at(house, page, ids[name], ADA)
        assert decide(page, verdict, f"{HOSTILE} {LONG}") is None
    office.in_a_process(*office.execution(ids["executed"]), *house.trusted)
    goal = f"{HOSTILE} {LONG}"
    ids["hostile"] = office.answer("request", goal, "--plan", goal, "--mode", "apply", "--as", "human:eve")[
        "request_id"
    ]
    return ids


def pages(house: House, page: Page, ids: dict[str, str]) -> Iterator[str]:
    """Goes from page to page; gives the name of each, while it is open."""
    for name, path in (("waiting", "/"), ("history", "/history"), ("you", "/me"), ("enrol", "/enrol")):
        page.open(house.address(path, ADA))
        yield name
    for name, request_id in ids.items():
        look_at(house, page, request_id, ADA)
        page.run("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        yield f"request-{name}"
    page.open(house.address(f"/requests/{ids['executed']}/report", ADA))
    yield "report"
    look_at(house, page, ids["open"], EVE)
    yield "request-of-nobody-known"
    page.open(house.address("/requests/nowhere", ADA))
    yield "not-found"


def flows(house: House, page: Page) -> Iterator[str]:
    """What Ada's page shows between and after the things that she does; gives the name of each, while it is shown."""
    enrol(house, page, "zoe@example.com")
    yield "enrolled"
    request_id = house.office.requested()
    swap = Swap.of(house.tools, request_id)
    look_at(house, page, request_id, ADA)
    swap.to_other()
    assert decide(page, "approve") == "BASIS_CHANGED"
    yield "changed"
    assert decide(page, "approve") is None
    yield "recorded"
    page.open(house.address("/enrol", ADA))
    page.click("form[data-passkey] button")
    page.until("document.querySelector('form [role=alert]').textContent")
    yield "enrolled-already"


def everything(house: House, page: Page) -> Iterator[str]:
    yield from pages(house, page, furnished(house, page))
    yield from flows(house, page)


def for_each_look(page: Page, act: Callable[[str], object]) -> None:
    """Does this at each width and in each colour scheme; gives it the name of the look."""
    for width in (PHONE, TABLET, DESK):
        for scheme in ("light", "dark"):
            page.show_at(width, scheme=scheme)
            act(f"{width}-{scheme}")


def _photographed(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as at, open_house(Path(at)) as house, open_chromium(Path(at)) as chromium:
        page = chromium.page()
        for name in everything(house, page):
            for_each_look(page, lambda look, name=name: page.screenshot(folder / f"{name}-{look}.png"))


if __name__ == "__main__":
    _photographed(Path(sys.argv[1]))
