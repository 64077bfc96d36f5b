"""A door: one line of the route table, and the adapter from asynchronous requests to plain functions.

The form is read on the event loop with limits; the handler, which works with the database, runs in a thread.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlencode

import anyio
import anyio.to_thread
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from lists.contacts import LANGUAGES
from lists.errors import BadInput, Conflict, MailerError, NotFound, StorageError
from mailer.service import Service
from mailer.web import access, forms
from mailer.web.renderer import Press
from mailer.web.visit import Answer, Away, Download, Elsewhere, File, Page, Visit

TOLD = (400, 403, 404, 405, 408, 409, 413, 429, 500, 503)  # statuses that have words of their own
STATUS_OF = {BadInput: 400, NotFound: 404, Conflict: 409, StorageError: 503}
SECONDS_OF_AN_ANSWER = 0.15  # a floored door answers after a multiple of this, whatever it had to do
THREADS = 10  # fewer than database connections, so that none waits in vain

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Door:
    """One route: method and path, who may enter, what answers, and whether its time must tell nothing.

    A `bare` one asks nothing of the database before its handler does.
    """

    method: str
    path: str
    access: str
    handler: Callable[[Visit], Answer]
    floored: bool = False
    bare: bool = False


class Porter:
    """Opens the doors: checks the visitor, reads the form, calls the handler, sets the page."""

    def __init__(self, service: Service, press: Press) -> None:
        self._service = service
        self._press = press
        self._threads = anyio.CapacityLimiter(THREADS)

    def endpoint(self, door: Door) -> Callable[[Request], object]:
        """Return what Starlette calls for this door."""

        async def enter(request: Request) -> Response:
            began = anyio.current_time()
            response = await self._answer(door, request)
            if door.floored:
                spent = anyio.current_time() - began
                floor = math.ceil(spent / SECONDS_OF_AN_ANSWER) * SECONDS_OF_AN_ANSWER
                await anyio.sleep(floor - spent)
            return response

        return enter

    async def refuse(self, request: Request, fault: Exception) -> Response:
        """Show the page of an error that no handler turned into one."""
        status = fault.status_code if isinstance(fault, HTTPException) else 500
        return self.refusal(request, status)

    def refusal(self, request: Request, status: int, *, door: str = "token") -> Response:
        """Set the page for a refusal; it needs no database, so that it can tell of a broken one."""
        visit = self._visit(request, bare=True)
        known = status if status in TOLD else 500 if status >= HTTPStatus.INTERNAL_SERVER_ERROR else 400
        page = Page(visit=visit, template="error.html", values={"status": known}, status=status)
        return self._set(page, door)

    async def _answer(self, door: Door, request: Request) -> Response:
        client = request.client.host if request.client else ""
        settings = self._service.settings
        if door.access == "loopback" and not access.at_this_machine(
            settings, client=client, told=request.headers
        ):
            return self.refusal(request, 404)
        if door.access == "operator" and not access.may_watch(settings, client=client, told=request.headers):
            return self.refusal(request, 404)
        try:
            form: dict[str, str] = {}
            if door.method == "POST":
                form = await forms.read(request)
                one_click = door.path.startswith("/unsubscribe/") and access.is_one_click(form)
                if not one_click and access.from_elsewhere(
                    settings, access=door.access, told=request.headers
                ):
                    return self.refusal(request, 403, door=door.access)
            return await anyio.to_thread.run_sync(self._handle, door, request, form, limiter=self._threads)
        except HTTPException as fault:
            return self.refusal(request, fault.status_code, door=door.access)

    def _handle(self, door: Door, request: Request, form: dict[str, str]) -> Response:
        """Run the handler; what a floor below refuses becomes a page."""
        try:
            answer = door.handler(self._visit(request, form=form, bare=door.bare))
        except MailerError as fault:
            status = next((STATUS_OF[kind] for kind in STATUS_OF if isinstance(fault, kind)), 400)
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                log.error("a page could not be made", door=door.path, trouble=str(fault))
            return self.refusal(request, status, door=door.access)
        if isinstance(answer, Download):
            return self._hand_out(answer, request)
        return self._set(answer, door.access)

    def _visit(self, request: Request, *, form: dict[str, str] | None = None, bare: bool = False) -> Visit:
        accepted = access.preferred(request.headers.get("accept-language", ""))
        asked = request.query_params.get("lang", "")
        chosen = asked if asked in LANGUAGES else ""
        clock = self._service.clock
        return Visit(
            service=self._service,
            path=request.url.path,
            now=clock.real() if bare else clock.now(),
            real=clock.real(),
            source=access.source(
                request.client.host if request.client else "", pepper=self._service.keys.pepper
            ),
            language=chosen or accepted,
            chosen=chosen,
            accepted=accepted,
            parameters=request.path_params,
            query=dict(request.query_params),
            form=form or {},
        )

    def _set(self, answer: Page | File | Elsewhere | Away, door: str) -> Response:
        told = access.headers(door, self._service.settings)
        if isinstance(answer, File):
            told |= {**answer.headers, "Content-Type": answer.kind}
            return Response(answer.body, answer.status, headers=told)
        if isinstance(answer, Elsewhere):
            query = f"?{urlencode(answer.query)}" if answer.query else ""
            part = f"#{answer.part}" if answer.part else ""
            return Response(status_code=303, headers={**told, "Location": answer.path + query + part})
        if isinstance(answer, Away):
            told |= {"Location": answer.link, "Referrer-Policy": "no-referrer"}
            return Response(status_code=302, headers=told)
        html = self._press.page(answer, access=door)
        told |= {"Content-Language": answer.visit.language}
        return Response(
            html.encode("utf-8", "replace"),
            answer.status,
            headers={**told, "Content-Type": "text/html; charset=utf-8"},
        )

    def _hand_out(self, answer: Download, request: Request) -> Response:
        """Give a kept file to be saved, or the part of it that is asked for (RFC 9110, section 14)."""
        told = access.of_download(self._service.settings) | {"ETag": f'"{answer.mark}"'}
        known = request.headers.get("if-none-match", "")
        if any(each.strip().removeprefix("W/") in ("*", told["ETag"]) for each in known.split(",")):
            return Response(status_code=304, headers=told)
        return FileResponse(answer.path, headers={**told, "Content-Type": answer.kind}, filename=answer.name)
