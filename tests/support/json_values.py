"""Hypothesis strategies for JSON values inside the canonical domain."""

from hypothesis import strategies as st

from nexus_control.canonical_json import MAX_SAFE_INTEGER

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BMP_TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=20)
SAFE_INTEGERS = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)


def json_values(keys: st.SearchStrategy[str] = TEXT) -> st.SearchStrategy[object]:
    """Null, booleans, safe integers, text, lists and objects with these keys."""
    scalars: st.SearchStrategy[object] = st.none() | st.booleans() | SAFE_INTEGERS | TEXT
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
        max_leaves=20,
    )
