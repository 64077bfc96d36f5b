"""The one door out: a relay's address, and a connection that hands it one message at a time.

`Connection.send` never raises for what a server does; it answers with an `Outcome`:

    sent         the server took responsibility: 2xx to the final dot
    deferred     not taken, may be tried again: 4xx, or the connection was lost before the final dot
    refused      never taken: 5xx to RCPT, DATA or the final dot
    unreachable  the relay itself is the trouble (connect, TLS, login, MAIL): costs the message no attempt
    unknown      the connection was lost after the final dot was written (RFC 1047): nobody can tell
    unsupported  the relay's answer to EHLO says that it cannot carry it: nobody was asked

Why the library's `sendmail` and `data` are not used: those do not say whether a lost connection was lost
before or after the final dot, use one time limit for both, on a timeout close the connection gracefully,
which would still deliver the dot, and wait for the answer to each command before the next. So the library
connects, secures and logs in; MAIL, RCPT, DATA and the dot are a dialogue of our own on its connection.
"""

import asyncio
import math
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import cast

import aiosmtplib

from mailer.smtp import doubt
from mailer.smtp.capabilities import Capabilities
from mailer.smtp.oauth_token import OAuthTokenProvider
from mailer.smtp.outcome import Outcome
from mailer.smtp.pipeline import REPLY_CHARACTERS, Pipeline, Reply, Timeouts, clean
from mailer.smtp.relay import MESSAGES_PER_CONNECTION, Relay, tls_context

__all__ = ["Outcome", "Relay", "SmtpConnection", "Timeouts"]

CONNECTION_SECONDS = 300.0  # the oldest a connection gets
IDLE_SECONDS = 60.0  # after this pause a new connection is cheaper than finding the old one dead
ONE_WRITE_OCTETS = 65_536  # octets; a longer message is written and drained first, its final dot alone

READY_FOR_DATA = Outcome(state="sent", code=354)  # nobody outside this file ever sees it

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f<>\ud800-\udfff]")
INVALID_ADDRESS = "an address has a character in it that no address can have"


