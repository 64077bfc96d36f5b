"""Search: find people by how a word of their address, name or organization begins.

Words are stored in a table of their own, made from columns of the contact. `Contact.searchable` is false
while the words of a contact are missing or outdated, and a job makes them, so that sign-ups and imports do
not wait for it. A whole address is found at once. A backup does not contain the words.
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
MAX_WORDS = 8  # of one query
MAX_CANDIDATES = 5_000  # contacts that match the first word, before the other words filter them
LAST_CHARACTER = "\U0010ffff"
WORD_PATTERN = re.compile(r"[^\W_]+")
EDGE_PUNCTUATION = "@.,;:<>()\"'"

# Compared octet by octet on both databases, so that a prefix is a range of the index.
WordType = String(WORD_LENGTH).with_variant(String(WORD_LENGTH, collation="C"), "postgresql")


class SearchWord(Base):
    """One search word of one contact, without accents and in small letters."""

    __tablename__ = "search_words"
    __table_args__ = (Index("ix_search_words_word", "word", "contact_id"), {"sqlite_with_rowid": False})

    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), primary_key=True)
    word: Mapped[str] = mapped_column(WordType, primary_key=True)


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The contacts that match, by address; `has_more` when there are others, which more words exclude."""

    people: Sequence[Contact]
    has_more: bool


def make_words(*, email_key: str, name: str, organization: str) -> frozenset[str]:
    """Return the search words of a contact.

    Of an address these are the whole, each piece before the @ but the first, the domain and its parent
    domains.
    """
    local, _, domain = email_key.partition("@")
    labels = domain.split(".")
    parent_domains = [".".join(labels[index:]) for index in range(1, len(labels) - 1)]
    pieces = [
        *WORD_PATTERN.findall(local)[1:],
        *WORD_PATTERN.findall(name),
        *WORD_PATTERN.findall(organization),
    ]
    words = {_fold_accents(word)[:WORD_LENGTH] for word in (email_key, domain, *parent_domains, *pieces)}
    return frozenset(words - {""})


def update_index(session: Session, *, limit: int) -> int:
    """Make the words of up to `limit` contacts whose words are missing or outdated; returns how many."""
    columns = (Contact.id, Contact.email_key, Contact.name, Contact.organization)
    contacts = session.execute(select(*columns).where(Contact.searchable == false()).limit(limit)).all()
    contact_ids = [row.id for row in contacts]
    if not contact_ids:
        return 0
    no_sync = {"synchronize_session": False}
    session.execute(
        delete(SearchWord).where(SearchWord.contact_id.in_(contact_ids)).execution_options(**no_sync)
    )
    rows = [
        {"contact_id": row.id, "word": word}
        for row in contacts
        for word in make_words(email_key=row.email_key, name=row.name, organization=row.organization)
    ]
    session.execute(insert(cast(Table, SearchWord.__table__)), rows)
    statement = update(Contact).where(Contact.id.in_(contact_ids)).values(searchable=true())
    session.execute(statement.execution_options(**no_sync))
    return len(contact_ids)


def reset_index(session: Session) -> None:
    """Mark all words as outdated; searches use the old words until the job has made new ones."""
    session.execute(update(Contact).values(searchable=false()).execution_options(synchronize_session=False))


def find(session: Session, text: str, *, limit: int) -> SearchResult:
    """Return up to `limit` contacts with a word that begins with each word of `text`, by address.

    Raises BadInput for no word, or too many.
    """
    words = sorted(_split_query(text), key=len, reverse=True)
    if not words or len(words) > MAX_WORDS:
        raise BadInput(f"Write how an address, a name or an organization begins, up to {MAX_WORDS} words.")
    # A contact that was added just now has no words yet, but its whole address matches.
    exact = session.scalars(select(Contact).where(Contact.email_key == text.strip().casefold())).all()
    selective_word = next((word for word in words if _is_selective(session, word)), None)
    candidates = _select_candidates(selective_word or words[0]).subquery()
    query = select(Contact).join(candidates, candidates.c.contact_id == Contact.id)
    for word in words:
        matching_words = select(SearchWord.word).where(
            SearchWord.contact_id == Contact.id, _starts_with(word)
        )
        query = query.where(matching_words.exists())
    matches = session.scalars(query.order_by(Contact.email_key).limit(limit + 1)).all()
    people = [*exact, *(contact for contact in matches if contact not in exact)]
    return SearchResult(people=people[:limit], has_more=selective_word is None or len(people) > limit)


def _select_candidates(word: str) -> Select[int]:
    """Select contacts that match one word: all of them when they are few, else some."""
    return select(SearchWord.contact_id).where(_starts_with(word)).distinct().limit(MAX_CANDIDATES)


def _is_selective(session: Session, word: str) -> bool:
    """Return whether the contacts that match a word are few enough to examine all."""
    query = select(SearchWord.contact_id).where(_starts_with(word)).offset(MAX_CANDIDATES).limit(1)
    return session.scalar(query) is None


def _starts_with(word: str) -> ColumnElement[bool]:
    return and_(SearchWord.word >= word, SearchWord.word < word + LAST_CHARACTER)


def _split_query(text: str) -> set[str]:
    """Return the words of a query; one that contains a dot or @ is the prefix of an address or domain."""
    words: set[str] = set()
    for word in _fold_accents(text).split():
        stripped = word.strip(EDGE_PUNCTUATION)
        words |= {stripped} if re.search("[@.]", stripped) else set(WORD_PATTERN.findall(stripped))
    return {word[:WORD_LENGTH] for word in words}


def _fold_accents(text: str) -> str:
    """Return a text in small letters without accents: Nunez matches Núñez."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))
