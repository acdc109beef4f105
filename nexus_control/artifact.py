"""The parts that bundles and packages share: one spelling for each content, provenance, and the time of the export.

A part is read only when it is exactly what this library would write for the same content, so for every accepted
`data`, `Part.from_dict(data).to_dict() == data`, and a digest over the part is a digest over what was read. In
particular a null that would be left out, and a field that may not be left out, are problems like any other.

    provenance = {"records": [{"prov_id", "method_id", "inputs": [text], "outputs": [text]}, ...]}
    prov_id    = "prov_" + the first 12 hex digits of sha256("<decision_id>:<bare digest of the artifact>")
    meta       = {"exported_at": instant}

No frozen digest covers `provenance` or `meta`: they say how an artifact came to be, and prove nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self, cast

from nexus_control.canonical_json import MAX_ARTIFACT_DEPTH, parse_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.integrity import bare, sha256_hex
from nexus_control.values.instants import format_instant, is_instant
from nexus_control.values.records import check, decode, encode, problems_of, written_names

INSTANT = "an ISO-8601 instant with an offset"
BARE_DIGEST = "64 lower-case hex digits"
PREFIXED_DIGEST = "sha256: and 64 lower-case hex digits"


class Part:
    """An artifact, or a part of one. JSON objects inside it are kept as given: do not change them."""

    __slots__ = ()
    invalid: ClassVar[ErrorCode] = ErrorCode.BUNDLE_INVALID_SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of this part.

        >>> bundle.to_dict()["bundle_version"]
        '0.5'
        """
        return encode(self)

    def written_names(self) -> list[str]:
        """The keys of `to_dict()`.

        >>> bundle.meta.written_names()
        ['exported_at']
        """
        return written_names(self)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """The part that this JSON object spells.

            >>> DecisionBundle.from_dict(bundle.to_dict()) == bundle
            True

        Raises BUNDLE_INVALID_SCHEMA, or PACKAGE_INVALID_SCHEMA for the parts of a package, with details.problems.
        """
        try:
            part = decode(cls, data, where=cls.__name__, code=cls.invalid)
        except NexusControlError:
            problems = problems_of(cls, data)
        else:
            problems = _spelling_problems(part, data)
            if not problems:
                return part
        raise NexusControlError(cls.invalid, f"{cls.__name__}: {problems[0]}", {"problems": problems})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Like `from_dict`, from JSON text.

            >>> AuditPackage.from_json('{"package_version": "0.6"}')
            Traceback (most recent call last):
            nexus_control.errors.NexusControlError: PACKAGE_INVALID_SCHEMA: AuditPackage: ...

        Raises JSON_INVALID too, for text that is not strict JSON.
        """
        return cls.from_dict(parse_json(text, max_depth=MAX_ARTIFACT_DEPTH))

    @classmethod
    def schema_problems(cls, data: object) -> list[str]:
        """Everything that keeps a value from being this part.

            >>> DecisionBundle.schema_problems({})[0]
            'Missing required field: bundle_version'

        An empty list for what `from_dict` accepts.
        """
        return problems_of(cls, data) or _spelling_problems(
            decode(cls, data, where=cls.__name__, code=cls.invalid), data
        )


def _spelling_problems(part: Part, data: object) -> list[str]:
    return list(_misspelled(part, cast("dict[str, object]", data), ""))


def _misspelled(part: Part, given: dict[str, object], prefix: str) -> Iterator[str]:
    # Decoding keeps every value, and records inside lists have no optional field: only the presence of keys can differ.
    names = part.written_names()
    for name in names:
        if name not in given:
            yield f"Missing required field: {prefix}{name}"
        elif isinstance(value := getattr(part, name), Part):
            yield from _misspelled(value, cast("dict[str, object]", given[name]), f"{prefix}{name}.")
    for key in given.keys() - names:
        yield f"{prefix}{key} must be left out here"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceRecord(Part):
    prov_id: str
    method_id: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance(Part):
    """How an artifact came to be."""

    records: tuple[ProvenanceRecord, ...]

    @classmethod
    def of_export(cls, *, method_id: str, decision_id: str, kind: str, digest: str) -> Self:
        """One record: `decision_id` was exported as an artifact of this kind with this prefixed digest."""
        record = ProvenanceRecord(
            prov_id="prov_" + sha256_hex(f"{decision_id}:{bare(digest)}")[:12],
            method_id=method_id,
            inputs=(f"decision:{decision_id}",),
            outputs=(f"{kind}:{digest}",),
        )
        return cls(records=(record,))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactMeta(Part):
    """When the artifact was written."""

    exported_at: str = check(is_instant, INSTANT)

    @classmethod
    def at(cls, instant: datetime) -> Self:
        return cls(exported_at=format_instant(instant))
