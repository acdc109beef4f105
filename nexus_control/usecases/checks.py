"""The limits of arguments, and the checks that the arguments of lists share with the models of pydantic.

This module loads no pydantic. A check raises ValueError with words that complete the sentence that begins with the
argument's name.
"""

from datetime import UTC, datetime

from nexus_control.errors import NexusControlError
from nexus_control.values.instants import parse_instant

MAX_GOAL = 4096
MAX_LABEL = 64
MAX_NAME = 256
MAX_PAGE = 10_000
MAX_OFFSET = 2**53


def instant(value: object) -> datetime:
    """An instant in UTC, also from its text. Raises ValueError."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError("must have a UTC offset")
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise ValueError("must be in the years 1 to 9999") from None
    if not isinstance(value, str):
        raise ValueError("must be an ISO-8601 instant with an offset")
    try:
        return parse_instant(value)
    except NexusControlError:
        raise ValueError("must be an ISO-8601 instant with an offset") from None
