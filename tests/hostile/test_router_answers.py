"""Whatever a router answers or raises is recorded as a fact, and the router is never run again."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools, verify_audit_package
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import StoredEvent
from nexus_control.evidence.run_bundle import make_run_bundle
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.execution.router import RouterOutcomeUnknown, RouterProtocol
from nexus_control.integrity import prefixed, sha256_hex
from nexus_control.values.results import ToolResult
from tests.execution.support import plan, step
from tests.support.governed import (
    ADAPTER,
    ALICE,
    SCHEDULER,
    approved,
    data_of,
    last_event,
    reasons,
    require_whole,
)
from tests.support.routers import KeepingRouter, ScriptedRouter, good_answer

COMPLETED, FAILED, UNKNOWN = "EXECUTION_COMPLETED", "EXECUTION_FAILED", "EXECUTION_OUTCOME_UNKNOWN"
_CODES = {COMPLETED: None, FAILED: "ROUTER_ERROR", UNKNOWN: "OUTCOME_UNKNOWN"}
_STATES = {COMPLETED: "completed", FAILED: "failed", UNKNOWN: "outcome_unknown"}
_REFUSALS = {COMPLETED: "ALREADY_EXECUTED", FAILED: "EXECUTION_FAILED", UNKNOWN: "OUTCOME_UNKNOWN"}
_NO_LINK = "NO_ROUTER_LINK"


@dataclass(frozen=True)
class Executed:
    """One execution and what is left of it."""

    tools: NexusControlTools
    request_id: str
    router: ScriptedRouter
    result: ToolResult[Any]

    @property
    def event(self) -> StoredEvent:
        return last_event(self.tools.store, self.request_id)

    @property
    def payload(self) -> dict[str, Any]:
        return dict(self.event.payload)

    def execute(self) -> ToolResult[Any]:
        return self.tools.execute(self.request_id, ADAPTER, SCHEDULER, self.router)

    def require_settled(self, event_type: str) -> None:
        """The outcome is recorded and answered alike, it is final, and the store is whole."""
        assert str(self.event.event_type) == event_type
        assert self.result.error_code == _CODES[event_type]
        status = data_of(self.tools.status(self.request_id))
        assert status["state"] == _STATES[event_type]
        self.require_effect(status)
        assert reasons(self.execute()) == [_REFUSALS[event_type]]
        assert reasons(self.tools.execute(self.request_id, ADAPTER, SCHEDULER, self.router, dry_run=True))
        assert self.router.runs == 1
        require_whole(self.tools.store, self.request_id)

    def require_effect(self, status: dict[str, Any]) -> None:
        """What is known of the effect is the same in the event, the answer and every view, and the advice follows."""
        effect = {COMPLETED: "done", UNKNOWN: "unknown"}.get(str(self.event.event_type)) or self.payload[
            "effect"
        ]
        assert status["executions"][-1]["effect"] == effect
        inspected = data_of(self.tools.inspect(self.request_id))
        assert inspected["execution"][-1]["effect"] == effect
        if self.result.success:
            return
        assert self.result.details["effect"] == effect
        assert ("new request" in (self.result.next or "")) == (effect == "none")
        if self.event.event_type == FAILED:
            words = {
                "none": "nothing was done",
                "done": "something was done",
                "unknown": "what was done is unknown",
            }[effect]
            assert words in inspected["timeline"][-1]["summary"]
            assert words in inspected["rendered"]

    def require_evidence(self, run_id: str | None, digest: str | None) -> None:
        """A run that has an id and a digest can be audited; another can, once a person has found them out."""
        exported = self.tools.export_audit_package(self.request_id)
        if run_id is None or digest is None:
            assert exported.error_code == _NO_LINK
            found = {"run_id": run_id or "run-found", "response_digest": digest or sha256_hex("found")}
            if self.event.event_type == UNKNOWN:
                data_of(self.tools.reconcile(self.request_id, ALICE, "completed", "Seen in the log", **found))
                exported = self.tools.export_audit_package(self.request_id)
                run_id, digest = found["run_id"], found["response_digest"]
        if run_id is not None and digest is not None:
            package = data_of(exported)["package"]
            assert package["router"]["ref"]["run_id"] == run_id
            assert verify_audit_package(package).ok
        require_whole(self.tools.store, self.request_id)


def executed(router: ScriptedRouter) -> Executed:
    tools = NexusControlTools()
    request_id = approved(tools)
    result = tools.execute(request_id, ADAPTER, SCHEDULER, router)
    return Executed(tools, request_id, router, result)


def dumps(answer: object) -> str:
    return json.dumps(answer, sort_keys=True, default=repr)


def cyclic() -> dict[str, Any]:
    answer = good_answer()
    answer["itself"] = answer
    return answer


def deep() -> dict[str, Any]:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    return good_answer() | {"nested": nested}


class _Opaque:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class _Unreadable(dict[str, Any]):
    def get(self, key: str, default: object = None, /) -> Any:
        raise RuntimeError(f"no {key} for you")


@dataclass(frozen=True)
class Answer:
    """What a router answers, and what is recorded of it: `noted` are words of the event's notes or detail."""

    name: str
    make: Callable[[], object]
    event_type: str = COMPLETED
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    spell: Callable[[Any], str] | None = canonical_json
    noted: tuple[str, ...] = ()


