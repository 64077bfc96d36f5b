"""Erasure of people with a long history, among many: the time of each."""

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
CONSENTS, MESSAGES = 30, 200  # of each person to erase
WRITTEN_TO = 4  # of the others, one in so many was sent a message
ORGANIZERS = """
INSERT INTO subscriptions (contact_id, list, state, round, asked_at, confirmed_at, left_at)
SELECT id, 'organizers', 'left', 1, :now, :now, :now FROM contacts WHERE id % :one_in = 0
"""


def forgotten(people: int) -> Iterator[Line]:
    """Erase twenty of so many people, one after the other, by the command in this process."""
    one_in = people // FORGOTTEN
    with installation(people=people) as service:
        now, schedule = service.clock.now(), service.schedules[0]
        journey_values = {"sequence": schedule.name, "step": schedule.steps[0].name, "steps": 1, "place": 0}
        due = micros(now + timedelta(days=7))
        with service.database.write() as session:
            session.execute(text(JOURNEYS), {**journey_values, "now": micros(now), "due": due})
            session.execute(text(ORGANIZERS), {"now": micros(now), "one_in": one_in})
        past.give(service, consents=1, messages=0)
        past.give(service, consents=0, messages=1, one_in=WRITTEN_TO)
        past.give(service, consents=CONSENTS, messages=MESSAGES, one_in=one_in)
        run, times = mailer(service), []
        for number in range(one_in, one_in * FORGOTTEN + 1, one_in):
            began = time.perf_counter()
            result = run("contact", "forget", f"neighbor{number}@example.org", "--yes", "--json")
            times.append(time.perf_counter() - began)
            if result.json["erased"]["messages"] < MESSAGES:
                raise SystemExit("somebody without a history was forgotten")
    about = f"the longest of {FORGOTTEN}, median {statistics.median(times) * 1000:.1f} ms"
    about += f"; each had {MESSAGES} messages with their attempts"
    yield at_most(f"somebody is forgotten, of {people:,} people", max(times), SECONDS, about=about)
