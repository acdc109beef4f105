"""The inbox's pages at another address: what a page of another origin, or one without TLS, can do with passkeys."""

import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.web.house import House

FRAME = "/frame?"


@contextmanager
def elsewhere(house: House) -> Generator[int]:
    """The port of a server that gives each page of the inbox as its own; and below `FRAME` a page that frames one."""

    class Copying(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith(FRAME):
                framed = f"{house.origin}{self.path.removeprefix(FRAME)}".replace("&", "&amp;")
                allowed = "publickey-credentials-get; publickey-credentials-create"
                page = (
                    f'<!doctype html><title>A frame</title><iframe src="{framed}" allow="{allowed}"></iframe>'
                )
                content, media = page.encode(), "text/html"
            else:
                with urllib.request.urlopen(f"{house.origin}{self.path}", timeout=60) as response:
                    content, media = response.read(), response.headers["content-type"]
            self.send_response(200)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Copying) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            serving.join()
