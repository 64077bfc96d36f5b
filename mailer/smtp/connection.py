"""Connection: a reused SMTP connection to a relay, which sends one message at a time.

`SmtpConnection.send` never raises because of a server; it returns an `Outcome`:

    sent         the server took responsibility: 2xx to the final dot
    deferred     not accepted, may be tried again: 4xx, or the connection was lost before the final dot
    refused      never accepted: 5xx to RCPT, DATA or the final dot
    unreachable  the relay itself is at fault (connect, TLS, login, MAIL): costs the message no attempt
    unknown      the connection was lost after the final dot was written (RFC 1047): the result is unknown
    unsupported  the relay cannot carry the message, by its reply to EHLO: the message was not sent

The library's `sendmail` and `data` are not used, because they do not report whether a connection was lost
before or after the final dot, use one timeout for both, close the connection gracefully on a timeout, which
would still deliver the dot, and wait for the reply to each command before the next. So the library connects,
secures and logs in; then mailer/smtp/pipeline.py sends MAIL, RCPT, DATA and the dot on its connection.
"""

import asyncio
import math
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import aiosmtplib

from mailer.reasons import Reason
from mailer.smtp.capabilities import Capabilities
from mailer.smtp.oauth_token import OAuthTokenProvider
from mailer.smtp.outcome import Outcome
from mailer.smtp.pipeline import REPLY_CHARACTERS, Pipeline, Reply, Timeouts, clean
from mailer.smtp.relay_settings import MESSAGES_PER_CONNECTION, Relay, tls_context

__all__ = ["Outcome", "Relay", "SmtpConnection", "Timeouts"]

CONNECTION_SECONDS = 300.0  # the maximum age of a connection
IDLE_SECONDS = 60.0  # after this pause the relay may have closed the connection
ONE_WRITE_OCTETS = 65_536  # a longer message is written and drained first, then its final dot

READY_FOR_DATA = Outcome(state="sent", code=354)  # used only in this file

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f<>\ud800-\udfff]")
INVALID_ADDRESS = "an address has a character in it that no address can have"


