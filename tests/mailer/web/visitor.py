"""Visitor: a browser in tests, which calls the application as a server does and keeps the fields of forms."""

import asyncio
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from mailer.service import Service
from mailer.web import app
from tests.clocks import StoppedClock

LOCAL_HOST = "127.0.0.1:8000"
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, kw_only=True)
class Response:
    """A response of the application; header names are in lower case."""

    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode("utf-8")


class Visitor:
    """Opens pages of a service; `client` is the address of its requests."""

    def __init__(
        self, service: Service, clock: StoppedClock, *, client: str = "127.0.0.1", host: str = LOCAL_HOST
    ) -> None:
        self.service = service
        self.clock = clock
        self.app = app.build(service)
        self.client = client
        self.headers = {"host": host, "accept-language": "en"}

    def get(self, path: str, headers: dict[str, str] | None = None) -> Response:
        return self.ask("GET", path, headers=headers)

    def post(
        self, path: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> Response:
        return self.ask(
            "POST", path, [urlencode(form or {}).encode()], {"content-type": FORM} | (headers or {})
        )

    def ask(
        self,
        method: str,
        path: str,
        body: Iterable[bytes] = (b"",),
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Send one request; the body is sent in pieces, as the application reads them."""
        return asyncio.run(self._ask(method, path, iter(body), {**self.headers, **(headers or {})}))

    async def _ask(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Response:
        address = urlsplit(path)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(address.path),
            "raw_path": address.path.encode(),
            "query_string": address.query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
            "client": (self.client, 50_000),
            "server": ("127.0.0.1", 8000),
        }
        messages: list[dict[str, Any]] = []

        is_body_sent = False

        async def receive() -> dict[str, Any]:
            nonlocal is_body_sent
            if is_body_sent:
                await asyncio.Event().wait()  # after the body, a client waits and does not disconnect
            chunk = next(body, None)
            is_body_sent = chunk is None
            return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        with suppress(RuntimeError):  # an error that a test causes is raised again after the response
            await self.app(scope, receive, send)
        start = messages[0]
        return Response(
            status_code=start["status"],
            headers={name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]},
            content=b"".join(message.get("body", b"") for message in messages[1:]),
        )

    def read_form(self, path: str) -> dict[str, str]:
        """Return the hidden fields of the form on a page."""
        return hidden(self.get(path))

    def join(self, path: str = "/join", *, seconds: float = 20, **fields: str) -> Response:
        """Open a form, wait for `seconds`, and send it."""
        form = {**self.read_form(path), "language": "en", **fields}
        self.clock.advance(seconds=seconds)
        return self.post(path, form)


def hidden(response: Response) -> dict[str, str]:
    return {name: unescape(value) for name, value in HIDDEN.findall(response.text)}


def title(response: Response) -> str:
    match = re.search(r"<title>(.*?)</title>", response.text)
    assert match
    return unescape(match.group(1))


def words(response: Response) -> str:
    """Return the text of a page, without its tags."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.text)))
