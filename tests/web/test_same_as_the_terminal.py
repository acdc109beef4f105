"""A page shows all that the review at the terminal says of the same request, in every situation."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from nexus_control import DecisionStore, LocalRouter, NexusControlTools, load_adapters
from nexus_control.cli.reviewing import review_of
from nexus_control.cli.times import Times
from nexus_control.execution.router import RouterProtocol
from nexus_control.render.times import in_utc
from nexus_control.usecases import arguments as door
from nexus_control.usecases import views
from nexus_control.values.instants import parse_instant
from tests.facade.flow import asked
from tests.rules.books import book
from tests.rules.demands import AGENT, BOOK, plan, with_templates
from tests.support.clock import FakeClock
from tests.support.governed import data_of
from tests.support.situations import SITUATIONS, Two
from tests.web.in_process import shown
from tests.web.requests_here import ALICE, CAROL, adapters_in, ask_everything
from tests.web.test_reading import Elements

GROUPS = {"security": ["alice", "bob"], "platform": ["bob", "carol", "dave"]}
SLOTS = {"security": 1, "platform": 1}
OPEN = ("pending_approval", "approved")
"""Only in these somebody is shown a request before they decide."""
_BETWEEN = re.compile(r"[;,()=→]|: |:$|\.$")
"""Between the parts of a line, which the page may have in elements of their own."""


@dataclass(frozen=True)
class OnPages(Times):
    """Instants as pages have them."""

    def moment(self, instant: str) -> str:
        return f"{in_utc(instant)} UTC"


def parts_of_review(store: DecisionStore, request_id: str, router: RouterProtocol | None) -> set[str]:
    """What the review says: each line in parts, without signs and numbers of steps, and the type of people."""
    arguments = door.validated(door.InspectArguments, {"decision_id": request_id, "render": False})
    data = views.inspect(store, arguments, router)
    review = review_of(data, OnPages(parse_instant(data["decision"]["as_of"])), is_approving=False)
    assert not review.left_out
    lines = [*(line for _, line in review.lines), *review.last]
    plain = [re.sub(r"^(?:\d+\.|\W) ", "", line).replace("human:", "").replace("Goal:", "") for line in lines]
    return {part.strip().casefold() for line in plain for part in _BETWEEN.split(line.strip())} - {""}


def page_of(store: DecisionStore, request_id: str, router: RouterProtocol | None = None) -> str:
    parser = Elements()
    parser.feed(shown(store, f"requests/{request_id}", router=router))
    return " ".join(" ".join(parser.text).split()).casefold()


def missing(store: DecisionStore, request_id: str, router: RouterProtocol | None = None) -> list[str]:
    page = page_of(store, request_id, router)
    said = parts_of_review(store, request_id, router)
    assert len(said) > 8
    return [part for part in said if " ".join(part.split()) not in page]


@pytest.mark.parametrize("name", [name for name, each in SITUATIONS.items() if each.state in OPEN])
def test_a_request_in_each_situation_is_shown_as_the_terminal_shows_it(name: str) -> None:
    clock = FakeClock()
    with DecisionStore(clock=clock) as store:
        request_id = SITUATIONS[name].build(Two(store, clock))
        assert missing(store, request_id) == []


def test_what_runs_and_its_rehearsal_are_shown_as_at_the_terminal(tmp_path: Path) -> None:
    config = adapters_in(tmp_path)
    request_id = ask_everything(tmp_path / "store.db", config)
    with (
        LocalRouter(load_adapters(config), ":memory:") as router,
        DecisionStore(tmp_path / "store.db") as store,
    ):
        assert missing(store, request_id, router) == []


def by_groups(tools: NexusControlTools) -> str:
    return asked(tools, min_approvals=2, required_from=SLOTS)


def of_each_group(tools: NexusControlTools) -> str:
    request_id = by_groups(tools)
    data_of(tools.approve(request_id, ALICE))
    data_of(tools.approve(request_id, CAROL))
    return request_id


def of_one_group(tools: NexusControlTools) -> str:
    request_id = asked(tools, min_approvals=2, required_from={"security": 1})
    data_of(tools.approve(request_id, CAROL))
    data_of(tools.approve(request_id, AGENT))
    return request_id


def by_rules(tools: NexusControlTools) -> str:
    with_templates(tools)
    asked_for = tools.request("Rotate", AGENT, mode="apply", plan=plan("keys.rotate"), min_approvals=3)
    return data_of(asked_for)["request_id"]


def with_a_text_for_a_plan(tools: NexusControlTools) -> str:
    return asked(tools, plan="by hand\nthen look", labels=["prod"], metadata={"ticket": "OPS-12"})


AGREED: Mapping[str, Callable[[NexusControlTools], str]] = {
    each.__name__: each for each in (by_groups, of_each_group, of_one_group, with_a_text_for_a_plan)
}


@pytest.mark.parametrize("name", AGREED)
def test_groups_are_shown_as_at_the_terminal(name: str) -> None:
    with DecisionStore(groups=GROUPS) as store:
        assert missing(store, AGREED[name](NexusControlTools(store))) == []


def test_the_rules_are_shown_as_at_the_terminal() -> None:
    with DecisionStore() as store:
        request_id = by_rules(NexusControlTools(store, rules=book(BOOK)))
        assert book(BOOK).digest in page_of(store, request_id)
        assert missing(store, request_id) == []


def test_the_members_of_a_group_that_is_waited_for_are_on_the_page_and_in_no_card_it_is_complete() -> None:
    with DecisionStore(groups=GROUPS) as store:
        request_id = of_one_group(NexusControlTools(store))
        page = page_of(store, request_id)
        assert "it waits for 1 approval, 1 of security." in page
        assert "of security: 1, 1 still needed, of alice, bob" in page
        assert page.count("2 of 2 approvals, still needed: 1 of security") == 2
        assert "2 of 2 approvals, not of each group" in shown(store, "")


def test_one_sees_ones_groups() -> None:
    with DecisionStore(groups=GROUPS) as store:
        page = shown(store, "me", query="as=Bob")
        assert "bob, carol, dave" in page
        assert "Your groups" not in shown(store, "me", query="as=erin")
