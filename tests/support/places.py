"""Where things are: the repository, and the vectors beside it."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def shared_vectors(*parts: str) -> Path:
    """A folder or file of the vectors shared between projects; skips the test where they are not at hand."""
    path = REPOSITORY.parent.joinpath("shared", "vectors", *parts)
    if not path.exists():
        pytest.skip(f"the shared vectors are not beside the repository: {path}", allow_module_level=True)
    return path
