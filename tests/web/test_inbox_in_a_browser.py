"""What the pages' own script does, in a real Chromium: it remembers token and id, and shows changes."""

from collections.abc import Generator
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from tests.render.browser import needs_chromium
from tests.web.chromium import DESK, PHONE, Chromium, open_chromium
from tests.web.requests_here import ALICE, BOB, CAROL, adapters_in, ask_everything
from tests.web.served import Served, served

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Generator[Chromium]:
    with open_chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inbox")
    ask_everything(folder / "store.db", adapters_in(folder))
    ask_everything(folder / "store.db", adapters_in(folder), approve=True)
    return folder / "store.db"


@pytest.fixture(scope="module")
def inbox(database: Path) -> Generator[Served]:
    with served(database) as inbox:
        yield inbox


def test_a_browser_remembers_the_token_and_the_id(chromium: Chromium, inbox: Served) -> None:
    page = chromium.page()
    page.open(f"{inbox.address}&as=carol")
    page.open(f"{inbox.origin}/history")
    page.until(
        "document.querySelector('h1').textContent === 'History' && location.search.includes('as=carol')"
    )
    page.open(f"{inbox.origin}/")
    page.until("document.querySelector('h1').textContent === 'What waits for carol'")
    assert page.run("document.cookie") == ""


def test_a_token_that_is_no_longer_right_is_forgotten(chromium: Chromium, inbox: Served) -> None:
    page = chromium.page()
    page.open(f"{inbox.origin}/?token=wrong")
    page.run("localStorage.setItem('nexus-control:token', 'wrong-too')")
    page.open(f"{inbox.origin}/")
    page.until("localStorage.getItem('nexus-control:token') === ''")
    assert "full address" in page.text


def test_an_id_is_chosen_and_forgotten_with_the_keyboard(chromium: Chromium, inbox: Served) -> None:
    page = chromium.page(width=PHONE)
    page.open(inbox.address)
    page.tab_to("#person")
    page.write("bob")
    page.press("Enter")
    page.until("document.querySelector('h1').textContent === 'What waits for bob'")
    page.tab_to("form a")
    page.press("Enter")
    page.until("document.querySelector('h1').textContent === 'What waits for an approval'")


def test_an_open_list_shows_a_new_request_by_itself(
    chromium: Chromium, inbox: Served, database: Path
) -> None:
    page = chromium.page()
    page.open(inbox.address)
    with NexusControlTools(database) as tools:
        assert tools.request("Asked for while the page was open", ALICE)
    page.until("document.querySelector('main').textContent.includes('Asked for while')")
    assert page.run("document.getElementById('said').textContent") == "This page has changed and was updated."


def test_an_open_list_shows_what_came_while_the_server_was_away(
    chromium: Chromium, database: Path, tmp_path: Path
) -> None:
    page, kept = chromium.page(), ("--token-file", str(tmp_path / "token"))
    with served(database, *kept) as inbox:
        page.open(f"{inbox.origin}/?token={(tmp_path / 'token').read_text().strip()}")
        page.until("document.querySelector('h1').textContent === 'What waits for an approval'")
    with NexusControlTools(database) as tools:
        assert tools.request("Asked for while nobody served", ALICE)
    with served(database, *kept, "--listen", f"127.0.0.1:{inbox.port}"):
        page.until("document.querySelector('main').textContent.includes('while nobody served')")


def test_a_form_that_is_filled_in_is_not_taken_away(
    chromium: Chromium, inbox: Served, database: Path
) -> None:
    page = chromium.page()
    page.open(inbox.address)
    page.fill("#person", "car")
    with NexusControlTools(database) as tools:
        assert tools.request("Asked for while somebody wrote", ALICE)
    page.until("document.getElementById('changed') !== null")
    assert page.run("document.getElementById('person').value") == "car"
    page.click("#changed button")
    page.until("document.querySelector('main').textContent.includes('while somebody wrote')")


def test_a_request_that_somebody_decides_changes_under_its_readers(
    chromium: Chromium, inbox: Served, database: Path
) -> None:
    with NexusControlTools(database) as tools:
        request_id = tools.request("Decided elsewhere", ALICE, min_approvals=2).data["request_id"]
        page = chromium.page()
        page.open(f"{inbox.origin}/requests/{request_id}?{inbox.query}")
        assert tools.approve(request_id, BOB)
        page.until("document.querySelector('main header').textContent.includes('1 of 2')")
        assert tools.deny(request_id, CAROL, "not today")
        page.until("document.querySelector('main').textContent.includes('not today')")


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "light"), (768, "dark"), (DESK, "light")])
def test_every_page_fits_its_width_and_breaks_no_rule_of_its_policy(
    chromium: Chromium, inbox: Served, database: Path, width: int, scheme: str
) -> None:
    with NexusControlTools(database) as tools:
        ids = [each["request_id"] for each in tools.list_requests().data["requests"]]
    page = chromium.page(width=width, scheme=scheme)
    paths = ["/", "/history", "/me", *(f"/requests/{each}" for each in ids), f"/requests/{ids[-1]}/report"]
    for path in paths:
        page.open(f"{inbox.origin}{path}?{inbox.query}&as=carol")
        assert page.run("document.documentElement.scrollWidth") <= width, path
    assert page.complaints() == []
