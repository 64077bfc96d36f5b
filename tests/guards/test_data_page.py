"""Data page: all data of a person is shown to them in words; a new table, column or state needs its words."""

import ast
import zoneinfo
from collections.abc import Iterator
from itertools import combinations

import pytest
from sqlalchemy import Table

from lists import imports
from lists.consents import ACTIONS
from lists.contacts import LANGUAGES, Contact
from lists.identity import departure_replay
from lists.suppressions import REASONS
from lists.tables import import_undo
from lists.topic_optouts import TOPICS
from mailer.cli import context
from mailer.outbox.outbox import STATES as MESSAGE_STATES
from mailer.outbox.outbox import OutboxRow
from mailer.people import data_export
from mailer.people.data_export import EXPORT_NAMES
from mailer.policy import POLICY
from mailer.sources.invitations import ANSWERS
from mailer.sources.journeys import STATES as JOURNEY_STATES
from mailer.templates import local_time
from mailer.web import words
from mailer.web.page_request import TEMPLATES
from mailer.web.public import consent_words, data_page, preferences, unsubscribe
from tests.guards import source

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
# Every place in the code that writes the page of a consent, and the values that it can store.
PAGES_WRITTEN = {
    ("lists/directory.py", "actor"): (context.ACTOR,),
    ("lists/identity/departure_replay.py", "EVIDENCE_PAGE"): (departure_replay.EVIDENCE_PAGE,),
    ("lists/identity/merging.py", "actor"): (context.ACTOR,),
    ("lists/identity/merging.py", "'merge'"): ("merge",),
    ("lists/tables/import_undo.py", "_evidence_page(list_import)"): (imports.EVIDENCE_PAGE.format(number=1),),
    ("lists/tables/importing.py", "imports.EVIDENCE_PAGE.format(number=list_import.id)"): (
        imports.EVIDENCE_PAGE.format(number=2_000_000),
    ),
    ("mailer/web/public/confirm.py", "'/confirm'"): ("/confirm",),
    ("mailer/web/public/join.py", "f'{request.path}?via={via}' if via else request.path"): (
        *("/join", "/join?via=st-mark", "/join?via=1st-baptist"),
        *("/join/clergy-circle", "/join/clergy-circle?via=st-mark", "/join/2026"),
    ),
    ("mailer/web/public/organize.py", "request.path"): ("/organize",),
    ("mailer/web/public/preferences.py", "PAGE"): (preferences.PAGE,),
    ("mailer/web/public/profile.py", "'/mine'"): ("/mine",),
    ("mailer/web/public/unsubscribe.py", "PAGE"): (unsubscribe.PAGE,),
}
TOPIC_NAMES = "', '.join((topic for topic in TOPICS if topic not in declined))"
# Every place in the code that writes the wording of a consent, with what reads it.
WORDINGS_WRITTEN = {
    ("lists/tables/import_undo.py", "UNDO_WORDING"): "a sentence of the code, replaced",
    ("lists/tables/importing.py", "_format_wording(evidence, since_by_key[key])"): "as staff wrote it",
    ("mailer/web/public/join.py", "offer.consent"): "as the person read it",
    ("mailer/web/public/organize.py", "str(request.words.organize.consent)"): "as the person read it",
    ("mailer/web/public/profile.py", TOPIC_NAMES): "names of topics, replaced",
}
NO_EVIDENCE = ("mailer/migrations/", "mailer/cli/catalog.py")  # the latter prints the page of a list
PASSED_ON = ("page", "wording", "signup.page", "signup.wording")


def list_written(column: str) -> Iterator[tuple[str, str]]:
    """Yield each file and expression whose value goes to this column of the consents."""
    for name, tree in source.python("lists", "mailer"):
        if name.startswith(NO_EVIDENCE):
            continue
        for node in ast.walk(tree):
            values: list[ast.expr] = []
            if isinstance(node, ast.Call):
                values = [keyword.value for keyword in node.keywords if keyword.arg == column]
            elif isinstance(node, ast.Dict):
                pairs = zip(node.keys, node.values, strict=True)
                values = [
                    value for key, value in pairs if isinstance(key, ast.Constant) and key.value == column
                ]
            yield from ((name, text) for text in map(ast.unparse, values) if text not in PASSED_ON)


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


def test_every_place_that_writes_evidence_of_consent_is_known_here() -> None:
    assert set(list_written("page")) == set(PAGES_WRITTEN), "name its values, and give each its words"
    assert set(list_written("wording")) == set(WORDINGS_WRITTEN)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("page", sorted({page for pages in PAGES_WRITTEN.values() for page in pages}))
def test_each_place_of_a_yes_has_words(language: str, page: str) -> None:
    texts = words.load(TEMPLATES, language).data_page
    described = consent_words.describe_page(texts, page)
    congregation = page.partition("?via=")[2]
    assert described != page
    assert congregation in described
    assert not set("/?={}") & set(described)
    assert described.startswith(("the ", "our ", "a ") if language == "en" else ("la ", "nuestr", "una "))


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_choice_of_topics_has_words(language: str) -> None:
    texts = words.load(TEMPLATES, language).data_page
    choices = [
        choice for number in range(len(TOPICS) + 1) for choice in combinations(TOPICS, number)
    ]  # as the page of the profile stores them
    described = {
        consent_words.describe_wording(texts, ", ".join(choice), action="topics") for choice in choices
    }
    assert len(described) == len(choices)
    assert not {token for text in described for token in text.split(", ")} & {*TOPICS, ""}


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_people_read_or_wrote_stays_as_it_is_and_a_sentence_of_ours_does_not(language: str) -> None:
    texts = words.load(TEMPLATES, language).data_page
    for action in set(ACTIONS) - {"topics", "undone"}:
        assert consent_words.describe_wording(texts, "calls, /mine", action=action) == "calls, /mine"
    undone = consent_words.describe_wording(texts, import_undo.UNDO_WORDING, action="undone")
    assert undone == texts.value.undone_wording


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_time_zone_is_shown_as_its_name_in_the_zone_database(language: str) -> None:
    names = zoneinfo.available_timezones()
    assert not [name for name in names if "/" in local_time.zone_name(name, language=language)]
