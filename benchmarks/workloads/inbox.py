"""The inbox's list of the largest store, beside the call that it is made from, with as many lines."""

import asyncio
from collections.abc import Generator, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from benchmarks.fixtures import copy_of
from benchmarks.people import opened
from benchmarks.results import Outcome
from benchmarks.timing import in_turns
from benchmarks.workloads import Setting
from nexus_control.web import create_app

LINES: Final = 50
TOKEN: Final = "a-token-of-a-benchmark"
HEAD: Final[dict[str, Any]] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "root_path": "",
    "query_string": f"token={TOKEN}".encode(),
    "headers": [(b"host", b"localhost:8737")],
}


def run(setting: Setting) -> Outcome:
    database = copy_of(setting.fixtures, f"decisions-{setting.sizes.decisions[-1]}", setting.folder)
    with opened(database) as tools, _loop() as loop:
        app = create_app(
            tools.store,
            origins=["http://localhost:8737"],
            rp_id="localhost",
            reader_token=TOKEN,
            may_decide=False,
        )

        def page(path: str) -> bytes:
            return asyncio.run_coroutine_threadsafe(_body(app, path), loop).result()

        full = page("/history").count(b"<li>") == page("/").count(b"<li>") == LINES
        timed = in_turns(
            {
                "history_page": lambda: page("/history"),
                "history_list": lambda: tools.list_requests(limit=LINES).data,
                "waiting_page": lambda: page("/"),
                "waiting_list": lambda: tools.list_requests(limit=LINES, state="pending_approval").data,
            },
            setting.sizes.seconds / 2,
        )
    metrics = {f"{name}_ms": each.milliseconds for name, each in timed.items()}
    return Outcome(metrics=metrics | {"check_pages_are_full": float(full)})


@contextmanager
def _loop() -> Generator[asyncio.AbstractEventLoop]:
    """A loop that goes on, as a server's does, so that its threads are kept from one page to the next."""
    begun, ended = Future[asyncio.AbstractEventLoop](), asyncio.Event()

    async def serve() -> None:
        begun.set_result(asyncio.get_running_loop())
        await ended.wait()

    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(asyncio.run, serve())
        loop = begun.result()
        try:
            yield loop
        finally:
            loop.call_soon_threadsafe(ended.set)
            serving.result()


async def _body(app: Any, path: str) -> bytes:
    parts = list[bytes]()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        parts.append(message.get("body", b""))

    await app({**HEAD, "path": path, "raw_path": path.encode()}, receive, send)
    return b"".join(parts)
