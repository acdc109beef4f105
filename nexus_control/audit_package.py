"""Audit package 0.6: what was allowed, what ran, and the binding of the two. The format is frozen.

    package        = {"package_version": "0.6", "control_bundle": a bundle 0.5, "router", "binding", "integrity",
                      "provenance", "meta", "evidence"?: any object}
    router         = {"mode": "reference", "ref": {"run_id", "digest": prefixed}}
                   | {"mode": "embedded", "bundle": any object}
    binding        = {"control_digest", "router_digest", "control_router_link_digest"}, all prefixed
    integrity      = {"alg": "sha256", "binding_digest": prefixed}
    provenance, meta as in `artifact`; method "nexus-control.audit_export_v0_6", output "audit_package:<binding_digest>"

Every key but `evidence` is required, and no other is allowed. What the digests cover:

    control_digest             = the bundle's canonical_digest, and so all of the bundle's content
    router_digest              = the digest of the run: what `router.ref` names, or what the embedded bundle declares
                                 (`integrity.canonical_digest`, else "sha256:" + `digests.sha256`, as nexus-router 0.3)
    control_router_link_digest = the one in the bundle's router_link
    binding_digest             = sha256(canonical_json({package_version, control_digest, router_digest,
                                 control_router_link_digest})) over the *prefixed* values

No digest covers `provenance`, `meta`, `evidence`, or an embedded run bundle beyond the digest that it declares:
`verify_evidence` checks these.

`verify_audit_package` answers one question: does the package hold together as it declares? It does not say whether the
approvals satisfied the policy, or who wrote the package: anybody who can edit a package can also seal it again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal, Self

from nexus_control.artifact import PREFIXED_DIGEST, ArtifactMeta, Part, Provenance
from nexus_control.bundle import DecisionBundle
from nexus_control.canonical_json import MAX_ARTIFACT_DEPTH, parse_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.integrity import is_bare, is_prefixed, json_digest, prefixed
from nexus_control.values.records import always_written, check, encode

PACKAGE_VERSION: Final = "0.6"
EXPORT_METHOD: Final = "nexus-control.audit_export_v0_6"
AUDIT_ERROR_NO_ROUTER_LINK: Final = "NO_ROUTER_LINK"
AUDIT_ERROR_ROUTER_DIGEST_MISMATCH: Final = "ROUTER_DIGEST_MISMATCH"


class PackagePart(Part):
    """A part that only packages have."""

    __slots__ = ()
    invalid = ErrorCode.PACKAGE_INVALID_SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterRef(PackagePart):
    """A run, by its id and digest."""

    run_id: str
    digest: str = check(is_prefixed, PREFIXED_DIGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRouter(PackagePart):
    """The run: referred to by digest, or embedded as the router exported it. Exactly one of the two."""

    mode: Literal["reference", "embedded"]
    ref: RouterRef | None = None
    bundle: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        given, other = (self.ref, self.bundle) if self.mode == "reference" else (self.bundle, self.ref)
        if given is None or other is not None:
            raise NexusControlError(
                self.invalid, "must hold ref in mode reference, or bundle in mode embedded"
            )

    @classmethod
    def reference(cls, *, run_id: str, digest: str) -> Self:
        return cls(mode="reference", ref=RouterRef(run_id=run_id, digest=digest))

    @classmethod
    def embedded(cls, bundle: Mapping[str, object]) -> Self:
        return cls(mode="embedded", bundle=bundle)

    @property
    def digest(self) -> str | None:
        """The digest of the run, as declared."""
        if self.ref is not None:
            return self.ref.digest
        return None if self.bundle is None else router_bundle_digest(self.bundle)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageBinding(PackagePart):
    """The digests that bind decision and run."""

    control_digest: str = check(is_prefixed, PREFIXED_DIGEST)
    router_digest: str = check(is_prefixed, PREFIXED_DIGEST)
    control_router_link_digest: str = check(is_prefixed, PREFIXED_DIGEST)

    def sealed_by(self, package_version: str) -> str:
        """The binding digest of these values, prefixed."""
        return prefixed(compute_binding_digest(package_version, **self.to_dict()))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageIntegrity(PackagePart):
    alg: Literal["sha256"]
    binding_digest: str = check(is_prefixed, PREFIXED_DIGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPackage(PackagePart):
    """A decision and its run, bound together: what was allowed, and what ran.

        >>> package = export_audit_package(store, executed_id).package
        >>> package.binding.control_digest == package.control_bundle.integrity.canonical_digest
        True

    The docstring of `nexus_control.audit_package` gives the format; `verify_audit_package` and `verify_evidence` check
    a package.
    """

    package_version: str = check(
        lambda version: version == PACKAGE_VERSION, f'"{PACKAGE_VERSION}" (Unsupported package_version)'
    )
    control_bundle: DecisionBundle
    router: PackageRouter
    binding: PackageBinding
    integrity: PackageIntegrity
    provenance: Provenance
    meta: ArtifactMeta
    evidence: Mapping[str, object] | None = None

    @classmethod
    def seal(
        cls,
        *,
        control_bundle: DecisionBundle,
        router: PackageRouter,
        exported_at: datetime,
        evidence: Mapping[str, object] | None = None,
    ) -> Self:
        """The package that binds this bundle to this run.

            >>> again = AuditPackage.seal(
            ...     control_bundle=package.control_bundle, router=package.router, exported_at=decision.as_of
            ... )
            >>> again.integrity == package.integrity
            True

        Raises NO_ROUTER_LINK for a bundle without a sealed link, ROUTER_DIGEST_MISMATCH for a run without a digest.
        The exporter must check that the run is the one that the decision recorded.
        """
        link_digest = control_bundle.router_link.control_router_link_digest
        if link_digest is None:
            raise NexusControlError(ErrorCode.NO_ROUTER_LINK, "the decision has no finished run to bind")
        if router.digest is None:
            raise NexusControlError(
                ErrorCode.ROUTER_DIGEST_MISMATCH, "the router's bundle declares no sha256 digest"
            )
        binding = PackageBinding(
            control_digest=control_bundle.integrity.canonical_digest,
            router_digest=router.digest,
            control_router_link_digest=link_digest,
        )
        digest = binding.sealed_by(PACKAGE_VERSION)
        return cls(
            package_version=PACKAGE_VERSION,
            control_bundle=control_bundle,
            router=router,
            binding=binding,
            integrity=PackageIntegrity(alg="sha256", binding_digest=digest),
            provenance=Provenance.of_export(
                method_id=EXPORT_METHOD,
                decision_id=control_bundle.decision.decision_id,
                kind="audit_package",
                digest=digest,
            ),
            meta=ArtifactMeta.at(exported_at),
            evidence=evidence,
        )


def compute_binding_digest(
    package_version: str, control_digest: str, router_digest: str, control_router_link_digest: str
) -> str:
    """The digest that binds three *prefixed* digests, bare hex.

        >>> digest = compute_binding_digest("0.6", **package.binding.to_dict())
        >>> package.integrity.binding_digest == f"sha256:{digest}"
        True

    A package declares the same digest with `sha256:` before it.
    """
    return json_digest(
        {
            "package_version": package_version,
            "control_digest": control_digest,
            "router_digest": router_digest,
            "control_router_link_digest": control_router_link_digest,
        }
    )


def router_bundle_digest(bundle: Mapping[str, object]) -> str | None:
    """The prefixed digest that a run bundle declares; None when it declares none, or a malformed one."""
    match bundle:
        case {"integrity": {"canonical_digest": str(digest)}}:
            return digest if is_prefixed(digest) else None
        case {"digests": {"sha256": str(digest)}}:
            return prefixed(digest) if is_bare(digest) else None
        case _:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationCheck:
    """One comparison: `expected` is what the package declares or binds, `actual` what was found or recomputed."""

    name: str
    ok: bool
    expected: str | None = always_written(None)
    actual: str | None = always_written(None)
    detail: str = always_written("")

    def to_dict(self) -> dict[str, Any]:
        return encode(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationResult:
    """The outcome of every check; true only when all of them hold.

        >>> [check.name for check in verify_audit_package(package).checks if not check.ok]
        []

    A check has `name`, `ok`, `expected`, `actual` and `detail`.
    """

    checks: tuple[VerificationCheck, ...]

    @property
    def ok(self) -> bool:
        return len(self.checks) > 0 and all(check.ok for check in self.checks)

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON.

            >>> verify_audit_package(package).to_dict()["passed"]
            5

        Keys: ok, checks (name, ok, expected, actual, detail), and the numbers passed, failed and total.
        """
        passed = sum(check.ok for check in self.checks)
        return {
            "ok": self.ok,
            "checks": [check.to_dict() for check in self.checks],
            "passed": passed,
            "failed": len(self.checks) - passed,
            "total": len(self.checks),
        }


