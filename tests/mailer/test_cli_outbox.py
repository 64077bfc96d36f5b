"""`mailer outbox unknown` and `resolve`: what nobody can know is decided by a person, once."""

import pytest
from sqlalchemy import update

from mailer.outbox import OutboxRow
from mailer.service import Service
from tests import commands
from tests.commands import Mailer
from tests.people import Person
from tests.relays import broadcast, states


@pytest.fixture
def mailer(service: Service) -> Mailer:
    return commands.mailer(service)


def make_unknown(service: Service) -> None:
    broadcast(service)
    with service.database.write() as session:
        session.execute(update(OutboxRow).values(state="unknown", why="its worker died at the last byte"))


def test_staff_see_what_is_unknown_and_decide_once(
    service: Service, mailer: Mailer, ben: Person, cleo: Person
) -> None:
    assert "Nothing is unknown." in mailer("outbox", "unknown").out
    make_unknown(service)
    (row,) = mailer("outbox", "unknown", "--json").json
    assert (row["email"], row["why"]) == (ben.email, "its worker died at the last byte")
    undecided = mailer("outbox", "resolve", str(row["id"]))
    assert (undecided.status, "--sent if it arrived" in undecided.refusal) == (2, True)
    assert mailer("outbox", "resolve", str(row["id"]), "--sent").status == 0
    assert states(service) == {"sent": 1}
    again = mailer("outbox", "resolve", str(row["id"]), "--resend")
    assert (again.status, "only an unknown one waits" in again.refusal) == (2, True)


def test_what_is_sent_once_more_leaves_and_cleo_gets_nothing(
    service: Service, mailer: Mailer, ben: Person, cleo: Person
) -> None:
    make_unknown(service)
    (row,) = mailer("outbox", "unknown", "--json").json
    assert "leaves once more" in mailer("outbox", "resolve", str(row["id"]), "--resend").out
    assert "2 messages are sent." in mailer("deliver", "--until-empty").out  # with his first follow-up letter
    assert states(service) == {"sent": 2}
