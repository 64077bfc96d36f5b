"""Routes: one line of the route table, and the adapter from asynchronous requests to plain functions.

The form is read on the event loop with limits; the handler, which uses the database, runs in a thread.
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
from mailer.web.page_request import (
    Download,
    ExternalRedirect,
    HandlerResponse,
    PageRedirect,
    PageRequest,
    PageResponse,
    RawResponse,
)
from mailer.web.renderer import PageRenderer

STATUSES_WITH_TEXT = (
    400,
    403,
    404,
    405,
    408,
    409,
    413,
    429,
    500,
    503,
)  # statuses with a text of their own
STATUS_OF_ERROR = {BadInput: 400, NotFound: 404, Conflict: 409, StorageError: 503}
RESPONSE_STEP_SECONDS = 0.15  # a route with a time floor answers after a multiple of this, whatever it did
THREADS = 10  # fewer than database connections, so that no thread waits for one

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class PageRoute:
    """One route: method and path, its access, its handler, and whether its response time must be padded.

    One that `skips_database` reads nothing from the database before its handler does.
    """

    method: str
    path: str
    access: str
    handler: Callable[[PageRequest], HandlerResponse]
    has_time_floor: bool = False
    skips_database: bool = False


class RouteAdapter:
    """Serves the routes: checks the client, reads the form, calls the handler, renders the page."""

    def __init__(self, service: Service, renderer: PageRenderer) -> None:
        self._service = service
        self._renderer = renderer
        self._threads = anyio.CapacityLimiter(THREADS)

    def endpoint(self, route: PageRoute) -> Callable[[Request], object]:
        """Return the endpoint of this route for Starlette."""

        async def handle_request(request: Request) -> Response:
            began = anyio.current_time()
            response = await self._answer(route, request)
            if route.has_time_floor:
                elapsed = anyio.current_time() - began
                total = math.ceil(elapsed / RESPONSE_STEP_SECONDS) * RESPONSE_STEP_SECONDS
                await anyio.sleep(total - elapsed)
            return response

        return handle_request

    async def handle_error(self, request: Request, fault: Exception) -> Response:
        """Render the page of an error that no handler caught."""
        status = fault.status_code if isinstance(fault, HTTPException) else 500
        return self.render_error(request, status)

    def render_error(self, request: Request, status: int, *, access_level: str = "token") -> Response:
        """Render the page for an error; it needs no database, so that it can report a broken one."""
        page_request = self._build_page_request(request, skips_database=True)
        text_status = (
            status
            if status in STATUSES_WITH_TEXT
            else 500
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR
            else 400
        )
        page = PageResponse(
            request=page_request, template="error.html", values={"status": text_status}, status=status
        )
        return self._build_response(page, access_level)

    async def _answer(self, route: PageRoute, request: Request) -> Response:
        client = request.client.host if request.client else ""
        settings = self._service.settings
        if route.access == "loopback" and not access.is_from_this_machine(
            settings, client=client, headers=request.headers
        ):
            return self.render_error(request, 404)
        if route.access == "operator" and not access.can_read_metrics(
            settings, client=client, headers=request.headers
        ):
            return self.render_error(request, 404)
        try:
            form: dict[str, str] = {}
            if route.method == "POST":
                form = await forms.read(request)
                one_click = route.path.startswith("/unsubscribe/") and access.is_one_click(form)
                if not one_click and access.is_cross_site(
                    settings, access=route.access, headers=request.headers
                ):
                    return self.render_error(request, 403, access_level=route.access)
            return await anyio.to_thread.run_sync(self._handle, route, request, form, limiter=self._threads)
        except HTTPException as fault:
            return self.render_error(request, fault.status_code, access_level=route.access)

    def _handle(self, route: PageRoute, request: Request, form: dict[str, str]) -> Response:
        """Run the handler; errors of the wings below become pages."""
        try:
            response = route.handler(
                self._build_page_request(request, form=form, skips_database=route.skips_database)
            )
        except MailerError as fault:
            status = next((STATUS_OF_ERROR[kind] for kind in STATUS_OF_ERROR if isinstance(fault, kind)), 400)
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                log.error("a page could not be made", route=route.path, trouble=str(fault))
            return self.render_error(request, status, access_level=route.access)
        if isinstance(response, Download):
            return self._send_file(response, request)
        return self._build_response(response, route.access)

    def _build_page_request(
        self, request: Request, *, form: dict[str, str] | None = None, skips_database: bool = False
    ) -> PageRequest:
        accepted_language = access.choose_language(request.headers.get("accept-language", ""))
        parameter = request.query_params.get("lang", "")
        chosen_language = parameter if parameter in LANGUAGES else ""
        clock = self._service.clock
        return PageRequest(
            service=self._service,
            path=request.url.path,
            now=clock.real() if skips_database else clock.now(),
            real=clock.real(),
            source=access.hash_network(
                request.client.host if request.client else "", pepper=self._service.keys.pepper
            ),
            language=chosen_language or accepted_language,
            chosen_language=chosen_language,
            accepted_language=accepted_language,
            parameters=request.path_params,
            query=dict(request.query_params),
            form=form or {},
        )

    def _build_response(
        self, response: PageResponse | RawResponse | PageRedirect | ExternalRedirect, access_level: str
    ) -> Response:
        headers = access.build_headers(access_level, self._service.settings)
        if isinstance(response, RawResponse):
            headers |= {**response.headers, "Content-Type": response.kind}
            return Response(response.body, response.status, headers=headers)
        if isinstance(response, PageRedirect):
            query = f"?{urlencode(response.query)}" if response.query else ""
            fragment = f"#{response.fragment}" if response.fragment else ""
            return Response(
                status_code=303, headers={**headers, "Location": response.path + query + fragment}
            )
        if isinstance(response, ExternalRedirect):
            headers |= {"Location": response.link, "Referrer-Policy": "no-referrer"}
            return Response(status_code=302, headers=headers)
        html = self._renderer.render(response, access=access_level)
        headers |= {"Content-Language": response.request.language}
        return Response(
            html.encode("utf-8", "replace"),
            response.status,
            headers={**headers, "Content-Type": "text/html; charset=utf-8"},
        )

    def _send_file(self, download: Download, request: Request) -> Response:
        """Send a stored file to be saved, or the requested part of it (RFC 9110, section 14)."""
        headers = access.build_download_headers(self._service.settings) | {"ETag": f'"{download.etag}"'}
        etags = request.headers.get("if-none-match", "")
        if any(each.strip().removeprefix("W/") in ("*", headers["ETag"]) for each in etags.split(",")):
            return Response(status_code=304, headers=headers)
        return FileResponse(
            download.path, headers={**headers, "Content-Type": download.kind}, filename=download.name
        )
