"""The command `inbox`: it serves the pages on which people read requests and decide them with a passkey.

    --listen 127.0.0.1:8737 (or [::1]:8737)   both addresses are taken, because a browser may use either for localhost
    --listen 10.0.0.5:8737                    only if every origin is https: TLS is the work of a proxy before it

The reader's token is new at each start, or is kept in the file of `--token-file`, which only its owner may read. Then
the address is printed without it where standard output is no terminal: what is printed there is kept in a log.
"""

import errno
import os
import re
import secrets
import socket
import stat
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlencode

import typer

from nexus_control.cli.adapters import config_or_default
from nexus_control.cli.frame import Frame, frame_of, printing, refuse
from nexus_control.cli.loading import load
from nexus_control.cli.options import (
    AdaptersFrom,
    AllowedSigners,
    AsJson,
    Database,
    LogFolder,
    Origins,
    UsualConfig,
)
from nexus_control.cli.settings import ORIGINS_VARIABLE, adapters_file, note
from nexus_control.cli.streams import print_json
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.formats.origins import fits_rp_id
from nexus_control.execution.opening import opened_router
from nexus_control.storage import IN_MEMORY
from nexus_control.storage.faults import is_read_only, is_without_permission
from nexus_control.store import DecisionStore
from nexus_control.system.whole_files import OWNER_ONLY, create_file
from nexus_control.usecases.inbox_settings import InboxSettings, configured_inbox, inbox_settings
from nexus_control.values.results import fault_of

_LOOPBACK: Final = ("127.0.0.1", "::1")
_PLACE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+|localhost)):([0-9]{1,5})", re.ASCII)
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,200}", re.ASCII)
_TOKEN_BYTES: Final = 24
_MOST_TOKEN_FILE: Final = 1_000

Listen = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS:PORT", help="Where to listen. A machine's own address needs a proxy with TLS."
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Keep the reader's token in this file. Default: a new token at each start."
    ),
]


def inbox(
    context: typer.Context,
    listen: Listen = "127.0.0.1:8737",
    origin: Origins = None,
    token_file: TokenFile = None,
    config: UsualConfig = None,
    adapters_from: AdaptersFrom = None,
    allowed_signers: AllowedSigners = None,
    db: Database = None,
    log_folder: LogFolder = None,
    as_json: AsJson = False,
) -> None:
    """Serve the pages on which people read requests and decide them with a passkey.

    Prints the address to open, with the token that reading needs; without it where that is in a file and standard
    output is no terminal. SIGTERM and SIGINT end it.

    Example: nexus-control inbox --db /srv/decisions.db --token-file /srv/inbox.token
    """
    frame = frame_of(
        context,
        db=db,
        log_folder=log_folder,
        as_json=as_json,
        allowed_signers=allowed_signers,
        origin=origin,
        config=config,
    )

    def run() -> None:
        frame.require_place(makes=False)
        with ExitStack() as opened:
            sockets = [opened.enter_context(each) for each in _listening(listen)]
            settings = _settings(frame, sockets)
            _require_tls(listen, sockets, settings)
            _serve(frame, adapters_file(config, adapters_from), settings, token_file, sockets)

    ended = fault_of(run)
    if isinstance(ended, NexusControlError):
        raise refuse(frame, ended)


def _serve(
    frame: Frame,
    adapters: Path | None,
    settings: InboxSettings,
    token_file: Path | None,
    sockets: Sequence[socket.socket],
) -> None:
    token = secrets.token_urlsafe(_TOKEN_BYTES) if token_file is None else _kept(token_file)
    web, serving = load("nexus_control.web"), load("nexus_control.web.serving")
    source = config_or_default(adapters, frame, project=False)
    with (
        replace(frame, named_origins=settings.origins.origins).store() as store,
        opened_router(database=IN_MEMORY, config=source, factory=None) as router,
    ):
        may_write = _may_write(store)
        may_decide = may_write and store.allowed_signers is not None
        app = web.create_app(
            store,
            origins=settings.origins.origins,
            rp_id=settings.rp_id,
            reader_token=token,
            router=router,
            may_decide=may_decide,
        )
        is_told = token_file is None or sys.stdout.isatty()
        address = f"{settings.address}/?{urlencode({'token': token})}" if is_told else f"{settings.address}/"

        def tell() -> None:
            with printing(None):
                if frame.as_json:
                    print_json(_said(address, settings, may_decide))
                else:
                    print(address)
            if not is_told:
                note(f"Add ?token= and the content of {token_file} to this address to open it.")
            if not settings.is_at(heard := sockets[0].getsockname()[1]):
                note(
                    f"It listens at port {heard}, and browsers open {settings.address}, its first origin. For this "
                    f"port name --origin http://localhost:{heard} too."
                )
            if not may_write:
                note("The store is open for reading only, so nothing can be decided here.")
            elif not may_decide:
                note(
                    "No file says whose signatures count, so nothing can be decided here. Name it with "
                    "--allowed-signers, or in the configuration."
                )
            elif frame.named_origins is None and configured_inbox(frame.configuration) is None:
                note(
                    "What is approved here counts only for commands with the option --origin "
                    f"{settings.address}, or where [inbox] origins of the configuration names this origin."
                )

        serving.serve(app, sockets, on_ready=tell)


