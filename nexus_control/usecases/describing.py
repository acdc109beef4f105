"""What executing an open decision would run, as far as this process's router knows. A note says what is not known."""

from collections.abc import Iterator
from typing import Any

from nexus_control.errors import NexusControlError
from nexus_control.execution.description import StepDescription
from nexus_control.execution.router import REFUSALS, AdapterDescriber, PlanChecker, PlanDescriber
from nexus_control.facts import Facts
from nexus_control.values.payloads import Mode
from nexus_control.values.records import encode


def will_run(facts: Facts, router: object) -> dict[str, Any] | None:
    """None without a router, and for a decision that can no longer be decided. `steps` says for each step what it runs
    in each mode that the decision allows; `note` is a warning for the reader.
    """
    created, attached = facts.created, facts.attached
    if router is None or facts.phase != "open" or created is None or attached is None:
        return None
    note, steps = None, tuple[StepDescription, ...]()
    if attached.adapter_id is None:
        note = "The request names no adapter: only when it is executed is it known what its steps run"
    elif not isinstance(router, PlanDescriber):
        note = "The router here does not say what its steps run"
    else:
        note, steps = _described(router, facts, attached.adapter_id, attached.adapter_digest)
    modes = list(_modes(facts))
    return {
        "adapter_id": attached.adapter_id,
        "note": note,
        "steps": [
            {
                "step_id": step.step_id,
                "intent": step.intent,
                **{mode: encode(getattr(step, mode)) for mode in modes},
            }
            for step in steps
        ],
    }


def _described(
    router: PlanDescriber, facts: Facts, adapter_id: str, bound: str | None
) -> tuple[str | None, tuple[StepDescription, ...]]:
    plan = facts.created.plan if facts.created else None
    try:
        digest = router.adapter_digest(adapter_id) if isinstance(router, AdapterDescriber) else None
        if bound is not None and digest != bound:
            note = f"The adapter {adapter_id} is NOT what the request was made for: it is declared otherwise here"
            return note, ()
        if isinstance(router, PlanChecker):
            router.check_plan(adapter_id, plan, facts.policy.max_steps if facts.policy else None)
        steps = router.describe(adapter_id, plan)
    except NexusControlError as fault:
        if fault.code not in REFUSALS:
            raise
        return f"The adapter {adapter_id} would not run this plan ({fault.message})", ()
    except (Exception, SystemExit) as fault:  # an embedder's router or adapter may raise anything
        return f"The router here cannot say what the steps run ({type(fault).__name__})", ()
    if bound is None:
        note = "The request is not bound to this declaration of the adapter, which may change before it runs"
        return note, steps
    return None, steps


def _modes(facts: Facts) -> Iterator[Mode]:
    """The modes in which the decision can be executed, apply first."""
    if facts.policy is None or facts.created is None:
        return
    if facts.created.requested_mode == "apply" and facts.policy.allows_mode("apply"):
        yield "apply"
    if facts.policy.allows_mode("dry_run"):
        yield "dry_run"
