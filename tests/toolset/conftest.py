from collections.abc import Generator
from pathlib import Path

import pytest

from tests.toolset.bench import Bench, new_bench


@pytest.fixture
def bench(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Generator[Bench]:
    """No call of a test that has it meets a defect of ours, not even one that its answer hides."""
    yield new_bench(tmp_path)
    assert "unexpected fault" not in [each.message for each in caplog.get_records("call")]
