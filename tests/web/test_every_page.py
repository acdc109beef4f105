"""Every page, with all that people do on it: nothing keeps anybody out, overflows, or breaks the policy."""

from dataclasses import dataclass

import pytest

from tests.render.browser import needs_chromium
from tests.render.test_report_in_a_browser import OVERFLOWING
from tests.web.axe import HAS_AXE, grave_findings, needs_axe
from tests.web.chromium import PHONE, Chromium, Page
from tests.web.house import House
from tests.web.rounds import everything

pytestmark = needs_chromium
EXPECTED = "status of 4"
"""In what a browser says of a refused verdict, and of a page that is nowhere."""
FOREIGN = "performance.getEntriesByType('resource').filter(each => !each.name.startsWith(location.origin))"


@dataclass(frozen=True)
class Seen:
    """What was found on one page. `grave` is by colour scheme."""

    complaints: list[str]
    title: str
    is_too_wide: bool
    foreign: int
    grave: dict[str, list[str]]

    @classmethod
    def of(cls, page: Page) -> "Seen":
        complaints = [each for each in page.complaints() if EXPECTED not in each]
        page.events.clear()
        title, foreign = page.run("document.title"), page.run(f"{FOREIGN}.length")
        is_too_wide = page.run(f"(() => {{ {OVERFLOWING} }})()")["page"]
        grave = dict[str, list[str]]()
        for scheme in ("light", "dark") if HAS_AXE else ():
            page.show_at(PHONE, scheme=scheme)
            grave[scheme] = grave_findings(page)
        return cls(complaints, title, is_too_wide, foreign, grave)


@pytest.fixture(scope="module")
def seen(chromium: Chromium, house: House) -> dict[str, Seen]:
    page = chromium.page(width=PHONE)
    return {name: Seen.of(page) for name in everything(house, page)}


def test_nothing_breaks_the_policy_and_nothing_of_a_request_runs(seen: dict[str, Seen]) -> None:
    assert len(seen) == 16
    assert {name: each.complaints for name, each in seen.items() if each.complaints} == {}
    assert [name for name, each in seen.items() if each.title == "owned" or each.foreign] == []


def test_no_page_is_wider_than_a_phone(seen: dict[str, Seen]) -> None:
    assert [name for name, each in seen.items() if each.is_too_wide] == []


@needs_axe
def test_axe_finds_nothing_grave_in_light_or_dark(seen: dict[str, Seen]) -> None:
    assert all(set(each.grave) == {"light", "dark"} for each in seen.values())
    assert {name: each.grave for name, each in seen.items() if any(each.grave.values())} == {}
