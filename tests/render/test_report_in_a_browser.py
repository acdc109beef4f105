"""The HTML report in a real browser: what a person sees fits the screen and the paper, whatever it holds."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.reading import read_evidence
from nexus_control.render.report import render_report
from tests.render.browser import Browser, needs_chromium, open_browser
from tests.support.routers import ScriptedRouter

A4_PIXELS, PHONE_PIXELS, DESK_PIXELS = 794, 360, 1280
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> \u202egnirts \u200b"
LONG_WORD = "w" * 4000

OVERFLOWING = """
    const width = document.documentElement.clientWidth;
    const wide = [...document.querySelectorAll('body *')].filter(e => {
        const box = e.getBoundingClientRect();
        return box.width > 0 && (box.right > width + 0.5 || box.left < -0.5 || e.scrollWidth > e.clientWidth + 1
            && getComputedStyle(e).display !== 'inline');
    });
    return {
        page: document.documentElement.scrollWidth > width,
        elements: wide.map(e => e.tagName + ' ' + e.textContent.slice(0, 40)),
    };
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Browser]:
    with open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def plan_of(count: int) -> list[dict[str, Any]]:
    call = {"tool": "keys", "method": "rotate", "args": {"service": LONG_WORD[:300], "note": HOSTILE}}
    return [
        {"step_id": f"s{number}", "intent": f"Step {number} {HOSTILE}", "call": call}
        for number in range(count)
    ]


def executed(plan: Any = None) -> bytes:
    tools = NexusControlTools()
    alice, bob = {"type": "human", "id": "alice@example.com"}, {"type": "human", "id": "b" * 256}
    goal = f"{HOSTILE} {LONG_WORD[:1500]}"
    asked = tools.request(goal, alice, mode="apply", min_approvals=2, plan=plan)
    request_id = asked.data["request_id"]
    tools.approve(request_id, alice, comment=HOSTILE)
    tools.approve(request_id, bob, comment=LONG_WORD[:900])
    router = ScriptedRouter(lambda: {"run_id": "r" * 200, "steps_executed": 3})
    tools.execute(request_id, "subprocess:" + "k" * 100, alice, router)
    exported = tools.export_audit_package(request_id)
    assert exported.success, exported.error
    return canonical_json(exported.data["package"]).encode()


def forged(content: bytes) -> bytes:
    return content.replace(b'"min_approvals":2', b'"min_approvals":1')


PAGES = {
    "a long plan": lambda: executed(plan=plan_of(60)),
    "a plan of text": lambda: executed(plan=f"{HOSTILE}\n{LONG_WORD}"),
    "a forged package": lambda: forged(executed()),
    "an unreadable package": lambda: b'{"package_version": "0.6", "%s": 1}' % (b"x" * 3000),
}


@pytest.mark.sample(6)
@needs_chromium
@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(
    ("width", "media"),
    [(A4_PIXELS, "screen"), (A4_PIXELS, "print"), (PHONE_PIXELS, "screen"), (DESK_PIXELS, "screen")],
)
def test_nothing_overflows_and_nothing_runs(
    browser: Browser, name: str, width: int, media: str, tmp_path: Path
) -> None:
    evidence = read_evidence(PAGES[name]())
    page = tmp_path / "report.html"
    page.write_text(render_report(evidence), encoding="utf-8")
    browser.open(page, width=width, media=media)
    assert browser.run("return document.documentElement.clientWidth") == width
    assert browser.run(OVERFLOWING) == {"page": False, "elements": []}
    assert browser.run("return document.title").startswith("Audit package")
    assert browser.run("return document.querySelectorAll('script, img, link, iframe, [onerror]').length") == 0
    verdict = browser.run("return document.querySelector('header h1').innerText")
    assert verdict == f"Audit package {'holds' if evidence.ok else 'does not hold'} together"
    assert browser.run("return performance.getEntriesByType('resource').length") == 0


@needs_chromium
def test_the_measure_of_overflow_finds_what_overflows(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "wide.html"
    page.write_text(
        f"<!doctype html><meta name=viewport content='width=device-width'><p>{LONG_WORD}", "utf-8"
    )
    browser.open(page, width=PHONE_PIXELS)
    assert browser.run(OVERFLOWING)["page"] is True
