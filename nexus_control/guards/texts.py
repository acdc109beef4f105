"""What a guard says to a model: that a call waits, or why it does not run.

A text says first what happened, then what to do. One that waits is never called an error or a failure, because a model
tries again after one. The reasons that people gave are quoted as they are.
"""

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a hook says most of these texts without a store
    from nexus_control.usecases.answers import StatusData

_MOST_OF_AN_OUTPUT = 10_000


def pending(request_id: str) -> str:
    """For a request that people have not decided on."""
    return (
        f"Not run: waiting for approval (request {request_id}). Do not call it again and do not look for another way; "
        "go on with what does not need it, and say at the end what is waiting. People decide in nexus-control, outside "
        "this conversation."
    )


def pending_until_retried(request_id: str) -> str:
    """`pending` for a host whose model makes the call again once people have approved it."""
    return (
        f"Not run: waiting for approval (request {request_id}). Do not look for another way; go on with what does not "
        "need it, and say at the end what is waiting. When a person says that it is approved, make exactly this call "
        "again. People decide in nexus-control, outside this conversation."
    )


def one_at_a_time(request_id: str) -> str:
    """For a call beside one that waits, where the host can keep only one of them."""
    return (
        f"Not run: only one call at a time can wait for approval, and the call of request {request_id} does. Nobody "
        "was asked about this one. Make it again after that one."
    )


def denied_by_rule(why: str) -> str:
    """For a call that the rules deny, or cannot judge."""
    return f"Not run: {why}. Final for this call. Do not repeat it or reach the same effect differently."


def conflict(why: str) -> str:
    """For a call whose content is not what its request was made with."""
    return f"Not run: people were asked about another content of this call. {why}. Make a new call for the new content."


def another_policy(why: str) -> str:
    """For a call whose policy was changed after people were asked about it."""
    return (
        f"Not run: people were asked about this call under another policy. {why}. Say so to the person you work "
        "for, who can withdraw that request; a new call asks under the new policy."
    )


def unavailable(why: str) -> str:
    """For a guard that cannot ask its store."""
    return (
        f"Not run: approvals cannot be checked now ({why}). Say so to the person you work for; do not look for another "
        "way."
    )


def not_requested(why: str) -> str:
    """For a request that is refused as it is."""
    return (
        f"Not run: it could not be asked for ({why}). Change the call, or say so to the person you work for."
    )


def of_state(status: "StatusData") -> str:
    """Why a request in this state does not run, or not again. `status` is what `NexusControlTools.status` answers."""
    request_id = status["request_id"]
    ending = status.get("ending")
    last = status["executions"][-1] if status["executions"] else None
    match status["state"]:
        case "denied":
            who = f"{ending['actor']['id']}: {ending['reason']}" if ending else "a person"
            return (
                f"Not run: denied by {who}. Final for this call (request {request_id}). Do not repeat it or reach the "
                "same effect differently; a different proposal is a new request."
            )
        case "withdrawn":
            why = f" ({ending['reason']})" if ending else ""
            return (
                f"Not run: request {request_id} was withdrawn{why}. If it is still wanted, make a new call."
            )
        case "executing":
            return f"Not run again: request {request_id} is being executed by another call. Do not repeat it."
        case "completed":
            run_id = last["run_id"] if last else None
            return f"Not run again: request {request_id} was already executed (run {run_id})."
        case "failed":
            code, message = (last["error_code"], last["error_message"]) if last else ("", "")
            effect = last["effect"] if last else "unknown"
            return (
                f"Not run again: request {request_id} was executed and failed: {code}: {message} (effect: {effect}). "
                "A new attempt is a new call, and needs a new approval."
            )
        case "outcome_unknown":
            return (
                f"Not run again: request {request_id} was executed, and it may or may not have taken effect; a person "
                "must find out. Do not repeat it."
            )
        case _:
            reasons = "; ".join(reason["message"] for reason in status["blocking_reasons"])
            return f"Not run: request {request_id} cannot be executed ({reasons or status['state']})."


def with_output(text: str, output: object) -> str:
    """The text of a call that ran before, with what it gave back then."""
    spelled = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    cut = spelled[:_MOST_OF_AN_OUTPUT]
    more = " (the beginning)" if cut != spelled else ""
    return f"{text} It gave back{more}: {cut}"
