"""Promises of every router: of `run`, its answers and exceptions, and of the capabilities."""

import json
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from typing import cast
from unittest import SkipTest

from nexus_control.errors import NexusControlError
from nexus_control.execution.contract.trial import (
    UNKNOWN_ADAPTER,
    Attempt,
    Trial,
    attempt,
    counted,
    given,
    keep,
)
from nexus_control.execution.router import REFUSALS
from nexus_control.execution.signs import fault_in

THREADS = 4


def a_run_that_went_well_is_told_as_completed(trial: Trial) -> None:
    tried = attempt(trial, trial.make_router(), trial.works)
    told = tried.error is None and (tried.outcome == "completed" or tried.run_id is None)
    keep(told, tried.seen, 'Answer "status": "completed" for a run that went well, and no sign of failure.')


def a_run_has_its_effect_once(trial: Trial) -> None:
    tried = attempt(trial, trial.make_router(), trial.works)
    keep(tried.effects == 1, f"`works` had {counted(tried.effects)}", "A run carries its plan out once.")


def an_answer_names_its_run(trial: Trial) -> None:
    router = trial.make_router()
    first, second = (attempt(trial, router, trial.works) for _ in range(2))
    mend = "Answer `run_id`: printable text of at most 256 characters, another for each run."
    for tried in (first, second):
        keep(tried.error is not None or tried.run_id is not None, tried.seen, mend)
    keep(first.run_id is None or first.run_id != second.run_id, f"two runs are both {first.run_id!r}", mend)


def an_answer_counts_its_steps(trial: Trial) -> None:
    tried = attempt(trial, trial.make_router(), trial.works)
    counted = tried.error is not None or tried.report.steps_executed > 0
    keep(counted, tried.seen, "Answer `steps_executed`, an integer: how many steps were run.")


def an_answer_is_json(trial: Trial) -> None:
    tried = attempt(trial, trial.make_router(), trial.works)
    keep(_is_json(tried.answer), f"the answer is {tried.answer!r:.300}", "Answer plain JSON values only.")


def _is_json(answer: object) -> bool:
    try:
        return json.loads(json.dumps(answer, allow_nan=False)) == answer
    except (TypeError, ValueError, RecursionError):
        return False


def a_failed_run_is_told_as_failed(trial: Trial) -> None:
    """An exception would be recorded as a failure, too, but without the run's id."""
    tried = attempt(trial, trial.make_router(), trial.fails)
    told = tried.error is None and fault_in(tried.answer) is not None
    keep(told, tried.seen, 'For a failed run answer "status": "failed" and an "error", with the run id.')


def a_failed_run_is_named(trial: Trial) -> None:
    tried = attempt(trial, trial.make_router(), trial.fails)
    named = tried.error is not None or tried.run_id is not None
    keep(named, tried.seen, "Answer the `run_id` of a failed run, too: people look there for what was done.")


def a_failure_that_claims_no_effect_had_none(trial: Trial) -> None:
    tried = attempt(trial, trial.make_router(), trial.fails)
    kept = tried.report.effect != "none" or tried.effects == 0
    keep(
        kept,
        f"a failed run says that it had no effect, and had {counted(tried.effects)}",
        'Say "effect": "none" only when it is certain: people then try again.',
    )


def a_dry_run_has_no_effect(trial: Trial) -> None:
    tried = attempt(trial, trial.make_router(), trial.works, dry_run=True)
    mend = "With `dry_run` describe the plan, or refuse it with ROUTER_NOT_READY."
    keep(tried.effects == 0, f"a dry run had {counted(tried.effects)}", mend)


def a_dry_run_that_is_offered_ends_well(trial: Trial) -> None:
    router = trial.make_router()
    if "dry_run" not in (router.get_adapter_capabilities(trial.adapter_id) or ()):
        raise SkipTest("the adapter does not offer dry runs")
    tried = attempt(trial, router, trial.works, dry_run=True)
    ended = tried.outcome == "completed" or (tried.error is None and tried.run_id is None)
    keep(
        ended,
        f"the capabilities offer a dry run, and {tried.seen}",
        "Leave `dry_run` out of them, or run it.",
    )


def a_lost_run_is_told_as_unknown(trial: Trial) -> None:
    plan = given(trial.loses, "loses")
    tried = attempt(trial, trial.make_router(), plan)
    mend = "Raise RouterOutcomeUnknown where nobody can tell what was done. A timeout is neither success nor failure."
    keep(tried.outcome == "unknown", tried.seen, mend)


