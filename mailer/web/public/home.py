"""The first page: why, the motto, the two sign-ups, the next call."""

from mailer import events, moments
from mailer.web.visit import Page, Visit


def show(visit: Visit) -> Page:
    """Show the first page, with the next call that is planned, for whichever list."""
    with visit.service.database.read() as session:
        event = next(iter(events.upcoming(session, now=visit.now)), None)
    call = None
    if event is not None:
        when = moments.in_words(event.starts_at, zone=event.zone, language=visit.language)
        call = {"title": event.titled(visit.language), "when": when, "audience": event.audience}
    return Page(visit=visit, template="home.html", values={"call": call})
