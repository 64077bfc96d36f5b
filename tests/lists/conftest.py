"""Fixtures of the tests of lists/, in addition to those of every test."""

from collections.abc import Sequence

import pytest

from lists import subscriptions
from lists.db import Database
from lists.tables import importing
from lists.tables.row_parsing import RowResult
from tests.clocks import StoppedClock
from tests.importing import Import, begin_import, stage_file


@pytest.fixture
def import_text(database: Database, clock: StoppedClock) -> Import:
    """A function that imports a text as a CSV file, from its first row to its end."""

    def run(text: str, *, list: str = "interest", confirmed: bool = True) -> Sequence[RowResult]:
        options = {"evidence": "the sheet of October 4", "confirmed": confirmed, "now": clock.now()}
        with stage_file(text.encode()) as staging:
            list_import = begin_import(database, staging, list=list, now=clock.now())
            for batch in staging.batches("added"):
                with database.write() as session:
                    staging.decide(importing.import_batch(session, batch, list_import=list_import, **options))
            with database.write() as session:
                importing.finish(
                    session, list_import, people=1, confirmed=confirmed, now=clock.now(), actor="test"
                )
                subscriptions.queue_changes(session, import_id=list_import.id, after=0, limit=10_000)
            return [*staging.read_results()]

    return run
