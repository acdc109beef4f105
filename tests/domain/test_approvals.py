"""The approvals of more people than the small mapping of recent ones holds, and their tally, beside plain counting."""

from collections.abc import Sequence
from typing import TypeAlias

from hypothesis import example, given
from hypothesis import strategies as st

from nexus_control.approvals import Approval, Approvals, Tally
from nexus_control.values.actors import Actor
from tests.domain.histories import instant, until

PEOPLE = 150
Deed: TypeAlias = tuple[int, int | None]
"""Somebody by number approves until this minute (None: without an end), or revokes where the approval stands."""

EVERYBODY: list[Deed] = [(person, person % 7 or None) for person in range(PEOPLE)]
DEEDS: st.SearchStrategy[list[Deed]] = st.lists(
    st.tuples(st.integers(0, PEOPLE - 1), st.none() | st.integers(1, 9)), max_size=200
)


def done(deeds: Sequence[Deed]) -> tuple[Approvals, Tally, dict[str, Approval]]:
    """The approvals and their tally after these deeds, and the same people in a dict."""
    approvals, tally, plain = Approvals(), Tally(), dict[str, Approval]()
    for seq, (number, minute) in enumerate(deeds):
        person = Actor("human", f"person-{number}")
        before = plain.get(person.key)
        standing = before if before and before.revoked_at is None else None
        if standing is not None:
            after = standing.revoked(until(0), "wrong window")
        else:
            ends = None if minute is None else until(minute)
            after = Approval(actor=person, seq=seq, granted_at=until(0), expires_at=ends)
        tally = tally.changed(standing, None if standing else after)
        approvals, plain[person.key] = approvals.having(after), after
    return approvals, tally, plain


@given(DEEDS)
@example([(person, minute) for _ in range(3) for person, minute in EVERYBODY])
def test_approvals_of_many_who_approve_revoke_and_approve_again_are_the_last_of_each(
    later: list[Deed],
) -> None:
    approvals, tally, plain = done([*EVERYBODY, *later])
    assert len(approvals) == len(plain)
    assert list(approvals) == sorted(plain.values(), key=lambda each: each.seq)
    assert all(approvals.of(person) == approval for person, approval in plain.items())
    assert approvals == Approvals(plain.values())
    standing = [each for each in plain.values() if each.revoked_at is None]
    assert tally == Tally.of(standing)
    assert tally.standing == len(standing)
    for minute in range(11):
        assert tally.current(instant(minute)) == sum(each.is_current(instant(minute)) for each in standing)


@given(DEEDS)
def test_approvals_hold_until_the_first_instant_at_which_too_few_are_left(deeds: list[Deed]) -> None:
    _, tally, plain = done(deeds)
    for required in (1, 2, 5, 40):
        holds = tally.holds_until(required)
        for minute in range(11):
            at = instant(minute)
            left = sum(each.is_current(at) for each in plain.values())
            assert (left >= required) == (holds is not None and at < holds)


@given(DEEDS)
def test_approvals_that_were_changed_are_still_what_they_were(deeds: list[Deed]) -> None:
    before, _, plain = done(EVERYBODY)
    after = before
    for number, _ in deeds:
        after = after.having(plain[f"person-{number}"].revoked(until(1), "late"))
    assert list(before) == list(plain.values())
    assert before.of("person-0") == plain["person-0"]
