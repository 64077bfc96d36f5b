"""Field: an additional typed property of contacts that staff define, and its value for one contact.

```
(none) ─add→ in use ─retire→ retired ─90 days→ its values are deleted
```
A value is stored as the normalized text of its type, so that it reads and compares the same everywhere. A
retired field takes no new values. Its name stays reserved, so that old files keep their meaning.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import JSON, CheckConstraint, ForeignKey, String, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists import audit, contacts
from lists.db import Base, Timestamp, UtcDateTime, insert_or_nothing
from lists.errors import BadInput, Conflict, NotFound

TYPES = ("text", "number", "date", "yes/no", "choice")
MAX_FIELDS = 30
MAX_CHOICES = 50
TITLE_LENGTH = 80
VALUE_LENGTH = 500
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,10})?", re.ASCII)
ZERO = Decimal(0)
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
YES = frozenset({"yes", "y", "true", "1", "sí", "si"})
NO = frozenset({"no", "n", "false", "0"})

# The columns of every contact, and names of columns in files.
RESERVED_NAMES = frozenset(
    """id email email_key email_digest name first_name last_name language zip city county state us_state zone
    time_zone latitude longitude organization tradition role discreet created_at here_since version list
    status agreed left since tags notes asked_at confirmed_at left_at paused_until""".split()  # noqa: SIM905
)
FORBIDDEN_TOPICS = re.compile(
    r"immigra|inmigra|migrator|citizen|ciudadan|undocument|indocument|\bvisa\b|green.?card|\bpapeles\b",
    re.IGNORECASE,
)


class Field(Base):
    """A field that staff defined: its name in files and commands, its title, its type, and its choices."""

    __tablename__ = "fields"
    __table_args__ = (CheckConstraint(f"type IN {TYPES}", name="type"),)

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))
    type: Mapped[str] = mapped_column(String(6))
    choices: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[Timestamp]
    retired_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


class FieldValue(Base):
    """The value of one field for one contact; an empty value has no row."""

    __tablename__ = "field_values"

    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True)
    field: Mapped[str] = mapped_column(
        String(40), ForeignKey("fields.name", ondelete="CASCADE"), primary_key=True, index=True
    )
    value: Mapped[str] = mapped_column(String(VALUE_LENGTH))


def add(
    session: Session, name: str, *, title: str, type: str, choices: Sequence[str], now: datetime, actor: str
) -> Field:
    """Define a field.

    Raises BadInput for a name, title or choice that is not valid, Conflict for a name in use.
    """
    title = contacts.clean(title, label="title", limit=TITLE_LENGTH)
    if not NAME.fullmatch(name):
        raise BadInput(f"“{name}” cannot be a field's name: use small letters, digits and _, like host.")
    if not title:
        raise BadInput("Give the field a title, as people read it: --title “Speaks Spanish”.")
    if FORBIDDEN_TOPICS.search(f"{name.replace('_', ' ')} {title} {' '.join(choices)}"):
        raise BadInput(
            "Nobody’s immigration status is asked or kept here: what is not written down cannot be taken."
        )
    if name in RESERVED_NAMES or session.get(Field, name) is not None:
        raise Conflict(f"There is a field called {name} already.")
    if len(list_active(session)) >= MAX_FIELDS:
        raise Conflict(f"There are {MAX_FIELDS} fields, which is the most. Retire one first.")
    field = Field(
        name=name, title=title, type=_check_type(type), choices=_clean_choices(type, choices), created_at=now
    )
    session.add(field)
    session.flush()
    audit.record(session, actor=actor, action="field add", subject=f"field {name}", now=now)
    return field


def retire(session: Session, name: str, *, now: datetime, actor: str) -> Field:
    """Retire a field; its values are deleted later. Raises NotFound, Conflict when it is retired already."""
    field = session.get(Field, name)
    if field is None:
        raise NotFound(f"There is no field called {name}. “mailer field list” shows them.")
    if field.retired_at is not None:
        raise Conflict(f"The field {name} is retired already.")
    field.retired_at = now
    session.flush()
    audit.record(session, actor=actor, action="field retire", subject=f"field {name}", now=now)
    return field


def list_all(session: Session) -> Sequence[Field]:
    """Return every field, in use or retired, oldest first."""
    return session.scalars(select(Field).order_by(Field.created_at, Field.name)).all()


def list_active(session: Session) -> Mapping[str, Field]:
    """Return the fields that take values, by name, oldest first."""
    return {field.name: field for field in list_all(session) if field.retired_at is None}


def parse(field: Field, text: str) -> str:
    """Return the normalized value of a text for a field; "" for an empty text.

    Raises BadInput with a sentence that says how a value of this type is written.
    """
    cleaned = contacts.clean(text, label=field.title, limit=VALUE_LENGTH)
    return PARSERS[field.type](field, cleaned) if cleaned else ""


def find_values(session: Session, contact_id: int) -> Mapping[str, str]:
    """Return the values of a contact, by field name; those of retired fields too, until they are deleted."""
    return find_values_by_contact(session, [contact_id]).get(contact_id, {})


def find_values_by_contact(session: Session, contact_ids: Sequence[int]) -> Mapping[int, Mapping[str, str]]:
    """Return the values of each of these contacts that has any, by field name."""
    values: dict[int, dict[str, str]] = {}
    query = select(FieldValue.contact_id, FieldValue.field, FieldValue.value)
    for row in session.execute(query.where(FieldValue.contact_id.in_(contact_ids))):
        values.setdefault(row.contact_id, {})[row.field] = row.value
    return values


def set_values(session: Session, contact_id: int, values: Mapping[str, str]) -> None:
    """Store parsed values of one contact, in place of the old values of these fields; "" clears a field."""
    statement = delete(FieldValue).where(FieldValue.contact_id == contact_id, FieldValue.field.in_([*values]))
    session.execute(statement.execution_options(synchronize_session=False))
    add_values(session, [(contact_id, values)])


def add_values(session: Session, values_by_contact: Sequence[tuple[int, Mapping[str, str]]]) -> None:
    """Store parsed values of many contacts; an existing value is not replaced."""
    rows = [
        {"contact_id": contact_id, "field": name, "value": value}
        for contact_id, values in values_by_contact
        for name, value in values.items()
        if value
    ]
    insert_or_nothing(session, FieldValue, rows)


def merge_values(session: Session, *, other: int, keep: int) -> None:
    """Copy the values of the other contact to the fields that are empty in the contact `keep`."""
    add_values(session, [(keep, find_values(session, other))])


def _check_type(text: str) -> str:
    if text not in TYPES:
        raise BadInput(f"“{text}” is no type of a field. These are: {', '.join(TYPES)}.")
    return text


def _clean_choices(type: str, choices: Sequence[str]) -> list[str]:
    cleaned = [contacts.clean(choice, label="choice", limit=TITLE_LENGTH) for choice in choices]
    if type != "choice":
        if cleaned:
            raise BadInput("Only a field of the type “choice” has choices.")
        return []
    distinct = {choice.casefold() for choice in cleaned if choice}
    if len(distinct) < 2 or len(distinct) != len(cleaned) or len(cleaned) > MAX_CHOICES:
        raise BadInput(f"Give two to {MAX_CHOICES} different choices: --choice north --choice south.")
    return cleaned


def _parse_text(_field: Field, text: str) -> str:
    return text


def _parse_number(field: Field, text: str) -> str:
    if not NUMBER.fullmatch(text):
        raise BadInput(f"{field.title}: “{text[:40]}” is not a number. Write it like 12 or 3.5.")
    number = Decimal(text)
    return format(number.normalize(), "f") if number != ZERO else "0"


def _parse_date(field: Field, text: str) -> str:
    try:
        if DATE.fullmatch(text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise BadInput(f"{field.title}: “{text[:40]}” is not a date. Write it like 2026-10-04.")


def _parse_yes_no(field: Field, text: str) -> str:
    if text.casefold() in YES:
        return "yes"
    if text.casefold() in NO:
        return "no"
    raise BadInput(f"{field.title}: “{text[:40]}” is neither yes nor no.")


def _parse_choice(field: Field, text: str) -> str:
    match = next((choice for choice in field.choices if choice.casefold() == text.casefold()), None)
    if match is None:
        examples = ", ".join(field.choices[:10])
        raise BadInput(f"{field.title}: “{text[:40]}” is none of the choices. These are: {examples}.")
    return match


PARSERS: Mapping[str, Callable[[Field, str], str]] = {
    "text": _parse_text,
    "number": _parse_number,
    "date": _parse_date,
    "yes/no": _parse_yes_no,
    "choice": _parse_choice,
}
