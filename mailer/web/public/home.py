"""The first page: why, the motto, the two sign-ups, the next call."""

from lists.catalog import BUILT_IN_LISTS
from mailer.events import events
from mailer.templates import local_time
from mailer.web.visit import Page, Visit


def show(visit: Visit) -> Page:
    """Show the first page, with the next call that is planned; one of a list that staff added is not told."""
    with visit.service.database.read() as session:
        planned = events.list_upcoming(session, now=visit.now)
        event = next((each for each in planned if each.audience in BUILT_IN_LISTS), None)
    call = None
    if event is not None:
        when = local_time.format_for_reader(event.starts_at, zone=event.zone, language=visit.language)
        call = {"title": event.title_in(visit.language), "when": when, "audience": event.audience}
    return Page(visit=visit, template="home.html", values={"call": call})
