"""Every page, with all that people do on it: nothing keeps anybody out, overflows, or breaks the policy."""

import pytest

from tests.render.browser import needs_chromium
from tests.render.test_report_in_a_browser import OVERFLOWING
from tests.web.axe import grave_findings, needs_axe
from tests.web.chromium import PHONE, Chromium
from tests.web.house import House
from tests.web.rounds import everything

pytestmark = needs_chromium
EXPECTED = "status of 4"
"""The beginning of what a browser says of a refused verdict, and of a page that is nowhere."""


def test_nothing_breaks_the_policy_and_nothing_of_a_request_runs(chromium: Chromium, house: House) -> None:
    page = chromium.page(width=PHONE)
    for name in everything(house, page):
        assert [each for each in page.complaints() if EXPECTED not in each] == [], name
        assert "owned" not in page.run("document.title"), name
        assert page.run("document.documentElement.scrollWidth") == PHONE, (name, page.run(OVERFLOWING_HERE))
        foreign = (
            "performance.getEntriesByType('resource').filter(each => !each.name.startsWith(location.origin))"
        )
        assert page.run(f"{foreign}.length") == 0, name
    page.close()


OVERFLOWING_HERE = f"(() => {{ {OVERFLOWING} }})()"


@needs_axe
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_grave(chromium: Chromium, house: House, scheme: str) -> None:
    page = chromium.page(width=PHONE, scheme=scheme)
    for name in everything(house, page):
        assert grave_findings(page) == [], name
    page.close()
