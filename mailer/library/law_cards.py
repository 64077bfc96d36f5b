"""Law cards: statements on the present law of one state, with their source, who checked them, and when.

    add ─► shown ──── 90 days after it was checked ───► expired: left out by itself
             ▲  └─ retire ─► retired, for good ◄─ retire ─┘  │
             └──────────────── check ─────────────────────────┘

A card's expiry follows from the day it was checked on, so no job is needed to hide it. The repository ships
none: only people who have read the law may write them.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import JSON, ColumnElement, String, and_, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists import audit, contacts
from lists.contacts import LANGUAGES
from lists.db import Base, PrimaryKey, Timestamp, UtcDateTime
from lists.errors import BadInput, Conflict, NotFound
from mailer.library import resources, us_states

VALIDITY = timedelta(days=90)
WARNING_PERIOD = timedelta(days=14)
TEXT_LENGTH, NAME_LENGTH = 400, 80  # characters
MAX_CARDS = 300  # that are not retired


class LawCard(Base):
    """One statement about present law; `text` is by language, `checked_on` a day such as "2026-11-22"."""

    __tablename__ = "fact_cards"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[PrimaryKey]
    state: Mapped[str] = mapped_column(String(2))
    text: Mapped[dict[str, str]] = mapped_column(JSON)
    source: Mapped[str] = mapped_column(String(resources.LINK_LENGTH))
    checked_on: Mapped[str] = mapped_column(String(10))
    checked_by: Mapped[str] = mapped_column(String(NAME_LENGTH))
    added_at: Mapped[Timestamp]
    retired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    def days_remaining(self, now: datetime) -> int:
        """Return the number of days it is still shown; 0 on the last one, below 0 when it has expired."""
        return (date.fromisoformat(self.checked_on) + VALIDITY - now.date()).days


def add(
    session: Session,
    *,
    state: str,
    text: Mapping[str, str],
    source: str,
    checked_on: str,
    checked_by: str,
    now: datetime,
    actor: str,
) -> LawCard:
    """Add a card about a state (two letters, or “federal”), in both languages; raises BadInput, Conflict."""
    if len(list_cards(session)) >= MAX_CARDS:
        raise Conflict(f"There are {MAX_CARDS} cards. “mailer law-card retire” makes room.")
    card = LawCard(
        state=parse_state(state),
        text={language: _clean_text(text.get(language, ""), language) for language in LANGUAGES},
        source=resources.check_link(source),
        checked_on=_parse_check_day(checked_on, now),
        checked_by=_clean_name(checked_by),
        added_at=now,
    )
    session.add(card)
    session.flush()
    audit.record(session, actor=actor, action="fact add", subject=f"fact {card.id}", now=now)
    return card


def record_check(
    session: Session,
    number: int,
    *,
    checked_on: str,
    checked_by: str,
    now: datetime,
    actor: str,
    text: Mapping[str, str] | None = None,
    source: str = "",
) -> LawCard:
    """Record another check of a card and its changes; raises NotFound, BadInput, Conflict."""
    card = _get_unretired(session, number)
    changes = {language: words for language, words in (text or {}).items() if words}
    day = _parse_check_day(checked_on, now)
    if day < card.checked_on:
        raise BadInput(f"Card {number} was checked later than that already, on {card.checked_on}.")
    card.checked_on, card.checked_by = day, _clean_name(checked_by)
    card.text = card.text | {language: _clean_text(words, language) for language, words in changes.items()}
    card.source = resources.check_link(source) if source else card.source
    audit.record(session, actor=actor, action="fact check", subject=f"fact {number}", now=now)
    return card


def retire(session: Session, number: int, *, now: datetime, actor: str) -> LawCard:
    """Retire a card for good; raises NotFound, Conflict."""
    card = _get_unretired(session, number)
    card.retired_at = now
    audit.record(session, actor=actor, action="fact retire", subject=f"fact {number}", now=now)
    return card


def get(session: Session, number: int) -> LawCard:
    """Return one card; raises NotFound."""
    card = session.get(LawCard, number)
    if card is None:
        raise NotFound(f"There is no card {number}. “mailer law-card list --all” shows them.")
    return card


def list_cards(session: Session, *, include_retired: bool = False) -> Sequence[LawCard]:
    """Return the cards that are not retired, expired ones too, or all cards; federal law first."""
    query = select(LawCard) if include_retired else select(LawCard).where(LawCard.retired_at.is_(None))
    cards = session.scalars(query.order_by(LawCard.state, LawCard.id)).all()
    return sorted(cards, key=lambda card: card.state != us_states.FEDERAL)


def list_valid(session: Session, *, now: datetime) -> Sequence[LawCard]:
    """Return the cards that are shown at `now`."""
    return [card for card in list_cards(session) if card.days_remaining(now) >= 0]


def list_expiring(session: Session, *, now: datetime) -> Sequence[LawCard]:
    """Return the cards that have expired or will within two weeks, the oldest first."""
    expiring = [card for card in list_cards(session) if card.days_remaining(now) <= WARNING_PERIOD.days]
    return sorted(expiring, key=lambda card: card.checked_on)


def is_expired(now: datetime) -> ColumnElement[bool]:
    """Return the condition that a card is hidden because its last check is too old."""
    return and_(LawCard.retired_at.is_(None), LawCard.checked_on < (now - VALIDITY).date().isoformat())


def is_expiring(now: datetime) -> ColumnElement[bool]:
    """Return the condition that a card is shown today and will be hidden within two weeks."""
    latest_day = (now - VALIDITY + WARNING_PERIOD).date().isoformat()
    return and_(LawCard.retired_at.is_(None), LawCard.checked_on <= latest_day, ~is_expired(now))


def parse_state(text: str) -> str:
    """Return the two letters of a state, “US” for federal law; raises BadInput."""
    code = us_states.FEDERAL if text.strip().lower() == "federal" else text.strip().upper()
    if code not in us_states.NAMES:
        raise BadInput(f"“{text[:20]}” is no state. Write its two letters, like NY, or federal.")
    return code


def _get_unretired(session: Session, number: int) -> LawCard:
    card = get(session, number)
    if card.retired_at is not None:
        raise Conflict(f"Card {number} was retired on {card.retired_at:%B %-d, %Y}. Add a new one.")
    return card


def _clean_text(text: str, language: str) -> str:
    language_name = {"en": "English", "es": "Spanish"}[language]
    cleaned = contacts.clean(text, label=f"{language_name} text", limit=TEXT_LENGTH)
    if not cleaned:
        raise BadInput(f"The {language_name} text is missing. A card speaks both languages.")
    return cleaned


def _clean_name(text: str) -> str:
    cleaned = contacts.clean(text, label="name of who checked it", limit=NAME_LENGTH)
    if not cleaned:
        raise BadInput("Say who has checked it; an office such as “legal team” is enough.")
    return cleaned


def _parse_check_day(text: str, now: datetime) -> str:
    day = resources.parse_day(text, now=now) if text else now.date().isoformat()
    if date.fromisoformat(day) + VALIDITY < now.date():
        raise BadInput(f"{day} is more than {VALIDITY.days} days ago, so nobody would see it. Check it anew.")
    return day
