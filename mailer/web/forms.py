"""A form as it was posted: read with limits, and stamped so that machines which fill it at once are known."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from lists.db import EPOCH

MAX_BODY_OCTETS = 64 * 1024  # octets
MAX_FIELDS = 50
BODY_TIMEOUT_SECONDS = 10.0  # seconds
MIN_FILL_TIME = timedelta(milliseconds=250)  # a phone fills a known form at once, then a thumb must move
FORM_LIFETIME = timedelta(hours=24)  # after that the button has to be pressed once more
HONEYPOT_FIELD = "office_fax"
MILLISECOND = timedelta(milliseconds=1)


async def read(request: Request) -> dict[str, str]:
    """Return the fields of a posted form, the last one of each name.

    HTTPException 413 for a body over 64 kB, 408 for one that takes longer than ten seconds, 400 for more than
    50 fields, files, or what is not a form in UTF-8. No more than the limit is ever held.
    """
    if int(request.headers.get("content-length", "0") or "0") > MAX_BODY_OCTETS:
        raise HTTPException(413)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            body = await _body(request)
    except TimeoutError:
        raise HTTPException(408) from None
    except ClientDisconnect:
        raise HTTPException(400) from None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "multipart/form-data":
            return await _multipart(request.headers, body)
        return dict(
            parse_qsl(
                body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
            )
        )
    except (ValueError, MultiPartException):
        raise HTTPException(400) from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_OCTETS:
            raise HTTPException(413)
    return bytes(body)


async def _multipart(headers: Headers, body: bytes) -> dict[str, str]:
    async def once() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(
        headers,
        once(),  # type: ignore[arg-type]
        max_files=0,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_BODY_OCTETS,
    )
    form = await parser.parse()
    return {name: value for name, value in form.multi_items() if not isinstance(value, UploadFile)}


class FormTimestamps:
    """Signs the moment a form was opened, in the machine's time, and reads it back."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, opened_at: datetime) -> str:
        """Return a text for a hidden field: milliseconds since 1970 and a signature."""
        moment = str((opened_at - EPOCH) // MILLISECOND)
        return f"{moment}.{self._signature(moment)}"

    def read(self, stamp: str, *, now: datetime) -> datetime | None:
        """Return when the form was opened; None for what we did not sign or what is a day old."""
        moment, _, signature = stamp.partition(".")
        if not moment.isascii() or not hmac.compare_digest(
            self._signature(moment).encode(), signature.encode("utf-8", "replace")
        ):
            return None
        opened = EPOCH + int(moment) * MILLISECOND
        return opened if opened > now - FORM_LIFETIME else None

    def _signature(self, moment: str) -> str:
        return hmac.new(self._secret, f"web/opened/{moment}".encode(), hashlib.sha256).hexdigest()[:32]
