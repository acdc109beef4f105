from collections.abc import Generator

import pytest

from tests.web.chromium import Chromium, open_chromium
from tests.web.house import House, open_house


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Generator[Chromium]:
    """One browser for a module: a page of it is a person's own."""
    with open_chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Generator[House]:
    with open_house(tmp_path_factory.mktemp("house")) as opened:
        yield opened
