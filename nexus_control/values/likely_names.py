"""The name that somebody may have meant who wrote another, and the names that there are: a problem ends with them."""

from collections.abc import Collection, Iterable, Iterator

MOST_LISTED = 10
"""Of the names that a problem lists; it counts the others."""


def unknown_fields(prefix: str, given: Iterable[object], known: Collection[str]) -> Iterator[str]:
    """A problem for each of these names that is not known. `prefix` is the path of their record, with a dot.

    >>> list(unknown_fields("rules[0].", ["tol", "verdict"], ["tool", "verdict"]))
    ["Unknown field: rules[0].tol (did you mean 'tool'?)"]
    """
    unknown = (name for name in given if name not in known)
    yield from (f"Unknown field: {prefix}{name!s:.80}{meant(name, known)}" for name in unknown)


def meant(name: object, known: Iterable[str]) -> str:
    """What a problem with an unknown name ends with; empty where no known name looks like it.

    >>> meant("timeout_secs", ["argv", "timeout_seconds"])
    " (did you mean 'timeout_seconds'?)"

    Only the first 80 characters are looked at, because the name may be of any length.
    """
    from difflib import get_close_matches

    near = get_close_matches(str(name)[:80], sorted(known), 1)
    return f" (did you mean {near[0]!r:.80}?)" if near else ""


def listed(names: Iterable[str], known: Collection[str] = ()) -> str:
    """These names, sorted and at most `MOST_LISTED` of them, each with the known one that may have been meant.

    >>> listed(["status", "deploy"])
    'deploy, status'
    >>> listed(f"m{n:02}" for n in range(12))
    'm00, m01, m02, m03, m04, m05, m06, m07, m08, m09 and 2 more'
    >>> listed(())
    'none'
    """
    given = sorted(names)
    more = f" and {len(given) - MOST_LISTED} more" if len(given) > MOST_LISTED else ""
    return (", ".join(f"{name:.80}{meant(name, known)}" for name in given[:MOST_LISTED]) or "none") + more


def lacking(adapter_id: str, missing: Collection[str], present: Collection[str]) -> str:
    """The problem with an adapter that does not have these capabilities, with those that it has.

    >>> lacking("subprocess:web", ["timeot"], ["dry_run", "timeout"])
    "adapter subprocess:web does not have the capability timeot (did you mean 'timeout'?); it has: dry_run, timeout"
    """
    noun = "capability" if len(missing) == 1 else "capabilities"
    return (
        f"adapter {adapter_id} does not have the {noun} {listed(missing, present)}; it has: {listed(present)}"
    )
