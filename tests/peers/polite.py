"""Polite peer: an SMTP server that follows the protocol (aiosmtpd), with configurable replies."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclass
class Polite:
    """Stores messages in `letters` as (recipient, octets); `answers` are other replies to RCPT by recipient.

    `at_dot` are replies by recipient to the final dot, `at_mail` one reply to every MAIL; with `smtputf8` the
    reply to the next EHLO has SMTPUTF8.
    """

    answers: Mapping[str, str] = field(default_factory=dict)
    at_dot: Mapping[str, str] = field(default_factory=dict)
    at_mail: str = ""
    password: str = ""
    smtputf8: bool = False
    letters: list[tuple[str, bytes]] = field(default_factory=list)
    options: list[list[str]] = field(default_factory=list)
    connections: int = 0
    logins: list[bool] = field(default_factory=list)
    port: int = 0

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return responses

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.at_mail:
            return self.at_mail
        envelope.mail_from = address
        self.options.append(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        recipient = envelope.rcpt_tos[0]
        if recipient in self.at_dot:
            return self.at_dot[recipient]
        assert isinstance(envelope.original_content, bytes)
        self.letters.append((recipient, envelope.original_content))
        return f"250 2.0.0 Ok: queued as {len(self.letters)}"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = data.password == self.password.encode()
        self.logins.append(good)
        return AuthResult(success=good, handled=False)


@asynccontextmanager
async def polite(
    peer: Polite | None = None,
    *,
    certificate: tuple[Path, Path] | None = None,
    implicit: bool = False,
    smtputf8: bool = False,
    size: int = 33_554_432,
    only: str = "",
) -> AsyncIterator[Polite]:
    """Run a server on a free port of 127.0.0.1; with a certificate it offers STARTTLS, or TLS at once.

    `only` is the one login method that it offers.
    """
    peer = peer or Polite()
    peer.smtputf8 = smtputf8 or peer.smtputf8
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)

    def serve() -> SMTP:
        peer.connections += 1
        return SMTP(
            peer,
            hostname="peer.example",
            data_size_limit=size,
            enable_SMTPUTF8=peer.smtputf8,
            tls_context=None if implicit else context,
            authenticator=peer.authenticate if peer.password else None,
            auth_require_tls=False,
            auth_exclude_mechanism={"PLAIN", "LOGIN"} - {only} if only else None,
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(serve, "127.0.0.1", 0, ssl=context if implicit else None)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
