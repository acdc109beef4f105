"""The rule book at a request: it chooses the template, or the request's policy is no weaker than what the rules demand.

    rules:    tool = "keys"  →  template = "two-people"
    request:  a step of keys, and no template      its policy is that of two-people
              and min_approvals=3                  two-people, with three approvals
              and min_approvals=1                  TEMPLATE_WEAKENED
              template_name="one-person"           TEMPLATE_WEAKENED, unless one-person is no weaker in any field

A request is judged as it is recorded: with the labels that it gets from its template, and in each mode in which it can
be executed. One for `apply` whose policy allows a dry run too can be rehearsed, so both are judged. One for `dry_run`
is never applied. A template of the rules counts for the mode that needs it: where that is a dry run, it need not allow
`apply`.

Under `require_rehearsal` a request for `apply` is rehearsed before anybody approves it. So a template for the dry run
holds that rehearsal back, unless it has `require_rehearsal` too: then it lets rehearsals run, of whatever age. Where
the template for `apply` demands a rehearsal that the one for the dry run holds back, no policy suits both:
RULES_DISAGREE.

What the rules say now is asked when a request is made, and when a decision that came by import is claimed: in the
transaction of the claim, because another import may have taken the decision's place before. Who wrote a bundle chose
the requester in it, so the rules must let the importer ask for it too. Where groups are configured, the members of
groups that such a decision names must be members here. A request that was made here keeps the policy that it was made
with.
"""

import os
from typing import cast

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.log.projection import Projection
from nexus_control.log.session import ReadSession
from nexus_control.policy import Policy, weaker_fields
from nexus_control.rules.book import Mode, RuleBook, name_of
from nexus_control.rules.conditions import undecided
from nexus_control.rules.reading import read_rules
from nexus_control.rules.requests import Asked, Ruling
from nexus_control.store import DecisionStore
from nexus_control.template import Template
from nexus_control.usecases.arguments import RequestArguments, TemplateCreateArguments
from nexus_control.usecases.grouping import strangers
from nexus_control.values.actors import Actor
from nexus_control.values.executions import Created
from nexus_control.values.payloads import DecisionCreatedPayload, PolicyAttachedPayload

_NAMED = 8


def book_from(rules: object) -> RuleBook | None:
    """The rule book that an embedder gives: as it is, or by the path of its file. Raises INVALID_ARGUMENT for something
    else, and what `read_rules` raises.
    """
    if rules is None or isinstance(rules, RuleBook):
        return rules
    if isinstance(rules, str | os.PathLike):
        return read_rules(cast("str | os.PathLike[str]", rules))
    raise invalid_argument("rules", "must be a rule book (read_rules), or the path of a file that has one")


def template_by_rules(
    store: DecisionStore, rules: RuleBook | None, arguments: RequestArguments
) -> Template | None:
    """The template for a request that names none; None where the rules demand none. Raises RULE_UNDECIDED,
    RULES_DISAGREE, TEMPLATE_NOT_FOUND.
    """
    if rules is None or arguments.template_name is not None:
        return None
    asked = Asked(
        plan=arguments.plan,
        adapter_id=arguments.adapter_id,
        requester=str(arguments.actor),
        labels=tuple(arguments.labels or ()),
    )
    ruling = asked.ruling(rules, arguments.mode)
    if ruling.template is None:
        return None
    with store.reading() as session:
        return _demanded(session, ruling, ruling.template)


def require_as_ruled(
    session: ReadSession,
    rules: RuleBook,
    created: DecisionCreatedPayload | Created,
    attached: PolicyAttachedPayload,
    requester: Actor,
) -> None:
    """Returns where the rules let this request be made under this policy. Raises DENIED_BY_RULE, TEMPLATE_WEAKENED,
    RULE_UNDECIDED, RULES_DISAGREE, and TEMPLATE_NOT_FOUND for a template of the rules that the store does not have.
    """
    policy, mode = Policy.of(attached), created.requested_mode
    of_apply: Template | None = None
    asked = Asked(
        plan=created.plan,
        adapter_id=attached.adapter_id,
        requester=str(requester),
        labels=created.labels,
    )
    modes: tuple[Mode, ...] = ("dry_run",) if mode == "dry_run" else ("apply", "dry_run")
    for each in modes:
        if not policy.allows_mode(each):
            continue
        ruling = asked.ruling(rules, each)
        if ruling.verdict == "deny":
            raise _denied(ruling, each, mode, policy)
        if ruling.template is None:
            continue
        template = _demanded(session, ruling, ruling.template)
        if each == mode:
            of_apply, here = template, policy
        else:
            here = _as_rehearsed(policy, template, of_apply, ruling)
        _require_no_weaker(template, here, ruling, each)


