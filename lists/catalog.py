"""Catalog: the mailing lists: the two that are built in, and those that staff add, each with its own texts.

```
(none) ─add→ open ─close→ closed ─reopen→ open
```
Nobody can join a closed list. Its subscribers stay, still get its mail, and can leave. A list is never
deleted, because the evidence of consent names it.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import JSON, String, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists import audit, contacts
from lists.contacts import LANGUAGES
from lists.db import Base, Timestamp, UtcDateTime
from lists.errors import BadInput, Conflict, NotFound

BUILT_IN_LISTS = ("interest", "organizers")
# “leave all” is a button; “added” names the texts that all added lists share.
RESERVED_NAMES = frozenset({*BUILT_IN_LISTS, "all", "added"})
NAME_LENGTH, TITLE_LENGTH, ABOUT_LENGTH = 40, 80, 400  # characters
MAX_LISTS = 50
LANGUAGE_NAMES = {"en": "English", "es": "Spanish"}

# The grammar of names in commands, pages, files and links; in a link the name is always the last part.
NAME_PATTERN = rf"(?=[a-z0-9-]{{1,{NAME_LENGTH}}}\Z)[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
_NAME = re.compile(NAME_PATTERN)


class MailingList(Base):
    """A list that staff added: its name in addresses and commands, and its texts by language.

    `about` says what subscribers get and how often. `letter` is the message that asks for a confirmation, by
    language and part (subject, preview, body); it is empty where the shared message is sent.
    `links_mended_at`: until this moment links to leave this list were refused; None where they always worked.
    """

    __tablename__ = "mailing_lists"

    name: Mapped[str] = mapped_column(String(NAME_LENGTH), primary_key=True)
    title: Mapped[dict[str, str]] = mapped_column(JSON)
    about: Mapped[dict[str, str]] = mapped_column(JSON)
    letter: Mapped[dict[str, dict[str, str]]] = mapped_column(JSON)
    added_at: Mapped[Timestamp]
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)
    links_mended_at: Mapped[datetime | None] = mapped_column(UtcDateTime, default=None)


def is_name(text: str) -> bool:
    """Return whether this can be the name of a list."""
    return _NAME.fullmatch(text) is not None


def list_names(session: Session) -> Sequence[str]:
    """Return the name of every list, the two built-in lists first; includes closed lists."""
    return [*BUILT_IN_LISTS, *session.scalars(select(MailingList.name).order_by(MailingList.name))]


def find(session: Session, name: str) -> MailingList | None:
    """Return the list of this name that staff added, or None; a built-in list has no row."""
    return session.get(MailingList, name) if is_name(name) and name not in BUILT_IN_LISTS else None


def check_name(session: Session, name: str) -> str:
    """Return the name of a list; raises NotFound, with the names of all lists."""
    names = list_names(session)
    if name not in names:
        raise NotFound(f"There is no list called “{name[:NAME_LENGTH]}”. The lists are: {', '.join(names)}.")
    return name


def check_open(session: Session, name: str) -> None:
    """Raise NotFound when there is no list of this name, Conflict when the list is closed."""
    mailing_list = find(session, check_name(session, name))
    if mailing_list is not None and mailing_list.closed_at is not None:
        raise Conflict(f"The list {name} is closed. “mailer list reopen {name}” opens it again.")


def get(session: Session, name: str) -> MailingList:
    """Return a list that staff added; raises NotFound, and BadInput for a built-in list."""
    mailing_list = find(session, check_name(session, name))
    if mailing_list is None:
        raise BadInput(f"The list {name} is built in: its words are those of the pages and emails.")
    return mailing_list


def add(
    session: Session,
    name: str,
    *,
    title: Mapping[str, str],
    about: Mapping[str, str],
    confirmation_message: Mapping[str, dict[str, str]],
    now: datetime,
    actor: str,
) -> MailingList:
    """Add a list; each text is given in every language. Raises BadInput, and Conflict for a name in use."""
    if not is_name(name):
        raise BadInput(
            f"“{name[:NAME_LENGTH]}” cannot be the name of a list: small letters, digits and -, like clergy."
        )
    if name in RESERVED_NAMES or find(session, name) is not None:
        raise Conflict(f"The name {name} is taken. Choose another one.")
    if len(list_names(session)) - len(BUILT_IN_LISTS) >= MAX_LISTS:
        raise Conflict(f"There are {MAX_LISTS} lists, and no more can be added.")
    mailing_list = MailingList(
        name=name,
        title=_clean_texts(title, label="title", limit=TITLE_LENGTH),
        about=_clean_texts(about, label="text about the list", limit=ABOUT_LENGTH),
        letter=dict(confirmation_message),
        added_at=now,
    )
    session.add(mailing_list)
    audit.record(session, actor=actor, action="list add", subject=f"list {name}", now=now)
    session.flush()
    return mailing_list


def reword(
    session: Session,
    name: str,
    *,
    title: Mapping[str, str],
    about: Mapping[str, str],
    confirmation_message: Mapping[str, dict[str, str]] | None,
    now: datetime,
    actor: str,
) -> MailingList:
    """Change the given texts of a list; "" leaves one as it is. Raises NotFound, BadInput.

    The wording that people agreed to stays in their consents. A `confirmation_message` of {} restores the
    shared message.
    """
    mailing_list = get(session, name)
    mailing_list.title = _clean_texts(
        _merge_texts(mailing_list.title, title), label="title", limit=TITLE_LENGTH
    )
    mailing_list.about = _clean_texts(
        _merge_texts(mailing_list.about, about), label="text about the list", limit=ABOUT_LENGTH
    )
    mailing_list.letter = mailing_list.letter if confirmation_message is None else dict(confirmation_message)
    audit.record(session, actor=actor, action="list reword", subject=f"list {name}", now=now)
    session.flush()
    return mailing_list


def close(session: Session, name: str, *, now: datetime, actor: str) -> MailingList:
    """Close a list to new subscribers; raises NotFound, BadInput, Conflict."""
    mailing_list = get(session, name)
    if mailing_list.closed_at is not None:
        raise Conflict(f"The list {name} is closed already.")
    mailing_list.closed_at = now
    audit.record(session, actor=actor, action="list close", subject=f"list {name}", now=now)
    return mailing_list


def reopen(session: Session, name: str, *, now: datetime, actor: str) -> MailingList:
    """Open a closed list to new subscribers; raises NotFound, BadInput, Conflict."""
    mailing_list = get(session, name)
    if mailing_list.closed_at is None:
        raise Conflict(f"The list {name} is open already.")
    mailing_list.closed_at = None
    audit.record(session, actor=actor, action="list reopen", subject=f"list {name}", now=now)
    return mailing_list


def _merge_texts(current: Mapping[str, str], changes: Mapping[str, str]) -> Mapping[str, str]:
    return {**current, **{language: text for language, text in changes.items() if text}}


def _clean_texts(texts: Mapping[str, str], *, label: str, limit: int) -> dict[str, str]:
    """Return a cleaned text for every language; raises BadInput for one that is missing or not valid."""
    cleaned = {}
    for language in LANGUAGES:
        text_label = f"{LANGUAGE_NAMES[language]} {label}"
        cleaned[language] = contacts.clean(texts.get(language, ""), label=text_label, limit=limit)
        if not cleaned[language]:
            raise BadInput(f"The {text_label} is missing. A list speaks both languages.")
    return cleaned
