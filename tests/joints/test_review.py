"""Somebody reads a request and answers, while its owner puts another one in its place and back."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nexus_control import NexusControlTools
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.store import DecisionStore
from nexus_control.toolset import asking
from nexus_control.toolset.tool import FormAnswer, ToolContext
from nexus_control.usecases.arguments import ApproveArguments
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import Elicitation
from tests.evidence.ssh import ed25519, public_line, signed
from tests.facade.flow import asked
from tests.support.amounts import ROUNDS
from tests.support.governed import BOB, data_of
from tests.support.swapping import Swap

Review = Callable[[NexusControlTools, str], tuple[str, bool]]
"""Reads the request and approves it: the goal that was shown, and whether the approval was taken."""


def in_python(tools: NexusControlTools, request_id: str) -> tuple[str, bool]:
    shown = data_of(tools.inspect(request_id))
    return shown["decision"]["goal"], _taken(tools.approve(request_id, BOB, basis=shown["basis"]).error_code)


def signed_statement(tools: NexusControlTools, request_id: str) -> tuple[str, bool]:
    text = data_of(tools.approval_statement(request_id, "bob"))["statement"]
    shown = data_of(tools.inspect(request_id))
    answer = tools.approve(
        request_id, BOB, statement=text, signature=signed(1, text.encode()), basis=shown["basis"]
    )
    return shown["decision"]["goal"], _taken(answer.error_code)


def in_a_form(tools: NexusControlTools, request_id: str) -> tuple[str, bool]:
    context = ToolContext(
        store=tools.store,
        actor=Actor(type="system", id="agent"),
        database="store.db",
        artifacts=Path("unused"),
        approver=BOB,
    )
    arguments = ApproveArguments(request_id=request_id, actor=context.actor)
    question = asking.question(context, arguments)
    answer = FormAnswer(
        question=question,
        approves=True,
        reason=None,
        elicitation=Elicitation(client="host", latency_ms=1),
    )
    shown = next(line for line in question.text.splitlines() if line.startswith("- Goal: "))
    try:
        asking.decide(context, arguments, answer)
    except NexusControlError as fault:
        return shown.removeprefix("- Goal: "), _taken(fault.code)
    return shown.removeprefix("- Goal: "), True


def _taken(code: str | None) -> bool:
    assert code in (None, ErrorCode.BASIS_CHANGED), code
    return code is None


@contextmanager
def swapping(swap: Swap) -> Generator[None]:
    """The owner puts the other request in its place and back, again and again, in another thread."""
    over, started = threading.Event(), threading.Event()

    def work() -> None:
        while not over.is_set():
            swap.to_other()
            started.set()
            swap.back()

    owner = threading.Thread(target=work)
    owner.start()
    assert started.wait(240)
    try:
        yield
    finally:
        over.set()
        owner.join()


def landed_on(tools: NexusControlTools, request_id: str) -> list[str]:
    """The goal of every history of this request that holds an approval."""
    with tools.store.reading() as session:
        decision = session.decision(request_id)
        histories = [
            session.events(decision, generation)
            for generation in session.rows.generations("decision", request_id)
        ]
    return [
        events[0].payload["goal"]
        for events in histories
        if any(event.event_type == "APPROVAL_GRANTED" for event in events)
    ]


@pytest.mark.parametrize("review", [in_python, signed_statement, in_a_form], ids=lambda each: each.__name__)
def test_an_approval_never_lands_on_what_was_not_shown(review: Review, tmp_path: Path) -> None:
    signers = tmp_path / "allowed_signers"
    signers.write_text(f"bob {public_line(ed25519(1)[0])}\n")
    with DecisionStore(tmp_path / "store.db", allowed_signers=signers) as store:
        tools = NexusControlTools(store)
        for _ in range(ROUNDS):
            request_id = asked(tools)
            with swapping(Swap.of(tools, request_id)):
                goal, taken = review(tools, request_id)
            assert landed_on(tools, request_id) == ([goal] if taken else [])