def require_importable(
    store: DecisionStore, session: ReadSession, rules: RuleBook | None, decision: Projection
) -> None:
    """Returns where a decision was made here, or the rules would let it be requested here as it was imported: by its
    requester and by its importer. The members of its groups must be members here. Raises as `require_as_ruled`.
    """
    created, attached = decision.facts.created, decision.facts.attached
    if not decision.imported_count or created is None or attached is None:
        return
    importer = decision.provenance and decision.provenance.imported_by
    if rules is not None:
        for each in (created.requester, importer or _importer_of_no_matter(rules, created.requester)):
            require_as_ruled(session, rules, created, attached, each)
    others = strangers(store, attached.approver_groups or {})
    if others and (rules is not None or store.groups):
        raise NexusControlError(
            ErrorCode.TEMPLATE_WEAKENED,
            f"It came by import, and names members of groups who are none here: {', '.join(others[:_NAMED])}",
            {"fields": ["approver_groups"], "members": others},
            "Make a new request here: the members of the groups are those of this configuration then.",
        )


def _importer_of_no_matter(rules: RuleBook, requester: Actor) -> Actor:
    """The requester, in the place of an importer who is not known. Raises RULE_UNDECIDED where a rule asks who asks."""
    for number, rule in enumerate(rules.rules):
        if rule.requester is not None:
            fault = undecided(
                name_of(number), "requester", "it came by import, and who imported it is not known"
            )
            fault.next = "Make a new request here."
            raise fault
    return requester


def require_not_of_the_rules(rules: RuleBook | None, arguments: TemplateCreateArguments) -> None:
    """Returns for a template on which no rule relies. Whom the rules hold must not say what their templates demand."""
    if rules is not None and arguments.name in rules.templates:
        fault = invalid_argument(
            "name", f"is {arguments.name!r:.80}, a template of the rules: only people create it"
        )
        fault.next = (
            "Tell the owner of the rules that the template is missing, or create one of another name."
        )
        raise fault


def _demanded(session: ReadSession, ruling: Ruling, name: str) -> Template:
    template = session.find_template(name)
    if template is None:
        raise NexusControlError(
            ErrorCode.TEMPLATE_NOT_FOUND,
            f"The rules demand the template {name!r:.80} ({ruling.because}), and the store has none of that name",
            {"template_name": name[:80], "decided_by": ruling.because},
            "Tell the owner of the rules, who creates the template; until then nobody can ask for this.",
        )
    return template


def _as_rehearsed(policy: Policy, template: Template, of_apply: Template | None, ruling: Ruling) -> Policy:
    """What the policy of a request for `apply` demands of its dry run, to be compared with the template for that: it
    keeps `require_rehearsal` only where the template holds back what nobody approved. Raises RULES_DISAGREE where the
    template that the rules demand for `apply` leaves no choice.
    """
    dry_run = policy.overridden({"allowed_modes": ("dry_run",)})
    lets_rehearse = template.policy.require_rehearsal
    if policy.require_rehearsal is None or lets_rehearse is not None:
        return dry_run.overridden({"require_rehearsal": lets_rehearse})
    if of_apply is not None and of_apply.policy.require_rehearsal is not None:
        raise NexusControlError(
            ErrorCode.RULES_DISAGREE,
            f"For apply the rules demand the template {of_apply.name!r:.80}, under which a rehearsal runs before"
            f" anybody approves it; for the dry run {template.name!r:.80}, which holds it back until people approve"
            f" ({ruling.because})",
            {"templates": [of_apply.name, template.name], "decided_by": ruling.because},
            f"Tell the owner of the rules: with require_rehearsal in {template.name!r:.80}, too, rehearsals run; or let"
            " a rule allow the dry run.",
        )
    return dry_run


def _denied(ruling: Ruling, judged: Mode, asked: Mode, policy: Policy) -> NexusControlError:
    fault = NexusControlError(
        ErrorCode.DENIED_BY_RULE,
        f"The rules deny this request in the mode {judged} ({ruling.because})",
        {"decided_by": ruling.because, "mode": judged},
    )
    if judged != asked and policy.require_rehearsal is not None:
        fault.next = (
            "Its policy requires a rehearsal, which is a dry run: ask without require_rehearsal. If the template of the"
            " rules has it, tell their owner."
        )
    elif judged != asked:
        fault.next = (
            f'Its policy lets it be executed in the mode {judged}, too: ask with allowed_modes ["{asked}"].'
        )
    return fault


def _require_no_weaker(template: Template, policy: Policy, ruling: Ruling, mode: Mode) -> None:
    if weaker := weaker_fields(template.policy, policy):
        raise NexusControlError(
            ErrorCode.TEMPLATE_WEAKENED,
            f"In the mode {mode} the rules demand the template {template.name!r:.80} ({ruling.because}); weaker here:"
            f" {', '.join(weaker)}",
            {
                "fields": weaker,
                "template_name": template.name,
                "decided_by": ruling.because,
                "mode": mode,
            },
            "Ask without a template and without these fields: the template of the rules then applies by itself. Or make"
            " these fields no weaker than the template's.",
        )