# The checks in their order, and the meaning of a failure.
_CHECKS: Final = {
    "binding_digest": "the binding was changed after it was sealed",
    "control_bundle_digest": "the control bundle was changed after it was sealed",
    "binding_control_match": "the binding names another control bundle",
    "binding_router_match": "the binding names another run",
    "binding_link_match": "the binding names another link between decision and run",
    "router_digest": "the embedded run bundle does not declare the bound digest",
}
# NexusControlError is a ValueError; the others come from an AuditPackage built by hand with anything
# in it, and from mappings deeper than the interpreter's stack.
_UNREADABLE = (ValueError, TypeError, AttributeError, RecursionError)
_MAX_DETAIL = 300


def verify_audit_package(package: AuditPackage | Mapping[str, object] | str | bytes) -> VerificationResult:
    """Check that a package holds together as it declares: six checks, or five where the run is only referred to.

        >>> verify_audit_package(package).ok
        True

    Takes an AuditPackage, a mapping or JSON text. All checks run, and a bad package never raises:

    1. binding_digest: the digest of the binding's values, recomputed, is `integrity.binding_digest`.
    2. control_bundle_digest: the bundle's canonical digest, recomputed, is the one that it declares.
    3. binding_control_match: the binding names the digest that the bundle declares.
    4. binding_router_match: the binding names the run's digest, and a reference names the bundle's own run.
    5. binding_link_match: the binding names the bundle's link digest.
    6. router_digest (embedded only): the embedded bundle declares the bound digest. It is not recomputed here.

    When a package cannot be read, each check fails and says why.
    """
    decoded: object = package
    try:
        if isinstance(package, str | bytes):
            decoded = parse_json(package, max_depth=MAX_ARTIFACT_DEPTH)
        elif not isinstance(package, AuditPackage):
            decoded = dict(package)
        whole = decoded if isinstance(decoded, AuditPackage) else AuditPackage.from_dict(decoded)
        return VerificationResult(checks=tuple(_checks(whole)))
    except _UNREADABLE as error:
        return _unreadable(decoded, error)


