"""The form that `static/passkeys.js` sends with what a passkey signed. Without that script it stays hidden."""

from dataclasses import dataclass
from typing import Final, Literal

from nexus_control.evidence.formats.passkeys import Assertion
from nexus_control.render.html import Html
from nexus_control.web.inbox import Inbox
from nexus_control.web.pages import el
from nexus_control.web.posting import octets

SECONDS: Final = 120
"""How long a person is waited for, at each question of their browser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionBody:
    """What a passkey signed and its browser stated; in base64url."""

    authenticator_data: str
    client_data: str
    signature: str

    def decoded(self) -> Assertion:
        """Raises INVALID_ARGUMENT."""
        return Assertion(
            authenticator_data=octets("authenticator_data", self.authenticator_data),
            client_data_json=octets("client_data", self.client_data),
            signature=octets("signature", self.signature),
        )


def passkey_form(
    inbox: Inbox,
    does: Literal["enrol", "sign"],
    action: str,
    *fields: Html,
    button: str,
    namespace: str,
    class_: str | None = None,
    **data: object,
) -> Html:
    """A form whose text is signed in this namespace. `data` are further attributes."""
    return el(
        "div",
        el(
            "form",
            *fields,
            el("button", button, type="submit", class_=class_),
            el("p", role="status", class_="note"),
            el("p", role="alert", class_="problem"),
            method="post",
            action=action,
            hidden=True,
            data_passkey=does,
            data_rp_id=inbox.rp_id,
            data_namespace=namespace,
            data_seconds=SECONDS,
            **data,
        ),
        el(
            "noscript",
            el(
                "p",
                "Passkeys need JavaScript, which is off here. On a command line, nexus-control signs, too.",
            ),
        ),
        class_="passkey",
    )