ANSWERS = [
    Answer("good", good_answer, fields={"run_id": "run-1", "steps_executed": 2}),
    Answer(
        "run and summary",
        lambda: {"run": {"run_id": "run-1"}, "summary": {"steps": 4}},
        fields={"steps_executed": 4},
    ),
    Answer("NaN", lambda: good_answer() | {"ratio": float("nan")}, spell=dumps, noted=("json.dumps",)),
    Answer("infinity", lambda: good_answer() | {"ratio": float("inf")}, spell=dumps, noted=("json.dumps",)),
    Answer(
        "NaN steps",
        lambda: {"run_id": "run-1", "steps_executed": float("nan")},
        fields={"steps_executed": 0},
        spell=dumps,
        noted=("steps_executed was", "json.dumps"),
    ),
    Answer(
        "None steps",
        lambda: {"run_id": "run-1", "steps_executed": None},
        fields={"steps_executed": 0},
        noted=("steps_executed was null; recorded 0",),
    ),
    Answer(
        "no steps",
        lambda: {"run_id": "run-1"},
        fields={"steps_executed": 0},
        noted=("neither steps_executed nor summary.steps",),
    ),
    Answer(
        "negative steps",
        lambda: {"run_id": "run-1", "steps_executed": -1},
        fields={"steps_executed": 0},
        noted=("steps_executed was -1",),
    ),
    Answer(
        "true steps",
        lambda: {"run_id": "run-1", "steps_executed": True},
        fields={"steps_executed": 0},
        noted=("steps_executed was true",),
    ),
    Answer(
        "huge steps",
        lambda: {"run_id": "run-1", "steps_executed": 10**30},
        fields={"steps_executed": 0},
        spell=dumps,
        noted=("steps_executed was 1000",),
    ),
    Answer("5 MB", lambda: good_answer() | {"log": "x" * 5_000_000}),
    Answer(
        "lone surrogate", lambda: good_answer() | {"log": "\ud800"}, spell=dumps, noted=("lone surrogate",)
    ),
    Answer("keys of mixed types", lambda: good_answer() | {1: "one"}, spell=repr, noted=("not a string",)),
    Answer("cyclic", cyclic, spell=repr, noted=("deeper",)),
    Answer("deep", deep, spell=None, noted=("deeper",)),
    Answer("opaque", lambda: good_answer() | {"what": _Opaque()}, spell=None, noted=("_Opaque",)),
    Answer(
        "failed with a run",
        lambda: good_answer() | {"error": {"code": "E1", "message": "no key"}},
        FAILED,
        {"run_id": "run-1", "error_code": "E1", "error_message": "no key", "steps_executed": 2},
    ),
    Answer(
        "failed status",
        lambda: good_answer() | {"status": "FAILED"},
        FAILED,
        {"run_id": "run-1", "error_code": "RUN_FAILED"},
    ),
    Answer(
        "failed step",
        lambda: (
            good_answer()
            | {"results": [{"step_id": "a", "status": "ok"}, {"step_id": "b", "status": "error"}]}
        ),
        FAILED,
        {"run_id": "run-1"},
    ),
    Answer(
        "error that is odd",
        lambda: good_answer() | {"error": {"code": 5, "message": "\ud800"}},
        FAILED,
        {"error_code": "5"},
        dumps,
    ),
    Answer(
        "unfinished",
        lambda: good_answer() | {"status": "running"},
        UNKNOWN,
        {"reason": "RUN_UNFINISHED", "run_id": "run-1"},
        noted=("had not ended",),
    ),
    Answer(
        "unknown status word",
        lambda: good_answer() | {"status": "sideways"},
        UNKNOWN,
        {"reason": "RUN_UNFINISHED", "run_id": "run-1"},
        noted=("a word without a known meaning",),
    ),
    Answer("exit code", lambda: good_answer() | {"exit_code": 3}, FAILED, {"effect": "unknown"}),
    Answer("errors", lambda: good_answer() | {"errors": ["no"]}, FAILED, {"effect": "unknown"}),
    Answer(
        "refused before its first step",
        lambda: {"run_id": "run-1", "summary": {"steps": 0}, "results": [], "error": "no such adapter"},
        FAILED,
        {"effect": "none"},
    ),
    Answer("no run id", lambda: {"steps_executed": 2}, UNKNOWN, {"reason": "NO_RUN_ID"}),
    Answer(
        "int run id",
        lambda: {"run_id": 5, "steps_executed": 2},
        UNKNOWN,
        {"reason": "NO_RUN_ID"},
        noted=("run_id was not usable as a run id (5)",),
    ),
    Answer("empty run id", lambda: good_answer(""), UNKNOWN, {"reason": "NO_RUN_ID"}, noted=("not usable",)),
    Answer(
        "run id with a surrogate",
        lambda: good_answer("run-\udcff"),
        UNKNOWN,
        {"reason": "NO_RUN_ID"},
        dumps,
        ("not usable",),
    ),
    Answer(
        "run id without end",
        lambda: good_answer("r" * 10_000),
        UNKNOWN,
        {"reason": "NO_RUN_ID"},
        noted=("not usable",),
    ),
    Answer("bytes", lambda: b"done", UNKNOWN, {"reason": "NO_RUN_ID"}, dumps, ("was a bytes",)),
    Answer("list", lambda: [good_answer()], UNKNOWN, {"reason": "NO_RUN_ID"}, noted=("was a list",)),
    Answer("None", lambda: None, UNKNOWN, {"reason": "NO_RUN_ID"}, noted=("was a NoneType",)),
    Answer("text", lambda: "run-1", UNKNOWN, {"reason": "NO_RUN_ID"}, noted=("was a str",)),
    Answer(
        "NaN without run id",
        lambda: {"ratio": float("nan")},
        UNKNOWN,
        {"reason": "NO_RUN_ID"},
        dumps,
        ("json.dumps",),
    ),
    Answer(
        "unreadable",
        lambda: _Unreadable(good_answer()),
        UNKNOWN,
        {"reason": "ANSWER_UNREADABLE"},
        None,
        ("no run_id for you",),
    ),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)
