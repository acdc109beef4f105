"""Whose key may sign what, and when: the file that ssh-keygen(1) describes under ALLOWED SIGNERS.

    line        principals [options] type base64 [comment]      empty lines and those that begin with "#" are skipped
    principals  patterns, "," between them; in quotes when an id has a space
    pattern     ["!"] text in which "*" is any characters and "?" is one; if a pattern with "!" matches, none does
    options     "," between them; names in any case; a value is in quotes, a quote in it is written \\"
                namespaces="patterns"   valid-after="time"   valid-before="time"   verify-required
    time        YYYYMMDD | YYYYMMDDHHMM[SS], then "Z" or "UTC"  both ends are valid: valid-after <= at <= valid-before

A line that cannot be used is skipped, as ssh-keygen skips it: it lets nobody sign, and the other lines still count.
`skipped` says why, and `refusal` repeats it to the person whom the line names. Only a file that is too large is
refused as a whole.

The file is read as ssh-keygen reads it, with these differences:

- Principals are ids of actors and compare case-folded. "?" is one character; to ssh-keygen it is one byte.
- A time without Z is in UTC, because the machine's time zone must not change a verdict. ssh-keygen reads such a time
  in the machine's zone. With the Z both agree.
- `verify-required` is an option of ours: the security key must have verified its user. ssh-keygen skips such a line.
- Some lines that ssh-keygen takes are skipped: with a key that `ssh_keys` refuses, with a control character, with a
  hidden character in a principal, or with a day or second that no calendar has.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.evidence.formats.ssh_keys import SshKey, parse_ssh_public_key
from nexus_control.values.actors import fold_id, is_hidden

_LONGEST, _MOST_LINES = 1_000_000, 10_000
_BEFORE, _AFTER = " \t", " \t\r"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# As strdelim of OpenSSH: a quote may begin anywhere among the principals, and they end where the quote ends.
_PRINCIPALS = re.compile(r'([^ \t"]*+)(?:"([^"]*+)"[ \t]*+|[ \t]++)(.+)', re.DOTALL)
# Options before a key never match this: a type of key has a "-", so it is not base64.
_KEY = re.compile(r'([^ \t"=,]+[ \t]+[A-Za-z0-9+/=]+)(?:[ \t].*)?')
_OPTIONS = re.compile(r'((?:\\"|"(?:\\"|[^"])*+"|[^ \t"])++)[ \t]+(.+)')
_OPTION = re.compile(r'([A-Za-z-]++)(?:="((?:\\"|[^"])*+)")?')
# ssh-keygen accepts an empty option between commas, but not after the last comma.
_LISTED = re.compile(rf"(?:{_OPTION.pattern})?(?:,(?:{_OPTION.pattern})?)*+(?<!,)")
_TIME = re.compile(
    "([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2})?)?(?:Z|UTC)?", re.IGNORECASE
)
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_ACTIVE = re.compile(r'[*?,"]|^[!#]')
_WITH_VALUE, _FLAGS = {"namespaces", "valid-after", "valid-before"}, {"verify-required"}
_LONGEST_PATTERN = 1_022
"""In bytes: in OpenSSH, a list with a longer pattern matches nothing."""
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """A list of patterns. A text matches when a plain pattern matches it and no negated pattern does."""

    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]

    def match(self, text: str) -> bool:
        return _any(self.wanted, text) and not _any(self.unwanted, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedSigner:
    """One line of the file."""

    line: int
    principals: Patterns
    """Case-folded."""
    key: SshKey
    namespaces: Patterns | None = None
    """None allows every namespace."""
    valid_after: datetime | None = None
    valid_before: datetime | None = None
    verify_required: bool = False
    """Whether the security key must have verified its user: ask `SshSignature.require_verified_user`."""

    def allows(self, namespace: str) -> bool:
        return self.namespaces is None or self.namespaces.match(namespace)

    def valid_at(self, at: datetime) -> bool:
        """Whether the line is valid at the instant `at`, to the second, both ends included."""
        second = at.replace(microsecond=0)
        return (self.valid_after is None or self.valid_after <= second) and (
            self.valid_before is None or second <= self.valid_before
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedLine:
    """A line that lets nobody sign, and why."""

    line: int
    why: str
    principals: Patterns | None
    """Case-folded; None where the line's principals cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedSigners:
    """The lines of the file, in its order."""

    signers: tuple[AllowedSigner, ...]
    skipped: tuple[SkippedLine, ...] = ()

    def signer_for(self, principal: str, key: SshKey, namespace: str, at: datetime) -> AllowedSigner | None:
        """The first line that lets this principal sign with this key in this namespace at this instant.

        Raises INVALID_ARGUMENT when `at` has no offset from UTC.
        """
        found = self._judge(principal, key, namespace, at)
        return found if isinstance(found, AllowedSigner) else None

    def refusal(self, principal: str, key: SshKey, namespace: str, at: datetime) -> str:
        """Why `signer_for` finds no line, in a sentence for the file's owner; empty when it finds one.

        Raises INVALID_ARGUMENT when `at` has no offset from UTC.
        """
        found = self._judge(principal, key, namespace, at)
        return f"{found}{self.unsupported(principal)}" if isinstance(found, str) else ""

    def refusal_of_every_key(self, principal: str, namespace: str, at: datetime) -> str:
        """Why no key of this principal may sign, in a sentence for the file's owner; empty when a key may."""
        folded = fold_id(principal)
        if any(
            signer.principals.match(folded) and signer.allows(namespace) and signer.valid_at(at)
            for signer in self.signers
        ):
            return ""
        named = (
            f"no line lets {principal!r:.260} sign in the namespace {namespace!r:.100} at {at.isoformat()}"
        )
        return f"{named}{self.unsupported(principal)}"

    def unsupported(self, principal: str) -> str:
        """The skipped lines that name this principal, to be added to a refusal; empty where no skipped line does."""
        folded = fold_id(principal)
        theirs = [each for each in self.skipped if each.principals and each.principals.match(folded)]
        return "".join(
            f"; line {each.line} of the file names {principal!r:.260}, and is not supported: {each.why}"
            for each in theirs[:_SHOWN]
        )

    @property
    def skipped_in_words(self) -> str:
        """Each skipped line and why, for the file's owner; empty where none was skipped."""
        return "; ".join(f"line {each.line} is skipped: {each.why}" for each in self.skipped)

    def _judge(self, principal: str, key: SshKey, namespace: str, at: datetime) -> AllowedSigner | str:
        if at.utcoffset() is None:
            raise invalid_argument("at", "must have an offset from UTC")
        named = f"key {key.fingerprint}"
        lines = [signer for signer in self.signers if signer.key == key]
        if not lines:
            return f"{named} is not among the allowed signers"
        folded = fold_id(principal)
        theirs = [signer for signer in lines if signer.principals.match(folded)]
        if not theirs:
            return f"{named} is another's: {principal!r:.260} is not named in {_lines(lines)}"
        here = [signer for signer in theirs if signer.allows(namespace)]
        if not here:
            return f"{named} may not sign in the namespace {namespace!r:.100}: see {_lines(theirs)}"
        return next(
            (signer for signer in here if signer.valid_at(at)),
            f"{named} is not valid at {at.isoformat()}: see {_lines(here)}",
        )


