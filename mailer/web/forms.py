"""Forms: reads the fields of a posted form, within limits of size, number and time."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

MAX_BODY_OCTETS = 64 * 1024  # octets
MAX_FIELDS = 50
BODY_TIMEOUT_SECONDS = 10.0  # seconds


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
