"""The result of a verification in words: how many checks were made, what the level means, what the next one needs.

The texts never call L0 to L2 a proof of who wrote or approved something.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from nexus_control.bundle import DecisionBundle
from nexus_control.evidence.reading import Reading
from nexus_control.evidence.report import Check
from nexus_control.evidence.verify import LEVELS, EvidenceReport, Level
from nexus_control.lifecycle import counted

_SELF_SIGNED: Final = "self-signed; an operator can rewrite history until a checkpoint leaves this machine"
_NEVER_RAN: Final = (
    "its events are a history that the rules allow, without a run. Its digests do not say who wrote it"
)
_MEANING: Final[dict[Level, str]] = {
    "L0": "its digests match its content. They do not say who wrote it, or whether it was allowed",
    "L1": "by its own account, it ran as it had been approved. Its digests do not say who wrote it",
    "L2": "it is in a log that you trust. The log does not say who approved",
    "L3": "a key that you trust signed the package",
    "L4": "keys that you trust signed the approvals that the policy asked for",
    "L5": "others saw the log: witnesses or a timestamp that you trust",
}
_EITHER: Final = {"witness_quorum", "timestamp"}
_GIVEN_WITH: Final = {
    "package_signature": "--package-key and the package's envelope",
    "approval_signatures": "--allowed-signers, and --origin for passkeys",
    "checkpoint_signature": "--log-key",
    "consistency": "--consistency",
    "witness_quorum": "--witness",
    "timestamp": "--timestamp and --timestamp-root",
}
"""The options that a check needs before it can be made."""


def checks_made(checks: Sequence[Check]) -> str:
    """`32 of 36 checks were made, none failed`."""
    made = sum(check.status != "skipped" for check in checks)
    failed = sum(check.status == "fail" for check in checks)
    were = "was" if len(checks) == 1 else "were"
    return f"{made} of {counted(len(checks), 'check')} {were} made, {failed or 'none'} failed"


def level_words(evidence: Reading) -> Iterator[str]:
    """Sentences: the level that is reached and what it means, then what the next level needs."""
    report = evidence.report
    if report is None:
        yield "Its digests do not say who wrote it."
        return
    level = report.level
    if level is None:
        yield f"No level is reached: the {evidence.kind}'s content does not match its digests."
        return
    unsigned = any(each.name == "checkpoint_signature" and each.status == "info" for each in report.checks)
    yield f"{level}: {_SELF_SIGNED if level == 'L2' and unsigned else _meaning(evidence, level)}."
    beyond = [each for each in report.reached if each > level]
    if beyond:
        yield f"The checks of {', '.join(beyond)} hold too, but not all of the levels below."
    if evidence.kind == "bundle":
        yield "A bundle reaches L1 at most: only the audit package of a run carries the proof of a log."
    elif level != LEVELS[-1]:
        following = LEVELS[LEVELS.index(level) + 1]
        yield f"{following} needs {_needs(replace(report, required=following).missing)}."


def _meaning(evidence: Reading, level: Level) -> str:
    whole = evidence.whole
    never_ran = isinstance(whole, DecisionBundle) and whole.router_link.adapter_id is None
    return _NEVER_RAN if level == "L1" and never_ran else _MEANING[level]


def missing_names(report: EvidenceReport) -> str:
    """The checks that keep the required level from being reached, by name."""
    names = [check.name for check in report.missing]
    either = " or ".join(name for name in names if name in _EITHER)
    return ", ".join([*(name for name in names if name not in _EITHER), *([either] if either else [])])


def _needs(missing: Sequence[Check]) -> str:
    """Checks in words: those of the same reason together, and the options with which they can be made."""
    reasons = dict[str, list[Check]]()
    for check in missing:
        reasons.setdefault(check.detail, []).append(check)
    either = all(check.name in _EITHER for check in missing)
    return (" or " if either else "; and ").join(_needed(why, checks) for why, checks in reasons.items())


def _needed(why: str, checks: Sequence[Check]) -> str:
    either = all(check.name in _EITHER for check in checks)
    names = (" or " if either else ", ").join(check.name for check in checks)
    options = [
        _GIVEN_WITH[check.name] for check in checks if check.status == "skipped" and check.name in _GIVEN_WITH
    ]
    given = f"; give {', '.join(options)}" if options else ""
    return f"{names} ({why}{given})" if why else names