def _said(address: str, settings: InboxSettings, may_decide: bool) -> dict[str, object]:
    return {
        "address": address,
        "origins": list(settings.origins.origins),
        "rp_id": settings.rp_id,
        "may_decide": may_decide,
    }


def _may_write(store: DecisionStore) -> bool:
    """Whether this process may write the store. Raises STORE_UNAVAILABLE if the store cannot be used at all."""
    try:
        with store.writing() as session:
            session.rows.drop_claim("")  # changes nothing; only a statement that writes shows whether one may
            return True
    except NexusControlError as fault:
        if is_read_only(fault) or is_without_permission(fault) or fault.code is ErrorCode.STORE_MIGRATED:
            return False
        raise


def _settings(frame: Frame, sockets: Sequence[socket.socket]) -> InboxSettings:
    """The named origins, else the configured ones, else localhost at the port that is listened on. A configured RP ID
    is kept for named origins. Raises INVALID_ARGUMENT for origins that it does not fit, and CONFIG_INVALID.
    """
    configured = configured_inbox(frame.configuration)
    if frame.named_origins is None:
        port = sockets[0].getsockname()[1]
        return configured or inbox_settings([f"http://localhost:{port}"])
    rp_id = None if configured is None else configured.rp_id
    for origin in frame.origins:
        if rp_id is not None and not fits_rp_id(origin, rp_id):
            raise invalid_argument(
                "--origin",
                f"(or {ORIGINS_VARIABLE}) names {origin}, whose pages cannot use the passkeys of the configured RP ID "
                f"{rp_id}. Name an origin that it fits, or with --config a file whose [inbox] has another rp_id",
            )
    return inbox_settings(frame.origins, rp_id)


def _require_tls(listen: str, sockets: Sequence[socket.socket], settings: InboxSettings) -> None:
    """Refuse to be reached from other machines without TLS. Raises INVALID_ARGUMENT."""
    if all(ip_address(each.getsockname()[0]).is_loopback for each in sockets):
        return
    plain = [each for each in settings.origins.origins if not each.startswith("https://")]
    if plain:
        raise invalid_argument(
            "--listen",
            f"is {listen}, which other machines reach, and the origin {plain[0]} is not https. Put a proxy with TLS "
            "before the inbox, and name the address of the proxy with --origin",
        )


def _listening(listen: str) -> list[socket.socket]:
    """The sockets that listen there. Raises INVALID_ARGUMENT."""
    matched = _PLACE.fullmatch(listen)
    if matched is None or int(matched[3]) > 65_535:
        raise invalid_argument(
            "--listen", "must be an address and a port, such as 127.0.0.1:8737 or [::1]:8737"
        )
    address, port = matched[1] or matched[2], int(matched[3])
    if address != "localhost" and address not in _LOOPBACK:
        return [_bound(listen, address, port)]
    first = _bound(listen, _LOOPBACK[0], port)
    try:
        return [first, _bound(listen, _LOOPBACK[1], first.getsockname()[1])]
    except _NoSuchAddressError:  # a machine without IPv6
        return [first]
    except NexusControlError:
        first.close()
        raise


class _NoSuchAddressError(Exception):
    """This machine does not have the address."""


def _bound(listen: str, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family)
    except OSError as error:
        if address == "::1" and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise _NoSuchAddressError from None
        if error.errno == errno.EADDRINUSE:
            problem = (
                f"is {listen}, where another program listens already. If it is not an inbox of yours, find out what it"
                " is: it can show pages at the address where people sign"
            )
        else:
            problem = f"is {listen}, which cannot be listened on: {error.strerror}"
        raise invalid_argument("--listen", problem) from None


def _kept(file: Path) -> str:
    """The token in this file, which is made if it is absent. Raises INVALID_ARGUMENT."""
    try:
        create_file(file, f"{secrets.token_urlsafe(_TOKEN_BYTES)}\n".encode(), OWNER_ONLY)
    except FileExistsError:
        pass
    except OSError as error:
        raise invalid_argument("--token-file", f"cannot be made at {file}: {error.strerror}") from None
    try:
        found, content = _opened(file)
    except OSError as error:
        raise invalid_argument("--token-file", f"{file} cannot be read: {error.strerror}") from None
    if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid not in (os.getuid(), 0):
        problem = f"{file} must be readable by you alone: chmod 600 it, and give it a new token"
        raise invalid_argument("--token-file", problem)
    text = content.decode("ascii", "replace").strip()
    if not _TOKEN.fullmatch(text):
        problem = f"{file} must hold a token of 16 to 200 letters, digits, - or _. Remove it to get a new one"
        raise invalid_argument("--token-file", problem)
    return text


def _opened(file: Path) -> tuple[os.stat_result, bytes]:
    """The file that is opened, and the beginning of its content. Raises OSError."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return found, opened.read(_MOST_TOKEN_FILE)