def a_refusal_comes_before_any_effect(trial: Trial) -> None:
    router = trial.make_router()
    for plan in filter(None, (trial.works, trial.fails, trial.loses, trial.refuses)):
        tried = attempt(trial, router, plan)
        mend = "Raise its code before the first step only. After it, answer a failed run."
        keep(not _is_refusal(tried) or tried.effects == 0, f"{tried.seen}, after an effect", mend)


def _is_refusal(tried: Attempt) -> bool:
    return isinstance(tried.error, NexusControlError) and tried.error.code in REFUSALS


def an_unknown_adapter_runs_nothing(trial: Trial) -> None:
    tried = attempt(trial, trial.make_router(), trial.works, adapter_id=UNKNOWN_ADAPTER)
    kept = tried.outcome != "completed" and tried.effects == 0
    mend = "Raise ADAPTER_UNKNOWN: people approved a run through the adapter that was named."
    keep(kept, f"the adapter {UNKNOWN_ADAPTER!r} had {counted(tried.effects)}, and {tried.seen}", mend)


def capabilities_are_a_set_of_words(trial: Trial) -> None:
    known = _capabilities(trial, trial.adapter_id)
    kept = known is None or (isinstance(known, set | frozenset) and _are_words(cast("Set[object]", known)))
    keep(
        kept, f"the capabilities are {known!r:.300}", "Answer a set of words, or None if they are not known."
    )


def _capabilities(trial: Trial, adapter_id: str) -> object:
    return cast("object", trial.make_router().get_adapter_capabilities(adapter_id))


def _are_words(known: Set[object]) -> bool:
    return all(isinstance(word, str) for word in known)


def an_unknown_adapter_has_no_capabilities(trial: Trial) -> None:
    known = _capabilities(trial, UNKNOWN_ADAPTER)
    mend = "Answer None for an adapter that is not there: an empty set says that it is."
    keep(known is None, f"the capabilities of {UNKNOWN_ADAPTER!r} are {known!r:.300}", mend)


def a_plan_beyond_the_limit_runs_nothing(trial: Trial) -> None:
    router = trial.make_router()
    steps = attempt(trial, router, trial.works).report.steps_executed
    if steps < 2:
        raise SkipTest("`works` has no two steps")
    tried = attempt(trial, router, trial.works, max_steps=steps - 1)
    kept = tried.outcome != "completed" and tried.effects == 0
    mend = "Raise PLAN_INVALID for a plan with more than `max_steps` steps, before the first one."
    keep(
        kept,
        f"{steps} steps where {steps - 1} are allowed had {counted(tried.effects)}, and {tried.seen}",
        mend,
    )


def runs_at_once_are_told_apart(trial: Trial) -> None:
    router, before = trial.make_router(), trial.effects()
    with ThreadPoolExecutor(THREADS) as threads:
        begun = [threads.submit(attempt, trial, router, trial.works) for _ in range(THREADS)]
        tried = [each.result() for each in begun]
    mend = "`run` is called from several threads: keep what belongs to a run in that call, or take a lock."
    for each in tried:
        keep(each.error is None, f"of {THREADS} runs at once one failed: {each.seen}", mend)
    ids = {each.run_id for each in tried if each.run_id is not None}
    unnamed = sum(each.run_id is None for each in tried)
    keep(len(ids) + unnamed == THREADS, f"{THREADS} runs at once had the ids {sorted(ids)}", mend)
    effects = trial.effects() - before
    keep(effects == THREADS, f"{THREADS} runs at once had {counted(effects)}", mend)


PROMISES = (
    a_run_that_went_well_is_told_as_completed,
    a_run_has_its_effect_once,
    an_answer_names_its_run,
    an_answer_counts_its_steps,
    an_answer_is_json,
    a_failed_run_is_told_as_failed,
    a_failed_run_is_named,
    a_failure_that_claims_no_effect_had_none,
    a_dry_run_has_no_effect,
    a_dry_run_that_is_offered_ends_well,
    a_lost_run_is_told_as_unknown,
    a_refusal_comes_before_any_effect,
    an_unknown_adapter_runs_nothing,
    capabilities_are_a_set_of_words,
    an_unknown_adapter_has_no_capabilities,
    a_plan_beyond_the_limit_runs_nothing,
    runs_at_once_are_told_apart,
)
