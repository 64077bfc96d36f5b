"""What the tests of the lists can ask for beside what every test can."""

from collections.abc import Sequence

import pytest

from lists import subscriptions
from lists.db import Database
from lists.tables import importing
from lists.tables.rows import RowResult
from tests.clocks import StoppedClock
from tests.importing import Import, begun, staged


@pytest.fixture
def bring_in(database: Database, clock: StoppedClock) -> Import:
    """Import a text as a CSV file, from its first row to its end."""

    def run(text: str, *, list: str = "interest", confirmed: bool = True) -> Sequence[RowResult]:
        said = {"evidence": "the sheet of October 4", "confirmed": confirmed, "now": clock.now()}
        with staged(text.encode()) as stage:
            arrival = begun(database, stage, list=list, now=clock.now())
            for batch in stage.batches("added"):
                with database.write() as session:
                    stage.decide(importing.import_batch(session, batch, list_import=arrival, **said))
            with database.write() as session:
                importing.finish(
                    session, arrival, people=1, confirmed=confirmed, now=clock.now(), actor="test"
                )
                subscriptions.queue_changes(session, import_id=arrival.id, after=0, limit=10_000)
            return [*stage.read_results()]

    return run
