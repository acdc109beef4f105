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
    return _asked(_likely(name, known))


def meant_adapter(given: str, known: Collection[str]) -> str:
    """What a problem with an unknown adapter id ends with. The names are compared: a kind is longer than most names.

    >>> meant_adapter("web", ["subprocess:web"])
    " (did you mean 'subprocess:web'?)"
    >>> meant_adapter("subprocess:other", ["subprocess:web"])
    ''
    """
    names = [each.partition(":")[2] for each in known]
    near = _likely(given.partition(":")[2] or given, names)
    ids = [each for each, name in zip(known, names, strict=True) if name == near]
    return _asked(ids[0]) if len(ids) == 1 else ""


def _likely(name: object, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(str(name)[:80], sorted(known), 1)), None)


def _asked(likely: str | None) -> str:
    return "" if likely is None else f" (did you mean {likely!r:.80}?)"


def bounded_list(names: Iterable[str], known: Collection[str] = ()) -> str:
    """These names, sorted and at most `MOST_LISTED` of them, each with the known one that may have been meant.

    >>> bounded_list(["status", "deploy"])
    'deploy, status'
    >>> bounded_list(f"m{n:02}" for n in range(12))
    'm00, m01, m02, m03, m04, m05, m06, m07, m08, m09 and 2 more'
    >>> bounded_list(())
    'none'
    """
    given = sorted(names)
    more = f" and {len(given) - MOST_LISTED} more" if len(given) > MOST_LISTED else ""
    return (", ".join(f"{name:.80}{meant(name, known)}" for name in given[:MOST_LISTED]) or "none") + more


def without_capabilities(adapter_id: str, missing: Collection[str], present: Collection[str]) -> str:
    """The problem with an adapter that does not have these capabilities, with those that it has.

    >>> without_capabilities("subprocess:web", ["timeot"], ["dry_run", "timeout"])
    "adapter subprocess:web does not have the capability timeot (did you mean 'timeout'?); it has: dry_run, timeout"
    """
    noun = "capability" if len(missing) == 1 else "capabilities"
    lacks, has = bounded_list(missing, present), bounded_list(present)
    return f"adapter {adapter_id} does not have the {noun} {lacks}; it has: {has}"
