"""The name that somebody may have meant who wrote another: a problem ends with it."""

from collections.abc import Collection, Iterable, Iterator


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
