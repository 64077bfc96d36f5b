"""Merging a file of departures says whether mail was held back, and promises nothing where none was."""

from pathlib import Path

from lists import subscriptions
from mailer.backup import departures_file
from mailer.service import Service
from tests import commands
from tests.people import Person


def test_a_merge_where_nothing_was_held_does_not_say_that_mail_leaves_again(
    service: Service, ben: Person, cleo: Person
) -> None:
    with service.database.write() as session:
        subscriptions.leave(session, contact_id=ben.id, now=service.clock.now())
    service.jobs.tick()
    file: Path = service.settings.home / departures_file.FILE
    ran = commands.mailer(service)("db", "merge", file)
    assert (ran.status, ran.refusal) == (0, "")
    assert ran.out.endswith("\nNo mail was held back.\n")
    assert "leaves again" not in ran.out