def test_an_answer_is_recorded_as_it_is_and_is_final(answer: Answer) -> None:
    run = executed(ScriptedRouter(answer.make))
    run.require_settled(answer.event_type)
    assert {key: run.payload[key] for key in answer.fields} == answer.fields
    if answer.spell is not None:
        text = answer.spell(answer.make())
        assert run.payload["response_digest"] == sha256_hex(text.encode(errors="replace"))
    said = "; ".join([*run.payload.get("notes", ()), run.payload.get("detail", "")])
    assert [words for words in answer.noted if words not in said] == []
    run.require_evidence(run.payload.get("run_id"), run.payload.get("response_digest"))


def test_what_the_caller_is_told_is_what_was_recorded() -> None:
    run = executed(ScriptedRouter(lambda: good_answer() | {"error": "no key"}))
    for said in ("run_id", "response_digest", "error_code", "error_message"):
        assert run.result.details[said] == run.payload[said]
    assert (run.result.error or "").startswith("ROUTER_ERROR: Router execution failed")


class _NoTextError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


class _ClientError(Exception):
    """As clients of remote services have it: what an answer has not got is looked up in it."""

    def __getattr__(self, name: str) -> Any:
        return self.args[0][name]


class _EndlessError(Exception):
    def __getattr__(self, name: str) -> Any:
        return getattr(self.response, name)


