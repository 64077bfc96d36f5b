"""Forms: reads a posted form with limits, and timestamps forms to detect programs that fill them at once."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from lists import keyed_hash
from lists.db import EPOCH

MAX_BODY_OCTETS = 64 * 1024  # octets
MAX_FIELDS = 50
BODY_TIMEOUT_SECONDS = 10.0  # seconds
MIN_FILL_TIME = timedelta(milliseconds=250)  # a phone may fill a form at once, then a person presses
FORM_LIFETIME = timedelta(hours=24)  # a form that is older must be confirmed again
HONEYPOT_FIELD = "office_fax"
MILLISECOND = timedelta(milliseconds=1)


async def read(request: Request) -> dict[str, str]:
    """Return the fields of a posted form, the last one of each name.

    HTTPException 413 for a body over 64 kB, 408 for one that takes longer than ten seconds, 400 for more than
    50 fields, for files, or for a body that is not a form in UTF-8. Holds no more than the limit in memory.
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
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if media_type == "multipart/form-data":
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
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_OCTETS:
            raise HTTPException(413)
    return bytes(body)


async def _multipart(headers: Headers, body: bytes) -> dict[str, str]:
    async def stream_body() -> AsyncIterator[bytes]:
        yield body

    parser = MultiPartParser(
        headers,
        stream_body(),  # type: ignore[arg-type]
        max_files=0,
        max_fields=MAX_FIELDS,
        max_part_size=MAX_BODY_OCTETS,
    )
    form = await parser.parse()
    return {name: value for name, value in form.multi_items() if not isinstance(value, UploadFile)}


class FormTimestamps:
    """Signs the time when a form was opened, by the machine's clock, and verifies it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, opened_at: datetime) -> str:
        """Return a text for a hidden field: milliseconds since 1970 and a signature."""
        milliseconds = str((opened_at - EPOCH) // MILLISECOND)
        return f"{milliseconds}.{self._signature(milliseconds)}"

    def read(self, timestamp: str, *, now: datetime) -> datetime | None:
        """Return when the form was opened; None for a wrong signature or a timestamp that is a day old."""
        milliseconds, _, signature = timestamp.partition(".")
        if not milliseconds.isascii() or not hmac.compare_digest(
            self._signature(milliseconds).encode(), signature.encode("utf-8", "replace")
        ):
            return None
        opened_at = EPOCH + int(milliseconds) * MILLISECOND
        return opened_at if opened_at > now - FORM_LIFETIME else None

    def _signature(self, milliseconds: str) -> str:
        return keyed_hash.compute(self._secret, "form", milliseconds).hex()
