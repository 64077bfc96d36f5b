"""Catalog: the lists there are: the two of the house, and those that staff add, each with its own words.

```
(none) ─add→ open ─close→ closed ─reopen→ open
```
Nobody joins a closed list; who is on it stays, is written to, and can leave. A list is never deleted, for the
evidence of what people agreed to names it.
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
RESERVED_NAMES = frozenset(
    {*BUILT_IN_LISTS, "all", "added"}
)  # “leave all” is a button; “added” names the words of all these
NAME_LENGTH, TITLE_LENGTH, ABOUT_LENGTH = 40, 80, 400  # characters
MAX_LISTS = 50
LANGUAGE_NAMES = {"en": "English", "es": "Spanish"}

# The one grammar of names, for commands, pages, files and links, of which a name is always the last part.
NAME_PATTERN = rf"(?=[a-z0-9-]{{1,{NAME_LENGTH}}}\Z)[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
_NAME = re.compile(NAME_PATTERN)


class MailingList(Base):
    """A list that staff added: its name in addresses and commands, and its words by language.

    `about` says what comes and how often; `letter` is the mail that asks to confirm, by language and part
    (subject, preview, body), empty where the shared one is sent. `links_mended_at`: until then the links to
    leave this list were refused, None where they always worked.
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
    """Tell whether this can be the name of a list."""
    return _NAME.fullmatch(text) is not None


def list_names(session: Session) -> Sequence[str]:
    """Return the name of every list, the two of the house first; closed ones too."""
    return [*BUILT_IN_LISTS, *session.scalars(select(MailingList.name).order_by(MailingList.name))]


def find(session: Session, name: str) -> MailingList | None:
    """Return the list of this name that staff added, or None; those of the house are not asked for."""
    return session.get(MailingList, name) if is_name(name) and name not in BUILT_IN_LISTS else None


def check_name(session: Session, name: str) -> str:
    """Return the name of a list; raises NotFound, which tells the lists there are."""
    known = list_names(session)
    if name not in known:
        raise NotFound(f"There is no list called “{name[:NAME_LENGTH]}”. The lists are: {', '.join(known)}.")
    return name


def check_open(session: Session, name: str) -> None:
    """Raise NotFound where there is no list of this name, Conflict where nobody can join it any more."""
    found = find(session, check_name(session, name))
    if found is not None and found.closed_at is not None:
        raise Conflict(f"The list {name} is closed. “mailer list reopen {name}” opens it again.")


def get(session: Session, name: str) -> MailingList:
    """Return a list that staff added; raises NotFound, and BadInput for one of the house."""
    found = find(session, check_name(session, name))
    if found is None:
        raise BadInput(f"The list {name} is part of the house: its words are those of the pages and letters.")
    return found


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
    """Add a list; texts are by language, in every one. Raises BadInput, and Conflict for a name in use."""
    if not is_name(name):
        raise BadInput(
            f"“{name[:NAME_LENGTH]}” cannot be the name of a list: small letters, digits and -, like clergy."
        )
    if name in RESERVED_NAMES or find(session, name) is not None:
        raise Conflict(f"The name {name} is taken. Choose another one.")
    if len(list_names(session)) - len(BUILT_IN_LISTS) >= MAX_LISTS:
        raise Conflict(f"There are {MAX_LISTS} lists, and no more can be added.")
    made = MailingList(
        name=name,
        title=_clean_texts(title, label="title", limit=TITLE_LENGTH),
        about=_clean_texts(about, label="text about the list", limit=ABOUT_LENGTH),
        letter=dict(confirmation_message),
        added_at=now,
    )
    session.add(made)
    audit.record(session, actor=actor, action="list add", subject=f"list {name}", now=now)
    session.flush()
    return made


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
    """Change what is given of a list's words, "" leaves one as it is; raises NotFound, BadInput.

    What people agreed to stays as it was shown to them. A `confirmation_message` of {} goes back to the
    shared one.
    """
    found = get(session, name)
    found.title = _clean_texts(_merge_texts(found.title, title), label="title", limit=TITLE_LENGTH)
    found.about = _clean_texts(
        _merge_texts(found.about, about), label="text about the list", limit=ABOUT_LENGTH
    )
    found.letter = found.letter if confirmation_message is None else dict(confirmation_message)
    audit.record(session, actor=actor, action="list reword", subject=f"list {name}", now=now)
    session.flush()
    return found


def close(session: Session, name: str, *, now: datetime, actor: str) -> MailingList:
    """Let nobody join a list any more; raises NotFound, BadInput, Conflict."""
    found = get(session, name)
    if found.closed_at is not None:
        raise Conflict(f"The list {name} is closed already.")
    found.closed_at = now
    audit.record(session, actor=actor, action="list close", subject=f"list {name}", now=now)
    return found


def reopen(session: Session, name: str, *, now: datetime, actor: str) -> MailingList:
    """Let people join a closed list again; raises NotFound, BadInput, Conflict."""
    found = get(session, name)
    if found.closed_at is None:
        raise Conflict(f"The list {name} is open already.")
    found.closed_at = None
    audit.record(session, actor=actor, action="list reopen", subject=f"list {name}", now=now)
    return found


def _merge_texts(current: Mapping[str, str], changes: Mapping[str, str]) -> Mapping[str, str]:
    return {**current, **{language: text for language, text in changes.items() if text}}


def _clean_texts(texts: Mapping[str, str], *, label: str, limit: int) -> dict[str, str]:
    """Return a text in every language, cleaned; raises BadInput for one that is missing or cannot be kept."""
    clean = {}
    for language in LANGUAGES:
        named = f"{LANGUAGE_NAMES[language]} {label}"
        clean[language] = contacts.clean(texts.get(language, ""), label=named, limit=limit)
        if not clean[language]:
            raise BadInput(f"The {named} is missing. A list speaks both languages.")
    return clean
