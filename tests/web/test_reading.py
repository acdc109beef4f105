"""The pages to read: what they show, that no text becomes an element of them, and that every link leads to a page."""

import json
import re
from collections.abc import Generator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nexus_control import Actor, NexusControlTools
from tests.support.clock import FakeClock
from tests.web.in_process import answers, mounted
from tests.web.requests_here import ALICE, BOB, adapters_in, ask_everything
from tests.web.served import Served, served

SCRIPT = "\"><script>alert(1)</script><img src=x onerror=alert(1)><!--' onfocus='a()"
VOID = {"meta", "link", "input", "br", "hr"}


class Elements(HTMLParser):
    """Every element of a page with the names of its attributes, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(name for name, _ in attrs)))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment",))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def elements(page: str) -> list[tuple[str, ...]]:
    parser = Elements()
    parser.feed(page)
    return parser.found


def text_of(page: str) -> str:
    parser = Elements()
    parser.feed(page)
    return " ".join("".join(parser.text).split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inbox")


@pytest.fixture(scope="module")
def asked(folder: Path) -> dict[str, str]:
    config = adapters_in(folder)
    return {
        "pending": ask_everything(folder / "store.db", config),
        "executed": ask_everything(folder / "store.db", config, approve=True),
    }


@pytest.fixture(scope="module")
def inbox(folder: Path, asked: dict[str, str]) -> Generator[Served]:
    assert asked
    with served(folder / "store.db", "--config", str(folder / "nexus-control.toml")) as inbox:
        yield inbox


def test_the_basis_is_on_the_page(inbox: Served, asked: dict[str, str], folder: Path) -> None:
    with NexusControlTools(folder / "store.db") as tools:
        basis = tools.status(asked["pending"]).data["basis"]
    assert str(basis) in text_of(inbox.get(f"/requests/{asked['pending']}").body)


def test_an_executed_request_shows_what_its_steps_gave_back(inbox: Served, asked: dict[str, str]) -> None:
    page = text_of(inbox.get(f"/requests/{asked['executed']}").body)
    assert "rotated billing --keep two words" in page
    assert "Decide" not in page


def test_a_report_says_what_its_checks_found(inbox: Served, asked: dict[str, str]) -> None:
    page = inbox.get(f"/requests/{asked['executed']}/report").body
    assert "Decision completed" in text_of(page)
    assert "control_bundle_digest" in page
    assert "<style" not in page


def test_one_sees_what_waits_for_oneself(inbox: Served, asked: dict[str, str]) -> None:
    assert asked["pending"] in inbox.get("/").body
    assert asked["pending"] not in inbox.get("/", **{"as": "bob"}).body  # who has approved it
    assert asked["pending"] in inbox.get("/", **{"as": "CAROL"}).body
    assert "Nothing waits" in inbox.get("/", **{"as": "mallory"}).body


def test_one_sees_what_one_can_approve(inbox: Served) -> None:
    page = text_of(inbox.get("/me", **{"as": "carol"}).body)
    assert "Requests that wait for you: 1" in page
    assert "No key of yours is trusted here yet" in page
    assert "production" in page
    assert "No template lets you approve." in text_of(inbox.get("/me", **{"as": "mallory"}).body)


@pytest.mark.parametrize(
    ("query", "found"),
    [({"text": "SIGNING"}, 2), ({"text": "nothing"}, 0), ({"state": "completed"}, 1), ({"label": "prod"}, 2),
     ({"requester": "agent@build-7"}, 2), ({"requester": "alice"}, 0), ({"text": "keys", "state": "denied"}, 0)],
)  # fmt: skip
def test_the_history_is_searched(inbox: Served, query: dict[str, str], found: int) -> None:
    assert inbox.get("/history", **query).body.count("<li>") == found


def test_pages_of_a_list_go_on_where_the_one_before_ended(tmp_path: Path) -> None:
    with NexusControlTools(tmp_path / "store.db") as tools:
        for number in range(105):
            assert tools.request(f"Number {number:03}", ALICE)
    with served(tmp_path / "store.db") as inbox:
        seen, target = list[str](), f"/history?{inbox.query}&text=number"
        while target:
            page = inbox.send(f"GET {target}").body
            seen += re.findall(r"Number (\d\d\d)", page)
            older = re.search(r'href="([^"]*)"[^>]*rel="next"', page)
            target = unescape(older[1]) if older else ""
    assert [int(each) for each in seen] == list(range(104, -1, -1))


def hostile(database: Path, text: str, name: str) -> str:
    """A request whose every text is this one: its id. Its events are of one instant, because a report's picture has as
    many labels as there is room for between them.
    """
    plan = [
        {
            "step_id": "s",
            "intent": text,
            "call": {"tool": "a", "method": "b", "args": {"argv": [text], text: 1}},
        }
    ]
    person = Actor("human", name)
    with NexusControlTools(database, clock=FakeClock()) as tools:
        tools.template_store.create_template(
            name, person, description=text, min_approvals=2, approvers=[name, "bob"], labels=[name]
        )
        asked = tools.request(
            text,
            person,
            plan=json.dumps(plan),
            template_name=name,
            labels=[name],
            metadata={name: text},
            require_adapter_capabilities=[name],
        )
        request_id = asked.data["request_id"]
        assert tools.approve(request_id, BOB, comment=text)
        assert tools.revoke_approval(request_id, BOB, text)
        assert tools.approve(request_id, BOB, comment=text)
        assert tools.request(text, person, plan=text, labels=[name])
        denied = tools.request(text, person, plan=text).data["request_id"]
        assert tools.deny(denied, BOB, text)
    return request_id


HOSTILE_PAGES = ("/", "/history", "/me", "/requests/{id}", "/requests/{id}/report")


def test_no_text_becomes_an_element(tmp_path: Path) -> None:
    found = list[dict[str, list[tuple[str, ...]]]]()
    for text, name in ((SCRIPT, "<script>a()</script>"), ("x" * len(SCRIPT), "y" * 20)):
        database = tmp_path / f"{len(found)}.db"
        request_id, pages = hostile(database, text, name), dict[str, list[tuple[str, ...]]]()
        with served(database) as inbox:
            for page in HOSTILE_PAGES:
                person = "bob" if page == "/" else re.sub("[<>/]", lambda m: f"%{ord(m[0]):x}", name)
                answer = inbox.get(page.format(id=request_id), **{"as": person})
                assert answer.status == 200
                assert (name if page == "/me" else text) in unescape(answer.body)
                pages[page] = elements(answer.body)
        found.append(pages)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "query", ["text={script}", "as={script}", "requester={script}", "after={script}", "state={script}"]
)
@pytest.mark.parametrize("path", ["/", "/history", "/me", "/nowhere"])
def test_no_argument_becomes_an_element(inbox: Served, path: str, query: str) -> None:
    script = "".join(f"%{byte:02x}" for byte in SCRIPT.encode())
    page = inbox.send(f"GET {path}?{inbox.query}&{query.format(script=script)}").body
    assert not {"script", "img"} & {tag for tag, *rest in elements(page) if "src" not in rest}
    assert ("img", "src", "onerror") not in elements(page)


def test_every_link_leads_to_a_page_and_no_page_has_a_style_or_script_of_its_own(inbox: Served) -> None:
    seen, left = set[str](), [f"/?{inbox.query}", f"/?{inbox.query}&as=carol"]
    while left:
        target = left.pop()
        seen.add(target)
        answer = inbox.send(f"GET {target}")
        assert answer.status == 200, target
        if "html" in answer.headers["content-type"]:
            assert 'style="' not in answer.body
            assert not re.search(r"<script(?! src=)|<style|javascript:|\son[a-z]+=", answer.body)
            ids = re.findall(r'\sid="([^"]*)"', answer.body)
            assert len(ids) == len(set(ids))
            links = map(unescape, re.findall(r'(?:href|src)="([^"#][^"]*)"', answer.body))
            left += [each for each in links if each not in seen and each not in left]
    assert len(seen) > 10


def test_a_mounted_inbox_links_below_its_place(tmp_path: Path) -> None:
    with NexusControlTools(tmp_path / "store.db") as tools:
        assert tools.request("Rotate the keys", ALICE)
        page = answers(mounted(tools.store, "/inbox"), "/inbox/history")[0].body
    targets = re.findall(r'(?:href|src|action)="([^"#][^"]*)"', page)
    assert "Rotate the keys" in page
    assert all(each.startswith("/inbox/") for each in targets)
