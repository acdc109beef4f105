"""Groups of approvers, and the slots of a policy that their members fill.

    groups   {"security": ["alice", "bob"], "platform": ["bob", "carol"]}
    slots    {"security": 1, "platform": 2}    # `required_from`: one approval of security, two of platform

A group's name is text by the rules of ids (`values.actors`), of at most 64 characters. Its members are ids that a new
actor may have, without a type before them. No two names look alike, and no two members of one group differ by case
alone. A person may be in several groups, and fills one slot at most (`values.seating`).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias, cast

from nexus_control.errors import invalid_argument, invalid_arguments
from nexus_control.values.actors import MAX_ID_LENGTH, fold_id, id_problem, new_id_problem, typed_problem
from nexus_control.values.lookalikes import skeleton

MAX_NAME: Final = 64
MAX_SLOTS: Final = 64
"""So many groups a policy may name."""
MAX_GROUPS: Final = 256
MAX_MEMBERS: Final = 256
MAX_OF_A_GROUP: Final = 1000
"""So many approvals a policy may need of one group."""
SLOTS_RULE: Final = 'an object of groups and numbers from 1 on, such as {"security": 1}'
MEMBERS_RULE: Final = 'an object of groups and their members, such as {"security": ["alice"]}'

Groups: TypeAlias = Mapping[str, tuple[str, ...]]
"""The members of each group."""


def name_problem(name: object) -> str | None:
    """What is wrong with the name of a group; None if nothing is."""
    if isinstance(name, str) and len(name) > MAX_NAME:
        return f"must be at most {MAX_NAME} characters"
    return id_problem(name)


def are_slots(value: Mapping[object, object]) -> bool:
    """Whether this is a policy's `required_from`, as an event holds it."""
    return 0 < len(value) <= MAX_SLOTS and all(
        name_problem(name) is None and type(count) is int and 1 <= count <= MAX_OF_A_GROUP
        for name, count in value.items()
    )


def are_members(value: Mapping[object, object]) -> bool:
    """Whether this is `approver_groups`, as an event holds it."""
    return len(value) > 0 and all(
        name_problem(name) is None
        and isinstance(ids, list)
        and all(id_problem(each) is None for each in cast("list[object]", ids))
        for name, ids in value.items()
    )


def slots_of(given: object) -> dict[str, int] | None:
    """`required_from` as a policy keeps it: None where it names no group. Raises INVALID_ARGUMENT."""
    if given is None:
        return None
    slots = dict(cast("Mapping[str, int]", given)) if isinstance(given, Mapping) else None
    if slots is None or (slots and not are_slots(cast("Mapping[object, object]", slots))):
        raise invalid_argument("required_from", f"must be {SLOTS_RULE}, with at most {MAX_SLOTS} groups")
    return slots or None


def slot_words(slots: Mapping[str, int]) -> str:
    """The slots in words: `1 of security, 2 of platform`."""
    return ", ".join(f"{count} of {group}" for group, count in slots.items())


def of_each_group(missing: Mapping[str, int] | None) -> str:
    """What groups still need, behind a number of approvals: `, still needed: 1 of security`; `, of each group` where
    they need no more, and empty where no group is named.
    """
    if missing is None:
        return ""
    return f", still needed: {slot_words(missing)}" if missing else ", of each group"


def groups_of(given: object) -> Groups:
    """The groups, from a mapping of names to lists of ids. Raises INVALID_ARGUMENT, which names each field.

    >>> groups_of({"security": ["alice", "bob"]})
    {'security': ('alice', 'bob')}
    """
    problems = list(group_problems(given))
    if problems:
        raise invalid_arguments([{"field": field, "problem": problem} for field, problem in problems[:100]])
    return {name: tuple(ids) for name, ids in cast("Mapping[str, Iterable[str]]", given).items()}


def group_problems(given: object) -> Iterator[tuple[str, str]]:
    """Each field that is wrong, as `groups.security[1]`, and what is wrong with it."""
    if not isinstance(given, Mapping):
        yield "groups", f"must be {MEMBERS_RULE}"
        return
    groups = cast("Mapping[object, object]", given)
    if len(groups) > MAX_GROUPS:
        yield "groups", f"must have at most {MAX_GROUPS} groups"
    seen = set[str]()
    for name, ids in groups.items():
        if problem := name_problem(name):
            yield "groups", f"has a name that {problem}"
            continue
        named = str(name)
        if fold_id(named) in seen:
            yield f"groups.{named}", "is there twice, by case alone"
        elif skeleton(named) in seen:
            yield f"groups.{named}", "looks like the name of another group"
        seen |= {fold_id(named), skeleton(named)}
        yield from _member_problems(f"groups.{named}", ids)


def _member_problems(field: str, given: object) -> Iterator[tuple[str, str]]:
    if not isinstance(given, list | tuple):
        yield field, "must be a list of ids"
        return
    ids = cast("list[object] | tuple[object, ...]", given)
    if not 0 < len(ids) <= MAX_MEMBERS:
        yield field, f"must have 1 to {MAX_MEMBERS} members"
    seen = set[str]()
    for number, each in enumerate(ids):
        problem = _id_problem(each)
        if problem is None and fold_id(str(each)) in seen:
            problem = "is there twice, by case alone or as it is"
        if problem:
            yield f"{field}[{number}]", problem
        else:
            seen.add(fold_id(str(each)))


def _id_problem(given: object) -> str | None:
    if isinstance(given, str) and len(given) > MAX_ID_LENGTH:
        return f"must be at most {MAX_ID_LENGTH} characters"
    return id_problem(given) or typed_problem(str(given)) or new_id_problem(str(given))
