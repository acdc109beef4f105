"""Decodes the section `[inbox]` of the configuration. It is strict: an unknown key is an error.

    [inbox]
    origins = ["https://approve.example.org"]     # where people approve; the first is the address that links name
    rp_id = "approve.example.org"                 # what their passkeys are made for; default: the host of the first

Without the section the inbox is at http://localhost:8737, which serves one machine. The host of each origin is the RP
ID or a name below it: a browser lets no other page use the passkeys. Choose the RP ID once: another one needs new
passkeys. Each problem is CONFIG_INVALID, and names the file and the key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from nexus_control.configuration import INBOX, Configuration, Source, refused
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.formats.origins import (
    PasskeyOrigins,
    fits_rp_id,
    host_of,
    host_problem,
    parse_origins,
)
from nexus_control.values.records import check, decode, problems_of

DEFAULT_ORIGIN: Final = "http://localhost:8737"


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxTable:
    origins: tuple[str, ...] | None = check(bool, "a list of at least one origin", default=None)
    rp_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxSettings:
    """Where people approve with passkeys, and what the passkeys are made for.

    >>> inbox_settings(["https://approve.example.org"]).rp_id
    'approve.example.org'
    """

    origins: PasskeyOrigins
    """At least one."""
    rp_id: str

    @property
    def address(self) -> str:
        """The address that links name: the first origin."""
        return self.origins.origins[0]

    def is_at(self, port: int) -> bool:
        """Whether a browser that opens the address comes to this port, directly or through a proxy with TLS."""
        parts = urlsplit(self.address)
        return parts.scheme == "https" or (parts.port or 80) == port


def configured_inbox(configuration: Configuration) -> InboxSettings | None:
    """The settings of the first file that has `[inbox]`; None where none has. Raises CONFIG_INVALID, also where those
    of `--config` are not those of the system or the user.
    """
    return configuration.agreed(INBOX, _decoded, lambda read: (frozenset(read.origins.origins), read.rp_id))


def inbox_settings(origins: Sequence[str] | None = None, rp_id: str | None = None) -> InboxSettings:
    """The settings of these origins and this RP ID, or of what is the default. Raises INVALID_ARGUMENT.

    >>> inbox_settings().address
    'http://localhost:8737'
    """
    allowed = parse_origins(origins or [DEFAULT_ORIGIN], "origins")
    chosen = host_of(allowed.origins[0]) if rp_id is None else rp_id
    if problem := host_problem(chosen):
        raise invalid_argument("rp_id", f"{chosen!r:.120} {problem}")
    for origin in allowed.origins:
        if not fits_rp_id(origin, chosen):
            raise invalid_argument(
                "origins",
                f"holds {origin}, whose pages cannot use passkeys of the RP ID {chosen}: its host must be"
                f" {chosen}" + (f" or end in .{chosen}" if "." in chosen else ""),
            )
    return InboxSettings(origins=allowed, rp_id=chosen)


def _decoded(source: Source) -> InboxSettings:
    table = source.table[INBOX]
    if problems := problems_of(InboxTable, table, where=INBOX):
        raise refused(source.path, problems)
    given = decode(InboxTable, table, where=INBOX, code=ErrorCode.CONFIG_INVALID)
    try:
        return inbox_settings(given.origins, given.rp_id)
    except NexusControlError as fault:
        raise refused(source.path, [f"{INBOX}.{fault.message}"]) from None
