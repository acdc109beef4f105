"""The groups of approvers: read from the configuration, and resolved when a request is made.

    [groups]
    security = ["alice", "bob"]
    platform = ["bob", "carol", "dave"]

`values.groups` says which names and ids there may be. The members of the groups that a policy names are recorded with
the request. A change of the groups has no effect on requests that were made before.
"""

from collections.abc import Mapping

from nexus_control.configuration import GROUPS, Configuration, Source, refused
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.policy import Policy
from nexus_control.store import DecisionStore
from nexus_control.values.actors import fold_id
from nexus_control.values.groups import Groups, group_problems, groups_of

_NAMED = 8


def groups_in(configuration: Configuration) -> Groups:
    """The groups of the first file that has the section; empty without one. Raises CONFIG_INVALID, which names the file
    and the key; also where the file of `--config` has others than the system or the user.
    """
    return configuration.agreed(GROUPS, groups_from, _as_sets) or {}


def _as_sets(groups: Groups) -> object:
    return {name: frozenset(members) for name, members in groups.items()}


def groups_from(source: Source) -> Groups:
    """The groups of a file that has the section. Raises CONFIG_INVALID."""
    table = source.table[GROUPS]
    problems = [f"{field} {problem}" for field, problem in group_problems(table)]
    if problems:
        raise refused(source.path, problems)
    return groups_of(table)


def members_for(
    store: DecisionStore, policy: Policy, template_name: str | None
) -> dict[str, list[str]] | None:
    """The members of the groups that the policy names, as the request records them; None where it names none. Raises
    INVALID_ARGUMENT for a group that is not known here.
    """
    if policy.required_from is None:
        return None
    groups = store.groups
    require_known(policy, groups, template_name)
    return {name: list(groups[name]) for name in sorted(policy.required_from)}


def require_known(policy: Policy, groups: Groups, template_name: str | None) -> None:
    """Raises INVALID_ARGUMENT for a group that the policy names, and that is not one of these."""
    unknown = sorted((policy.required_from or {}).keys() - groups.keys())
    if unknown:
        where = f" in template {template_name}" if template_name else ""
        known = ", ".join(sorted(groups)[:_NAMED]) or "none is configured"
        fault = invalid_argument(
            "required_from", f"names {unknown[0]}{where}, which is not a group here (groups here: {known})"
        )
        advice = (
            "Name groups that are configured here, or ask the owner of the configuration to add it to [groups]; nothing"
            " was written."
        )
        raise NexusControlError(ErrorCode.INVALID_ARGUMENT, fault.message, fault.details, advice)


def strangers(store: DecisionStore, recorded: Mapping[str, object]) -> list[str]:
    """Who is recorded as a member of a group and is not one here, as "group: id". An id that only looks like a
    member's is another one. Raises as `store.groups`.
    """
    if not recorded:
        return []
    here = {name: {fold_id(each) for each in ids} for name, ids in store.groups.items()}
    return [
        f"{name}: {each}"
        for name, ids in groups_of(recorded).items()
        for each in ids
        if fold_id(each) not in here.get(name, set())
    ]
