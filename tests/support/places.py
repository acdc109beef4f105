"""Where things are: the repository, and the vectors that others published."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
VARIABLE = "NEXUS_CONTROL_VECTORS"

PUBLISHED = {
    "rfc6962": "https://github.com/transparency-dev/merkle, folder testdata",
    "rfc8785": "https://github.com/cyberphone/json-canonicalization, folder testdata",
    "wycheproof_ed25519.json": "https://github.com/C2SP/wycheproof, file testvectors_v1/ed25519_test.json",
}
"""What others published, and is not copied into this project; by its name in the folder of vectors.

The first and the last are as they are there. Of the second, `in_x.json` and `out_x.json` are their `input/x.json` and
`output/x.json`.
"""


def vectors_of_others(name: str) -> Path | None:
    """Their file or folder `evidence/NAME` in NEXUS_CONTROL_VECTORS; without it, beside the repository, if it is there.

    A variable that names no folder with these vectors is a mistake, and raises.
    """
    told = os.environ.get(VARIABLE)
    path = (Path(told) if told is not None else REPOSITORY.parent / "shared" / "vectors") / "evidence" / name
    if path.exists():
        return path
    if told is not None:
        raise FileNotFoundError(f"{VARIABLE} is {told!r}, and there is no {path}")
    return None


def require_vectors_of_others(name: str) -> Path:
    """Their file or folder; skips the test where it is not at hand."""
    path = vectors_of_others(name)
    if path is None:
        pytest.skip(why_skipped(name))
    return path


def why_skipped(name: str) -> str:
    return (
        f"needs evidence/{name}, which others published and this project does not copy: "
        f"{PUBLISHED[name]}; {VARIABLE} may name a folder that holds it"
    )
