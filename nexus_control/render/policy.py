"""A policy, its template and the overrides, in the same words on every page where somebody decides."""

from collections.abc import Iterator, Mapping
from typing import cast

from nexus_control.approvals import AwaitedData, awaited
from nexus_control.lifecycle import counted
from nexus_control.policy import Policy
from nexus_control.render.text import View, bullet, listed
from nexus_control.values.actors import Actor, fold_id
from nexus_control.values.groups import of_each_group, slot_words
from nexus_control.values.payloads import POLICY_FIELDS

NAMES = {
    "min_approvals": "Approvals",
    "allowed_modes": "Modes",
    "require_adapter_capabilities": "Required capabilities",
    "max_steps": "Steps",
    "approvers": "Approvers",
    "allow_requester_approval": "Requester may approve",
    "min_assurance": "Assurance",
    "require_rehearsal": "Rehearsal",
    "required_from": "Of groups",
}

_SHORT_NAMES = {"max_steps": "steps", "require_adapter_capabilities": "capabilities"}


def policy_lines(policy: View, members: View | None = None) -> Iterator[str]:
    """A line for every rule, defaults included; those of a rehearsal and of groups only where they are required.
    `members` are those of each group that the policy names.
    """
    for field, name in NAMES.items():
        if field not in ("require_rehearsal", "required_from") or policy.get(field):
            yield bullet(name, _said(field, policy.get(field)))
    for group, ids in sorted((members or {}).items()):
        yield bullet(f"Members of {group}", listed(ids))


def template_lines(template: View) -> Iterator[str]:
    """The template, and each rule that overrides it: `Overrides: min_approvals, at least 2 → at least 1`."""
    yield bullet("Name", template["name"])
    if not template["is_of_this_store"]:
        yield "- It came with the import, and is NOT a template of this store."
    yield bullet("Digest", f"sha256:{template['digest']}")
    overrides, snapshot = template["overrides_applied"], template["snapshot"]
    for field in sorted(overrides):
        before = _said(field, snapshot.get(field)) if field in POLICY_FIELDS else "?"
        yield bullet("Overrides", f"{field}, {before} → {_said(field, overrides[field])}")
    if not overrides:
        yield bullet("Overrides", None)


def policy_words(policy: View, *, for_a_router: bool = True) -> str:
    """Every rule of a policy in one line, not yet escaped: `2 approvals, of anyone; modes dry_run, apply; …`. What a
    policy leaves to routers, and does not restrict, is left out where none executes the request.
    """
    limits = {
        name: policy[name]
        for name in ("max_steps", "require_adapter_capabilities")
        if for_a_router or policy[name]
    }
    required = policy.get("require_rehearsal")
    who = f"of {_said('approvers', policy.get('approvers'))}"
    if not policy.get("allow_requester_approval", True):
        who += ", but NOT of the requester"
    elif not policy.get("approvers"):
        who += ", also of the requester"
    if slots := policy.get("required_from"):
        who += f", {_said('required_from', slots)} among them"
    return "; ".join(
        [
            f"{counted(policy['min_approvals'], 'approval')}, {who}",
            f"assurance {_said('min_assurance', policy.get('min_assurance'))}",
            f"modes {_said('allowed_modes', policy['allowed_modes'])}",
            *([f"a rehearsal {_said('require_rehearsal', required)}"] if required else []),
            *(f"{_SHORT_NAMES[name]} {_said(name, value)}" for name, value in limits.items()),
        ]
    )


def template_name(template: View) -> str:
    """The template's name, which says so where the template is not of this store."""
    strange = "" if template["is_of_this_store"] else ", which came with the import and is NOT of this store"
    return f"{template['name']}{strange}"


def changes(template: View) -> Iterator[str]:
    """What a request changed of its template, not yet escaped: `approvals 2 → 1`."""
    overrides, snapshot = template["overrides_applied"], template["snapshot"]
    for field in sorted(overrides):
        before = _short(field, snapshot.get(field)) if field in POLICY_FIELDS else "?"
        name: str = NAMES.get(field) or field
        yield f"{name.lower()} {before} → {_short(field, overrides[field])}"


