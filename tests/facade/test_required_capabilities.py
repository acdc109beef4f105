"""A request that requires what its adapter does not have is refused when it is made: it could never be executed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nexus_control import LocalRouter, NexusControlTools, load_adapters
from tests.cli.running import Commands
from tests.facade.routers import FakeRouter
from tests.mcp.serving import CONFIG, client, refusal
from tests.rules.books import book
from tests.support.contents import contents
from tests.support.governed import ALICE, BOB, data_of

FILES = "subprocess:files"
PLAN = [{"step_id": "s1", "intent": "i", "call": {"tool": "files", "method": "wait", "args": {"file": "f"}}}]
ASKED: dict[str, Any] = {"mode": "apply", "plan": PLAN, "adapter_id": FILES}
TIMEOT: dict[str, Any] = {"require_adapter_capabilities": ["timeot"]}
SAID = (
    f"adapter {FILES} does not have the capability timeot (did you mean 'timeout'?);"
    " it has: apply, dry_run, timeout"
)
RULES = 'default = "deny"\n[[rules]]\ntool = "files"\ntemplate = "mistyped"\n'


@pytest.fixture
def router(tmp_path: Path) -> Iterator[LocalRouter]:
    (tmp_path / "team.toml").write_text(CONFIG)
    with LocalRouter(load_adapters(tmp_path / "team.toml")) as router:
        yield router


@pytest.mark.parametrize("dispatch", [None, "worker"])
@pytest.mark.parametrize("mode", ["apply", "dry_run"])
def test_a_capability_that_the_adapter_lacks_is_named_with_those_that_it_has(
    router: LocalRouter, mode: str, dispatch: str | None
) -> None:
    with NexusControlTools(plan_checker=router) as tools:
        before = contents(tools.store)
        asked: dict[str, Any] = ASKED | TIMEOT | {"mode": mode, "dispatch": dispatch}
        refused = tools.request("Wait", ALICE, **asked)
        assert (refused.error_code, refused.error) == ("ROUTER_NOT_READY", f"ROUTER_NOT_READY: {SAID}")
        assert refused.details == {
            "required": ["timeot"],
            "missing": ["timeot"],
            "capabilities": ["apply", "dry_run", "timeout"],
        }
        assert "name an adapter that has" in (refused.next or "")
        assert contents(tools.store) == before


@pytest.mark.parametrize("rules", [None, RULES], ids=["of a template", "of the template of the rules"])
def test_a_requirement_that_was_not_given_with_the_request_holds_too(
    router: LocalRouter, rules: str | None
) -> None:
    with NexusControlTools(plan_checker=router, rules=rules and book(rules)) as tools:
        data_of(tools.template_create("mistyped", BOB, allowed_modes=["dry_run", "apply"], **TIMEOT))
        refused = tools.request("Wait", ALICE, **ASKED, template_name=None if rules else "mistyped")
        assert (refused.error_code, refused.error) == ("ROUTER_NOT_READY", f"ROUTER_NOT_READY: {SAID}")


@pytest.mark.parametrize(
    "asked",
    [{**TIMEOT, "adapter_id": None}, {"require_adapter_capabilities": ["timeout", "apply"]}, {}],
    ids=["no adapter", "what it has", "nothing"],
)
def test_other_requests_are_made(router: LocalRouter, asked: dict[str, Any]) -> None:
    with NexusControlTools(plan_checker=router) as tools:
        assert data_of(tools.request("Wait", ALICE, **(ASKED | asked)))["warnings"] == []


def test_a_request_whose_adapter_is_a_workers_alone_is_made(router: LocalRouter) -> None:
    with NexusControlTools(plan_checker=router) as tools:
        far: dict[str, Any] = {"adapter_id": "subprocess:far", "dispatch": "worker"}
        made = data_of(tools.request("Wait", ALICE, **(ASKED | TIMEOT | far)))
        assert "the worker is the first" in made["warnings"][0]


class _TakesAnyPlan(FakeRouter):
    def check_plan(self, adapter_id: str, plan: str | None, max_steps: int | None) -> None:
        pass


@pytest.mark.parametrize(
    ("known", "code"),
    [(None, None), (set[str](), "ROUTER_NOT_READY"), ({"timeot"}, None)],
    ids=["not known", "none", "all"],
)
def test_a_router_that_cannot_tell_the_capabilities_refuses_nothing(
    known: set[str] | None, code: str | None
) -> None:
    with NexusControlTools(plan_checker=_TakesAnyPlan(capabilities=known)) as tools:
        assert tools.request("Wait", ALICE, **ASKED, **TIMEOT).error_code == code


def test_an_adapter_without_the_mode_tells_its_capabilities(tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text(CONFIG.replace('"apply", "dry_run", "timeout"', '"dry_run"'))
    with (
        LocalRouter(load_adapters(tmp_path / "team.toml")) as router,
        NexusControlTools(plan_checker=router) as tools,
    ):
        refused = tools.request("Wait", ALICE, **ASKED)
        said = f"ROUTER_NOT_READY: adapter {FILES} does not have the capability apply; it has: dry_run"
        assert refused.error == said


@pytest.mark.anyio
async def test_a_server_refuses_it(router: LocalRouter, tmp_path: Path) -> None:
    async with client("--config", "team.toml", folder=tmp_path) as connected:
        refused = await refusal(connected, "request", goal="Wait", **ASKED, **TIMEOT)
        assert (refused["code"], refused["message"]) == ("ROUTER_NOT_READY", SAID)


def test_the_command_line_refuses_it(router: LocalRouter, tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    asking = ["request", "Wait", "--mode", "apply", "--plan", json.dumps(PLAN), "--adapter", FILES]
    asking += ["--config", str(tmp_path / "team.toml"), "--require-capability"]
    refused = commands.answer(*asking, "timeot", code=1)
    assert (refused["code"], refused["message"]) == ("ROUTER_NOT_READY", SAID)
    assert commands.answer(*asking, "timeout")["created"] is True
