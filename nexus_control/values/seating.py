"""Seats people in the slots of groups, each person in one slot at most: a maximum bipartite matching.

    seating = Seating({"security": 1, "platform": 1})
    seating.add(["security", "platform"])    # True: the first of both groups
    seating.add(["security"])                # True: the first person moves over to platform

People come one at a time, and everybody who has come stays seated. A person who finds no free slot is seated where
others can move over to leave one (an augmenting path). Where that fails, the groups that the search came to are tight:
all their slots are filled by people who are in no other group with a way to a free slot, and that stays so. No later
search looks at them again.

So after each person as many slots are filled as these people can fill at all. Each search looks at a group once, and at
each person who sits in it once.
"""

from collections.abc import Iterable, Mapping, Sequence


class Seating:
    """The slots, `{group: how many}`, and who fills them.

    >>> seating = Seating({"security": 1})
    >>> seating.add(["security"]), seating.add(["security"]), seating.lacking
    (True, False, {})
    """

    __slots__ = ("_free", "_groups", "_seated", "_tight")

    def __init__(self, slots: Mapping[str, int]) -> None:
        self._free = dict(slots)
        self._seated: dict[str, set[int]] = {group: set() for group in slots}
        self._groups: list[tuple[str, ...]] = []
        self._tight: set[str] = set()

    @property
    def lacking(self) -> dict[str, int]:
        """How many slots of each group are free, for the groups that have free ones. Where people are in several
        groups this is one of several ways to leave as few free.
        """
        return {group: count for group, count in self._free.items() if count}

    @property
    def is_full(self) -> bool:
        return not any(self._free.values())

    def add(self, groups: Iterable[str]) -> bool:
        """One more person, of these groups; True if that fills one more slot."""
        person, mine = len(self._groups), tuple(group for group in groups if group in self._seated)
        self._groups.append(mine)
        found = self._search(person, mine)
        if found is None:
            return False
        group, movers = found
        self._free[group] -= 1
        while True:
            mover, left = movers[group]
            self._seated[group].add(mover)
            if left is None:
                return True
            self._seated[left].remove(mover)
            group = left

    def _search(
        self, person: int, groups: Sequence[str]
    ) -> tuple[str, dict[str, tuple[int, str | None]]] | None:
        """A group with a free slot, and for each group on the way who would move to it, and from where. None where no
        way leads to a free slot; the groups that were looked at are tight then.
        """
        movers: dict[str, tuple[int, str | None]] = {
            group: (person, None) for group in groups if group not in self._tight
        }
        waiting = list(movers)
        for group in waiting:
            if self._free[group]:
                return group, movers
            for other in self._seated[group]:
                for to in self._groups[other]:
                    if to not in movers and to not in self._tight:
                        movers[to] = (other, group)
                        waiting.append(to)
        self._tight.update(movers)
        return None


def most_slots(slots: Mapping[str, int], people: Iterable[Sequence[str]]) -> Seating:
    """The slots, with all of these people seated; each is given by their groups."""
    seating = Seating(slots)
    for groups in people:
        seating.add(groups)
    return seating
