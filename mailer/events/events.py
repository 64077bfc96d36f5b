"""Events: calls, their time and audience, and the progress of their invitations.

`sequence` counts the changes that calendars must receive (time, length, status, join link); it begins at 0.
The table stores a moment, not a local time, because every mail and calendar entry names a moment; it stores
the zone too, because people say "8 pm Eastern". Calls never repeat by a rule: each month's is its own event.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy import JSON, CheckConstraint, String, Text, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists import audit, catalog, contacts
from lists.contacts import LANGUAGES
from lists.db import Base, Id, PrimaryKey, Timestamp, UtcDateTime
from lists.errors import BadInput, Conflict, NotFound
from mailer.events import icalendar

TITLE_LENGTH = 120
DESCRIPTION_LENGTH = 2000
URL_LENGTH = 1000
MIN_MINUTES, MAX_MINUTES = 5, 12 * 60
MAX_LEAD_TIME = timedelta(days=2 * 366)  # catches a mistyped year; no call is planned so far ahead


class Event(Base):
    """One call; `title` and `description` are texts by language.

    `uid_domain`, `invited_up_to` (a contact number) and `next_pass_at` belong to
    mailer/sources/invitations.py.
    """

    __tablename__ = "events"
    __table_args__ = (
        CheckConstraint("status IN ('planned', 'cancelled')", name="status"),
        {"sqlite_autoincrement": True},  # calendars store an event's number for ever
    )

    id: Mapped[PrimaryKey]
    title: Mapped[dict[str, str]] = mapped_column(JSON)
    description: Mapped[dict[str, str]] = mapped_column(JSON)
    starts_at: Mapped[Timestamp] = mapped_column(index=True)
    zone: Mapped[str] = mapped_column(String(40))
    minutes: Mapped[int]
    join_url: Mapped[str] = mapped_column(Text)
    audience: Mapped[str] = mapped_column(String(40))
    sequence: Mapped[int] = mapped_column(default=0)
    status: Mapped[str] = mapped_column(String(9), default="planned")
    created_at: Mapped[Timestamp]
    changed_at: Mapped[Timestamp]
    invited_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    uid_domain: Mapped[str] = mapped_column(String(253), default="")
    invited_up_to: Mapped[int] = mapped_column("walked_to", Id, default=0)
    next_pass_at: Mapped[datetime | None] = mapped_column("rest_until", UtcDateTime, default=None)

    @property
    def ends_at(self) -> datetime:
        """Return the moment when the call is over."""
        return self.starts_at + timedelta(minutes=self.minutes)

    def is_over(self, now: datetime) -> bool:
        """Return whether nothing may be sent for this call any more."""
        return self.ends_at <= now or self.status == "cancelled"

    def title_in(self, language: str) -> str:
        """Return the title in this language, else in any other."""
        return self.title.get(language) or next(iter(self.title.values()))

    def description_in(self, language: str) -> str:
        """Return the description in this language, else in any other, else ""."""
        return self.description.get(language) or next(iter(self.description.values()), "")


def create(
    session: Session,
    *,
    title: Mapping[str, str],
    starts: str,
    zone: str,
    minutes: int,
    join_url: str,
    audience: str,
    now: datetime,
    actor: str,
    description: Mapping[str, str] | None = None,
) -> Event:
    """Create a call; `starts` is a local time in `zone`, such as "2026-12-08 20:00"; texts are by language.

    Raises BadInput with a sentence for an unknown zone, an hour that the clocks skip or repeat, the past, a
    length out of range, an invalid link, an unknown audience.
    """
    starts_at = parse_start(starts, zone=zone)
    if starts_at <= now:
        raise BadInput(f"{starts} is in the past. Give the call a time that is still to come.")
    if starts_at > now + MAX_LEAD_TIME:
        raise BadInput(f"{starts} is more than two years away. Please check the year.")
    if not MIN_MINUTES <= minutes <= MAX_MINUTES:
        raise BadInput(f"A call takes {MIN_MINUTES} to {MAX_MINUTES} minutes, not {minutes}.")
    catalog.check_name(session, audience)
    if len(join_url) > URL_LENGTH:
        raise BadInput(f"The link to join is longer than {URL_LENGTH} characters.")
    icalendar.check_url(join_url)
    event = Event(
        title=_clean_titles(title),
        description=_clean_descriptions(description or {}),
        starts_at=starts_at,
        zone=zone,
        minutes=minutes,
        join_url=join_url,
        audience=audience,
        created_at=now,
        changed_at=now,
    )
    session.add(event)
    session.flush()
    audit.record(session, actor=actor, action="event create", subject=f"event {event.id}", now=now)
    return event


def parse_start(local: str, *, zone: str) -> datetime:
    """Return the moment, in UTC, of a local time such as "2026-12-08 20:00" in an IANA zone.

    Raises BadInput for an unknown zone, another form, and the hours that do not exist or come twice when
    the clocks change: only the organizer can tell which was meant.
    """
    tz = _parse_zone(zone)
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d", local, re.ASCII):
            raise ValueError
        candidate = datetime.fromisoformat(local).replace(tzinfo=tz)
        moments = [candidate.replace(fold=fold).astimezone(UTC) for fold in (0, 1)]
    except (ValueError, OverflowError):
        raise BadInput(
            f"“{local[:40]}” is not a time: write year-month-day and hour:minute, like 2026-12-08 20:00."
        ) from None
    if moments[0] == moments[1]:
        return moments[0]
    alternatives = sorted(moment.astimezone(tz).strftime("%Y-%m-%d %H:%M") for moment in moments)
    if local.replace("T", " ") not in alternatives:
        raise BadInput(
            f"{local} does not exist in {zone}, because the clocks go forward over it. "
            f"Choose {alternatives[0]} or {alternatives[1]}."
        )
    raise BadInput(
        f"{local} comes twice in {zone}, because the clocks go back that day. "
        "Choose a time before or after the hour that comes twice."
    )


def get(session: Session, event_id: int) -> Event:
    """Return the event of this number; raises NotFound."""
    event = find(session, event_id)
    if event is None:
        raise NotFound(f"There is no event number {event_id}. “mailer event list” shows them.")
    return event


def find(session: Session, event_id: int) -> Event | None:
    """Return the event of this number, or None."""
    return session.get(Event, event_id)


def find_by_ids(session: Session, event_ids: Sequence[int]) -> dict[int, Event]:
    """Return events by number in one query, without those that do not exist."""
    rows = session.scalars(select(Event).where(Event.id.in_(set(event_ids))))
    return {event.id: event for event in rows}


def list_all(session: Session) -> Sequence[Event]:
    """Return every event, the latest to take place first."""
    return session.scalars(select(Event).order_by(Event.starts_at.desc(), Event.id.desc())).all()


def list_upcoming(session: Session, *, now: datetime, audience: str | None = None) -> Sequence[Event]:
    """Return the events that are not over at `now`, the next one first, for one list or for all."""
    query = select(Event).where(
        Event.starts_at > now - timedelta(minutes=MAX_MINUTES), Event.status == "planned"
    )
    if audience is not None:
        query = query.where(Event.audience == audience)
    rows = session.scalars(query.order_by(Event.starts_at, Event.id))
    return [event for event in rows if not event.is_over(now)]


def open_invitations(session: Session, event_id: int, *, domain: str, now: datetime, actor: str) -> Event:
    """Open the invitations of a call to its audience from now on; opening them again changes nothing.

    `domain` ends the UIDs in calendars and is stored, so that they stay the same when settings change.
    Raises NotFound, and Conflict for a call that is over or cancelled.
    """
    event = get(session, event_id)
    if event.status == "cancelled":
        raise Conflict(f"The call “{event.title_in('en')}” is cancelled. Nobody is invited to it.")
    if event.is_over(now):
        raise Conflict(f"The call “{event.title_in('en')}” is over. Nobody is invited to it any more.")
    if event.invited_at is None:
        event.invited_at = now
        event.uid_domain = domain
        session.flush()
        audit.record(session, actor=actor, action="event invite", subject=f"event {event.id}", now=now)
    return event


def _parse_zone(zone: str) -> ZoneInfo:
    zones = available_timezones()
    if zone in zones:
        return ZoneInfo(zone)
    by_city = {name.rpartition("/")[2].replace("_", "").casefold(): name for name in sorted(zones)}
    city = re.sub(r"[^a-z]", "", zone.rpartition("/")[2].casefold())
    matches = difflib.get_close_matches(zone, zones, n=1, cutoff=0.8)
    suggestion = by_city.get(city) or (matches[0] if matches else "America/New_York")
    raise BadInput(f"There is no time zone called “{zone[:40]}”. Did you mean {suggestion}?")


def _clean_titles(title: Mapping[str, str]) -> dict[str, str]:
    cleaned = {
        language: contacts.clean(text, label="title", limit=TITLE_LENGTH)
        for language, text in _require_languages(title).items()
    }
    titles = {language: text for language, text in cleaned.items() if text}
    if not titles:
        raise BadInput("A call needs a title. Give it one that people will recognize in their calendar.")
    return titles


def _clean_descriptions(description: Mapping[str, str]) -> dict[str, str]:
    descriptions = {language: text.strip() for language, text in _require_languages(description).items()}
    for text in descriptions.values():
        if len(text) > DESCRIPTION_LENGTH:
            raise BadInput(
                f"The description is longer than {DESCRIPTION_LENGTH} characters. Please shorten it."
            )
        if any(not character.isprintable() and character not in "\n\r" for character in text):
            raise BadInput("The description holds a hidden character. Please type it again.")
    return {language: text for language, text in descriptions.items() if text}


def _require_languages(texts: Mapping[str, str]) -> Mapping[str, str]:
    for language in texts:
        if language not in LANGUAGES:
            raise BadInput(f"There is no language called “{language}” here. The languages are: en, es.")
    return texts