class _NotesError(Exception):
    @property
    def __notes__(self) -> list[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise RuntimeError("no notes")


class _ClassError(Exception):
    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise RuntimeError("no class")


class _Bare(RouterOutcomeUnknown):
    def __init__(self) -> None:
        pass


class _Odd(RouterOutcomeUnknown):
    def __init__(self) -> None:
        super().__init__("lost \ud800 sight", run_id=5)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class Raised:
    """What a router raises after it acted, and what is recorded of it."""

    name: str
    error: BaseException
    event_type: str
    fields: dict[str, Any]


RAISED = [
    Raised(
        "RuntimeError",
        RuntimeError("disk gone"),
        FAILED,
        {
            "error_code": "ROUTER_ERROR",
            "error_message": "RuntimeError: disk gone",
            "effect": "unknown",
            "run_id": None,
        },
    ),
    Raised("text that raises", _NoTextError(), FAILED, {"error_code": "ROUTER_ERROR", "effect": "unknown"}),
    Raised(
        "text with a surrogate", RuntimeError("\ud800"), FAILED, {"error_message": "RuntimeError: \ufffd"}
    ),
    Raised("5 MB of text", RuntimeError("x" * 5_000_000), FAILED, {"effect": "unknown"}),
    Raised("a group", ExceptionGroup("two", [ValueError("a"), OSError("b")]), FAILED, {"effect": "unknown"}),
    Raised("StopIteration", StopIteration(), FAILED, {"error_message": "StopIteration"}),
    Raised(
        "TimeoutError", TimeoutError("30 s"), UNKNOWN, {"reason": "TIMEOUT", "detail": "TimeoutError: 30 s"}
    ),
    Raised(
        "SystemExit",
        SystemExit("bye"),
        UNKNOWN,
        {"reason": "ROUTER_OUTCOME_UNKNOWN", "detail": "SystemExit: bye"},
    ),
    Raised(
        "a lost connection",
        ConnectionResetError("gone"),
        UNKNOWN,
        {"reason": "ROUTER_OUTCOME_UNKNOWN", "detail": "ConnectionResetError: gone"},
    ),
    Raised(
        "a program's time limit",
        subprocess.TimeoutExpired("deploy", 5),
        UNKNOWN,
        {"reason": "ROUTER_OUTCOME_UNKNOWN"},
    ),
    Raised(
        "a group with a timeout",
        ExceptionGroup("two", [ValueError("a"), ExceptionGroup("b", [TimeoutError("c")])]),
        UNKNOWN,
        {"reason": "ROUTER_OUTCOME_UNKNOWN"},
    ),
    Raised(
        "a refusal of the router's",
        NexusControlError(ErrorCode.ROUTER_NOT_READY, "no credentials"),
        FAILED,
        {"error_code": "ROUTER_NOT_READY", "error_message": "no credentials", "effect": "none"},
    ),
    Raised(
        "another fault of ours",
        NexusControlError(ErrorCode.STORE_UNAVAILABLE, "no disk"),
        FAILED,
        {"error_code": "ROUTER_ERROR", "effect": "unknown"},
    ),
    Raised(
        "outcome unknown",
        RouterOutcomeUnknown("lost sight", run_id="run-9"),
        UNKNOWN,
        {"reason": "ROUTER_OUTCOME_UNKNOWN", "detail": "lost sight", "run_id": "run-9"},
    ),
    Raised(
        "outcome unknown without a run",
        RouterOutcomeUnknown("lost sight"),
        UNKNOWN,
        {"reason": "ROUTER_OUTCOME_UNKNOWN"},
    ),
    Raised(
        "outcome unknown, oddly",
        _Odd(),
        UNKNOWN,
        {"reason": "ROUTER_OUTCOME_UNKNOWN", "detail": "lost \ufffd sight"},
    ),
]


UNSHOWABLE: dict[str, Callable[[], Exception]] = {
    "every attribute raises": lambda: _ClientError({}),
    "every attribute is looked for without end": lambda: _EndlessError("x"),
    "notes that raise": lambda: _NotesError("x"),
    "a class that raises": lambda: _ClassError("x"),
    "nothing but its class": _Bare,
    "text that raises": _NoTextError,
}


@pytest.mark.parametrize("make", UNSHOWABLE.values(), ids=UNSHOWABLE)
@pytest.mark.parametrize("where", ["router", "step", "capabilities"])
def test_an_exception_that_cannot_be_shown_is_recorded_like_any_other(
    make: Callable[[], Exception], where: str
) -> None:
    def fail() -> Any:
        raise make()

    tools = NexusControlTools()
    request_id = approved(tools, plan=plan(step("fail")))
    router: RouterProtocol = ScriptedRouter(good_answer, fail)
    if where == "router":
        router = ScriptedRouter(fail)
    if where == "step":
        router = LocalRouter([PythonAdapter("keys", {"fail": fail})])
    told = tools.execute(request_id, ADAPTER, SCHEDULER, router)
    state = data_of(tools.status(request_id))["state"]
    if where == "capabilities":
        assert (told.error_code, state) == ("ROUTER_ERROR", "approved")
    else:
        assert told.error_code in ("ROUTER_ERROR", "OUTCOME_UNKNOWN")
        assert (state, told.details["effect"]) == (
            "failed" if told.error_code == "ROUTER_ERROR" else "outcome_unknown",
            "unknown",
        )
    require_whole(tools.store, request_id)


@pytest.mark.parametrize("raised", RAISED, ids=lambda raised: raised.name)
def test_an_exception_after_the_router_acted_is_final(raised: Raised, tmp_path: Path) -> None:
    effect = tmp_path / "effect"

    def act() -> object:
        with effect.open("a") as file:
            file.write("acted\n")
        raise raised.error

    run = executed(ScriptedRouter(act))
    run.require_settled(raised.event_type)
    assert {key: run.payload[key] for key in raised.fields} == raised.fields
    assert effect.read_text() == "acted\n"
    run.require_evidence(run.payload.get("run_id"), None)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, GeneratorExit])
