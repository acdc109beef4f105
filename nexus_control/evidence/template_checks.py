"""Does the policy follow from the template and the recorded overrides?

    template_digest         the snapshot has the digest that the event states
    policy_within_template  the policy is the template's with the recorded overrides, and no weaker where the template
                            only lets requests tighten it

A snapshot that 1.0 wrote lacks its creator and time. Its digest cannot be recomputed, so that check is skipped.
"""

from collections.abc import Iterator
from dataclasses import replace

from nexus_control.errors import NexusControlError
from nexus_control.evidence.report import Check, Finding, compared, failed, passed, same_fields, skipped
from nexus_control.facts import Facts
from nexus_control.integrity import json_digest
from nexus_control.policy import Policy, require_no_weaker
from nexus_control.values.payloads import POLICY_FIELDS, PolicyAttachedPayload

NAMES = ("template_digest", "policy_within_template")


def template_checks(facts: Facts) -> Iterator[Check]:
    """Both checks, in that order."""
    attached, policy = facts.attached, facts.policy
    if attached is None or policy is None:
        yield from (skipped("no policy is attached").named(name) for name in NAMES)
        return
    if (attached.template_name, attached.template_snapshot, attached.template_digest) == (None, None, None):
        yield passed("no template was used").named("template_digest")
        yield _with_rules(attached, passed("no template was used")).named("policy_within_template")
        return
    yield _digest(attached).named("template_digest")
    yield _with_rules(attached, _within(attached, policy)).named("policy_within_template")


def _with_rules(attached: PolicyAttachedPayload, finding: Finding) -> Finding:
    """The finding that names the rules, too, which are not in the evidence: who has the book compares its digest."""
    if attached.rules_digest is None or finding.status != "pass":
        return finding
    rules = f"it was asked for under the rules {attached.rules_digest}"
    return replace(finding, detail="; ".join(filter(None, (finding.detail, rules))))


def _digest(attached: PolicyAttachedPayload) -> Finding:
    snapshot = attached.template_snapshot
    if snapshot is None or attached.template_digest is None:
        return failed("the event names a template, but lacks its snapshot or digest")
    if not {"created_at", "created_by"} <= snapshot.keys():
        return skipped("1.0 wrote the snapshot without all fields that its digest covers")
    return compared(attached.template_digest, json_digest(snapshot), "the snapshot was rewritten")


def _within(attached: PolicyAttachedPayload, policy: Policy) -> Finding:
    snapshot = attached.template_snapshot or {}
    if snapshot.get("template_name") != attached.template_name:
        return failed("the snapshot is of another template", actual=snapshot.get("template_name"))
    try:
        template = Policy.from_dict({field: snapshot[field] for field in POLICY_FIELDS & snapshot.keys()})
        expected = template.overridden(attached.overrides_applied or {})
        if snapshot.get("overrides") == "tighten_only":
            require_no_weaker(template, expected)
    except (NexusControlError, ValueError, TypeError) as fault:
        return failed(f"the template does not give such a policy: {fault}")
    return same_fields(
        expected.to_dict(), policy.to_dict(), "the policy is not the template's with its overrides"
    )
