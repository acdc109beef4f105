"""Approvals: the latest one of each person, and the tally of those that stand.

A decision can have thousands of approvals, and each event changes at most one. So they are found by person, and a tally
is kept of how many stand without an end and when the others end: whether a quorum holds at an instant, and until when,
follows from it without looking at any approval. An approval *stands* when the policy accepts it, and it is neither
revoked nor stale. Where a policy needs approvals of groups, their members' approvals are looked at too, and no others.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple, NotRequired, TypeAlias, cast

from typing_extensions import TypedDict

from nexus_control.policy import Policy
from nexus_control.values.actors import Actor, fold_id
from nexus_control.values.instants import parse_instant
from nexus_control.values.lookalikes import skeleton
from nexus_control.values.payloads import Assurance
from nexus_control.values.seating import Seating, most_slots

FOREVER = datetime.max.replace(tzinfo=UTC)
MOST_QUORUMS = 20
"""So many of the last quorums are kept, because a timeline has as many entries (`lifecycle.DEFAULT_TIMELINE_LIMIT`)."""
_MOST_RECENT = 64


Authority: TypeAlias = Container[int] | None
"""The approvals that carry authority in the store that is asked, by `seq`; None: all."""


Inactive: TypeAlias = Literal[
    "revoked", "expired", "stale", "not_accepted", "imported", "not_trusted", "request_expired"
]
"""Why an approval does not count. `stale`: it is of another rehearsal than the last. `not_accepted`: by the policy.
`not_trusted`: the signer is not trusted here.
"""


@dataclass(frozen=True, slots=True)
class Since:
    """The approvals from this `seq` on: where events up to it were imported, those that were given here."""

    seq: int

    def __contains__(self, seq: object) -> bool:
        return isinstance(seq, int) and seq >= self.seq


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """The latest approval of one person. It is current until it expires or is revoked, or until another rehearsal than
    that of `rehearsal_digest` makes it stale (`facts.Facts.is_stale`).
    """

    actor: Actor
    seq: int
    granted_at: str
    expires_at: str | None = None
    comment: str | None = None
    assurance: Assurance | None = None
    revoked_at: str | None = None
    revoke_reason: str | None = None
    rehearsal_digest: str | None = None

    def revoked(self, at: str, reason: str | None) -> "Approval":
        """The same approval, taken back."""
        return Approval(
            actor=self.actor,
            seq=self.seq,
            granted_at=self.granted_at,
            expires_at=self.expires_at,
            comment=self.comment,
            assurance=self.assurance,
            revoked_at=at,
            revoke_reason=reason,
            rehearsal_digest=self.rehearsal_digest,
        )

    def ends(self) -> datetime:
        """The instant at which it stops being current if nobody revokes it."""
        return FOREVER if self.expires_at is None else parse_instant(self.expires_at)

    def is_expired(self, at: datetime) -> bool:
        return self.ends() <= at

    def is_current(self, at: datetime) -> bool:
        """Whether it is neither revoked nor expired; it may be stale."""
        return self.revoked_at is None and not self.is_expired(at)


class Approvals:
    """The latest approval of each person, by folded id; iterates in the order in which they were given. `any_signed`
    is False only if none of them is signed.

    It never changes: `having` gives another one, which shares almost everything with this one. The approvals that came
    last are kept in a small mapping of their own, so that one more costs a copy of that only.
    """

    __slots__ = ("_earlier", "_ordered", "_recent", "_size", "any_signed")

    def __init__(self, approvals: Iterable[Approval] = ()) -> None:
        self._earlier: Mapping[str, Approval] = {each.actor.key: each for each in approvals}
        self._recent: Mapping[str, Approval] = {}
        self._ordered: tuple[Approval, ...] | None = None
        self._size = len(self._earlier)
        self.any_signed = any(each.assurance == "signed" for each in self._earlier.values())

    def of(self, person: str) -> Approval | None:
        """The latest approval of the person with this folded id."""
        return self._recent.get(person) or self._earlier.get(person)

    def having(self, approval: Approval) -> "Approvals":
        """These approvals, with this one in place of its person's earlier one."""
        person, changed = approval.actor.key, Approvals.__new__(Approvals)
        changed._size = self._size + (self.of(person) is None)
        changed.any_signed = self.any_signed or approval.assurance == "signed"
        changed._ordered = None
        changed._earlier, changed._recent = self._earlier, {**self._recent, person: approval}
        if len(changed._recent) > _MOST_RECENT:
            changed._earlier, changed._recent = {**self._earlier, **changed._recent}, {}
        return changed

    def having_each(self, approvals: Iterable[Approval]) -> "Approvals":
        """These approvals, with each of the given ones in place of its person's earlier one."""
        changed = Approvals((*self, *approvals))
        changed.any_signed |= self.any_signed
        return changed

    def __iter__(self) -> Iterator[Approval]:
        if self._ordered is None:
            latest = {**self._earlier, **self._recent}.values()
            self._ordered = tuple(sorted(latest, key=lambda each: each.seq))
        return iter(self._ordered)

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Approvals) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Approvals({list(self)!r})"