def agreed(current: int, required: int, groups_missing: Mapping[str, int] | None) -> str:
    """How many approvals there are: `2 of 1 approval, still needed: 1 of security`."""
    return f"{current} of {counted(required, 'approval')}{of_each_group(groups_missing)}"


def who_can_still(data: View) -> str:
    """Who can still approve, from the answer of `inspect`: `anyone`, `anyone; needed: 1 of security: alice, bob`, or
    `1 of security: alice, bob` where no other approval is missing.
    """
    awaited = awaited_in(data)
    needed = "; ".join(slot_lines(awaited))
    if needed and are_all_of_groups(awaited):
        return needed
    others = _who(data, awaited)
    return f"{others}; needed: {needed}" if needed else others


def missing_words(data: View) -> str:
    """What is missing and of whom, from the answer of `inspect`: `1 approval missing, 1 of security: alice, bob`, or `2
    approvals missing. Can still approve: anyone`.
    """
    awaited = awaited_in(data)
    slots = "; ".join(slot_lines(awaited))
    said = f"{counted(awaited['missing'], 'approval')} missing{', ' if slots else ''}{slots}"
    return said if are_all_of_groups(awaited) else f"{said}. Can still approve: {_who(data, awaited)}"


def awaited_in(data: View) -> AwaitedData:
    """Whose approvals are missing, by the answer of `inspect`."""
    requester, approvals = data["decision"]["requester"], data["approval"]["approvals"]
    return awaited(
        Policy.from_dict(data["policy"]),
        data["decision"].get("approver_groups", {}),
        Actor.of(requester) if requester else None,
        [each["actor"]["id"] for each in approvals if each["active"]],
    )


def slot_lines(awaited: AwaitedData) -> Iterator[str]:
    """For each group of which approvals are missing: `1 of security: alice, bob`."""
    for group, lack in awaited.get("groups", {}).items():
        too_few = len(lack["eligible"]) < lack["missing"]
        whose = "too few of its members can still approve, " if too_few else ""
        yield f"{lack['missing']} of {group}: {whose}{listed(lack['eligible'])}"


def are_all_of_groups(awaited: AwaitedData) -> bool:
    """Whether each approval that is missing is one of a group."""
    of_groups = sum(each["missing"] for each in awaited.get("groups", {}).values())
    return 0 < awaited["missing"] == of_groups


def _who(data: View, awaited: AwaitedData) -> str:
    """Who can still approve, whatever group they are in."""
    if awaited["eligible"] is not None:
        return listed(awaited["eligible"])
    if not awaited["requester_may_approve"]:
        return "anyone but the requester"
    requester, approvals = data["decision"]["requester"], data["approval"]["approvals"]
    done = {fold_id(each["actor"]["id"]) for each in approvals if each["active"]}
    return "anyone" if requester and fold_id(requester["id"]) in done else "anyone, the requester too"


def _age(seconds: int) -> str:
    """A whole number of the largest unit that gives one: `1 hour`, `90 minutes`."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return counted(seconds // size, unit)


_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def _short(field: str, value: object) -> str:
    return str(value) if field == "min_approvals" else _said(field, value)


def _said(field: str, value: object) -> str:
    """A rule in words. None is a missing field, which has its default; an imported snapshot may hold any JSON value."""
    match field, value:
        case "min_approvals", _:
            return f"at least {value}"
        case "max_steps", None:
            return "any number"
        case "max_steps", _:
            return f"at most {value}"
        case "approvers", None | []:
            return "anyone"
        case "min_assurance", None:
            return "any"
        case "require_rehearsal", None:
            return "not required"
        case "require_rehearsal", {"max_age_seconds": int(seconds)}:
            return f"at most {_age(seconds)} old, before each approval"
        case "required_from", dict() if value:
            return slot_words(cast("dict[str, int]", value))
        case "required_from", _:
            return "any"
        case "allow_requester_approval", _:
            return "no" if value is False else "yes"
        case _, None:
            return "(none)"
        case _, list() | tuple():
            return listed(cast("list[object]", value))
        case _:
            return str(value)