def principal_problem(actor_id: str) -> str | None:
    """Why a line cannot name exactly this person, as the end of a sentence; None if it can.

    >>> principal_problem("*@example.com")
    'must not hold *, ?, a comma or a quote, or begin with ! or #: it names one person'
    """
    if _ACTIVE.search(actor_id):
        return "must not hold *, ?, a comma or a quote, or begin with ! or #: it names one person"
    return None


def parse_allowed_signers(content: str | bytes) -> AllowedSigners:
    """The file, of at most 1 MB and 10,000 lines; a comment need not be UTF-8. Raises INVALID_ARGUMENT."""
    text = content if isinstance(content, str) else content.decode("utf-8", "surrogateescape")
    lines = text.split("\n") if len(text) <= _LONGEST else []
    if not 0 < len(lines) <= _MOST_LINES:
        raise invalid_argument("allowed_signers", "must have at most 1,000,000 characters and 10,000 lines")
    signers, skipped = list[AllowedSigner](), list[SkippedLine]()
    for number, line in enumerate(lines, start=1):
        stripped = line.lstrip(_BEFORE).rstrip(_AFTER)
        if not stripped or stripped.startswith("#"):
            continue
        principals = None
        try:
            names, rest = _divided(stripped)
            principals = _principals(names)
            signers.append(_signer(number, principals, rest))
        except NexusControlError as refused:
            skipped.append(SkippedLine(line=number, why=refused.message, principals=principals))
    return AllowedSigners(signers=tuple(signers), skipped=tuple(skipped))