class Tally(NamedTuple):
    """How many approvals stand without an end, and when each of the others ends, the earliest first."""

    endless: int = 0
    ends: tuple[datetime, ...] = ()

    @classmethod
    def of(cls, standing: Iterable[Approval]) -> "Tally":
        ends = [each.ends() for each in standing]
        return cls(ends.count(FOREVER), tuple(sorted(end for end in ends if end != FOREVER)))

    def changed(self, left: Approval | None, came: Approval | None, since: int = 0) -> "Tally":
        """Without one that was counted, and with another one. Those before the seq `since` are not counted."""
        tally = self._minus(left) if left and left.seq >= since else self
        return tally._plus(came) if came and came.seq >= since else tally

    def _plus(self, approval: Approval) -> "Tally":
        end = approval.ends()
        if end == FOREVER:
            return Tally(self.endless + 1, self.ends)
        place = bisect_right(self.ends, end)
        return Tally(self.endless, (*self.ends[:place], end, *self.ends[place:]))

    def _minus(self, approval: Approval) -> "Tally":
        end = approval.ends()
        if end == FOREVER:
            return Tally(self.endless - 1, self.ends)
        place = bisect_left(self.ends, end)
        return Tally(self.endless, (*self.ends[:place], *self.ends[place + 1 :]))

    @property
    def standing(self) -> int:
        return self.endless + len(self.ends)

    def current(self, at: datetime) -> int:
        """How many have not ended at this instant."""
        return self.endless + (len(self.ends) - bisect_right(self.ends, at) if self.ends else 0)

    def holds_until(self, required: int) -> datetime | None:
        """When fewer than `required` are left if nothing else happens; None when there are fewer already."""
        lacking = required - self.endless
        if lacking <= 0:
            return FOREVER
        return self.ends[-lacking] if lacking <= len(self.ends) else None


NO_GROUPS: Mapping[str, tuple[str, ...]] = {}
"""The groups of each person, by folded id, where nobody is in any."""


def groups_by_person(groups: Mapping[str, object] | None) -> Mapping[str, tuple[str, ...]]:
    """The groups of each member, by folded id, from the members of each group."""
    belongs = dict[str, tuple[str, ...]]()
    for group, ids in sorted((groups or {}).items()):
        for person in dict.fromkeys(map(fold_id, cast("Sequence[str]", ids))):
            belongs[person] = (*belongs.get(person, ()), group)
    return belongs


def filled_until(
    slots: Mapping[str, int], belongs: Mapping[str, tuple[str, ...]], standing: Iterable[Approval]
) -> datetime | None:
    """When a slot becomes free if nothing else happens; None when one is free already. The approvals that end last are
    seated first, so the slots are full until the one ends that filled the last of them.
    """
    seating = Seating(slots)
    for end, person in sorted(((each.ends(), each.actor.key) for each in standing), reverse=True):
        if seating.add(belongs.get(person, ())) and seating.is_full:
            return end
    return None


def lacking(
    slots: Mapping[str, int], belongs: Mapping[str, tuple[str, ...]], people: Iterable[str]
) -> dict[str, int]:
    """How many more each group needs, once these people, by folded id, fill as many slots as they can."""
    return most_slots(slots, (belongs.get(person, ()) for person in sorted(people))).lacking


def missing_approvals(given: int, required: int, free: Mapping[str, int]) -> int:
    """The fewest approvals that could make up the quorum. `free` says how many more each group needs."""
    return max(required - given, sum(free.values()))


class AwaitedGroup(TypedDict):
    """How many approvals of a group are still missing, and its members who can still approve."""

    missing: int
    eligible: list[str]


class AwaitedData(TypedDict):
    """The approvals that are still missing. `eligible` are the ids that can still approve; None is anyone, but not the
    requester unless `requester_may_approve`. `groups` are those of which approvals are missing.
    """

    missing: int
    eligible: list[str] | None
    requester_may_approve: bool
    min_assurance: Assurance | None
    groups: NotRequired[dict[str, AwaitedGroup]]


def awaited(
    policy: Policy,
    members: Mapping[str, Sequence[str]],
    requester: Actor | None,
    approved: Sequence[str] = (),
) -> AwaitedData:
    """Who may still approve, and which slots of groups that would fill, after these people have `approved`. `members`
    are those of each group that the policy names.
    """
    slots = policy.required_from
    free = lacking(slots, groups_by_person(members), map(fold_id, approved)) if slots else {}

    def able(ids: Iterable[str]) -> list[str]:
        return list(policy.able(ids, requester, approved))

    data: AwaitedData = {
        "missing": missing_approvals(len(approved), policy.min_approvals, free),
        "eligible": able(policy.approvers) if policy.approvers else None,
        "requester_may_approve": policy.allow_requester_approval,
        "min_assurance": policy.min_assurance,
    }
    if free:
        data["groups"] = {
            group: {"missing": missing, "eligible": able(members.get(group, ()))}
            for group, missing in free.items()
        }
    return data


def unattainable(data: AwaitedData) -> tuple[int, dict[str, int]]:
    """How many of the missing approvals nobody is left to give, and how many of each group. Ids that look alike count
    once.
    """
    groups, eligible = data.get("groups", {}), data["eligible"]
    left = data["missing"] if eligible is None else len({skeleton(each) for each in eligible})
    belongs = dict[str, list[str]]()
    for group, lack in groups.items():
        for person in {skeleton(each) for each in lack["eligible"]}:
            belongs.setdefault(person, []).append(group)
    free = {group: lack["missing"] for group, lack in groups.items()}
    return max(data["missing"] - left, 0), most_slots(free, belongs.values()).lacking


@dataclass(frozen=True, slots=True)
class Quorums:
    """How often an approval met the quorum, and the `seq` of the last `MOST_QUORUMS` such approvals."""

    total: int = 0
    last: tuple[int, ...] = ()

    def plus(self, seq: int) -> "Quorums":
        return Quorums(self.total + 1, (*self.last, seq)[-MOST_QUORUMS:])


NO_APPROVALS, NO_TALLY, NO_QUORUMS = Approvals(), Tally(), Quorums()