class SmtpConnection:
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
        timeouts: Timeouts | None = None,
        tokens: OAuthTokenProvider | None = None,
    ) -> None:
        self.relay = relay
        self.helo = helo
        self.timeouts = timeouts or Timeouts()
        self._tokens = tokens
        self._limits = (messages, seconds, idle)
        self._client: aiosmtplib.SMTP | None = None  # while it opens the connection
        self._pipeline: Pipeline | None = None
        self._given_up = False
        self._extensions: Mapping[str, str] = {}
        self.capabilities: Capabilities | None = None  # as last heard; another object each time it was heard
        self.dot_written = False  # whether the final dot of the present message may have left
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
        """Hand over one message (RFC 5322 octets) for one recipient; says what became of it.

        `may_begin` is asked when the connection is ready, right before MAIL is written; when it says no, the
        message was not begun and this returns None. `before_dot` is called right before the final dot is
        written; when it raises OSError, nothing is sent.

        Lone CR and LF become CRLF, so that no part of the text can be taken for the final dot. When the
        task is cancelled the connection is aborted: a dot not yet written is never written, and neither is
        one after `deadline` (in the loop's time, asked right before the dot), when somebody else may already
        have taken the message over.
        """
        self.dot_written = self._given_up = False
        for address in (sender, recipient):
            if _FORBIDDEN.search(address) or address.count("@") != 1 or not all(address.split("@")):
                return Outcome(state="unsupported", reply=INVALID_ADDRESS)
        text = _dot_stuff(message)
        try:
            stopped = await self._begin_message(sender, recipient, text, may_begin)
            return await self._send_text(text, deadline, before_dot) if stopped == READY_FOR_DATA else stopped
        except BaseException:
            self.abort()
            raise

    async def close(self) -> None:
        """Say goodbye (QUIT, for a few seconds at most) and close; the next `send` opens anew."""
        if self._pipeline is not None:
            try:
                await self._pipeline.ask(b"QUIT\r\n", self.timeouts.quit)
            finally:
                self.abort()

    def give_up(self) -> bool:
        """End the present hand-over as deferred; False once the dot may have left, or before a question."""
        if not (self.dot_written or self._given_up or self._pipeline is None):
            self._given_up = True
            self._pipeline.abort()
            return True
        return False

    def abort(self) -> None:
        """Drop the connection at once; nothing that waits in its buffer is written any more."""
        dialogue, self._pipeline = self._pipeline, None
        client, self._client = self._client, None
        if dialogue is not None:
            dialogue.abort()
        if client is not None:
            _abort(client)

    async def _begin_message(
        self, sender: str, recipient: str, text: bytes, may_begin: Callable[[], bool]
    ) -> Outcome | None:
        """Everything up to the 354 that asks for the text: GO_ON, or the outcome when it stopped earlier."""
        reused = await self._has_usable_connection()
        while True:
            trouble = None if reused else await self._open()
            if trouble is not None:
                self.abort()
                return trouble
            assert self.capabilities is not None
            if lack := self.capabilities.find_unsupported_reason(sender + recipient, text):
                return Outcome(state="unsupported", reply=lack)
            if not may_begin():
                return None
            options = self._mail_options(sender + recipient, text)
            mail = b" ".join([b"MAIL FROM:<" + sender.encode() + b">", *options])
            notify = b" NOTIFY=FAILURE" if "dsn" in self._extensions else b""
            answers = await self._send_commands(
                mail, b"RCPT TO:<" + recipient.encode() + b">" + notify, b"DATA"
            )
            if self._given_up:
                return self._fail_before_dot("no answer for long, while others waited")
            if not (reused and answers[0].code in (None, 421)):
                break
            self.abort()  # the relay had given up an old connection meanwhile: once more, on a new one
            reused = False
        if answers[0].first_digit != 2:
            return await self._handle_sender_rejection(answers)
        if answers[1].first_digit != 2:
            return await self._handle_rejection(answers[1], answers)
        return READY_FOR_DATA if answers[2].code == 354 else await self._handle_rejection(answers[2], answers)

    async def _send_commands(self, *commands: bytes) -> Sequence[Reply]:
        """Ask for a hand-over by MAIL, RCPT and DATA: all at once where the server can take them so.

        Else one after the other, as far as each is accepted.
        """
        assert self._pipeline is not None
        patience = (self.timeouts.command, self.timeouts.command, self.timeouts.data)
        if "pipelining" in self._extensions:
            return await self._pipeline.ask(b"\r\n".join([*commands, b""]), *patience)
        answers: list[Reply] = []
        for command, wait in zip(commands, patience, strict=True):
            answers += await self._pipeline.ask(command + b"\r\n", wait)
            if answers[-1].first_digit != 2:
                break
        return answers

    async def _has_usable_connection(self) -> bool:
        """Whether the present connection can carry one more message; a used-up one is closed."""
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
        """Connect, secure, log in; what stood in the way, or None."""
        relay, wait = self.relay, self.timeouts.greeting
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
            await client.connect(timeout=self.timeouts.connect)
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
                state="unreachable", code=_valid_code(error.code), reply=clean(relay.scrub(error.message))
            )
        except ssl.SSLCertVerificationError as error:
            return _unreachable(f"The relay's certificate was not accepted: {error.verify_message}")
        except (aiosmtplib.SMTPException, OSError, UnicodeError) as error:
            return _unreachable(clean(relay.scrub(str(error))) or "The relay did not answer.")
        return await self._switch_to_pipeline(client)

    async def _switch_to_pipeline(self, client: aiosmtplib.SMTP) -> Outcome | None:
        """Go on without the library: its protocol reads one reply at a time and drops what came too early.

        A NOOP that has exactly one answer shows that nothing was left over when the owner changed.
        """
        self._pipeline = Pipeline(cast(asyncio.Transport, client.transport))
        self._extensions = dict(client.esmtp_extensions)
        self.capabilities = Capabilities.from_extensions(self._extensions)
        (answer,) = await self._pipeline.ask(b"NOOP\r\n", self.timeouts.greeting)
        if answer.first_digit != 2:
            return answer.to_outcome("unreachable")
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
        """One try with the first method both sides know; servers count failures and lock out."""
        name, password = self.relay.username, self.relay.password
        offered = client.server_auth_methods
        if self._tokens is not None:
            await self._login_by_token(client, self._tokens)
        elif "plain" in offered:
            await client.auth_plain(name, password)
        elif "login" in offered:
            await client.auth_login(name, password)
        elif "cram-md5" in offered:
            await client.auth_crammd5(name, password)
        else:
            raise aiosmtplib.SMTPException("The relay offers no login that this service knows.")

    async def _login_by_token(self, client: aiosmtplib.SMTP, tokens: OAuthTokenProvider) -> None:
        """Log in by XOAUTH2; a token that is refused is asked for once more, as it may just have run out."""
        if "xoauth2" not in client.server_auth_methods:
            raise aiosmtplib.SMTPException("The relay does not offer XOAUTH2, and auth= asks for it.")
        for last in (False, True):
            token = await tokens.get_token()
            try:
                await client.auth_xoauth2(self.relay.username, token)
            except aiosmtplib.SMTPAuthenticationError as error:
                tokens.discard(token)
                if last or not client.is_connected:
                    words = error.message.replace(token, "…")
                    raise aiosmtplib.SMTPAuthenticationError(error.code, words) from None
            else:
                return

    def _mail_options(self, addresses: str, text: bytes) -> list[bytes]:
        """Return what MAIL says about this message to this server."""
        extensions, options = self._extensions, []
        if "size" in extensions:
            options.append(b"SIZE=%d" % len(text))
        if not addresses.isascii():
            options.append(b"SMTPUTF8")
        if not text.isascii():
            options.append(b"BODY=8BITMIME")
        if "dsn" in extensions:  # RFC 3461: what comes back holds no text of ours
            options.append(b"RET=HDRS")
        return options

    async def _handle_sender_rejection(self, answers: Sequence[Reply]) -> Outcome:
        """MAIL names no recipient yet: the trouble is ours, and with size or form it is this message's."""
        answer = answers[0]
        if answer.code == 552 or answer.words.startswith(("5.3.4", "5.6.")):
            outcome = await self._handle_rejection(answer, answers)
            return replace(outcome, state="unsupported") if outcome.state == "refused" else outcome
        self.abort()
        return answer.to_outcome("unreachable")

    async def _handle_rejection(self, answer: Reply, answers: Sequence[Reply]) -> Outcome:
        """The message stopped before its text was asked for; leaves the connection clean, or drops it.

        Where the server wants the text all the same, a lone dot says that there is none (RFC 2920, 3.1).
        """
        assert self._pipeline is not None
        if answer.first_digit not in (4, 5):
            self.abort()
            return Outcome(state="deferred", code=answer.code, reply=_before_dot_reply(answer.words))
        outcome = answer.to_outcome("deferred" if answer.first_digit == 4 else "refused")
        wants_text = answers[-1].code == 354
        unclean = 421 in [each.code for each in answers] or (wants_text and answers[0].first_digit != 2)
        if not unclean:
            words, wait = (b".", self.timeouts.final) if wants_text else (b"RSET", self.timeouts.command)
            (last,) = await self._pipeline.ask(words + b"\r\n", wait)
            unclean = last.first_digit == 0 or (last.first_digit != 2 and not wants_text)
        if unclean:
            self.abort()
        return outcome

    async def _send_text(
        self, message: bytes, deadline: Callable[[], float], before_dot: Callable[[], None]
    ) -> Outcome:
        """Write the text and the final dot, and tell the loss of a connection before it from one after."""
        dialogue = self._pipeline
        assert dialogue is not None
        if len(message) > ONE_WRITE_OCTETS:
            dialogue.write(message)
            message = b""
            if not await dialogue.drain(self.timeouts.block):
                return self._fail_before_dot("the connection was lost or stuck")
        if asyncio.get_running_loop().time() > deadline():
            return self._fail_before_dot("the time for this message was over")
        if not dialogue.is_open:
            return self._fail_before_dot("the connection was lost")
        try:
            before_dot()
        except OSError as error:
            self.abort()
            return _unreachable(f"Nothing is sent while the journal cannot be written: {error.strerror}")
        self.dot_written = True
        (answer,) = await dialogue.ask(message + b".\r\n", self.timeouts.final)
        self._message_count += 1
        self._used_at = asyncio.get_running_loop().time()
        if answer.first_digit == 2:
            return answer.to_outcome("sent")
        if answer.first_digit not in (4, 5):
            self.abort()
            return Outcome(
                state="unknown",
                code=answer.code,
                reply=f"After the final dot: {answer.words}"[:REPLY_CHARACTERS],
                doubt=doubt.LATE if answer.timed_out else doubt.BROKEN,
            )
        if answer.code == 421:
            self.abort()
        return answer.to_outcome("deferred" if answer.first_digit == 4 else "refused")

    def _fail_before_dot(self, why: str) -> Outcome:
        self.abort()
        return Outcome(state="deferred", reply=_before_dot_reply(why))


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
    """The text as it goes over the wire, without the final dot (RFC 5321, 2.3.8 and 4.5.2)."""
    lines = message.splitlines() or [b""]  # at CRLF, CR, LF; twice as fast as looking for a lone one
    lines.append(b"")
    text = b"\r\n".join(lines).replace(b"\r\n.", b"\r\n..")
    return b"." + text if text.startswith(b".") else text
