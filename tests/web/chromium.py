"""A real headless Chromium with virtual passkeys, driven over its DevTools pipe: JSON messages that end with NUL.

A page has a context of its own, so that two pages are two people's browsers: neither sees the other's passkeys or
storage. Nothing leaves the machine: every name but localhost is unknown to this browser.
"""

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.render import browser as reports

FLAGS = (
    *reports.FLAGS,
    "--remote-debugging-pipe",
    "--host-resolver-rules=MAP insecure.test 127.0.0.1 , MAP * ~NOTFOUND ,"
    " EXCLUDE localhost , EXCLUDE *.localhost , EXCLUDE 127.0.0.1",
)
LONGEST = 60
"""Seconds after which what a page was to do is a failure."""
PHONE, TABLET, DESK = 390, 768, 1280
"""Widths, in CSS pixels."""

_KEYS = {
    "Tab": ("Tab", "Tab", 9, ""),
    "Enter": ("Enter", "Enter", 13, "\r"),
    "Space": (" ", "Space", 32, " "),
    "ArrowDown": ("ArrowDown", "ArrowDown", 40, ""),
}
_SHIFT = 8
_PASSKEYS = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


class RefusedError(AssertionError):
    """What the browser answered to a command that it refused."""


class Chromium:
    """The browser's process. Events are kept with the page that they are of."""

    def __init__(self, orders: int, answers: int) -> None:
        self._orders = orders
        self._answers = answers
        self._unread = bytearray()
        self._last = 0
        self._pages: dict[str, Page] = {}

    def page(self, *, width: int = DESK, height: int = 900, scheme: str = "light") -> "Page":
        """A new window of a new person, with an authenticator that knows no passkey yet."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session, context)
        for domain in ("Page", "Runtime", "Log", "Audits"):
            page.call(f"{domain}.enable")
        page.show_at(width, height=height, scheme=scheme)
        page.call("WebAuthn.enable")
        page.authenticator = page.call("WebAuthn.addVirtualAuthenticator", options=_PASSKEYS)[
            "authenticatorId"
        ]
        return page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The answer to one command. Raises RefusedError."""
        self._last += 1
        number = self._last
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        unsent = json.dumps(message).encode() + b"\0"
        while unsent:
            unsent = unsent[os.write(self._orders, unsent) :]
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RefusedError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        """The next message; an event is kept, too, with its page."""
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], LONGEST)
            assert ready, f"the browser said nothing for {LONGEST} seconds"
            part = os.read(self._answers, 1 << 20)
            assert part, "the browser has ended"
            self._unread += part
        end = self._unread.index(b"\0")
        message = json.loads(self._unread[:end])
        del self._unread[: end + 1]
        if "method" in message and (page := self._pages.get(message.get("sessionId", ""))):
            page.events.append(message)
        return message


