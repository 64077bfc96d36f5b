"""Search: finding people by how a word of their address, name or organization begins.

Words are kept in a table of their own, made of what the contact says anyway. A contact whose words are not
there yet, or have changed, says so itself (`Contact.searchable`), and a job makes them: neither a sign-up
nor an import waits for it. A whole address is found at once. A backup leaves the words out.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import (
    ColumnElement,
    ForeignKey,
    Index,
    Select,
    String,
    Table,
    and_,
    delete,
    false,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.contacts import Contact
from lists.db import Base
from lists.errors import BadInput

WORD_LENGTH = 80  # characters; a longer word is found by its beginning
MOST_WORDS = 8  # of one question
MOST_LOOKED_AT = 5_000  # people of whom one word is right, until the others are asked for
LAST = "\U0010ffff"
PIECE = re.compile(r"[^\W_]+")
EDGES = "@.,;:<>()\"'"

# Compared octet by octet on both databases, so that the beginning of a word is a range of the index.
Word = String(WORD_LENGTH).with_variant(String(WORD_LENGTH, collation="C"), "postgresql")


class SearchWord(Base):
    """One word by which one contact is found, without accents and in small letters."""

    __tablename__ = "search_words"
    __table_args__ = (Index("ix_search_words_word", "word", "contact_id"), {"sqlite_with_rowid": False})

    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True)
    word: Mapped[str] = mapped_column(Word, primary_key=True)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Who was found, by address; `more` when there are others whom more words would tell apart."""

    people: Sequence[Contact]
    more: bool


def words_of(*, email_key: str, name: str, organization: str) -> frozenset[str]:
    """Return the words by which somebody is found.

    Of an address these are the whole, each later piece before the @, the domain and the domains above it.
    """
    local, _, domain = email_key.partition("@")
    labels = domain.split(".")
    above = [".".join(labels[place:]) for place in range(1, len(labels) - 1)]
    pieces = [*PIECE.findall(local)[1:], *PIECE.findall(name), *PIECE.findall(organization)]
    folded = {_folded(word)[:WORD_LENGTH] for word in (email_key, domain, *above, *pieces)}
    return frozenset(folded - {""})


def put(session: Session, *, limit: int) -> int:
    """Make the words of up to `limit` contacts that have none, or whose have changed; returns how many."""
    columns = (Contact.id, Contact.email_key, Contact.name, Contact.organization)
    waiting = session.execute(select(*columns).where(Contact.searchable == false()).limit(limit)).all()
    ids = [row.id for row in waiting]
    if not ids:
        return 0
    quiet = {"synchronize_session": False}
    session.execute(delete(SearchWord).where(SearchWord.contact_id.in_(ids)).execution_options(**quiet))
    rows = [
        {"contact_id": row.id, "word": word}
        for row in waiting
        for word in words_of(email_key=row.email_key, name=row.name, organization=row.organization)
    ]
    session.execute(insert(cast(Table, SearchWord.__table__)), rows)
    done = update(Contact).where(Contact.id.in_(ids)).values(searchable=true())
    session.execute(done.execution_options(**quiet))
    return len(ids)


def begin_anew(session: Session) -> None:
    """Let all words be made again; those that are there go on to be found meanwhile."""
    session.execute(update(Contact).values(searchable=false()).execution_options(synchronize_session=False))


def find(session: Session, text: str, *, limit: int) -> Found:
    """Find those of whom every word of `text` begins a word of theirs, at most `limit`, by address.

    Raises BadInput for no word, or too many.
    """
    asked = sorted(_asked(text), key=len, reverse=True)
    if not asked or len(asked) > MOST_WORDS:
        raise BadInput(f"Write how an address, a name or an organization begins, up to {MOST_WORDS} words.")
    # Somebody of this minute has no words yet, and is found by the whole address.
    exact = session.scalars(select(Contact).where(Contact.email_key == text.strip().casefold())).all()
    first = next((word for word in asked if _few(session, word)), None)
    some = _people(first or asked[0]).subquery()
    wanted = select(Contact).join(some, some.c.contact_id == Contact.id)
    for word in asked:
        mine = select(SearchWord.word).where(SearchWord.contact_id == Contact.id, _begins(word))
        wanted = wanted.where(mine.exists())
    found = session.scalars(wanted.order_by(Contact.email_key).limit(limit + 1)).all()
    people = [*exact, *(each for each in found if each not in exact)]
    return Found(people=people[:limit], more=first is None or len(people) > limit)


def _people(word: str) -> Select[int]:
    """Select people of whom one word is right: all of them where they are few, else some."""
    return select(SearchWord.contact_id).where(_begins(word)).distinct().limit(MOST_LOOKED_AT)


def _few(session: Session, word: str) -> bool:
    """Tell whether all people of whom a word is right can be looked at."""
    one_too_many = select(SearchWord.contact_id).where(_begins(word)).offset(MOST_LOOKED_AT).limit(1)
    return session.scalar(one_too_many) is None


def _begins(word: str) -> ColumnElement[bool]:
    return and_(SearchWord.word >= word, SearchWord.word < word + LAST)


def _asked(text: str) -> set[str]:
    """Return the words of a question; one with a dot or @ inside is the beginning of an address or domain."""
    asked: set[str] = set()
    for word in _folded(text).split():
        bare = word.strip(EDGES)
        asked |= {bare} if re.search("[@.]", bare) else set(PIECE.findall(bare))
    return {word[:WORD_LENGTH] for word in asked}


def _folded(text: str) -> str:
    """Return a text in small letters without accents: who types Nunez means Núñez."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in parts if not unicodedata.combining(sign))