def _divided(line: str) -> tuple[str, str]:
    """The principals, and what follows them."""
    matched = _PRINCIPALS.fullmatch(line)
    if matched is None:
        raise invalid_argument("it", "must be principals, options and a key, with spaces between them")
    return f"{matched[1]}{matched[2] or ''}", matched[3]


def _signer(number: int, principals: Patterns, rest: str) -> AllowedSigner:
    if _CONTROL.search(rest):
        raise invalid_argument("it", "must not hold control characters: what is shown is not what is read")
    options = dict[str, str]()
    if not _KEY.fullmatch(rest):
        options, rest = _options(rest)
    matched = _KEY.fullmatch(rest)
    if matched is None:
        raise invalid_argument("it", "must end in a key, a type and base64, with a space before any comment")
    key = parse_ssh_public_key(matched[1])
    after, before = _time(options, "valid-after"), _time(options, "valid-before")
    if after is not None and before is not None and before <= after:
        raise invalid_argument("valid-before", "must be later than valid-after")
    if "verify-required" in options and key.application is None:
        raise invalid_argument("verify-required", "is for security keys (sk-): no other key can tell")
    return AllowedSigner(
        line=number,
        principals=principals,
        key=key,
        namespaces=_patterns(options["namespaces"]) if "namespaces" in options else None,
        valid_after=after,
        valid_before=before,
        verify_required="verify-required" in options,
    )


def _options(rest: str) -> tuple[dict[str, str], str]:
    """The options by name, and what follows them."""
    matched = _OPTIONS.fullmatch(rest)
    if matched is None or not _LISTED.fullmatch(matched[1]):
        raise invalid_argument(
            "options", 'must be NAME or NAME="VALUE", with commas between them, before a key of TYPE BASE64'
        )
    options = dict[str, str]()
    for option in _OPTION.finditer(matched[1]):
        name, value = option[1].lower(), option[2]
        if name == "cert-authority":
            raise invalid_argument(name, "is not supported: name each signer's own key, not a certificate's")
        if name not in _WITH_VALUE | _FLAGS:
            raise invalid_argument(f"option {name!r:.60}", "is not known")
        if name in options or (value is None) == (name in _WITH_VALUE):
            raise invalid_argument(name, "must stand once, and with its value in quotes where it has one")
        options[name] = (value or "").replace('\\"', '"')
    return options, matched[2]


def _principals(text: str) -> Patterns:
    # An id is in NFKC. A pattern in another form might turn into a wildcard when it is folded.
    if not (text.isascii() and text.isprintable()) and any(map(is_hidden, text)):
        raise invalid_argument(f"principal {text!r:.60}", "must not hold control or invisible characters")
    if not unicodedata.is_normalized("NFKC", text):
        raise invalid_argument(f"principal {text!r:.60}", "must be in Unicode normalisation form NFKC")
    return _patterns(text, fold_id)


def _patterns(text: str, fold: Callable[[str], str] = str) -> Patterns:
    every = text.split(",")
    if any(
        len(pattern.encode(errors="surrogatepass").removeprefix(b"!")) > _LONGEST_PATTERN for pattern in every
    ):
        raise invalid_argument(
            "pattern", f"must have at most {_LONGEST_PATTERN} bytes, as ssh-keygen reads them"
        )
    return Patterns(
        wanted=tuple(fold(pattern) for pattern in every if not pattern.startswith("!")),
        unwanted=tuple(fold(pattern[1:]) for pattern in every if pattern.startswith("!")),
    )


def _any(patterns: tuple[str, ...], text: str) -> bool:
    return any(_matches(pattern, text) for pattern in patterns)


def _matches(pattern: str, text: str) -> bool:
    if "*" not in pattern and "?" not in pattern:
        return pattern == text
    return fnmatchcase(text, pattern.replace("[", "[[]"))  # fnmatch reads a "[" as the beginning of a set


def _time(options: dict[str, str], name: str) -> datetime | None:
    if name not in options:
        return None
    matched = _TIME.fullmatch(options[name])
    try:
        if matched:
            year, month, day, *of_day = (int(part or 0) for part in matched.groups())
            time = datetime(year, month, day, *of_day, tzinfo=UTC)
            if time > _BEGINNING:
                return time
    except ValueError:
        pass  # no such day or hour
    raise invalid_argument(
        name, "must be a time after 1970, YYYYMMDD or YYYYMMDDHHMM or YYYYMMDDHHMMSS, and Z"
    )


def _lines(signers: list[AllowedSigner]) -> str:
    return "line " + ", ".join(str(signer.line) for signer in signers[:10])
