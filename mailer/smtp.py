"""The one door out: a relay's address, and a connection that hands it one message at a time.

`Connection.send` never raises for what a server does; it answers with an `Outcome`:

    sent         the server took responsibility: 2xx to the final dot
    deferred     not taken, may be tried again: 4xx, or the connection was lost before the final dot
    refused      never taken: 5xx to RCPT, DATA or the final dot, or we refused before sending
    unreachable  the relay itself is the trouble (connect, TLS, login, MAIL): costs the message no attempt
    unknown      the connection was lost after the final dot was written (RFC 1047): nobody can tell

Why the commands are spoken here and not by the library's `sendmail` and `data`: those do not say whether
a lost connection was lost before or after the final dot, use one time limit for both, and on a timeout
close the connection gracefully, which would still deliver the dot. So the library connects, secures,
logs in and reads replies; MAIL, RCPT, DATA and the dot are written here, through its public calls.
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import aiosmtplib

from mailer.outcomes import Outcome, State
from mailer.relay import MESSAGES_PER_CONNECTION, Relay, tls_context

__all__ = ["Connection", "Outcome", "Patience", "Relay"]


CONNECTION_SECONDS = 300.0  # the oldest a connection gets
IDLE_SECONDS = 60.0  # after this pause a new connection is cheaper than finding the old one dead
REPLY_CHARACTERS = 500
ONE_WRITE = 65_536  # octets; a longer message is written and drained first, its final dot alone
DRAIN_PAUSE = 0.005  # seconds between two looks at the write buffer

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f<>\ud800-\udfff]")
_SIZE = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long each answer is waited for, in seconds; the defaults follow RFC 5321, 4.5.3.2."""

    connect: float = 60.0  # until the machine answers, and again until its greeting
    greeting: float = 60.0  # EHLO, STARTTLS and login, each
    command: float = 300.0
    data: float = 120.0
    block: float = 180.0  # without one octet of the message leaving
    final: float = 600.0
    quit: float = 5.0


@dataclass(frozen=True)
class _Answer:
    """A server's reply; `code` is None when there was none, or none that could be understood."""

    code: int | None
    words: str

    @property
    def kind(self) -> int:
        """First digit of the code: 2, 3, 4, 5, or 0 for everything else."""
        return self.code // 100 if self.code is not None and 200 <= self.code < 600 else 0

    def outcome(self, state: State) -> Outcome:
        return Outcome(state=state, code=self.code, reply=self.words)