class SmtpConnection:
    """One reused connection to a relay, opened when first needed and again when a limit is reached.

    Not for two messages at once. `helo` is the name in EHLO; `messages`, `seconds`, `idle` limit the reuse.
    """

    def __init__(
        self,
        relay: Relay,
        *,
        helo: str,
        messages: int = MESSAGES_PER_CONNECTION,
        seconds: float = CONNECTION_SECONDS,
        idle: float = IDLE_SECONDS,
        timeouts: Timeouts | None = None,
        tokens: OAuthTokenProvider | None = None,
    ) -> None:
        self.relay = relay
        self.helo = helo
        self.timeouts = timeouts or Timeouts()
        self._tokens = tokens
        self._limits = (messages, seconds, idle)
        self._client: aiosmtplib.SMTP | None = None  # while the connection opens
        self._pipeline: Pipeline | None = None
        self._given_up = False
        self._extensions: Mapping[str, str] = {}
        self.capabilities: Capabilities | None = None  # of the last reply; a new object for each
        self.dot_written = False  # whether the present message's dot may have been sent
        self._message_count = 0
        self._opened_at = self._used_at = 0.0

    async def send(
        self,
        *,
        sender: str,
        recipient: str,
        message: bytes,
        may_begin: Callable[[], bool] = lambda: True,
        deadline: Callable[[], float] = lambda: math.inf,
        before_dot: Callable[[], None] = lambda: None,
    ) -> Outcome | None:
        """Send one message (RFC 5322 octets) to one recipient; returns its outcome.

        `may_begin` is called when the connection is ready, right before MAIL is written; when it returns
        False, the message is not begun and this returns None. `before_dot` is called right before the final
        dot is written; when it raises OSError, the message is not sent.

        Lone CR and LF become CRLF, so that no part of the text can be read as the final dot. When the task is
        cancelled the connection is aborted, and a dot not yet written is never written. Neither is one after
        `deadline` (in the loop's time, called right before the dot), when another process may already have
        taken the message over.
        """
        self.dot_written = self._given_up = False
        for address in (sender, recipient):
            if _FORBIDDEN.search(address) or address.count("@") != 1 or not all(address.split("@")):
                return Outcome(state="unsupported", reply=INVALID_ADDRESS)
        text = _dot_stuff(message)
        try:
            outcome = await self._begin_message(sender, recipient, text, may_begin)
            return await self._send_text(text, deadline, before_dot) if outcome == READY_FOR_DATA else outcome
        except BaseException:
            self.abort()
            raise

    async def close(self) -> None:
        """Send QUIT, wait a few seconds at most, and close; the next `send` opens a new connection."""
        if self._pipeline is not None:
            try:
                await self._pipeline.ask(b"QUIT\r\n", self.timeouts.quit)
            finally:
                self.abort()

    def give_up(self) -> bool:
        """End the present message as deferred; False once the dot may be sent, or before any command."""
        if not (self.dot_written or self._given_up or self._pipeline is None):
            self._given_up = True
            self._pipeline.abort()
            return True
        return False

    def abort(self) -> None:
        """Drop the connection at once; octets in its buffer are discarded."""
        pipeline, self._pipeline = self._pipeline, None
        client, self._client = self._client, None
        if pipeline is not None:
            pipeline.abort()
        if client is not None:
            _abort(client)

    async def _begin_message(
        self, sender: str, recipient: str, text: bytes, may_begin: Callable[[], bool]
    ) -> Outcome | None:
        """Do everything up to the reply 354 to DATA; returns READY_FOR_DATA, or the outcome of a failure."""
        is_reused = await self._has_usable_connection()
        while True:
            failure = None if is_reused else await self._open()
            if failure is not None:
                self.abort()
                return failure
            assert self.capabilities is not None
            if limit := self.capabilities.find_limit(sender + recipient, text):
                return Outcome(state="unsupported", limit=limit)
            if not may_begin():
                return None
            options = self._mail_options(sender + recipient, text)
            mail = b" ".join([b"MAIL FROM:<" + sender.encode() + b">", *options])
            notify = b" NOTIFY=FAILURE" if "dsn" in self._extensions else b""
            replies = await self._send_commands(
                mail, b"RCPT TO:<" + recipient.encode() + b">" + notify, b"DATA"
            )
            if self._given_up:
                return self._fail_before_dot("no answer for long, while others waited")
            if not (is_reused and replies[0].code in (None, 421)):
                break
            self.abort()  # the relay had closed the old connection: try once more on a new one
            is_reused = False
        if replies[0].first_digit != 2:
            return await self._handle_sender_rejection(replies)
        if replies[1].first_digit != 2:
            return await self._handle_rejection(replies[1], replies)
        return READY_FOR_DATA if replies[2].code == 354 else await self._handle_rejection(replies[2], replies)

    async def _send_commands(self, *commands: bytes) -> Sequence[Reply]:
        """Send MAIL, RCPT and DATA: all at once where the server supports PIPELINING.

        Otherwise one after the other, as long as each is accepted.
        """
        assert self._pipeline is not None
        timeouts = (self.timeouts.command, self.timeouts.command, self.timeouts.data)
        if "pipelining" in self._extensions:
            return await self._pipeline.ask(b"\r\n".join([*commands, b""]), *timeouts)
        replies: list[Reply] = []
        for command, timeout in zip(commands, timeouts, strict=True):
            replies += await self._pipeline.ask(command + b"\r\n", timeout)
            if replies[-1].first_digit != 2:
                break
        return replies

    async def _has_usable_connection(self) -> bool:
        """Tell whether the present connection can carry one more message; close one at its limit."""
        if self._pipeline is None:
            return False
        messages, seconds, idle = self._limits
        now = asyncio.get_running_loop().time()
        if not self._pipeline.is_open:
            self.abort()
        elif self._message_count >= messages or now - self._opened_at > seconds or now - self._used_at > idle:
            await self.close()
        return self._pipeline is not None

    async def _open(self) -> Outcome | None:
        """Connect, secure, log in; returns the outcome of a failure, or None."""
        relay, timeout = self.relay, self.timeouts.greeting
        try:
            client = self._client = aiosmtplib.SMTP(
                hostname=relay.host,
                port=relay.port,
                local_hostname=self.helo,
                timeout=timeout,
                use_tls=relay.tls == "implicit",
                start_tls=False,
                tls_context=None if relay.tls == "none" else tls_context(relay.verifies, relay.ca_file),
            )
            await client.connect(timeout=self.timeouts.connect)
            await self._greet(client)
            is_encrypted = relay.tls == "implicit"
            if relay.tls not in ("none", "implicit"):
                if client.supports_extension("starttls"):
                    await client.starttls()
                    await client.ehlo()
                    is_encrypted = True
                elif relay.tls != "opportunistic":
                    return _unreachable("The relay does not offer STARTTLS, and tls= asks for it.")
            if relay.username:
                if not (is_encrypted or relay.loopback):
                    return _unreachable("The relay offers no encryption; the password was not sent.")
                await self._login(client)
        except aiosmtplib.SMTPResponseException as error:
            return Outcome(
                state="unreachable", code=_valid_code(error.code), reply=clean(relay.scrub(error.message))
            )
        except ssl.SSLCertVerificationError as error:
            return _unreachable(f"The relay's certificate was not accepted: {error.verify_message}")
        except (aiosmtplib.SMTPException, OSError, UnicodeError) as error:
            return _unreachable(clean(relay.scrub(str(error))) or "The relay did not answer.")
        return await self._switch_to_pipeline(client)

    async def _switch_to_pipeline(self, client: aiosmtplib.SMTP) -> Outcome | None:
        """Continue without the library: its protocol reads one reply at a time and drops early replies.

        A NOOP with exactly one reply shows that no reply was left over when the protocol changed.
        """
        self._pipeline = Pipeline(cast(asyncio.Transport, client.transport))
        self._extensions = dict(client.esmtp_extensions)
        self.capabilities = Capabilities.from_extensions(self._extensions)
        (reply,) = await self._pipeline.ask(b"NOOP\r\n", self.timeouts.greeting)
        if reply.first_digit != 2:
            return reply.to_outcome("unreachable")
        if not self._pipeline.is_open:
            return _unreachable("The relay said more than it was asked.")
        self._client = None
        self._message_count = 0
        self._opened_at = self._used_at = asyncio.get_running_loop().time()
        return None

    async def _greet(self, client: aiosmtplib.SMTP) -> None:
        try:
            await client.ehlo()
        except aiosmtplib.SMTPHeloError:
            if not client.is_connected:
                raise
            await client.helo()

    async def _login(self, client: aiosmtplib.SMTP) -> None:
        """Try once, with the first method that both sides support; servers count failures and lock out."""
        name, password = self.relay.username, self.relay.password
        methods = client.server_auth_methods
        if self._tokens is not None:
            await self._login_by_token(client, self._tokens)
        elif "plain" in methods:
            await client.auth_plain(name, password)
        elif "login" in methods:
            await client.auth_login(name, password)
        elif "cram-md5" in methods:
            await client.auth_crammd5(name, password)
        else:
            raise aiosmtplib.SMTPException("The relay offers no login that this service knows.")

    async def _login_by_token(self, client: aiosmtplib.SMTP, tokens: OAuthTokenProvider) -> None:
        """Log in by XOAUTH2; get another token once when one is refused, as it may just have expired."""
        if "xoauth2" not in client.server_auth_methods:
            raise aiosmtplib.SMTPException("The relay does not offer XOAUTH2, and auth= asks for it.")
        for is_last in (False, True):
            token = await tokens.get_token()
            try:
                await client.auth_xoauth2(self.relay.username, token)
            except aiosmtplib.SMTPAuthenticationError as error:
                tokens.discard(token)
                if is_last or not client.is_connected:
                    words = error.message.replace(token, "…")
                    raise aiosmtplib.SMTPAuthenticationError(error.code, words) from None
            else:
                return

    def _mail_options(self, addresses: str, text: bytes) -> list[bytes]:
        """Return the parameters of MAIL for this message and this server."""
        extensions, options = self._extensions, []
        if "size" in extensions:
            options.append(b"SIZE=%d" % len(text))
        if not addresses.isascii():
            options.append(b"SMTPUTF8")
        if not text.isascii():
            options.append(b"BODY=8BITMIME")
        if "dsn" in extensions:  # RFC 3461: a bounce contains no text of the message
            options.append(b"RET=HDRS")
        return options

    async def _handle_sender_rejection(self, replies: Sequence[Reply]) -> Outcome:
        """Return the outcome of a refused MAIL: about the relay, or about this message's size or form."""
        reply = replies[0]
        if reply.code == 552 or reply.words.startswith(("5.3.4", "5.6.")):
            outcome = await self._handle_rejection(reply, replies)
            return replace(outcome, state="unsupported") if outcome.state == "refused" else outcome
        self.abort()
        return reply.to_outcome("unreachable")

    async def _handle_rejection(self, reply: Reply, replies: Sequence[Reply]) -> Outcome:
        """Return the outcome of a message refused before DATA; resets the connection, or drops it.

        Where the server accepted DATA nevertheless, a lone dot ends it without a text (RFC 2920, 3.1).
        """
        assert self._pipeline is not None
        if reply.first_digit not in (4, 5):
            self.abort()
            return Outcome(state="deferred", code=reply.code, reply=_before_dot_reply(reply.words))
        outcome = reply.to_outcome("deferred" if reply.first_digit == 4 else "refused")
        wants_text = replies[-1].code == 354
        is_unclean = 421 in [each.code for each in replies] or (wants_text and replies[0].first_digit != 2)
        if not is_unclean:
            words, timeout = (b".", self.timeouts.final) if wants_text else (b"RSET", self.timeouts.command)
            (final_reply,) = await self._pipeline.ask(words + b"\r\n", timeout)
            is_unclean = final_reply.first_digit == 0 or (final_reply.first_digit != 2 and not wants_text)
        if is_unclean:
            self.abort()
        return outcome

    async def _send_text(
        self, message: bytes, deadline: Callable[[], float], before_dot: Callable[[], None]
    ) -> Outcome:
        """Write the text and the final dot; distinguish a connection lost before the dot from one after."""
        pipeline = self._pipeline
        assert pipeline is not None
        if len(message) > ONE_WRITE_OCTETS:
            pipeline.write(message)
            message = b""
            if not await pipeline.drain(self.timeouts.block):
                return self._fail_before_dot("the connection was lost or stuck")
        if asyncio.get_running_loop().time() > deadline():
            return self._fail_before_dot("the time for this message was over")
        if not pipeline.is_open:
            return self._fail_before_dot("the connection was lost")
        try:
            before_dot()
        except OSError as error:
            self.abort()
            return _unreachable(f"Nothing is sent while the journal cannot be written: {error.strerror}")
        self.dot_written = True
        (reply,) = await pipeline.ask(message + b".\r\n", self.timeouts.final)
        self._message_count += 1
        self._used_at = asyncio.get_running_loop().time()
        if reply.first_digit == 2:
            return reply.to_outcome("sent")
        if reply.first_digit not in (4, 5):
            self.abort()
            return Outcome(
                state="unknown",
                code=reply.code,
                reply=f"After the final dot: {reply.words}"[:REPLY_CHARACTERS],
                doubt=Reason.LATE_ANSWER if reply.timed_out else Reason.CONNECTION_BROKEN,
            )
        if reply.code == 421:
            self.abort()
        return reply.to_outcome("deferred" if reply.first_digit == 4 else "refused")

    def _fail_before_dot(self, trouble: str) -> Outcome:
        self.abort()
        return Outcome(state="deferred", reply=_before_dot_reply(trouble))


def _abort(client: aiosmtplib.SMTP) -> None:
    transport = client.transport
    if transport is not None:
        cast(asyncio.WriteTransport, transport).abort()
    client.close()


def _unreachable(reason: str) -> Outcome:
    return Outcome(state="unreachable", reply=clean(reason))


def _before_dot_reply(words: str) -> str:
    return f"Before the final dot: {words}"[:REPLY_CHARACTERS]


def _valid_code(code: int | None) -> int | None:
    return code if code is not None and 200 <= code < 600 else None


def _dot_stuff(message: bytes) -> bytes:
    """Return the text as it is sent, without the final dot (RFC 5321, 2.3.8 and 4.5.2)."""
    lines = message.splitlines() or [b""]  # at CRLF, CR, LF; twice as fast as searching a lone one
    lines.append(b"")
    text = b"\r\n".join(lines).replace(b"\r\n.", b"\r\n..")
    return b"." + text if text.startswith(b".") else text
