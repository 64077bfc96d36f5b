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
MAX_WORDS = 8  # of one question
MAX_CANDIDATES = 5_000  # people of whom one word is right, until the others are asked for
LAST_CHARACTER = "\U0010ffff"
WORD_PATTERN = re.compile(r"[^\W_]+")
EDGE_PUNCTUATION = "@.,;:<>()\"'"

# Compared octet by octet on both databases, so that the beginning of a word is a range of the index.
WordType = String(WORD_LENGTH).with_variant(String(WORD_LENGTH, collation="C"), "postgresql")


class SearchWord(Base):
    """One word by which one contact is found, without accents and in small letters."""

    __tablename__ = "search_words"
    __table_args__ = (Index("ix_search_words_word", "word", "contact_id"), {"sqlite_with_rowid": False})

    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True)
    word: Mapped[str] = mapped_column(WordType, primary_key=True)


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """Who was found, by address; `has_more` when there are others whom more words would tell apart."""

    people: Sequence[Contact]
    has_more: bool


def make_words(*, email_key: str, name: str, organization: str) -> frozenset[str]:
    """Return the words by which somebody is found.

    Of an address these are the whole, each later piece before the @, the domain and the domains above it.
    """
    local, _, domain = email_key.partition("@")
    labels = domain.split(".")
    above = [".".join(labels[place:]) for place in range(1, len(labels) - 1)]
    pieces = [
        *WORD_PATTERN.findall(local)[1:],
        *WORD_PATTERN.findall(name),
        *WORD_PATTERN.findall(organization),
    ]
    folded = {_fold_accents(word)[:WORD_LENGTH] for word in (email_key, domain, *above, *pieces)}
    return frozenset(folded - {""})


def update_index(session: Session, *, limit: int) -> int:
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
        for word in make_words(email_key=row.email_key, name=row.name, organization=row.organization)
    ]
    session.execute(insert(cast(Table, SearchWord.__table__)), rows)
    done = update(Contact).where(Contact.id.in_(ids)).values(searchable=true())
    session.execute(done.execution_options(**quiet))
    return len(ids)


def reset_index(session: Session) -> None:
    """Let all words be made again; those that are there go on to be found meanwhile."""
    session.execute(update(Contact).values(searchable=false()).execution_options(synchronize_session=False))


def find(session: Session, text: str, *, limit: int) -> SearchResult:
    """Find those of whom every word of `text` begins a word of theirs, at most `limit`, by address.

    Raises BadInput for no word, or too many.
    """
    asked = sorted(_split_query(text), key=len, reverse=True)
    if not asked or len(asked) > MAX_WORDS:
        raise BadInput(f"Write how an address, a name or an organization begins, up to {MAX_WORDS} words.")
    # Somebody of this minute has no words yet, and is found by the whole address.
    exact = session.scalars(select(Contact).where(Contact.email_key == text.strip().casefold())).all()
    first = next((word for word in asked if _is_selective(session, word)), None)
    some = _select_candidates(first or asked[0]).subquery()
    wanted = select(Contact).join(some, some.c.contact_id == Contact.id)
    for word in asked:
        mine = select(SearchWord.word).where(SearchWord.contact_id == Contact.id, _starts_with(word))
        wanted = wanted.where(mine.exists())
    found = session.scalars(wanted.order_by(Contact.email_key).limit(limit + 1)).all()
    people = [*exact, *(each for each in found if each not in exact)]
    return SearchResult(people=people[:limit], has_more=first is None or len(people) > limit)


def _select_candidates(word: str) -> Select[int]:
    """Select people of whom one word is right: all of them where they are few, else some."""
    return select(SearchWord.contact_id).where(_starts_with(word)).distinct().limit(MAX_CANDIDATES)


def _is_selective(session: Session, word: str) -> bool:
    """Tell whether all people of whom a word is right can be looked at."""
    one_too_many = select(SearchWord.contact_id).where(_starts_with(word)).offset(MAX_CANDIDATES).limit(1)
    return session.scalar(one_too_many) is None


def _starts_with(word: str) -> ColumnElement[bool]:
    return and_(SearchWord.word >= word, SearchWord.word < word + LAST_CHARACTER)


def _split_query(text: str) -> set[str]:
    """Return the words of a question; one with a dot or @ inside is the beginning of an address or domain."""
    asked: set[str] = set()
    for word in _fold_accents(text).split():
        bare = word.strip(EDGE_PUNCTUATION)
        asked |= {bare} if re.search("[@.]", bare) else set(WORD_PATTERN.findall(bare))
    return {word[:WORD_LENGTH] for word in asked}


def _fold_accents(text: str) -> str:
    """Return a text in small letters without accents: who types Nunez means Núñez."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(sign for sign in parts if not unicodedata.combining(sign))
