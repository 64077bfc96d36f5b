"""What is kept of a person is told to them in words: a new table, column or state needs its words, too."""

import pytest
from sqlalchemy import Table

from lists.consents import ACTIONS
from lists.contacts import LANGUAGES, Contact
from lists.suppressions import REASONS
from lists.topic_optouts import TOPICS
from mailer.outbox.outbox import STATES as MESSAGE_STATES
from mailer.outbox.outbox import OutboxRow
from mailer.people import data_export
from mailer.people.data_export import EXPORT_NAMES
from mailer.policy import POLICY
from mailer.sources.invitations import ANSWERS
from mailer.sources.journeys import STATES as JOURNEY_STATES
from mailer.web import words
from mailer.web.public import data_page
from mailer.web.visit import TEMPLATES

ELSEWHERE = {
    "subscription_changes": "for a few seconds, what “subscriptions” tells as well",
    "search_words": "the words of “contact” once more, each by itself",
}
SUBSCRIPTION_STATES = ("pending", "confirmed", "left")
LISTING_STATES = ("asked", "waiting", "approved", "rejected", "withdrawn")
VALUES = {
    "subscriptions_state": SUBSCRIPTION_STATES,
    "applications_state": LISTING_STATES,
    "journeys_state": JOURNEY_STATES,
    "messages_state": MESSAGE_STATES,
    "action": ACTIONS,
    "topic": TOPICS,
    "answer": ANSWERS,
    "kind": tuple(POLICY),
    "language": LANGUAGES,
}


def name_of(table: Table) -> str:
    return "messages" if table is OutboxRow.__table__ else EXPORT_NAMES.get(table.name, table.name)


def test_every_table_that_holds_something_of_a_person_is_on_their_page() -> None:
    kept = {name_of(table) for table in data_export.list_tables()} - set(ELSEWHERE)
    assert kept - set(data_page.COLUMNS_BY_KIND) == set(), (
        "give it columns in mailer/web/public/data_page.py, and its words"
    )
    assert set(data_page.COLUMNS_BY_KIND) - kept == {"contact", "posted"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_kind_says_why_it_is_kept_and_when_it_goes(language: str) -> None:
    told = words.load(TEMPLATES, language).known
    for name, columns in data_page.COLUMNS_BY_KIND.items():
        assert all(told[name][key] for key in ("title", "why", "goes"))
        assert all(told.label[data_page.LABELS_BY_COLUMN.get((name, column), column)] for column in columns)
    assert all(told.barred[reason] for reason in REASONS)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("column", VALUES)
def test_each_state_has_words(language: str, column: str) -> None:
    told = words.load(TEMPLATES, language).known.value
    assert [value for value in VALUES[column] if told.get(f"{column}_{value}") is None] == []


def test_of_the_contact_only_marks_for_machines_are_left_to_the_file() -> None:
    unsaid = {column.name for column in Contact.__table__.columns} - set(data_page.COLUMNS_BY_KIND["contact"])
    assert unsaid == {"id", "email_key", "email_digest", "latitude", "longitude", "version", "searchable"}
