"""The name that somebody may have meant who wrote another: a problem ends with it."""

from collections.abc import Iterable


def unknown_field(prefix: str, name: object, known: Iterable[str]) -> str:
    """The problem with a field that there is not. `prefix` is the path of its record, with a dot.

    >>> unknown_field("rules[0].", "tol", ["tool", "verdict"])
    "Unknown field: rules[0].tol (did you mean 'tool'?)"
    """
    return f"Unknown field: {prefix}{name!s:.80}{meant(name, known)}"


def meant(name: object, known: Iterable[str]) -> str:
    """What a problem with an unknown name ends with; empty where no known name looks like it.

    >>> meant("timeout_secs", ["argv", "timeout_seconds"])
    " (did you mean 'timeout_seconds'?)"

    Only the first 80 characters are looked at, because the name may be of any length.
    """
    from difflib import get_close_matches

    near = get_close_matches(str(name)[:80], sorted(known), 1)
    return f" (did you mean {near[0]!r:.80}?)" if near else ""
