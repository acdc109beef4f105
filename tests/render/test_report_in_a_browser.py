"""The HTML report in a real browser: what a person sees fits the screen and the paper, whatever it holds."""

import json
from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.reading import read_evidence
from nexus_control.evidence.trust import Attached
from nexus_control.render.report import render_report
from tests.evidence.packages import honest
from tests.evidence.signed_packages import signed_package
from tests.render.browser import Browser, needs_chromium, open_browser
from tests.render.decisions import ordinary
from tests.support.routers import ScriptedRouter

A4_PIXELS, PHONE_PIXELS, DESK_PIXELS = 794, 375, 1280
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

OVERLAPPING = """
    return [...document.querySelectorAll('svg')].flatMap(svg => {
        const texts = [...svg.querySelectorAll('text')].map(e => [e.textContent, e.getBBox()]);
        return texts.flatMap(([one, a], n) => texts.slice(n + 1).filter(([_, b]) =>
            a.x < b.x + b.width && b.x < a.x + a.width && a.y + 2 < b.y + b.height && b.y + 2 < a.y + a.height
        ).map(([other]) => one + ' | ' + other)
        ).concat(texts.filter(([_, a]) => a.x < 0 || a.x + a.width > svg.viewBox.baseVal.width).map(([one]) => one));
    });
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


def hostile_run() -> bytes:
    """A package with a run whose record is hostile: long words, markup, and fields of another type."""
    package = honest("applied")
    for event in package["router"]["bundle"]["events"]:
        told = event["payload"]
        if "output" in told:
            told["output"] = {
                "exit_code": "0",
                "stdout": f"{HOSTILE}\n{LONG_WORD}" * 50,
                "stderr": LONG_WORD,
                "note": 7,
            }
        told["step_id"] = (
            HOSTILE + LONG_WORD[: event["seq"]] if event["type"] == "STEP_STARTED" else [HOSTILE]
        )
    package["router"]["bundle"]["events"] += [
        7,
        None,
        {"type": [], "payload": {"step_id": "s", "output": HOSTILE}},
    ]
    return canonical_json(package).encode()


def ordinary_page() -> bytes:
    with TemporaryDirectory() as folder:
        return ordinary(Path(folder))


def run_of_ordinary() -> bytes:
    return canonical_json(json.loads(ordinary_page())["router"]["bundle"]).encode()


PAGES = {
    "an ordinary decision": ordinary_page,
    "a run by itself": run_of_ordinary,
    "a hostile run": hostile_run,
    "a long plan": lambda: executed(plan=plan_of(60)),
    "a plan of text": lambda: executed(plan=f"{HOSTILE}\n{LONG_WORD}"),
    "a forged package": lambda: forged(executed()),
    "an unreadable package": lambda: b'{"package_version": "0.6", "%s": 1}' % (b"x" * 3000),
}


@pytest.mark.sample(9)
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
    assert browser.run(OVERLAPPING) == []
    kind = "Run bundle" if evidence.kind == "run bundle" else "Audit package"
    assert browser.run("return document.title").startswith(kind)
    assert browser.run("return document.querySelectorAll('script, img, link, iframe, [onerror]').length") == 0
    verdict = browser.run("return document.querySelector('header h1').innerText")
    assert verdict == f"{kind} {'holds' if evidence.ok else 'does not hold'} together"
    assert browser.run("return performance.getEntriesByType('resource').length") == 0


@needs_chromium
def test_the_measure_of_overflow_finds_what_overflows(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "wide.html"
    page.write_text(
        f"<!doctype html><meta name=viewport content='width=device-width'><p>{LONG_WORD}", "utf-8"
    )
    browser.open(page, width=PHONE_PIXELS)
    assert browser.run(OVERFLOWING)["page"] is True


@needs_chromium
def test_the_measure_of_overlap_finds_what_overlaps(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "over.html"
    texts = "".join(f"<text x=10 y={y}>words</text>" for y in (20, 26))
    page.write_text(
        f"<!doctype html><svg viewBox='0 0 100 50'>{texts}<text x=90 y=45>out</text></svg>", "utf-8"
    )
    browser.open(page, width=PHONE_PIXELS)
    assert browser.run(OVERLAPPING) == ["words | words", "out"]


@needs_chromium
@pytest.mark.parametrize("kind", ["embedded", "by reference", "signed"])
def test_an_ordinary_decision_takes_at_most_three_sheets_of_a4(
    browser: Browser, kind: str, tmp_path: Path
) -> None:
    signed = signed_package()
    match kind:
        case "signed":
            attached = Attached(envelope=signed.envelope)
            evidence = read_evidence(signed.package, trust=signed.trust, attached=attached)
        case _:
            evidence = read_evidence(ordinary(tmp_path, embed=kind == "embedded"))
    page = tmp_path / "report.html"
    page.write_text(render_report(evidence), encoding="utf-8")
    assert browser.pages_on_paper(page) <= 3


@needs_chromium
def test_a_long_report_takes_more_sheets(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_report(read_evidence(executed(plan=plan_of(60)))), encoding="utf-8")
    assert browser.pages_on_paper(page) > 3
