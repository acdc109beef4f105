"""What others published is not copied into the project: where it is not at hand its tests are skipped, and say so."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import places
from tests.support.places import PUBLISHED, REPOSITORY, VARIABLE, require_vectors_of_others

THEIR_TESTS = (
    "tests/evidence/test_keys.py",
    "tests/evidence/test_merkle.py",
    "tests/foundation/test_canonical_json.py",
)
PUBLISHERS = {
    "rfc6962": "transparency-dev/merkle",
    "rfc8785": "cyberphone/json-canonicalization",
    "wycheproof_ed25519.json": "C2SP/wycheproof",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_clone_alone_skips_and_says_whose_vectors_it_wants_and_where_they_are(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(places, "REPOSITORY", tmp_path / "clone")
    with pytest.raises(pytest.skip.Exception) as skipped:
        require_vectors_of_others(name)
    said = str(skipped.value)
    assert all(word in said for word in (name, f"https://github.com/{PUBLISHERS[name]}", VARIABLE)), said


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_variable_names_a_copy(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "evidence" / name
    copy.mkdir(parents=True)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert require_vectors_of_others(name) == copy


def test_a_variable_that_names_no_copy_fails_and_does_not_skip(tmp_path: Path) -> None:
    options = [
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
        "-k",
        "others or rfc_8785_vectors",
    ]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *THEIR_TESTS],
        cwd=REPOSITORY,
        env=os.environ | {VARIABLE: str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout
    summary = ran.stdout.splitlines()[-1]
    assert set(re.findall(r"\d+ (?!deselected)[a-z]+", summary)) == {"7 failed", "1 error"}, summary
    for name in PUBLISHED:
        assert f"{VARIABLE} is '{tmp_path}', and there is no {tmp_path / 'evidence' / name}" in ran.stdout
