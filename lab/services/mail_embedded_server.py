"""The process of the embedded mail server: aiosmtpd on ports 25, 587 and 465. Started by mail_embedded.py.

Usage: mail_embedded_server.py SETTINGS.json

It imports nothing of the lab, so that it starts quickly and runs wherever aiosmtpd is. `log.jsonl` in its folder
has one object a line: `time_ns` (wall clock), `session` (number), `port`, `peer`, `tls`, `event`, and
  connected · ehlo {name} · starttls_requested · tls_started {version} · auth {mechanism, user, accepted}
  mail {address} · rcpt {address} · delivered {mail, bytes}
  disconnected {cause: "closed" or the text of the error}

Must never: pass mail on to anybody, or listen outside its own network namespace.
Sources: RFC 5321, RFC 3207, RFC 4954; aiosmtpd's documentation of handlers.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import signal
import ssl
import sys
import time
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session, syntax

SMTP_PORT, SMTPS_PORT, SUBMISSION_PORT = 25, 465, 587

_session_numbers = itertools.count(1)
_mail_numbers = itertools.count(1)


class LoggingSMTP(SMTP):
    """One connection, with a line in the log for what aiosmtpd has no hook for."""

    def __init__(self, *, port: int, implicit_tls: bool, handler: Handler, **options: Any) -> None:
        super().__init__(handler, ident="ESMTP", **options)
        self.port = port
        self.implicit_tls = implicit_tls
        self.number = next(_session_numbers)
        self.peer = ""
        self.ended = False

    @property
    def tls(self) -> bool:
        return self.implicit_tls or self._tls_protocol is not None

    def note(self, event: str, **details: object) -> None:
        handler: Handler = self.event_handler
        handler.write_log(
            session=self.number, port=self.port, peer=self.peer, tls=self.tls, event=event, **details
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        first = self.transport is None
        super().connection_made(transport)
        if first:
            self.peer = transport.get_extra_info("peername")[0]
            self.note("connected")
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.note("tls_started", version=tls.version())

    def connection_lost(self, error: Exception | None) -> None:
        # aiosmtpd calls this a second time when the TLS handshake failed.
        if not self.ended:
            self.ended = True
            self.note("disconnected", cause=str(error) if error else "closed")
        super().connection_lost(error)

    @syntax("STARTTLS", when="tls_context")
    async def smtp_STARTTLS(self, arg: str) -> None:
        self.note("starttls_requested")
        if self.event_handler.starttls == "broken":
            await self.push("454 4.7.0 TLS not available due to local problem")
            return
        await super().smtp_STARTTLS(arg)


class Handler:
    """What the server decides: who may log in, which mail it takes, where it is put."""

    def __init__(self, settings: dict[str, Any]) -> None:
        directory = Path(settings["directory"])
        self.mail = directory / "mail"
        self.users: dict[str, str] = settings["users"]
        self.starttls: str = settings["starttls"]
        self.recipients: str = settings["recipients"]
        self.greylist: set[tuple[str, str | None, str]] = set()
        self.own_domains = {domain.lower() for domain in settings["domains"]}
        self.log = (directory / "log.jsonl").open("a", buffering=1)

    def write_log(self, **entry: object) -> None:
        self.log.write(json.dumps({"time_ns": time.time_ns(), **entry}) + "\n")

    def authenticate(
        self, server: LoggingSMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        user, password = data.login.decode(errors="replace"), data.password.decode(errors="replace")
        accepted = self.users.get(user) == password
        server.note("auth", mechanism=mechanism, user=user, accepted=accepted)
        # handled=False lets aiosmtpd send the 535.
        return AuthResult(success=accepted, handled=False, auth_data=data)

    async def handle_EHLO(
        self, server: LoggingSMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        server.note("ehlo", name=hostname)
        if server.port == SMTP_PORT:
            responses = [line for line in responses if not line.startswith("250-AUTH")]
        # As one text, and so one segment, as other servers send it; aiosmtpd would make it a segment a line.
        return ["\r\n".join(responses)]

    async def handle_MAIL(
        self, server: LoggingSMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        server.note("mail", address=address)
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: LoggingSMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        server.note("rcpt", address=address)
        if server.port == SMTP_PORT and address.rpartition("@")[2].lower() not in self.own_domains:
            return "550 5.7.1 Relaying denied"
        if self.recipients == "unknown":
            return f"550 5.1.1 <{address}>: Recipient address rejected: User unknown"
        if self.recipients == "greylisted" and self.turn_away(server.peer, envelope.mail_from, address):
            return "450 4.2.0 Greylisted, please try again later"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    def turn_away(self, peer: str, mail_from: str | None, rcpt_to: str) -> bool:
        """True at the first attempt of a triplet; the next gets through, once."""
        triplet = (peer, mail_from, rcpt_to)
        if triplet in self.greylist:
            self.greylist.remove(triplet)
            return False
        self.greylist.add(triplet)
        return True

    async def handle_DATA(self, server: LoggingSMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        number = next(_mail_numbers)
        login = session.auth_data.login.decode() if isinstance(session.auth_data, LoginPassword) else None
        about = {
            "port": server.port,
            "tls": server.tls,
            "user": login,
            "mail_from": envelope.mail_from,
            "rcpt_tos": envelope.rcpt_tos,
        }
        (self.mail / f"{number:04}.json").write_text(json.dumps(about, indent=1))
        partial = self.mail / f"{number:04}.partial"
        partial.write_bytes(content)
        # Whoever looks for *.eml never finds half a mail, nor one without its envelope.
        partial.rename(partial.with_suffix(".eml"))
        server.note("delivered", mail=f"{number:04}.eml", bytes=len(content))
        return f"250 2.0.0 OK queued as {number:04}"


async def serve(settings: dict[str, Any]) -> None:
    """Listen on the three ports until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings["chain"], settings["key"])
    handler = Handler(settings)
    starttls = None if settings["starttls"] == "absent" else context
    common = {"handler": handler, "hostname": settings["server_name"], "loop": loop}
    submission = {**common, "auth_required": True, "authenticator": handler.authenticate}

    def on_smtp() -> LoggingSMTP:
        return LoggingSMTP(
            port=SMTP_PORT,
            implicit_tls=False,
            tls_context=starttls,
            auth_exclude_mechanism=["LOGIN", "PLAIN"],
            **common,
        )

    def on_submission() -> LoggingSMTP:
        needs_tls = not settings["auth_before_tls"]
        return LoggingSMTP(
            port=SUBMISSION_PORT,
            implicit_tls=False,
            tls_context=starttls,
            auth_require_tls=needs_tls,
            **submission,
        )

    def on_smtps() -> LoggingSMTP:
        # aiosmtpd only knows TLS it started itself, so here it must not ask for it.
        return LoggingSMTP(port=SMTPS_PORT, implicit_tls=True, auth_require_tls=False, **submission)

    await loop.create_server(on_smtp, port=SMTP_PORT)
    await loop.create_server(on_submission, port=SUBMISSION_PORT)
    await loop.create_server(on_smtps, port=SMTPS_PORT, ssl=context)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()


if __name__ == "__main__":
    # aiosmtpd warns of its own Session.login_data at every login; nothing here uses it.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
