"""Origins of web pages (RFC 6454, section 6.2) and RP IDs (WebAuthn Level 2, section 4), as far as passkeys need them.

    origin  "https://" host [":" port]            no slash at the end, no path; lower case
            "http://" host [":" port]             only for localhost and names below it, which are on this machine
    host    labels of a-z, 0-9 and "-", "." between them; the last label is not a number, so no IP address is a host
    port    1 to 65535, in its fewest digits, and left out where it is the scheme's own (443, 80)
    RP ID   a host

A browser writes each origin in one spelling, so two origins are compared as they are. It lets a page use the RP ID that
is its own host, or a domain above it. `localhost` has no pages below it in this sense: `app.localhost` has an RP ID of
its own. Neither has any other name of one label.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nexus_control.errors import NexusControlError, invalid_argument

_LONGEST, _LONGEST_HOST = 270, 253
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}\.)*(?![0-9]+\Z|0x[0-9a-f]*\Z){_LABEL}")
_ORIGIN = re.compile(r"(https?)://([^/:?#@\[\]\\]+)(?::([0-9]+))?")
_OWN_PORT = {"https": 443, "http": 80}
_MOST = 100


@dataclass(frozen=True, slots=True)
class PasskeyOrigins:
    """The origins whose pages may ask for a passkey's signature. Make it with `parse_origins`.

        >>> parse_origins(["https://approve.example.org"]).allow("https://approve.example.org")
        True

    Without any origin it allows none, so no passkey's signature is trusted.
    """

    origins: tuple[str, ...] = ()

    def allow(self, origin: str) -> bool:
        """Whether the origin is among these, letter by letter."""
        return origin in self.origins

    def for_rp_id(self, rp_id: str) -> "PasskeyOrigins":
        """Those of them whose pages can use passkeys of this RP ID."""
        return PasskeyOrigins(tuple(origin for origin in self.origins if fits_rp_id(origin, rp_id)))


NO_ORIGINS = PasskeyOrigins()


def parse_origins(texts: Sequence[str], field: str = "passkey_origins") -> PasskeyOrigins:
    """The origins, each once and in this order. Raises INVALID_ARGUMENT, which names `field`.

    >>> parse_origins(["http://localhost:8737"]).origins
    ('http://localhost:8737',)
    """
    if isinstance(texts, str) or len(texts) > _MOST:
        raise invalid_argument(field, f"must be a list of at most {_MOST} origins")
    for text in texts:
        if problem := origin_problem(text):
            raise invalid_argument(field, f"holds {text!r:.120}, which {problem}")
    return PasskeyOrigins(tuple(dict.fromkeys(texts)))


def origin_problem(text: object) -> str | None:
    """Why this is not the origin of a page that can use passkeys, as the end of a sentence; None if it is one."""
    if not isinstance(text, str):
        return "is not text"
    if len(text) > _LONGEST:
        return f"has more than {_LONGEST} characters"
    matched = _ORIGIN.fullmatch(text)
    if matched is None:
        return _form_problem(text)
    scheme, host, port = matched.groups()
    if host != host.lower():
        return "has capital letters: a browser writes an origin in lower case"
    if problem := host_problem(host):
        return problem
    if scheme == "http" and not _is_local(host):
        return "is http: browsers use passkeys at https, and at http only on localhost"
    if port is None:
        return None
    if port.startswith("0") or not 1 <= int(port[:6]) <= 65_535:
        return "has a port that is not a number from 1 to 65535"
    if int(port) == _OWN_PORT[scheme]:
        return f"has the port {port}: a browser leaves it out, as it is that of {scheme}"
    return None


def host_problem(text: str) -> str | None:
    """Why this is not the host of an origin, or an RP ID, as the end of a sentence; None if it is one."""
    if len(text) > _LONGEST_HOST:
        return f"has a host of more than {_LONGEST_HOST} characters"
    if _HOST.fullmatch(text):
        return None
    if re.fullmatch(r"[0-9.]+|\[.*\]|[0-9a-f]*:[0-9a-f:.]*|(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", text):
        return "is an IP address: browsers use passkeys only where a host has a name, such as localhost"
    return "has a host that is not a name of a-z, 0-9, - and dots (an international name as xn--…)"


def fits_rp_id(origin: str, rp_id: str) -> bool:
    """Whether a page of this origin can use passkeys of this RP ID. False for text that is not an origin."""
    if origin_problem(origin) is not None:
        return False
    host = host_of(origin)
    return host == rp_id or ("." in rp_id and host.endswith(f".{rp_id}"))


def host_of(origin: str) -> str:
    """The host of an origin, without its port. Raises INVALID_ARGUMENT for text that is not an origin."""
    matched = _ORIGIN.fullmatch(origin)
    if matched is None:
        raise _not_an_origin(origin)
    return matched[2]


def _not_an_origin(text: str) -> NexusControlError:
    return invalid_argument("origin", f"{text!r:.120} is not an origin")


def _is_local(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _form_problem(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in _OWN_PORT:
        return "does not begin with https:// (or http://localhost)"
    if scheme != scheme.lower():
        return "has capital letters: a browser writes an origin in lower case"
    if rest.startswith("["):
        return host_problem(rest.partition("]")[0] + "]") or "is not an origin"
    if re.search(r"[/?#\\]", rest):
        return "has a slash or a path behind its host: an origin ends with the host, or with the port"
    if "@" in rest:
        return "has a user in it: an origin is scheme, host and port"
    return "is not scheme://host or scheme://host:port"
