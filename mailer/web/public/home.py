"""Home: the first page, with the reason, the motto, the two sign-ups and the next call."""

from lists.catalog import BUILT_IN_LISTS
from mailer.events import events
from mailer.templates import local_time
from mailer.web.page_request import PageRequest, PageResponse


def show(request: PageRequest) -> PageResponse:
    """Show the first page, with the next planned call of a built-in list."""
    with request.service.database.read() as session:
        upcoming = events.list_upcoming(session, now=request.now)
        event = next((each for each in upcoming if each.audience in BUILT_IN_LISTS), None)
    call = None
    if event is not None:
        when = local_time.format_for_reader(event.starts_at, zone=event.zone, language=request.language)
        call = {"title": event.title_in(request.language), "when": when, "audience": event.audience}
    return PageResponse(request=request, template="home.html", values={"call": call})
