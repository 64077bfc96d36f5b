"""Relay: the settings of a server that accepts our mail: address, encryption, login and limits."""

import base64
import functools
import ipaddress
import ssl
from dataclasses import dataclass, field
from typing import Literal, Self, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from lists.errors import BadSettings
from mailer.smtp.rate import RATE_FORMS, Rate

Tls = Literal["none", "opportunistic", "required", "verified", "implicit"]

SUBMISSION_PORT = 587
IMPLICIT_TLS_PORT = 465
MAX_WEIGHT, MAX_CONNECTIONS, MAX_MESSAGES = 1_000, 1_000, 100_000
MESSAGES_PER_CONNECTION = 100
_QUERY = ("tls", "ca_file", "weight", "connections", "messages", "rate", "auth", "token_command")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")


@dataclass(frozen=True, kw_only=True)
class Relay:
    """A server that accepts our mail.

    tls: "none"; "opportunistic" (STARTTLS where offered, certificate not checked); "required" (STARTTLS or
    nothing, certificate not checked); "verified" (STARTTLS, certificate checked); "implicit" (TLS from the
    first octet, certificate checked). A password never travels unencrypted except to this very machine.

    `weight` is its share of the mail beside other relays; with 0 it gets mail only while all others are down.
    `connections` are those of all workers together, None for no limit; `messages` is how many one connection
    carries; `rate` limits how many may begin in a period, by all workers together. `token_command` is a
    program that prints the token for XOAUTH2, used instead of a password.
    """

    host: str
    port: int
    tls: Tls
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str | None = None
    weight: int = 1
    connections: int | None = None
    messages: int = MESSAGES_PER_CONNECTION
    rate: Rate | None = None
    token_command: str = ""

    @classmethod
    def parse_all(cls, text: str) -> tuple[Self, ...]:
        """Read several addresses, separated by spaces or new lines; raises BadSettings as `parse` does."""
        relays: list[Self] = []
        mistakes: list[str] = []
        urls = text.split()
        for url, ordinal in zip(urls, (*_ORDINALS, *urls), strict=False):
            try:
                relays.append(cls.parse(url))
            except BadSettings as error:
                prefix = f"In the {ordinal} SMTP address: " if len(urls) > 1 else ""
                mistakes += [prefix + mistake for mistake in error.mistakes]
        if not urls:
            mistakes.append("There is no SMTP address.")
        if len(urls) > len(_ORDINALS):
            mistakes.append(f"There are more than {len(_ORDINALS)} SMTP addresses.")
        names = [relay.name for relay in relays]
        mistakes += [
            f"Two SMTP addresses name {name}; write it once, with more connections or weight."
            for name in sorted({name for name in names if names.count(name) > 1})
        ]
        if mistakes:
            raise BadSettings(mistakes)
        return tuple(relays)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `smtp://user:password@host:587?tls=verified&ca_file=/path` or `smtps://…` (implicit TLS).

        `weight=3`, `connections=20`, `messages=100` and `rate=600/hour` may follow too.

        Without `tls=`, a relay on this machine is "opportunistic" and any other "verified", and so is one
        with a `ca_file`, which names the only authority to trust, instead of the system's. Raises BadSettings
        with every mistake in a sentence; none of them repeats the address, because it holds the password.
        """
        try:
            parts = urlsplit(url.strip())
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError:
            raise BadSettings(["The SMTP address has a host or port that cannot be read."]) from None
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        query_mistakes: list[str] = []
        weight = _parse_number(query, "weight", 0, MAX_WEIGHT, query_mistakes)
        is_implicit = parts.scheme == "smtps"
        is_trusting = _is_loopback(host) and "ca_file" not in query
        default = "implicit" if is_implicit else "opportunistic" if is_trusting else "verified"
        relay = cls(
            host=host,
            port=port or (IMPLICIT_TLS_PORT if is_implicit else SUBMISSION_PORT),
            tls=cast(Tls, query.get("tls", default)),
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            ca_file=query.get("ca_file"),
            weight=1 if weight is None else weight,
            connections=_parse_number(query, "connections", 1, MAX_CONNECTIONS, query_mistakes),
            messages=_parse_number(query, "messages", 1, MAX_MESSAGES, query_mistakes)
            or MESSAGES_PER_CONNECTION,
            rate=_parse_rate(query, query_mistakes),
            token_command=query.get("token_command", ""),
        )
        mistakes = (
            _address_mistakes(parts.scheme, parts.path + parts.fragment, host, query)
            + query_mistakes
            + _token_mistakes(query)
            + relay._mistakes()
        )
        if mistakes:
            raise BadSettings(mistakes)
        return relay

    @property
    def name(self) -> str:
        """The name of this relay in pages, tables and metrics: its host and port."""
        return f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether the relay runs on this very machine."""
        return _is_loopback(self.host)

    def scrub(self, words: str) -> str:
        """Return a server's text without our password, which some servers repeat when a login fails."""
        secret = self.password.encode()
        plain = b"\0" + self.username.encode() + b"\0" + secret
        for text in (self.password, base64.b64encode(secret).decode(), base64.b64encode(plain).decode()):
            if self.password:
                words = words.replace(text, "…")
        return words

    @property
    def verifies(self) -> bool:
        """Whether the relay must prove its name by a certificate."""
        return self.tls in ("verified", "implicit")

    def _mistakes(self) -> list[str]:
        mistakes = []
        if self.password and not self.username:
            mistakes.append("The SMTP address has a password but no user name.")
        if self.token_command and (self.password or not self.username):
            mistakes.append("With auth=xoauth2 the SMTP address has a user name and no password.")
        elif self.username and not (self.password or self.token_command):
            mistakes.append("The SMTP address has a user name but no password.")
        if not (self.username + self.password).isprintable():
            mistakes.append("The SMTP user name or password has a control character in it.")
        if self.username and self.tls == "none" and not self.loopback:
            mistakes.append(
                "With tls=none the SMTP password would travel unencrypted; use tls=verified or smtps://."
            )
        if self.ca_file is not None:
            mistakes += self._ca_mistakes()
        return mistakes

    def _ca_mistakes(self) -> list[str]:
        if not self.verifies:
            return ["In the SMTP address, ca_file= has a meaning only with tls=verified or smtps://."]
        try:
            tls_context(True, self.ca_file)
        except (OSError, ValueError):  # ssl.SSLError is an OSError
            return [f"The file {self.ca_file} named by ca_file= cannot be read as PEM certificates."]
        return []