def test_an_interruption_is_recorded_as_unknown_and_goes_on_up(interruption: type[BaseException]) -> None:
    def act() -> object:
        raise interruption

    tools, router = NexusControlTools(), ScriptedRouter(act)
    request_id = approved(tools)
    with pytest.raises(interruption):
        tools.execute(request_id, ADAPTER, SCHEDULER, router)
    event = last_event(tools.store, request_id)
    assert (event.event_type, event.payload["reason"]) == (UNKNOWN, "INTERRUPTED")
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, router)) == ["OUTCOME_UNKNOWN"]
    assert router.runs == 1
    require_whole(tools.store, request_id)


def _raise_runtime_error() -> object:
    raise RuntimeError("no catalogue")


@pytest.mark.parametrize(
    "capabilities", [_raise_runtime_error, lambda: 5, lambda: [[0]]], ids=["raises", "a number", "unhashable"]
)
def test_a_router_that_cannot_describe_its_adapter_is_not_run_and_nothing_is_written(
    capabilities: Callable[[], object],
) -> None:
    run = executed(ScriptedRouter(good_answer, capabilities))
    assert run.result.error_code == "ROUTER_ERROR"
    assert run.router.runs == 0
    assert data_of(run.tools.status(run.request_id))["state"] == "approved"
    assert str(run.event.event_type) == "APPROVAL_GRANTED"
    require_whole(run.tools.store, run.request_id)


def run_bundle(status: str, run_id: str = "run-1") -> dict[str, object]:
    run = {"run_id": run_id, "mode": "apply", "goal": "g", "status": status, "created_at": "2026-01-01"}
    return make_run_bundle(run, [], exported_at="2026-01-01", export_method="test")


def digest_of(bundle: dict[str, Any]) -> str:
    return prefixed(bundle["digests"]["sha256"])


_FAILED_ANSWER = {"run_id": "run-1", "steps_executed": 1, "error": {"code": "E1", "message": "no"}}


@pytest.mark.parametrize(
    ("answer", "status", "event_type"),
    [
        (good_answer(), "COMPLETED", COMPLETED),
        (good_answer(), "FAILED", FAILED),
        (good_answer(), "RUNNING", UNKNOWN),
        (_FAILED_ANSWER, "COMPLETED", COMPLETED),
        (_FAILED_ANSWER, "FAILED", FAILED),
    ],
)
def test_the_run_as_the_router_exports_it_has_the_last_word(
    answer: dict[str, Any], status: str, event_type: str
) -> None:
    bundle = run_bundle(status)
    run = executed(KeepingRouter(lambda: answer, lambda: bundle))
    run.require_settled(event_type)
    assert run.payload["router_bundle_digest"] == digest_of(bundle)
    package = data_of(
        run.tools.export_audit_package(run.request_id, embed_router_bundle=True, router_bundle=bundle)
    )["package"]
    assert verify_audit_package(package).ok


@pytest.mark.parametrize(
    "kept",
    [_raise_runtime_error, list, str, dict, lambda: None],
    ids=["raises", "list", "text", "empty", "none"],
)
def test_an_export_that_raises_or_is_garbage_leaves_the_answer_standing(kept: Callable[[], object]) -> None:
    run = executed(KeepingRouter(good_answer, kept))
    run.require_settled(COMPLETED)
    assert "router_bundle_digest" not in run.payload
    run.require_evidence("run-1", run.payload["response_digest"])


def test_the_bundle_of_another_run_is_not_taken_for_this_one() -> None:
    run = executed(KeepingRouter(good_answer, lambda: run_bundle("FAILED", run_id="run-2")))
    run.require_settled(COMPLETED)
    assert "router_bundle_digest" not in run.payload
    assert any("another run" in note for note in run.payload["notes"])


def test_a_rehearsal_that_raises_leaves_the_decision_approved() -> None:
    tools, router = NexusControlTools(), ScriptedRouter(_raise_runtime_error)
    request_id = approved(tools)
    assert tools.execute(request_id, ADAPTER, SCHEDULER, router, dry_run=True).error_code == "ROUTER_ERROR"
    assert data_of(tools.status(request_id))["state"] == "approved"
    router.act = good_answer
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
    require_whole(tools.store, request_id)
