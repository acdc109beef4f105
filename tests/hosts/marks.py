"""When a test of a real host runs: in `make joints`, and where the host is installed."""

import os

import pytest

from tests.support.amounts import IN_FULL


def needs_host(why_missing: str | None) -> list[pytest.MarkDecorator]:
    """The marks of a module. In CI the hosts are installed: there a missing one is a failure, not a skip."""
    return [
        pytest.mark.skipif(not IN_FULL, reason="runs a real agent host: make joints"),
        pytest.mark.skipif(why_missing is not None and "CI" not in os.environ, reason=why_missing or ""),
    ]
