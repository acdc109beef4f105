"""The answer of a verification: one `Check` for each thing that was checked, all listed, also after a failure.

pass     the artifact is as it should be
fail     it is not; `detail` says what is wrong, and `expected` and `actual` what was found
skipped  the check could not be made and proves nothing; `detail` says why
info     there was nothing that could fail, but `detail` is worth knowing
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from nexus_control.canonical_json import canonical_json

Status: TypeAlias = Literal["pass", "fail", "skipped", "info"]

_LONGEST = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check by name. Its quotations from the artifact are cut short."""

    name: str
    status: Status
    expected: str | None = None
    actual: str | None = None
    detail: str = ""

    def to_dict(self) -> dict[str, str | None]:
        return asdict(self)


def passed(name: str, detail: str = "") -> Check:
    return Check(name=name, status="pass", detail=detail)


def failed(name: str, detail: str, *, expected: object = None, actual: object = None) -> Check:
    return Check(
        name=name, status="fail", expected=_quoted(expected), actual=_quoted(actual), detail=detail[:_LONGEST]
    )


def skipped(name: str, why: str) -> Check:
    return Check(name=name, status="skipped", detail=why[:_LONGEST])


def noted(name: str, detail: str) -> Check:
    return Check(name=name, status="info", detail=detail[:_LONGEST])


def compared(name: str, expected: object, actual: object, detail: str) -> Check:
    """Whether two values are the same; `detail` says what it means if they differ."""
    if expected == actual and type(expected) is type(actual):
        return Check(name=name, status="pass", expected=_quoted(expected), actual=_quoted(actual))
    return failed(name, detail, expected=expected, actual=actual)


def same_fields(
    name: str, expected: Mapping[str, object], actual: Mapping[str, object], detail: str
) -> Check:
    """Whether two objects have the same fields, spelled alike: 1, 1.0 and true differ. Differing fields are quoted."""
    differing = [
        key
        for key in {**expected, **actual}
        if canonical_json(expected.get(key)) != canonical_json(actual.get(key))
    ]
    if not differing:
        return passed(name)
    return failed(
        name,
        detail,
        expected={key: expected.get(key) for key in differing},
        actual={key: actual.get(key) for key in differing},
    )


def _quoted(value: object) -> str | None:
    return None if value is None else str(value)[:_LONGEST]
