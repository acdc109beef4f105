"""An office whose approvers decide in the browser: a real inbox process, and the pages and posts of its readers."""

import base64
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from nexus_control import NexusControlTools
from nexus_control.evidence.formats.passkeys import allowed_signers_line
from nexus_control.evidence.formats.ssh_keys import parse_ssh_public_key
from tests.cli.office import Office
from tests.cli.running import environment
from tests.evidence.ssh import NAMESPACE, to_sign
from tests.support.governed import data_of
from tests.support.passkey import Passkey, Response

_LONGEST = 60


@dataclass(frozen=True)
class Answer:
    """What the inbox answered."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def error(self) -> dict[str, Any]:
        """Of a refusal that was asked for as JSON."""
        return json.loads(self.text)["error"]


@dataclass(frozen=True)
class House:
    """`origin` is where browsers find the inbox, and `token` is what its readers have in their addresses."""

    office: Office
    origin: str
    token: str

    def address(self, path: str, person: str = "", **query: str) -> str:
        given = {"token": self.token, "as": person, **query}
        return f"{self.origin}{quote(path)}?{urlencode({name: text for name, text in given.items() if text})}"

    @property
    def trusted(self) -> tuple[str, ...]:
        """The options that say whose verdicts count."""
        return ("--allowed-signers", str(self.office.signers), "--origin", self.origin)

    @property
    def tools(self) -> NexusControlTools:
        """The owner's."""
        return NexusControlTools(
            db_path=self.office.database,
            allowed_signers=self.office.signers,
            passkey_origins=[self.origin],
        )

    def trust(self, person: str, line: str) -> None:
        """The owner adds this public key of a person."""
        added = allowed_signers_line(person, parse_ssh_public_key(line), NAMESPACE)
        with self.office.signers.open("a") as file:
            file.write(f"{added}\n")

    def get(self, path: str, person: str = "") -> Answer:
        return _answer(urllib.request.Request(self.address(path, person)))

    def post(
        self, path: str, body: object, *, person: str = "", accept: str = "application/json", **headers: str
    ) -> Answer:
        """A POST as the script sends it; the body is JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        known = {"Origin": self.origin, "Content-Type": "application/json", "Accept": accept, **headers}
        return _answer(urllib.request.Request(self.address(path, person), content, known, method="POST"))

    def form(self, request_id: str, person: str, verdict: str) -> dict[str, str]:
        """The hidden fields of the form for this verdict, on the page of the request."""
        page = self.get(f"/requests/{request_id}", person).text
        found = re.search(rf'<form [^>]*action="[^"]*/{verdict}\?[^"]*".*?</form>', page, re.DOTALL)
        assert found is not None, page
        fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', found[0])
        return {name: unescape(value) for name, value in fields}

    def signed(self, form: Mapping[str, str], passkey: Passkey, **options: Any) -> dict[str, Any]:
        """The body of a verdict that this passkey signs."""
        given: dict[str, Any] = {"origin": self.origin, **options}
        made = passkey.asserted(to_sign(form["statement"].encode()), **given)
        return {**form, "assertion": spelled(made)}


def spelled(made: Response) -> dict[str, str]:
    """An assertion as the script sends it."""
    return {
        "authenticator_data": base64url(made.authenticator_data),
        "client_data": base64url(made.client_data_json),
        "signature": base64url(made.signature),
    }


def base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


class _Unled(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Unled, urllib.request.ProxyHandler({}))


def _answer(request: urllib.request.Request) -> Answer:
    """The answer itself, whatever its status: a redirection is not followed."""
    try:
        with _OPENER.open(request, timeout=_LONGEST) as response:
            return Answer(response.status, dict(response.headers), response.read().decode())
    except urllib.error.HTTPError as refused:
        with refused:
            return Answer(refused.code, dict(refused.headers), refused.read().decode())


@contextmanager
def open_house(folder: Path) -> Generator[House]:
    """An office in this folder, and its inbox, which is ended in the end."""
    office = Office(folder)
    listed = data_of(NexusControlTools(db_path=office.database).list_requests())  # makes the store
    assert listed["requests"] == []
    words = ["inbox", "--listen", "127.0.0.1:0", "--db", office.database]
    with subprocess.Popen(
        [sys.executable, "-m", "nexus_control", *words, "--allowed-signers", str(office.signers)],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"(http://localhost:\d+)/\?token=(\S+)", process.stdout.readline())
            assert found is not None
            yield House(office, found[1], found[2])
        finally:
            process.terminate()
