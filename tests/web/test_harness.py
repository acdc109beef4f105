"""What drives the browser sees what it must see: else the other tests of this folder could not fail."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.render.browser import needs_chromium
from tests.web.axe import grave_findings, needs_axe
from tests.web.chromium import PHONE, Chromium, open_chromium

pytestmark = needs_chromium
POLICY = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Generator[Chromium]:
    with open_chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def written(folder: Path, body: str) -> str:
    page = folder / "page.html"
    page.write_text(f"<!doctype html><html lang=en><title>A page</title>{body}", encoding="utf-8")
    return page.as_uri()


@pytest.mark.parametrize(
    "body",
    [
        f"{POLICY}<script>document.title = 'owned'</script>",
        f"{POLICY}<p style='color: red'>red</p>",
        f"{POLICY}<img src=x.png>",
        "<script>throw new Error('a fault')</script>",
    ],
)
def test_what_the_policy_forbids_and_what_a_script_throws_is_a_complaint(
    chromium: Chromium, tmp_path: Path, body: str
) -> None:
    page = chromium.page()
    page.open(written(tmp_path, body))
    assert page.complaints()
    page.open(written(tmp_path, "<p>nothing wrong</p>"))
    page.events.clear()
    assert page.complaints() == []
    page.close()


def test_a_page_has_the_width_and_the_colours_that_its_person_prefers(
    chromium: Chromium, tmp_path: Path
) -> None:
    page = chromium.page(width=PHONE, scheme="dark")
    page.open(written(tmp_path, "<meta name=viewport content='width=device-width'>"))
    assert page.run("[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]") == [PHONE, True]
    page.close()


def test_keys_and_the_mouse_do_what_a_person_does(chromium: Chromium, tmp_path: Path) -> None:
    page = chromium.page()
    page.open(written(tmp_path, "<input id=who><button onclick='this.textContent += who.value'>B</button>"))
    page.tab_to("#who")
    page.write("ada")
    page.tab_to("button")
    page.press("Enter")
    page.press("Space")
    page.click("button")
    assert page.run("document.querySelector('button').textContent") == "Badaadaada"
    page.close()


@needs_axe
def test_what_cannot_be_read_or_has_no_name_is_a_finding(chromium: Chromium, tmp_path: Path) -> None:
    page = chromium.page()
    page.open(
        written(tmp_path, "<main><h1>Title</h1><p style='color: #ddd'>pale</p><button></button></main>")
    )
    rules = {each.partition(":")[0] for each in grave_findings(page)}
    assert rules == {"color-contrast", "button-name"}
    page.close()