class Connection:
    """One reused conversation with a relay, opened when first needed and again when it is used up.

    Not for two messages at once. `helo` is the name this machine gives itself; `messages`, `seconds` and
    `idle` limit how long one connection is reused.
    """

    def __init__(
        self,
        relay: Relay,
        *,
        helo: str,
        messages: int = MESSAGES_PER_CONNECTION,
        seconds: float = CONNECTION_SECONDS,
        idle: float = IDLE_SECONDS,
        patience: Patience | None = None,
    ) -> None:
        self.relay = relay
        self.helo = helo
        self.patience = patience or Patience()
        self._limits = (messages, seconds, idle)
        self._client: aiosmtplib.SMTP | None = None
        self.dotted = False  # whether the final dot of the present message may have left
        self._carried = 0
        self._opened = self._used = 0.0

    async def send(
        self,
        *,
        sender: str,
        recipient: str,
        message: bytes,
        deadline: float | None = None,
        before_dot: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Hand over one message (RFC 5322 octets) for one recipient; says what became of it.

        `before_dot` is called right before the final dot is written; when it raises OSError, nothing is sent.

        Lone CR and LF become CRLF, so that no part of the text can be taken for the final dot. When the
        task is cancelled the connection is aborted: a dot not yet written is never written, and neither is
        one after `deadline` (in the loop's time), when somebody else may already have taken the message over.
        """
        self.dotted = False
        for address in (sender, recipient):
            if _FORBIDDEN.search(address) or address.count("@") != 1 or not all(address.split("@")):
                return Outcome(
                    state="refused",
                    reply="Not sent: the address has a character in it that no address can have.",
                )
        text = _stuffed(message)
        try:
            return await self._envelope(
                sender, recipient, len(text), message.isascii()
            ) or await self._hand_over(text, deadline, before_dot)
        except BaseException:
            self.abort()
            raise

    async def close(self) -> None:
        """Say goodbye (QUIT, for a few seconds at most) and close; the next `send` opens anew."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            await client.quit(timeout=self.patience.quit)
        except (aiosmtplib.SMTPException, OSError):
            pass
        finally:
            _abort(client)

    def abort(self) -> None:
        """Drop the connection at once; nothing that waits in its buffer is written any more."""
        client, self._client = self._client, None
        if client is not None:
            _abort(client)

    async def _envelope(self, sender: str, recipient: str, size: int, ascii_only: bool) -> Outcome | None:
        """Everything up to the 354 that asks for the text; the outcome when it stopped earlier."""
        reused = await self._usable()
        while True:
            trouble = None if reused else await self._open()
            if trouble is not None:
                self.abort()
                return trouble
            options, reason = self._options(sender + recipient, size, ascii_only)
            if reason:
                return Outcome(state="refused", reply=reason)
            answer = await self._say(b"MAIL", b"FROM:<" + sender.encode() + b">", *options)
            if answer.kind == 2:
                break
            if not (reused and answer.code in (None, 421)):
                return await self._sender_rejected(answer)
            self.abort()  # the relay had given up an old connection meanwhile: once more, on a new one
            reused = False
        answer = await self._say(b"RCPT", b"TO:<" + recipient.encode() + b">")
        if answer.kind != 2:
            return await self._rejected(answer)
        answer = await self._say(b"DATA", timeout=self.patience.data)
        return None if answer.code == 354 else await self._rejected(answer)

    async def _usable(self) -> bool:
        """Whether the present connection can carry one more message; a used-up one is closed."""
        if self._client is None:
            return False
        messages, seconds, idle = self._limits
        now = asyncio.get_running_loop().time()
        if not self._client.is_connected:
            self.abort()
        elif self._carried >= messages or now - self._opened > seconds or now - self._used > idle:
            await self.close()
        return self._client is not None

    async def _open(self) -> Outcome | None:
        """Connect, secure, log in; what stood in the way, or None."""
        relay, wait = self.relay, self.patience.greeting
        try:
            client = self._client = aiosmtplib.SMTP(
                hostname=relay.host,
                port=relay.port,
                local_hostname=self.helo,
                timeout=wait,
                use_tls=relay.tls == "implicit",
                start_tls=False,
                tls_context=None if relay.tls == "none" else tls_context(relay.verifies, relay.ca_file),
            )
            await client.connect(timeout=self.patience.connect)
            await self._greet(client)
            encrypted = relay.tls == "implicit"
            if relay.tls not in ("none", "implicit"):
                if client.supports_extension("starttls"):
                    await client.starttls()
                    await client.ehlo()
                    encrypted = True
                elif relay.tls != "opportunistic":
                    return _unreachable("The relay does not offer STARTTLS, and tls= asks for it.")
            if relay.username:
                if not (encrypted or relay.loopback):
                    return _unreachable("The relay offers no encryption; the password was not sent.")
                await self._login(client)
        except aiosmtplib.SMTPResponseException as error:
            return Outcome(
                state="unreachable", code=_code(error.code), reply=_clean(relay.scrubbed(error.message))
            )
        except ssl.SSLCertVerificationError as error:
            return _unreachable(f"The relay's certificate was not accepted: {error.verify_message}")
        except (aiosmtplib.SMTPException, OSError, UnicodeError) as error:
            return _unreachable(_clean(relay.scrubbed(str(error))) or "The relay did not answer.")
        self._carried = 0
        self._opened = self._used = asyncio.get_running_loop().time()
        return None

    async def _greet(self, client: aiosmtplib.SMTP) -> None:
        try:
            await client.ehlo()
        except aiosmtplib.SMTPHeloError:
            if not client.is_connected:
                raise
            await client.helo()

    async def _login(self, client: aiosmtplib.SMTP) -> None:
        """One try with the first method both sides know; servers count failures and lock out."""
        name, password = self.relay.username, self.relay.password
        offered = client.server_auth_methods
        if "plain" in offered:
            await client.auth_plain(name, password)
        elif "login" in offered:
            await client.auth_login(name, password)
        elif "cram-md5" in offered:
            await client.auth_crammd5(name, password)
        else:
            raise aiosmtplib.SMTPException("The relay offers no login that this service knows.")

    def _options(self, addresses: str, size: int, ascii_only: bool) -> tuple[list[bytes], str]:
        """What MAIL says about this message to this server, or why it cannot be sent through it."""
        assert self._client is not None
        extensions = self._client.esmtp_extensions
        options = []
        if "size" in extensions:
            limit = extensions["size"].strip()
            if _SIZE.fullmatch(limit) and 0 < int(limit) < size:
                return [], f"Not sent: the message has {size} octets, the relay takes {int(limit)}."
            options.append(b"SIZE=%d" % size)
        if not addresses.isascii():
            if "smtputf8" not in extensions:
                return [], "Not sent: the address has letters outside ASCII, which the relay does not take."
            options.append(b"SMTPUTF8")
        if not ascii_only:
            if "8bitmime" not in extensions:
                return [], "Not sent: the message has 8-bit text, which the relay does not take."
            options.append(b"BODY=8BITMIME")
        return options, ""

    async def _say(self, *words: bytes, timeout: float | None = None) -> _Answer:  # noqa: ASYNC109
        assert self._client is not None
        try:
            answer = await self._client.execute_command(*words, timeout=timeout or self.patience.command)
        except (aiosmtplib.SMTPException, OSError) as error:
            return _Answer(None, _clean(str(error)))
        return _Answer(answer.code, _clean(answer.message))

    async def _sender_rejected(self, answer: _Answer) -> Outcome:
        """MAIL names no recipient yet: the trouble is ours, unless it is the message's size or form."""
        if answer.code == 552 or answer.words.startswith(("5.3.4", "5.6.")):
            return await self._rejected(answer)
        self.abort()
        return answer.outcome("unreachable")

    async def _rejected(self, answer: _Answer) -> Outcome:
        """The message stopped before its text was asked for; leaves the connection clean, or drops it."""
        if answer.kind not in (4, 5):
            self.abort()
            return Outcome(state="deferred", code=_code(answer.code), reply=_before_the_dot(answer.words))
        outcome = answer.outcome("deferred" if answer.kind == 4 else "refused")
        if answer.code == 421 or (await self._say(b"RSET")).kind != 2:
            self.abort()
        return outcome

    async def _hand_over(
        self, message: bytes, deadline: float | None, before_dot: Callable[[], None]
    ) -> Outcome:
        """Write the text and the final dot, and tell the loss of a connection before it from one after."""
        assert self._client is not None
        protocol = self._client.protocol
        try:
            if protocol is None:
                raise aiosmtplib.SMTPServerDisconnected("the connection was lost")
            if len(message) > ONE_WRITE:
                protocol.write(message)
                message = b""
                if not await self._drained():
                    raise aiosmtplib.SMTPServerDisconnected("the connection was lost or stuck")
            if deadline is not None and asyncio.get_running_loop().time() > deadline:
                raise aiosmtplib.SMTPException("the time for this message was over")
            try:
                before_dot()
            except OSError as error:
                self.abort()
                return _unreachable(f"Nothing is sent while the journal cannot be written: {error.strerror}")
            self.dotted = True
            protocol.write(message + b".\r\n")  # raises only when nothing of it was written
        except (aiosmtplib.SMTPException, OSError) as error:
            self.dotted = False
            self.abort()
            return Outcome(state="deferred", reply=_before_the_dot(_clean(str(error))))
        try:
            code, words = await protocol.read_response(timeout=self.patience.final)
        except (aiosmtplib.SMTPException, OSError) as error:
            code, words = 0, str(error)
        answer = _Answer(_code(code), _clean(words))
        self._carried += 1
        self._used = asyncio.get_running_loop().time()
        if answer.kind == 2:
            return answer.outcome("sent")
        if answer.kind not in (4, 5):
            self.abort()
            return Outcome(
                state="unknown",
                code=answer.code,
                reply=f"After the final dot: {answer.words}"[:REPLY_CHARACTERS],
            )
        if answer.code == 421:
            self.abort()
        return answer.outcome("deferred" if answer.kind == 4 else "refused")

    async def _drained(self) -> bool:
        """Wait until the text has left for the network; False when the connection or its patience ended."""
        loop = asyncio.get_running_loop()
        waiting, since = None, loop.time()
        while self._client is not None and self._client.is_connected:
            size = cast(asyncio.WriteTransport, self._client.transport).get_write_buffer_size()
            if size == 0:
                return True
            if size != waiting:
                waiting, since = size, loop.time()
            elif loop.time() - since > self.patience.block:
                return False
            await asyncio.sleep(DRAIN_PAUSE)
        return False


def _abort(client: aiosmtplib.SMTP) -> None:
    transport = client.transport
    if transport is not None:
        cast(asyncio.WriteTransport, transport).abort()
    client.close()


def _unreachable(reason: str) -> Outcome:
    return Outcome(state="unreachable", reply=_clean(reason))


def _before_the_dot(words: str) -> str:
    return f"Before the final dot: {words}"[:REPLY_CHARACTERS]


def _code(code: int | None) -> int | None:
    return code if code is not None and 200 <= code < 600 else None


def _stuffed(message: bytes) -> bytes:
    """The text as it goes over the wire, without the final dot (RFC 5321, 2.3.8 and 4.5.2)."""
    lines = message.splitlines() or [b""]  # at CRLF, CR, LF; twice as fast as looking for a lone one
    lines.append(b"")
    text = b"\r\n".join(lines).replace(b"\r\n.", b"\r\n..")
    return b"." + text if text.startswith(b".") else text


def _clean(words: str) -> str:
    """A server's words on one line: nothing unprintable, no bidi override, at most 500 characters."""
    if not words.isprintable():
        words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return words[:REPLY_CHARACTERS]
