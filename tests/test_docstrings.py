"""Every public docstring shows a use before its rule, and every use that it shows is run.

The examples speak of `tools` and their `store`; of `decision`, a request for two approvals that has one (its id is
`request_id`); of an executed one (`executed_id`) as `bundle` and `package`; and of what executed it.
"""

import doctest
import inspect
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import pytest

import nexus_control
from nexus_control import Actor, Decision, DecisionStore, LocalRouter, NexusControlTools, PythonAdapter
from nexus_control.bundle import DecisionBundle
from nexus_control.execution.plan import Call
from nexus_control.log import log_keys
from tests.artifacts.samples import VECTORS
from tests.support.clock import FakeClock
from tests.support.governed import data_of

THE_FACADES_OWN = {
    "NexusControlTools",
    "ToolResult",
}  # what those answer is documented, and tested, by itself
CONFIGURATION = (
    '[adapters.keys]\nkind = "subprocess"\ncapabilities = ["apply"]\ntools.rotate.argv = ["true"]\n'
)
PLAN = (
    '[{"step_id": "1", "intent": "rotate", '
    '"call": {"tool": "keys", "method": "rotate", "args": {"service": "billing"}}}]'
)


def rotate(service: str) -> str:
    return f"rotated {service}"


def documented() -> Iterator[tuple[str, object]]:
    """The public names, and the methods of the public classes under the names of the classes that define them."""
    for name in nexus_control.__all__:
        value = getattr(nexus_control, name)
        if name in THE_FACADES_OWN or not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        yield name, value
        for base in inspect.getmro(value) if inspect.isclass(value) else ():
            if base.__module__.startswith("nexus_control."):
                yield from methods_of(base)


def methods_of(owner: type[object]) -> Iterator[tuple[str, object]]:
    for name in vars(owner):
        method = getattr(owner, name)
        if isinstance(method, FunctionType | MethodType) and not name.startswith("_"):
            yield f"{owner.__name__}.{name}", method


DOCUMENTED: dict[str, object] = dict(documented())


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the examples speak of."""
    monkeypatch.chdir(tmp_path)
    Path("nexus-control.toml").write_text(CONFIGURATION)
    adapter = PythonAdapter("keys", {"rotate": rotate})
    alice, agent = Actor("human", "alice"), Actor("system", "agent")
    with DecisionStore(clock=FakeClock()) as store, LocalRouter([adapter]) as router:
        tools = NexusControlTools(store)
        asked: dict[str, Any] = {"goal": "Rotate the key", "actor": agent, "mode": "apply", "plan": PLAN}
        request_id = data_of(tools.request(**asked, min_approvals=2))["request_id"]
        executed_id = data_of(tools.request(**asked))["request_id"]
        for each in (request_id, executed_id):
            data_of(tools.approve(each, alice))
        data_of(tools.execute(executed_id, "python:keys", agent, router))
        package = nexus_control.export_audit_package(store, executed_id).package
        assert package is not None
        yield {
            **{name: getattr(nexus_control, name) for name in nexus_control.__all__},
            "Call": Call,
            "tools": tools,
            "store": store,
            "router": router,
            "adapter": adapter,
            "rotate": rotate,
            "call": Call(tool="keys", method="rotate", args={"service": "billing"}),
            "plan": PLAN,
            "alice": alice,
            "request_id": request_id,
            "executed_id": executed_id,
            "decision": Decision.load(store, request_id),
            "bundle": DecisionBundle.from_dict(data_of(tools.export_bundle(executed_id))["bundle"]),
            "package": package,
            "log_key": str(log_keys.keys_of(store)[-1].verifier),
            **signed_by_a_passkey(),
        }


def signed_by_a_passkey() -> dict[str, object]:
    vectors = VECTORS / "passkeys"
    signers = (vectors / "allowed_signers").read_bytes()
    return {
        "statement": (vectors / "statement.json").read_text(encoding="utf-8"),
        "signature": (vectors / "signatures" / "good.sig").read_text(encoding="utf-8"),
        "trust": nexus_control.Trust(allowed_signers=signers, passkey_origins=["http://localhost:8790"]),
        "at": datetime(2026, 11, 26, tzinfo=UTC),
    }


@pytest.mark.parametrize("name", list(DOCUMENTED))
def test_a_public_docstring_shows_a_use_before_its_rule(name: str) -> None:
    blocks = (inspect.getdoc(DOCUMENTED[name]) or "").split("\n\n")
    assert len(blocks) > 1, "a sentence, then a use"
    assert blocks[1].lstrip().startswith(">>> ")


@pytest.mark.parametrize("name", list(DOCUMENTED))
def test_the_uses_that_docstrings_show_are_right(name: str, names: dict[str, Any]) -> None:
    text = inspect.getdoc(DOCUMENTED[name]) or ""
    example = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert "".join(said) == ""
