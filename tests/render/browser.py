"""A real headless Chromium, driven by its chromedriver over the WebDriver protocol (W3C)."""

import base64
import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
A4 = (0, 0, 595, 842)  # in points
HAS_CHROMIUM = shutil.which("chromium") is not None and shutil.which("chromedriver") is not None
# In CI it is installed: there a missing browser is a failure, not a skip.
needs_chromium = pytest.mark.skipif(
    not HAS_CHROMIUM and "CI" not in os.environ, reason="needs Debian's chromium and chromium-driver"
)


class Browser:
    """One window. Sizes are in CSS pixels."""

    def __init__(self, session_url: str) -> None:
        self._url = session_url

    def open(self, page: Path, *, width: int, height: int = 1123, media: str = "screen") -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._devtools("Emulation.setDeviceMetricsOverride", size)
        self._devtools("Emulation.setEmulatedMedia", {"media": media})
        self._call("POST", "url", {"url": page.as_uri()})

    def run(self, script: str) -> Any:
        """What a function with this body returns."""
        return self._call("POST", "execute/sync", {"script": script, "args": []})

    def pages_on_paper(self, page: Path) -> int:
        """How many sheets the page takes as it is printed, with the page's own size of paper.

        In a PDF each sheet is an object `/Type /Page`, and the root of their tree counts them.
        """
        self._devtools("Emulation.clearDeviceMetricsOverride", {})
        self._devtools("Emulation.setEmulatedMedia", {"media": ""})
        self._call("POST", "url", {"url": page.as_uri()})
        printed = self._devtools("Page.printToPDF", {"preferCSSPageSize": True})
        content = base64.b64decode(printed["data"])
        sheets = len(re.findall(rb"/Type\s*/Page\b", content))
        assert max(map(int, re.findall(rb"/Count\s+(\d+)", content))) == sheets
        sizes = re.findall(rb"/MediaBox\s*\[([^]]*)\]", content)
        assert {tuple(round(float(each)) for each in size.split()) for size in sizes} == {A4}
        return sheets

    def close(self) -> None:
        self._call("DELETE", "", None)

    def _devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._call("POST", "goog/cdp/execute", {"cmd": command, "params": parameters})

    def _call(self, method: str, path: str, body: object) -> Any:
        return request(method, f"{self._url}/{path}".rstrip("/"), body)


def request(method: str, url: str, body: object) -> Any:
    data = None if body is None else json.dumps(body).encode()
    sent = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(sent, timeout=240) as answer:
        return json.load(answer)["value"]


@contextmanager
def open_browser(folder: Path) -> Generator[Browser]:
    """A browser with a new profile in `folder`."""
    with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            said = next(line for line in driver.stdout if "successfully" in line)
            found = re.search(r"on port (\d+)", said)
            assert found is not None
            root = f"http://127.0.0.1:{found[1]}/session"
            options = {"args": [*FLAGS, f"--user-data-dir={folder / 'profile'}"]}
            capabilities = {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}
            session = request("POST", root, {"capabilities": capabilities})
            browser = Browser(f"{root}/{session['sessionId']}")
            yield browser
            browser.close()
        finally:
            driver.terminate()
