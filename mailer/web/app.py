"""The web application: one table of doors, which a guard test walks, and its Starlette."""

import threading
from collections.abc import Callable
from functools import cache

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from lists import geography
from mailer.service import Service
from mailer.web import health
from mailer.web.postoffice import Office
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
from mailer.web.renderer import STATIC, Press
from mailer.web.routes import Door, Porter
from mailer.web.visit import File, Visit

A_PLACE = "10027"  # looked up at the start, so that the first visitor need not wait for the table of places
A_YEAR = "public, max-age=31536000, immutable"  # the address of the stylesheet changes with its content
KINDS = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


def doors(office: Office) -> tuple[Door, ...]:
    """Return every door of the house."""
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
        ("GET", "/r/{slot}", "public", resources.go),
        ("GET", "/static/public.css", "public", static("public.css")),
        ("GET", "/static/favicon.svg", "public", static("favicon.svg")),
        ("GET", "/favicon.ico", "public", static("favicon.svg")),
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
        ("GET", "/health", "public", health.look),
        ("GET", "/metrics", "operator", health.figures),
        ("GET", "/postoffice", "loopback", office.show),
        ("POST", "/postoffice/advance", "loopback", office.advance),
        ("GET", "/postoffice/messages.json", "loopback", office.messages),
        ("GET", "/postoffice/messages/{id}", "loopback", office.mail),
        ("GET", "/postoffice/messages/{id}/html", "loopback", office.html),
        ("GET", "/postoffice/messages/{id}/raw", "loopback", office.raw),
    )
    floored = {("POST", "/join"), ("POST", "/join/{list}"), ("POST", "/organize")}
    return tuple(
        Door(
            method=method,
            path=path,
            access=access,
            handler=handler,
            floored=(method, path) in floored,
            bare=path == "/health",
        )
        for method, path, access, handler in table
    )


def build(service: Service, *, drain: Callable[[], object] | None = None) -> Starlette:
    """Build the application of a service.

    `drain` returns when nothing that is due is left in the outbox, for the time machine; when none is given,
    this process delivers.
    """
    threading.Thread(target=geography.find, args=(A_PLACE,), daemon=True).start()
    porter = Porter(service, Press(service.settings))
    office = Office(drain or service.deliver_until_empty)
    routes = [Route(door.path, porter.endpoint(door), methods=[door.method]) for door in doors(office)]
    return Starlette(routes=routes, exception_handlers={HTTPException: porter.refuse, 500: porter.refuse})


@cache
def static(name: str) -> Callable[[Visit], File]:
    """Return a handler that gives one of our own static files from memory."""
    path = STATIC / name
    file = File(body=path.read_bytes(), kind=KINDS[path.suffix], headers={"Cache-Control": A_YEAR})

    def give(_visit: Visit) -> File:
        return file

    return give
