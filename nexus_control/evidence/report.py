"""The answer of a verification: one `Check` for each thing that was checked, all listed, also after a failure.

pass     the artifact is as it should be
fail     it is not; `detail` says what is wrong, and `expected` and `actual` what was found
skipped  the check could not be made and proves nothing; `detail` says why
info     there was nothing that could fail, but `detail` is worth knowing
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from nexus_control.canonical_json import canonical_json
from nexus_control.errors import NexusControlError

Status: TypeAlias = Literal["pass", "fail", "skipped", "info"]

_LONGEST = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found. What it quotes of the artifact is cut short."""

    status: Status
    expected: str | None = None
    actual: str | None = None
    detail: str = ""

    def named(self, name: str) -> "Check":
        """The check of this name, which found it."""
        return Check(name=name, **asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Finding):
    """A finding, and the name of the check that found it."""

    name: str

    def to_dict(self) -> dict[str, str | None]:
        return {"name": self.name, **asdict(self)}


def judged(name: str, judge: Callable[[], Finding]) -> Check:
    """The check of this name. A fault that its judge raises is what it found."""
    try:
        return judge().named(name)
    except NexusControlError as fault:
        return failed(fault.message).named(name)


def passed(detail: str = "") -> Finding:
    return Finding(status="pass", detail=detail)


def failed(detail: str, *, expected: object = None, actual: object = None) -> Finding:
    return Finding(
        status="fail", expected=_quoted(expected), actual=_quoted(actual), detail=detail[:_LONGEST]
    )


def skipped(why: str) -> Finding:
    return Finding(status="skipped", detail=why[:_LONGEST])


def noted(detail: str) -> Finding:
    return Finding(status="info", detail=detail[:_LONGEST])


def compared(expected: object, actual: object, detail: str) -> Finding:
    """Whether two values are the same; `detail` says what it means if they differ."""
    if expected == actual and type(expected) is type(actual):
        return Finding(status="pass", expected=_quoted(expected), actual=_quoted(actual))
    return failed(detail, expected=expected, actual=actual)


def same_fields(expected: Mapping[str, object], actual: Mapping[str, object], detail: str) -> Finding:
    """Whether two objects have the same fields, spelled alike: 1, 1.0 and true differ. Differing fields are quoted."""
    differing = [
        key
        for key in {**expected, **actual}
        if canonical_json(expected.get(key)) != canonical_json(actual.get(key))
    ]
    if not differing:
        return passed()
    return failed(
        detail,
        expected={key: expected.get(key) for key in differing},
        actual={key: actual.get(key) for key in differing},
    )


def _quoted(value: object) -> str | None:
    return None if value is None else str(value)[:_LONGEST]
