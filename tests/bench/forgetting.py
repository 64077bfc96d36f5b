"""People with a long history are forgotten, among many: how long each has to be waited for."""

import statistics
import time
from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import text

from tests.bench import past
from tests.bench.installation import JOURNEYS, installation, micros
from tests.bench.table import Line, at_most
from tests.commands import mailer

SECONDS = 1.0
FORGOTTEN = 20
CONSENTS, MESSAGES = 30, 200  # of each who is forgotten
WRITTEN_TO = 4  # of the others, one in so many was sent a message
ORGANIZERS = """
INSERT INTO subscriptions (contact_id, list, state, round, asked_at, confirmed_at, left_at)
SELECT id, 'organizers', 'left', 1, :now, :now, :now FROM contacts WHERE id % :one_in = 0
"""


def forgotten(people: int) -> Iterator[Line]:
    """Forget twenty of so many people, one after the other, by the command as it runs in this process."""
    one_in = people // FORGOTTEN
    with installation(people=people) as service:
        now, schedule = service.clock.now(), service.schedules[0]
        way = {"sequence": schedule.name, "step": schedule.steps[0].name, "steps": 1, "place": 0}
        due = micros(now + timedelta(days=7))
        with service.database.write() as session:
            session.execute(text(JOURNEYS), {**way, "now": micros(now), "due": due})
            session.execute(text(ORGANIZERS), {"now": micros(now), "one_in": one_in})
        past.give(service, consents=1, messages=0)
        past.give(service, consents=0, messages=1, one_in=WRITTEN_TO)
        past.give(service, consents=CONSENTS, messages=MESSAGES, one_in=one_in)
        run, took = mailer(service), []
        for number in range(one_in, one_in * FORGOTTEN + 1, one_in):
            begun = time.perf_counter()
            ran = run("contact", "forget", f"neighbor{number}@example.org", "--yes", "--json")
            took.append(time.perf_counter() - begun)
            if ran.json["erased"]["messages"] < MESSAGES:
                raise SystemExit("somebody without a history was forgotten")
    about = f"the longest of {FORGOTTEN}, median {statistics.median(took) * 1000:.1f} ms"
    about += f"; each had {MESSAGES} messages with their attempts"
    yield at_most(f"somebody is forgotten, of {people:,} people", max(took), SECONDS, about=about)
