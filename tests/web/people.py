"""What people do in the inbox, with the mouse."""

import json

from tests.web.chromium import Page
from tests.web.house import House

_TOLD = "main [role=alert]:not(:empty), main [data-said], #line"
"""What tells what came of it: a refusal, a recorded verdict, or a new passkey."""
ANSWERED = f"document.readyState === 'complete' && document.querySelector('{_TOLD}') !== null"


def enrol(house: House, page: Page, person: str) -> tuple[str, str]:
    """The line and the fingerprint that the page gives after this person's enrolment."""
    page.open(house.address("/enrol", person))
    page.fill("#person", person)
    page.click("form[data-passkey] button")
    page.until(ANSWERED)
    assert page.run("document.querySelector('#line') !== null"), page.text
    return said(page, "#line"), said(page, "#fingerprint")


def enrolled(house: House, page: Page, person: str) -> None:
    """This person enrols, and the owner adds them by command."""
    line, fingerprint = enrol(house, page, person)
    file = house.office.folder / "passkey.line"
    file.write_text(f"{line}\n")
    added = house.office.answer("approver", "add", person, str(file))
    assert (added["line"], added["fingerprint"]) == (line, fingerprint)


def look_at(house: House, page: Page, request_id: str, person: str) -> None:
    page.open(house.address(f"/requests/{request_id}", person))


def decide(page: Page, verdict: str, text: str = "") -> str | None:
    """Give this verdict on the page that is open; the code of its refusal, or None when it is recorded."""
    page.run(f"document.querySelectorAll('{_TOLD}').forEach(each => each.remove())")
    if text:
        page.fill(f"#{verdict}-text", text)
    page.click(f".choice.{verdict} button")
    page.until(ANSWERED)
    return page.run("document.querySelector('main [role=alert][data-code]')?.dataset.code")


def said(page: Page, selector: str) -> str:
    return page.run(f"document.querySelector({json.dumps(selector)}).textContent")
