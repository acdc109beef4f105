"""Policy: the conditions for executing a decision. It is fixed with the request, and never changes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar, cast

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.values.actors import Actor, fold_id, id_problem
from nexus_control.values.groups import slot_words, slots_of
from nexus_control.values.lookalikes import skeleton
from nexus_control.values.payloads import (
    ASSURANCES,
    MODES,
    POLICY_FIELDS,
    Assurance,
    Mode,
    PolicyFields,
    RequiredRehearsal,
)
from nexus_control.values.records import always_written, decode, encode


@dataclass(frozen=True, slots=True, init=False)
class Policy(PolicyFields):
    """What must be true before a decision may be executed.

        >>> Policy(2, ["dry_run", "apply"], approvers=["alice", "bob", "carol"]).min_approvals
        2

    `allowed_modes` are "dry_run" and "apply". The adapter must be known to have `require_adapter_capabilities`;
    `max_steps` limits the plan. `approvers` are the eligible ids (empty: anyone). `min_assurance` is the weakest
    assurance of an approver that counts: declared, elicited, local or signed. With `require_rehearsal`,
    `{"max_age_seconds": n}`, people approve what a rehearsal gave back that is at most so old. With `required_from`,
    `{"security": 1}`, so many different members of each group must be among those who approved. Lists are kept as
    tuples. Raises ValueError for a wrong value.
    """

    min_approvals: int = always_written(1)
    allowed_modes: tuple[Mode, ...] = always_written(("dry_run",))

    def __init__(  # accepts any sequence where the field is a tuple
        self,
        min_approvals: int = 1,
        allowed_modes: Sequence[Mode] = ("dry_run",),
        require_adapter_capabilities: Sequence[str] = (),
        max_steps: int | None = None,
        labels: Sequence[str] = (),
        *,
        approvers: Sequence[str] = (),
        allow_requester_approval: bool = True,
        min_assurance: Assurance | None = None,
        require_rehearsal: RequiredRehearsal | Mapping[str, int] | None = None,
        required_from: Mapping[str, int] | None = None,
    ) -> None:
        if type(min_approvals) is not int or min_approvals < 1:
            raise ValueError("min_approvals must be at least 1")
        PolicyFields.__init__(
            self,
            min_approvals=min_approvals,
            allowed_modes=_listed("allowed_modes", allowed_modes),
            require_adapter_capabilities=_listed(
                "require_adapter_capabilities", require_adapter_capabilities
            ),
            max_steps=max_steps,
            labels=_listed("labels", labels),
            approvers=_listed("approvers", approvers),
            allow_requester_approval=allow_requester_approval,
            min_assurance=min_assurance,
            require_rehearsal=_rehearsal(require_rehearsal),
            required_from=slots_of(required_from),
        )
        self._require_valid()

    def _require_valid(self) -> None:
        if not self.allowed_modes:
            raise ValueError("allowed_modes cannot be empty")
        for mode in self.allowed_modes:
            if mode not in MODES:
                raise ValueError(f"Invalid mode: {mode!r:.40}; use dry_run or apply")
        if self.max_steps is not None and (type(self.max_steps) is not int or self.max_steps < 1):
            raise ValueError("max_steps must be at least 1")
        for approver in self.approvers:
            if problem := id_problem(approver):
                raise ValueError(f"an approver's id {problem}")
        if self.min_assurance is not None and self.min_assurance not in ASSURANCES:
            raise ValueError(f"min_assurance must be one of {', '.join(ASSURANCES)}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Policy":
        """The policy that `to_dict` wrote.

            >>> Policy.from_dict({"min_approvals": 2}) == Policy(2)
            True

        Raises INVALID_ARGUMENT for a wrong type or an unknown key.
        """
        whole = dict(data) if isinstance(cast("object", data), Mapping) else data
        return decode(cls, whole, where="policy", code=ErrorCode.INVALID_ARGUMENT)

    @classmethod
    def of(cls, written: PolicyFields) -> "Policy":
        """The policy part of a payload.

        >>> Policy.of(decision.events[1].content) == decision.policy
        True
        """
        return cls(**{name: getattr(written, name) for name in POLICY_FIELDS})

    def fields(self) -> dict[str, Any]:
        """The fields as they are, for a payload that holds a policy.

        >>> Policy(2).fields()["min_approvals"]
        2
        """
        return {name: getattr(self, name) for name in POLICY_FIELDS}

    def overridden(self, overrides: Mapping[str, object]) -> "Policy":
        """This policy with the named fields replaced.

            >>> Policy(2).overridden({"max_steps": 5}).max_steps
            5

        Raises ValueError for a wrong value.
        """
        return replace(self, **cast("dict[str, Any]", dict(overrides)))

    def allows_mode(self, mode: str) -> bool:
        """Whether a decision may be executed in this mode.

        >>> Policy().allows_mode("apply")
        False
        """
        return mode in self.allowed_modes

    def is_eligible(self, actor: Actor) -> bool:
        """Whether the actor is one of the named approvers, or nobody is named.

        >>> Policy(approvers=["bob"]).is_eligible(Actor("human", "Bob"))
        True
        """
        return not self.approvers or actor.key in _folded(self.approvers)

    def approvers_but(self, requester: Actor | None) -> tuple[str, ...]:
        """The named approvers, without a requester who may not approve; empty where nobody is named.

        >>> Policy(approvers=["bob", "eve"], allow_requester_approval=False).approvers_but(Actor("human", "Eve"))
        ('bob',)
        """
        return self.able(self.approvers, requester)

    def able(
        self, ids: Iterable[str], requester: Actor | None, approved: Iterable[str] = ()
    ) -> tuple[str, ...]:
        """Those of these people who may still approve a request of this requester, after those who have `approved`.

            >>> Policy(allow_requester_approval=False).able(["bob", "dan", "eve"], Actor("human", "Eve"), ["dan"])
            ('bob',)

        An id that looks like one that has a part in the decision already is of nobody who may.
        """
        barred = {skeleton(each) for each in approved}
        if requester is not None and not self.allow_requester_approval:
            barred.add(skeleton(requester.id))
        named = _folded(self.approvers)
        return tuple(
            each for each in ids if skeleton(each) not in barred and (not named or fold_id(each) in named)
        )

    def accepts_assurance(self, assurance: Assurance | None) -> bool:
        """Whether this assurance of an approver suffices. None, for an old approval, means declared.

        >>> Policy(min_assurance="local").accepts_assurance("signed")
        True
        """
        return self.min_assurance is None or _rank(assurance) >= _rank(self.min_assurance)

    def compile_to_router_request(
        self, goal: str, plan: str | None, adapter_id: str, dry_run: bool
    ) -> dict[str, Any]:
        """The arguments of `router.run`.

            >>> Policy(max_steps=3).compile_to_router_request("Rotate", None, "python:keys", dry_run=True)
            {'goal': 'Rotate', 'adapter_id': 'python:keys', 'dry_run': True, 'max_steps': 3}

        `plan`, `max_steps` and `require_capabilities` are there only when set. Labels are not passed on.
        """
        request: dict[str, Any] = {"goal": goal, "adapter_id": adapter_id, "dry_run": dry_run}
        if plan is not None:
            request["plan"] = plan
        if self.max_steps is not None:
            request["max_steps"] = self.max_steps
        if self.require_adapter_capabilities:
            request["require_capabilities"] = list(self.require_adapter_capabilities)
        return request


@dataclass(frozen=True, slots=True)
class PolicyValidationResult:
    """Whether an execution request satisfies a policy; true when it does.

        >>> bool(PolicyValidationResult(valid=False, errors=["Insufficient approvals: 0 of 1"]))
        False

    `errors` has one sentence for each rule that does not hold.
    """

    valid: bool
    errors: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "errors", tuple(self.errors))

    def __bool__(self) -> bool:
        return self.valid


def validate_execution_request(
    policy: Policy,
    mode: str,
    approval_count: int,
    adapter_capabilities: Iterable[str] | None = None,
    *,
    groups_missing: Mapping[str, int] | None = None,
) -> PolicyValidationResult:
    """Judge mode, approvals and capabilities of one execution.

        >>> validate_execution_request(Policy(2), "dry_run", approval_count=1).errors
        ('Insufficient approvals: 1 of 2',)

    `groups_missing` is how many more approvals each group of `required_from` needs: {} where it needs no more. Unknown
    capabilities (None) satisfy no requirement, nor do unknown groups.
    """
    errors: list[str] = []
    if not policy.allows_mode(mode):
        errors.append(f"Mode {mode!r:.40} is not allowed; allowed are {', '.join(policy.allowed_modes)}")
    if approval_count < policy.min_approvals:
        errors.append(f"Insufficient approvals: {approval_count} of {policy.min_approvals}")
    if missing_slots := policy.required_from and (
        policy.required_from if groups_missing is None else groups_missing
    ):
        errors.append(f"Approvals of groups are missing: {slot_words(missing_slots)}")
    if missing := missing_capabilities(policy, adapter_capabilities):
        errors.append(f"The adapter is missing required capabilities: {', '.join(missing)}")
    return PolicyValidationResult(valid=not errors, errors=errors)


def missing_capabilities(policy: Policy, present: Iterable[str] | None) -> tuple[str, ...]:
    """The required capabilities that are not known to be present, sorted."""
    return tuple(sorted(set(policy.require_adapter_capabilities) - set(present or ())))


def require_no_weaker(template: Policy, policy: Policy) -> None:
    """Raises TEMPLATE_WEAKENED, which names each field in which `policy` demands less than `template`."""
    if weakened := weaker_fields(template, policy):
        raise NexusControlError(
            ErrorCode.TEMPLATE_WEAKENED,
            f"The template may only be tightened; weaker here: {', '.join(weakened)}",
            {"fields": weakened},
        )


def weaker_fields(template: Policy, policy: Policy) -> list[str]:
    """The fields in which `policy` demands less than `template`."""
    return [field for field, is_weaker in WEAKENINGS.items() if is_weaker(template, policy)]


_ItemT = TypeVar("_ItemT")


def _listed(name: str, values: Sequence[_ItemT]) -> tuple[_ItemT, ...]:
    if isinstance(values, str):
        raise ValueError(f"{name} must be a list of texts")
    return tuple(values)


def _rehearsal(given: object) -> RequiredRehearsal | None:
    if given is None:
        return None
    if isinstance(given, RequiredRehearsal):
        fields = encode(given)
    elif isinstance(given, Mapping):
        fields = dict(cast("Mapping[str, object]", given))
    else:
        raise ValueError('require_rehearsal must be an object such as {"max_age_seconds": 3600}')
    return decode(RequiredRehearsal, fields, where="require_rehearsal", code=ErrorCode.INVALID_ARGUMENT)


@lru_cache
def _folded(approvers: tuple[str, ...]) -> frozenset[str]:
    return frozenset(fold_id(approver) for approver in approvers)


WEAKENINGS: dict[str, Callable[[Policy, Policy], bool]] = {
    "min_approvals": lambda old, new: new.min_approvals < old.min_approvals,
    "allowed_modes": lambda old, new: not set(new.allowed_modes) <= set(old.allowed_modes),
    "require_adapter_capabilities": lambda old, new: (
        not set(new.require_adapter_capabilities) >= set(old.require_adapter_capabilities)
    ),
    "max_steps": lambda old, new: (
        old.max_steps is not None and (new.max_steps is None or new.max_steps > old.max_steps)
    ),
    "approvers": lambda old, new: (
        bool(old.approvers) and not (new.approvers and _folded(new.approvers) <= _folded(old.approvers))
    ),
    "allow_requester_approval": lambda old, new: (
        new.allow_requester_approval and not old.allow_requester_approval
    ),
    "min_assurance": lambda old, new: (
        old.min_assurance is not None
        and (new.min_assurance is None or _rank(new.min_assurance) < _rank(old.min_assurance))
    ),
    # Where a rehearsal is required, nobody approves it: to demand one lets more run unapproved.
    "require_rehearsal": lambda old, new: (
        (old.require_rehearsal is None) != (new.require_rehearsal is None)
        or (
            old.require_rehearsal is not None
            and new.require_rehearsal is not None
            and new.require_rehearsal.max_age_seconds > old.require_rehearsal.max_age_seconds
        )
    ),
    "required_from": lambda old, new: any(
        (new.required_from or {}).get(group, 0) < count for group, count in (old.required_from or {}).items()
    ),
}


def _rank(assurance: Assurance | None) -> int:
    return ASSURANCES.index(assurance or "declared")
