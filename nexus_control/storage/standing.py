"""What lists are searched by that depends on the clock, as texts: until when a decision reads approved, and when its
request runs out. Both sort as text, between NEVER and NO_END.
"""

from datetime import datetime

from nexus_control.facts import FOREVER, Authority, Facts
from nexus_control.storage.contract import NEVER, NO_END
from nexus_control.values.instants import format_instant


def approved_until(facts: Facts, authority: Authority) -> str:
    """The instant from which these facts no longer read approved: the quorum ends, or the request does."""
    until = facts.approved_until(authority) if facts.phase == "open" else None
    return NEVER if until is None else _text(min(until, facts.expires() or FOREVER))


def expires_at(facts: Facts) -> str:
    """When the request runs out."""
    return _text(facts.expires() or FOREVER)


def approval_ends(facts: Facts, authority: Authority) -> tuple[str | None, ...]:
    """When each approval that counts stops counting, None for never."""
    return tuple(approval.expires_at for approval in facts.standing_approvals(authority))


def _text(instant: datetime) -> str:
    return NO_END if instant == FOREVER else format_instant(instant)