class Page:
    """One person's window."""

    def __init__(self, chromium: Chromium, session: str, context: str) -> None:
        self._chromium = chromium
        self._session = session
        self._context = context
        self.authenticator = ""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._chromium.call(method, self._session, **parameters)

    def show_at(self, width: int, *, height: int = 900, scheme: str = "light") -> None:
        """From now on the window is this wide, and its person prefers "light" or "dark"."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", media="screen", features=[feature])

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded, with all that it needs."""
        self.run("window.left = true")
        went = self.call("Page.navigate", url=url)
        assert "errorText" not in went, (url, went["errorText"])
        self.until("window.left === undefined && document.readyState === 'complete'")

    def run(self, expression: str) -> Any:
        """What this JavaScript is, as JSON; a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    def until(self, condition: str) -> Any:
        """Wait until this JavaScript is true, over any number of pages. Gives what it was."""
        watch = f"""new Promise(given => {{
            const end = performance.now() + 1000;
            const look = () => {{
                let found = null;
                try {{ found = {condition}; }} catch (fault) {{ if (!(fault instanceof TypeError)) throw fault; }}
                if (found || performance.now() > end) given(found); else setTimeout(look, 10);
            }};
            look();
        }})"""
        deadline = time.monotonic() + LONGEST
        while time.monotonic() < deadline:
            try:
                if found := self.run(watch):
                    return found
            except RefusedError as refused:
                if "navigated" not in str(refused) and "context" not in str(refused):
                    raise
        raise AssertionError(f"{condition} did not come true: {self.run('document.body.innerText')}")

    def press(self, key: str, *, shift: bool = False) -> None:
        """One key, as a person presses it."""
        name, code, number, text = _KEYS[key]
        known = {
            "key": name,
            "code": code,
            "windowsVirtualKeyCode": number,
            "modifiers": _SHIFT if shift else 0,
        }
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **known)
        self.call("Input.dispatchKeyEvent", type="keyUp", **known)

    def write(self, text: str) -> None:
        """Text into what has the focus."""
        self.call("Input.insertText", text=text)

    def tab_to(self, selector: str) -> None:
        """Press the tab key until what this selector names has the focus."""
        for _ in range(200):
            self.press("Tab")
            if self.run(f"document.activeElement?.matches({json.dumps(selector)})"):
                return
        raise AssertionError(f"no key leads to {selector}")

    def click(self, selector: str) -> None:
        """A click of the mouse in the middle of what this selector names, once that stays where it is."""
        where = self.until(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: "center", behavior: "instant"}});
            const box = element.getBoundingClientRect();
            const middle = {{x: box.x + box.width / 2, y: box.y + box.height / 2}};
            const before = element.whereItWas;
            element.whereItWas = `${{middle.x}} ${{middle.y}}`;
            const isOnTop = element.contains(document.elementFromPoint(middle.x, middle.y));
            return isOnTop && before === element.whereItWas && middle;
        }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, **where, button="left", clickCount=1)

    def fill(self, selector: str, text: str) -> None:
        """This text in the place of what a field holds."""
        self.until(f"document.querySelector({json.dumps(selector)}) !== null")
        self.run(f"document.querySelector({json.dumps(selector)}).select()")
        self.write(text)

    @property
    def text(self) -> str:
        return self.run("document.body.innerText")

    def screenshot(self, file: Path) -> None:
        """The whole page, however long, as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """What the browser found wrong until now: violations of the policy, faults of scripts, and failed loads."""
        self.run("0")  # what came before this answer is here
        found = [_complaint(each["method"], each["params"]) for each in self.events]
        return [each for each in found if each]

    def close(self) -> None:
        self._chromium.call("Target.disposeBrowserContext", browserContextId=self._context)


def _complaint(method: str, told: dict[str, Any]) -> str | None:
    match method:
        case "Audits.issueAdded" if told["issue"]["code"] == "ContentSecurityPolicyIssue":
            return json.dumps(told["issue"]["details"]["contentSecurityPolicyIssueDetails"])
        case "Runtime.exceptionThrown":
            return json.dumps(told["exceptionDetails"])
        case "Log.entryAdded" if told["entry"]["level"] == "error":
            return json.dumps(told["entry"])
        case _:
            return None


@contextmanager
def open_chromium(folder: Path) -> Generator[Chromium]:
    """A browser with a new profile in `folder`."""
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # Chromium reads descriptor 3 and writes descriptor 4. Copies from 10 on are in the way of neither.
    given = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (theirs_in, theirs_out)]
    os.close(theirs_in)
    os.close(theirs_out)
    moved = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
    words = [
        "bash",
        "-c",
        moved,
        "bash",
        *map(str, given),
        "chromium",
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
    ]
    process = subprocess.Popen(
        words, pass_fds=given, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for each in given:
        os.close(each)
    with process:
        try:
            chromium = Chromium(ours_out, ours_in)
            yield chromium
            chromium.call("Browser.close")
        finally:
            os.close(ours_out)  # the end of its orders ends the browser
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            os.close(ours_in)
