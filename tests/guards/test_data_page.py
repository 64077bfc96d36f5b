"""Data page: all data of a person is shown to them in words; a new table, column or state needs its words."""

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
from mailer.web.page_request import TEMPLATES
from mailer.web.public import data_page

NOT_SHOWN = {
    "subscription_changes": "for a few seconds, the same as “subscriptions”",
    "search_words": "the words of “contact” again, one by one",
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


def get_name(table: Table) -> str:
    return "messages" if table is OutboxRow.__table__ else EXPORT_NAMES.get(table.name, table.name)


def test_every_table_with_personal_data_is_on_the_data_page() -> None:
    names = {get_name(table) for table in data_export.list_tables()} - set(NOT_SHOWN)
    assert names - set(data_page.COLUMNS_BY_KIND) == set(), (
        "give it columns in mailer/web/public/data_page.py, and its words"
    )
    assert set(data_page.COLUMNS_BY_KIND) - names == {"contact", "posted"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_kind_of_data_has_a_reason_and_a_period(language: str) -> None:
    texts = words.load(TEMPLATES, language).data_page
    for name, columns in data_page.COLUMNS_BY_KIND.items():
        assert all(texts[name][key] for key in ("title", "why", "goes"))
        assert all(texts.label[data_page.LABELS_BY_COLUMN.get((name, column), column)] for column in columns)
    assert all(texts.barred[reason] for reason in REASONS)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("column", VALUES)
def test_each_state_has_words(language: str, column: str) -> None:
    texts = words.load(TEMPLATES, language).data_page.value
    assert [value for value in VALUES[column] if texts.get(f"{column}_{value}") is None] == []


def test_only_technical_columns_of_the_contact_are_not_on_the_page() -> None:
    hidden_columns = {column.name for column in Contact.__table__.columns} - set(
        data_page.COLUMNS_BY_KIND["contact"]
    )
    assert hidden_columns == {
        "id",
        "email_key",
        "email_digest",
        "latitude",
        "longitude",
        "version",
        "searchable",
    }
