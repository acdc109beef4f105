"""What a refusal advises, in words for a person at a page. The codes' own advice is for callers of the tools, too."""

from typing import Final

from nexus_control.errors import ErrorCode, NexusControlError, next_step

_ADVICE: Final = {
    ErrorCode.INVALID_ARGUMENT: "Correct it on this page, and do it again. Nothing was written.",
    ErrorCode.JSON_INVALID: "Reload this page, and do it again. Nothing was written.",
    ErrorCode.INVALID_STATE: "Look at the request as it is shown here: it no longer takes this verdict.",
    ErrorCode.REHEARSAL_REQUIRED: "It must be rehearsed first, which needs no approval. Then decide here.",
    ErrorCode.NO_ACTIVE_APPROVAL: "There is nothing of yours to revoke.",
    ErrorCode.SIGNATURE_INVALID: "Sign again on this page, with a passkey that counts here.",
}


def advice(fault: NexusControlError) -> str:
    """What to do next. An advice that was written for this very refusal stays as it is."""
    return _ADVICE.get(fault.code, fault.next) if fault.next == next_step(fault.code) else fault.next
