"""Web application: the table of routes, which a guard test walks, and the Starlette application."""

import threading
from collections.abc import Callable
from functools import cache

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from lists import geography
from mailer.service import Service
from mailer.web import health
from mailer.web.page_request import PageRequest, RawResponse
from mailer.web.postoffice import PostOfficePages
from mailer.web.public import (
    confirm,
    data_page,
    home,
    join,
    organize,
    preferences,
    privacy,
    profile,
    resources,
    rsvp,
    unsubscribe,
)
from mailer.web.renderer import STATIC, PageRenderer
from mailer.web.routes import PageRoute, RouteAdapter

WARM_UP_ZIP = (
    "10027"  # looked up at the start, so that the first request need not wait for the table of places
)
CACHE_FOR_A_YEAR = (
    "public, max-age=31536000, immutable"  # the address of the stylesheet changes with its content
)
CONTENT_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


def list_routes(postoffice_pages: PostOfficePages) -> tuple[PageRoute, ...]:
    """Return every route of the service."""
    table = (
        ("GET", "/", "public", home.show),
        ("GET", "/join", "public", join.show),
        ("POST", "/join", "public", join.post),
        ("GET", "/join/{list}", "public", join.show),
        ("POST", "/join/{list}", "public", join.post),
        ("GET", "/organize", "public", organize.show),
        ("POST", "/organize", "public", organize.post),
        ("GET", "/privacy", "public", privacy.show),
        ("GET", "/resources", "public", resources.show),
        ("GET", "/r/{slot}", "public", resources.open_resource),
        ("GET", "/static/public.css", "public", serve_static("public.css")),
        ("GET", "/static/favicon.svg", "public", serve_static("favicon.svg")),
        ("GET", "/favicon.ico", "public", serve_static("favicon.svg")),
        ("GET", "/confirm/{token}", "token", confirm.show),
        ("POST", "/confirm/{token}", "token", confirm.post),
        ("GET", "/preferences/{token}", "token", preferences.show),
        ("POST", "/preferences/{token}", "token", preferences.post),
        ("GET", "/mine/{token}", "token", profile.show),
        ("POST", "/mine/{token}", "token", profile.post),
        ("GET", "/mine/{token}/all", "token", data_page.show),
        ("GET", "/mine/{token}/all.json", "token", data_page.download),
        ("GET", "/unsubscribe/{token}", "token", unsubscribe.show),
        ("POST", "/unsubscribe/{token}", "token", unsubscribe.post),
        ("GET", "/rsvp/{token}", "token", rsvp.show),
        ("POST", "/rsvp/{token}", "token", rsvp.post),
        ("GET", "/health", "public", health.show),
        ("GET", "/metrics", "operator", health.show_metrics),
        ("GET", "/postoffice", "loopback", postoffice_pages.show),
        ("POST", "/postoffice/advance", "loopback", postoffice_pages.advance),
        ("GET", "/postoffice/messages.json", "loopback", postoffice_pages.messages),
        ("GET", "/postoffice/messages/{id}", "loopback", postoffice_pages.mail),
        ("GET", "/postoffice/messages/{id}/html", "loopback", postoffice_pages.html),
        ("GET", "/postoffice/messages/{id}/raw", "loopback", postoffice_pages.raw),
    )
    padded = {("POST", "/join"), ("POST", "/join/{list}"), ("POST", "/organize")}
    return tuple(
        PageRoute(
            method=method,
            path=path,
            access=access,
            handler=handler,
            has_time_floor=(method, path) in padded,
            skips_database=path == "/health",
        )
        for method, path, access, handler in table
    )


def build(service: Service, *, drain: Callable[[], object] | None = None) -> Starlette:
    """Build the application of a service.

    `drain` returns when nothing that is due waits in the outbox, for the time machine; without it, this
    process delivers.
    """
    threading.Thread(target=geography.find, args=(WARM_UP_ZIP,), daemon=True).start()
    adapter = RouteAdapter(service, PageRenderer(service.settings))
    pages = PostOfficePages(drain or service.deliver_until_empty)
    routes = [
        Route(route.path, adapter.endpoint(route), methods=[route.method]) for route in list_routes(pages)
    ]
    return Starlette(
        routes=routes, exception_handlers={HTTPException: adapter.handle_error, 500: adapter.handle_error}
    )


@cache
def serve_static(name: str) -> Callable[[PageRequest], RawResponse]:
    """Return a handler that sends one of our own static files from memory."""
    path = STATIC / name
    response = RawResponse(
        body=path.read_bytes(), kind=CONTENT_TYPES[path.suffix], headers={"Cache-Control": CACHE_FOR_A_YEAR}
    )

    def respond(_request: PageRequest) -> RawResponse:
        return response

    return respond
