"""The export of a person has all of their data, and nothing of any other person."""

import json

import pytest

from lists import (
    addresses,
    contacts,
    directory,
    fields,
    merge_redirects,
    notes,
    subscriptions,
    suppressions,
    tags,
    topic_optouts,
)
from lists.contacts import Contact
from lists.directory import Application
from mailer import json_values
from mailer.events import events
from mailer.outbox.outbox import OutboxRow
from mailer.people import data_export
from mailer.people.data_export import EXPORT_NAMES, Facts
from mailer.service import Service
from mailer.sources.invitations import Rsvp
from tests import commands
from tests.clocks import StoppedClock
from tests.people import PEPPER, Person

OF_THE_MACHINES = {"contact_id", "edition_id", "ref", "priority", "attempt", "worker", "lease_until"}


def collect_facts(service: Service, person: Person) -> Facts:
    with service.database.read() as session:
        return data_export.collect(session, contacts.get(session, person.id), now=service.clock.now())


def rows(facts: Facts, name: str) -> list[dict[str, object]]:
    value = facts[name]
    assert isinstance(value, list)
    return value


@pytest.fixture
def ben_everywhere(service: Service, clock: StoppedClock, ben: Person) -> Person:
    """Ben, with a row in every table that can hold something of a person."""
    commands.mailer(service)("deliver")
    now = clock.now()
    with service.database.write() as session:
        subscriptions.ask(session, contact_id=ben.id, list="organizers", now=now)
        session.add(subscriptions.SubscriptionChange(contact_id=ben.id, list="interest"))
        application = Application(organization="Casa Paz", name="Ben", zip="85004", offer="Marimba")
        directory.add_application(session, application.clean(), contact_id=ben.id, now=now)
        topic_optouts.set_optouts(session, contact_id=ben.id, topics={"calls"}, now=now)
        call = events.create(
            session, title={"en": "December call"}, starts="2026-12-08 20:00", zone="America/New_York",
            minutes=60, join_url="https://example.org/join", audience="interest", now=now, actor="staff",
        )  # fmt: skip
        session.add(Rsvp(event_id=call.id, contact_id=ben.id, answer="maybe", answered_at=now))
        suppressions.add(session, ben.address.digest, reason="complaint", now=now)
        fields.add(session, "host", title="Can host", type="yes/no", choices=(), now=now, actor="staff")
        fields.set_values(session, ben.id, {"host": "yes"})
        tags.add_all(session, [(ben.id, ["choir"])], now=now)
        notes.add(session, ben.id, "Plays the marimba.", actor="staff", now=now)
        earlier = contacts.find_or_add(
            session, addresses.parse("ben@old.example.org", pepper=PEPPER), now=now
        )
        merge_redirects.record(session, earlier, target_id=ben.id, now=now)
    return ben


def test_nothing_that_is_kept_is_left_out(service: Service, ben_everywhere: Person) -> None:
    facts = collect_facts(service, ben_everywhere)
    about = facts["contact"]
    assert isinstance(about, dict)
    assert set(about) == {column.name for column in Contact.__table__.columns}
    for table in data_export.list_tables():
        name = "messages" if table is OutboxRow.__table__ else EXPORT_NAMES.get(table.name, table.name)
        columns = {column.name for column in table.columns} - OF_THE_MACHINES
        assert rows(facts, name), f"nothing is told of {table.name}: let Ben have a row there in this test"
        assert columns <= set(rows(facts, name)[0]), table.name
    assert (facts["suppressed"], rows(facts, "posted")[0]["to"]) == ("complaint", ben_everywhere.email)


def test_nothing_of_anybody_else_is_told(
    service: Service, ben_everywhere: Person, ana: Person, cleo: Person
) -> None:
    for other in (ana, cleo):
        facts = collect_facts(service, other)
        assert ben_everywhere.email not in json_values.to_json(facts)
        assert (facts["applications"], facts["answers"], facts["declines"]) == ([], [], [])
    assert rows(collect_facts(service, cleo), "subscriptions")[0]["state"] == "left"


def test_it_is_the_same_on_the_command_line(service: Service, ben_everywhere: Person) -> None:
    result = commands.mailer(service)("contact", "export", ben_everywhere.email)
    assert json.loads(json_values.to_json(collect_facts(service, ben_everywhere))) == result.json
