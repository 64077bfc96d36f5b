"""`mailer list undo`: take back an import that was wrong."""

import click

from lists import arrivals, audit, transfers
from lists.errors import NotFound
from mailer.cli import opening, output
from mailer.cli.importing import REST_SECONDS


@click.command(name="undo")
def undo() -> None:
    """Take back an import that was interrupted, so that nobody it brought is here.

    None of them was written to. Who was here before stays as they were. An import that was finished cannot be
    taken back.
    """
    with opening.service() as service:
        with service.database.read() as session:
            arrival = arrivals.unfinished(session)
        if arrival is None:
            raise NotFound("There is no unfinished import.")
        after: int | None = 0
        while after is not None:
            with service.database.write() as session:
                after = transfers.take_back(session, arrival, after=after)
            service.clock.sleep(REST_SECONDS)
        with service.database.write() as session:
            now = service.clock.now()
            arrivals.end(session, arrival.id, state="undone", now=now)
            audit.note(
                session, actor=opening.ACTOR, action="import taken back", subject=arrival.list, now=now
            )
    output.say("Taken back. Nobody whom it brought was written to.")
