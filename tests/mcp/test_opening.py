"""A client that probes with `server/discover` and then opens with `initialize`, in every order and timing."""

from pathlib import Path
from typing import Any

import pytest

from tests.mcp.by_hand import ENVELOPE, INITIALIZE, Pipes, started

DISCOVER = {"_meta": ENVELOPE}
NOT_OF_THIS_ERA, NO_SUCH_METHOD, INVALID_REQUEST = -32022, -32601, -32600


def notify(server: Pipes, method: str, params: str = "{}") -> None:
    server.write(f'{{"jsonrpc":"2.0","method":"{method}","params":{params}}}'.encode())


def require_served(server: Pipes) -> None:
    """A call of this client's era is served."""
    content = server.answer(server.call("template.list"))["result"]["structuredContent"]
    assert content["count"] == 0


def require_served_legacy(server: Pipes, initialize: int) -> None:
    assert server.answer(initialize)["result"]["protocolVersion"] == INITIALIZE["protocolVersion"]
    notify(server, "notifications/initialized")
    require_served(server)


def discovered(server: Pipes, number: int) -> Any:
    return server.answer(number)["result"]["supportedVersions"]


def test_a_client_that_waits_hears_what_it_discovered_and_goes_on_without_a_handshake(tmp_path: Path) -> None:
    with started(folder=tmp_path, era="auto") as server:
        assert "2026-07-28" in discovered(server, server.send("server/discover", {}))
        assert "2026-07-28" in discovered(server, server.send("server/discover", {}))
        require_served(server)
        assert "2026-07-28" in discovered(server, server.send("server/discover", {}))
        require_served(server)


def test_initialize_after_the_answer_to_discover_opens_a_session_with_a_handshake(tmp_path: Path) -> None:
    with started(folder=tmp_path) as server:
        discovered(server, server.send("server/discover", DISCOVER))
        require_served_legacy(server, server.send("initialize", INITIALIZE))


@pytest.mark.sample(2)
@pytest.mark.parametrize("probes", [1, 2, 20])
def test_initialize_that_overtakes_discover_opens_a_session_with_a_handshake(
    probes: int, tmp_path: Path
) -> None:
    with started(folder=tmp_path) as server:
        asked = [server.send("server/discover", DISCOVER) for _ in range(probes)]
        initialize = server.send("initialize", INITIALIZE)
        require_served_legacy(server, initialize)
        assert all("2026-07-28" in discovered(server, number) for number in asked)


def test_a_client_may_take_its_discover_back_before_it_initializes(tmp_path: Path) -> None:
    with started(folder=tmp_path) as server:
        for _ in range(2):
            number = server.send("server/discover", DISCOVER)
            notify(server, "notifications/cancelled", f'{{"requestId":{number}}}')
        require_served_legacy(server, server.send("initialize", INITIALIZE))


def test_a_discover_that_names_no_version_decides_nothing_either(tmp_path: Path) -> None:
    with started(folder=tmp_path) as server:
        assert server.answer(server.send("server/discover", {}))["error"]["code"] == NO_SUCH_METHOD
        require_served_legacy(server, server.send("initialize", INITIALIZE))


def test_a_line_that_cannot_be_read_decides_nothing(tmp_path: Path) -> None:
    with started(folder=tmp_path, era="auto") as server:
        server.write(b'{"jsonrpc":"2.0","id":1.5,"method":"initialize"}')
        assert server.next_message()["error"]["code"] == INVALID_REQUEST
        require_served(server)


def test_discover_within_a_session_with_a_handshake_is_refused_and_the_session_goes_on(
    tmp_path: Path,
) -> None:
    with started(folder=tmp_path) as server:
        initialize = server.send("initialize", INITIALIZE)
        asked = server.send("server/discover", DISCOVER)
        require_served_legacy(server, initialize)
        assert server.answer(asked)["error"]["code"] == INVALID_REQUEST


def test_initialize_within_a_session_without_a_handshake_is_refused_and_the_session_goes_on(
    tmp_path: Path,
) -> None:
    with started(folder=tmp_path, era="auto") as server:
        require_served(server)
        assert server.answer(server.send("initialize", INITIALIZE))["error"]["code"] == NOT_OF_THIS_ERA
        require_served(server)


def test_a_client_that_only_probes_may_leave(tmp_path: Path) -> None:
    with started(folder=tmp_path, era="auto") as server:
        server.send("server/discover", {})
        assert server.end() == 0
    assert (tmp_path / "log").read_text() == ""
