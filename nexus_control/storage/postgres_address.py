"""Where a PostgreSQL store is: the URL as libpq reads it. No message shows any part of its password.

A URL is `postgresql://user:password@host:port/database?parameter=value`, with any of libpq's parameters. What the URL
leaves out comes from libpq's environment variables, service and password files. A wrongly escaped password makes libpq
take a part of it for the host, the port or the database; so a URL with odd ones is refused without being quoted.

A host that is neither this machine nor a socket is asked for a verified certificate: `sslmode` is `verify-full` unless
the URL (or PGSSLMODE) names another. libpq says where it looks for the root certificate; `sslrootcert=system` is the
machine's own list.
"""

import ipaddress
import math
import os
import re
from dataclasses import dataclass

import psycopg
from psycopg import conninfo

from nexus_control.errors import NexusControlError, invalid_argument

_HOST = re.compile(r"/|[A-Za-z0-9._:\[\]%-]*\Z")
"""A folder of sockets, or a name or address."""
_PORTS = re.compile(r"[0-9,]*\Z")
_ODD_IN_A_NAME = re.compile(r"[@:/]")
_SCHEMA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SEARCH_PATH = re.compile(r"(?:-c|--)\s*search[_-]path\s*=\s*((?:\\.|\S)*)")
_DEFAULTS = {
    "application_name": "nexus-control",
    "keepalives_idle": "30",  # it is noticed within a minute that a machine is gone
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
_UNKNOWN = re.compile(r'invalid URI query parameter: "([A-Za-z_]+)"')
_HIDDEN = "***"
_SHORTEST_SECONDS = 2
"""libpq takes a shorter `connect_timeout` for this one."""


@dataclass(frozen=True, slots=True)
class Address:
    """`where` names the store without its user and password. `parameters` are libpq's."""

    where: str
    parameters: dict[str, str]

    def __repr__(self) -> str:
        return f"Address({self.where!r})"

    def without_secrets(self, text: str) -> str:
        """The driver's text, should it ever quote a password."""
        for name in ("password", "sslpassword"):
            if secret := self.parameters.get(name):
                text = text.replace(secret, _HIDDEN)
        return text


def address_of(url: str, busy_seconds: float) -> Address:
    """Raises INVALID_ARGUMENT.

    >>> address_of("postgresql://bob:secret@localhost/team", 30).where
    'postgresql://localhost:5432/team'
    """
    given = _read(url)
    defaults = {
        option.keyword.decode(): option.val.decode()
        for option in psycopg.pq.Conninfo.get_defaults()
        if option.val is not None
    }
    known = defaults | given
    host, port, database = (known.get(name, "") for name in ("host", "port", "dbname"))
    is_plain = all(map(_HOST.match, host.split(","))) and _PORTS.match(port)
    if not is_plain or _ODD_IN_A_NAME.search(database):
        raise _refused(
            "has an odd host, port or database: write @ : / and % in its password as %40 %3A %2F and %25"
        )
    for schema in _SEARCH_PATH.findall(known.get("options", "")):
        if not _SCHEMA_NAME.match(schema):
            raise _refused(
                "names a schema in options=-csearch_path=NAME that is not one name of letters, digits and _ only"
            )
    if "sslmode" not in given and "PGSSLMODE" not in os.environ and not _is_here(known):
        given["sslmode"] = "verify-full"
    given = _DEFAULTS | {"connect_timeout": str(max(_SHORTEST_SECONDS, math.ceil(busy_seconds)))} | given
    given["client_encoding"] = "UTF8"
    place = host if not host.startswith("/") else f"[{host}]"
    where = f"postgresql://{place or '[local socket]'}:{port}/{database or known.get('user', '')}"
    return Address(where, given)


def _read(url: str) -> dict[str, str]:
    try:
        read = conninfo.conninfo_to_dict(url)
    except (psycopg.ProgrammingError, UnicodeEncodeError) as error:  # their message quotes the URL
        name = _UNKNOWN.search(str(error))
        if name and "@" not in url.partition("?")[2]:  # else it may be a part of a password
            raise _refused(f"has the parameter {name[1]}, which libpq does not know") from None
        raise _refused("is no URL that libpq can read: postgresql://user@host:5432/database") from None
    return {name: str(value) for name, value in read.items() if value is not None}


def _is_here(known: dict[str, str]) -> bool:
    """Whether the server is on this machine. A service file could name any host."""
    if "service" in known:
        return False
    hosts = known.get("hostaddr") or known.get("host") or ""
    return all(_is_loopback(host) for host in hosts.split(","))


def _is_loopback(host: str) -> bool:
    if host in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _refused(problem: str) -> NexusControlError:
    return invalid_argument("path_or_url", problem)
