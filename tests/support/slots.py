"""Slots of groups, by trying everything: the model of `nexus_control.values.seating`."""

from collections.abc import Iterable, Mapping, Sequence


def most_filled(slots: Mapping[str, int], people: Sequence[Iterable[str]]) -> int:
    """How many slots these people, each given by their groups, can fill: each takes every slot in turn, or none."""
    if not people:
        return 0
    first, others = people[0], people[1:]
    best = most_filled(slots, others)
    for group in first:
        if slots.get(group, 0):
            best = max(best, 1 + most_filled({**slots, group: slots[group] - 1}, others))
    return best


def are_filled(slots: Mapping[str, int] | None, people: Sequence[Iterable[str]]) -> bool:
    """Whether these people can fill all slots."""
    return slots is None or most_filled(slots, people) == sum(slots.values())