@functools.lru_cache(maxsize=8)
def tls_context(verify: bool, ca_file: str | None) -> ssl.SSLContext:
    """Return a TLS context, built once: reading the system's authorities takes 20 ms."""
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address_mistakes(scheme: str, rest: str, host: str, query: dict[str, str]) -> list[str]:
    mistakes = []
    if scheme not in ("smtp", "smtps"):
        mistakes.append("The SMTP address must begin with smtp:// or smtps://.")
    if not _is_host(host):
        mistakes.append("The SMTP address needs the name of a host, such as smtp://mail.example.org:587.")
    if rest not in ("", "/"):
        mistakes.append("The SMTP address goes on after the host; in a password write / as %2F and # as %23.")
    if not query.keys() <= set(_QUERY):
        options = "=, ".join(_QUERY)
        mistakes.append(f"The SMTP address has options other than {options}=; in a password write ? as %3F.")
    tls = query.get("tls")
    if scheme == "smtps" and tls is not None:
        mistakes.append("With smtps:// the connection is always encrypted and verified: leave tls= out.")
    elif tls not in (None, "none", "opportunistic", "required", "verified"):
        mistakes.append("In the SMTP address, tls= must be none, opportunistic, required or verified.")
    return mistakes


def _token_mistakes(query: dict[str, str]) -> list[str]:
    command = query.get("token_command", "")
    if query.get("auth", "xoauth2") != "xoauth2":
        return ["In the SMTP address, auth= must be xoauth2, or be left out for a password."]
    if ("auth" in query) != bool(command):
        return ["In the SMTP address, auth=xoauth2 and token_command= belong together."]
    if command and not (command.startswith("/") and command.isprintable()):
        return ["In the SMTP address, token_command= must be the full path of a program."]
    return []


def _parse_number(query: dict[str, str], name: str, least: int, most: int, mistakes: list[str]) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most:
        return int(text)
    mistakes.append(f"In the SMTP address, {name}= must be a number from {least} to {most}.")
    return None


def _parse_rate(query: dict[str, str], mistakes: list[str]) -> Rate | None:
    if "rate" not in query:
        return None
    try:
        return Rate.parse(query["rate"])
    except ValueError:
        mistakes.append(f"In the SMTP address, rate= must be a rate such as {RATE_FORMS}.")
        return None


def _is_host(host: str) -> bool:
    labels = host.split(".")
    is_visible = host.isascii() and host.isprintable() and " " not in host
    return is_visible and all(0 < len(label) < 64 for label in labels)