def _checks(package: AuditPackage) -> Iterator[VerificationCheck]:
    bundle, binding = package.control_bundle, package.binding
    declared = bundle.integrity.canonical_digest
    sealed = binding.sealed_by(package.package_version)
    yield _compare("binding_digest", package.integrity.binding_digest, sealed)
    yield _compare("control_bundle_digest", declared, bundle.content_digest())
    yield _compare("binding_control_match", binding.control_digest, declared)
    yield _router_match(package)
    yield _compare(
        "binding_link_match",
        binding.control_router_link_digest,
        bundle.router_link.control_router_link_digest,
    )
    if package.router.mode == "embedded":
        yield _compare("router_digest", binding.router_digest, package.router.digest)


def _router_match(package: AuditPackage) -> VerificationCheck:
    match = _compare("binding_router_match", package.binding.router_digest, package.router.digest)
    run_id, ref = package.control_bundle.router_link.run_id, package.router.ref
    if not match.ok or ref is None or ref.run_id == run_id:
        return match
    detail = "the reference names another run than the bundle's router_link"
    return replace(match, ok=False, expected=run_id, actual=ref.run_id, detail=detail)


def _compare(name: str, expected: str, actual: str | None) -> VerificationCheck:
    ok = actual is not None and expected == actual
    return VerificationCheck(
        name=name, ok=ok, expected=expected, actual=actual, detail="" if ok else _CHECKS[name]
    )


def _unreadable(package: object, error: Exception) -> VerificationResult:
    # The problem may quote the package: escaped, so that no terminal or encoder trips over it.
    problem = f"the package cannot be read: {error}".encode("unicode_escape").decode("ascii")[:_MAX_DETAIL]
    names = list(_CHECKS)
    match package:
        case {"router": {"mode": "reference"}} | AuditPackage(router=PackageRouter(mode="reference")):
            names.remove("router_digest")
        case _:
            pass
    return VerificationResult(
        checks=tuple(VerificationCheck(name=name, ok=False, detail=problem) for name in names)
    )
