"""The migrations lead from nothing to exactly the tables the code describes, on both databases."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from lists.db import Database
from lists.errors import Conflict
from mailer import migrations


def test_migrations_make_exactly_what_the_code_describes(empty_database: Database) -> None:
    assert migrations.upgrade(empty_database)
    assert migrations.differences(empty_database) == []


def test_a_database_that_is_up_to_date_stays_as_it_is(empty_database: Database) -> None:
    migrations.upgrade(empty_database)
    assert migrations.upgrade(empty_database) == []
    migrations.require_newest(empty_database)


def test_the_newest_step_is_the_one_with_the_highest_number() -> None:
    steps = ScriptDirectory(str(migrations.STEPS.parent))
    assert steps.get_heads() == [migrations.newest()]
    for step in steps.walk_revisions():
        assert Path(step.path).name.startswith(f"{step.revision}_")


def test_an_empty_database_is_told_with_what_to_do(empty_database: Database) -> None:
    with pytest.raises(Conflict, match="mailer db create"):
        migrations.require_newest(empty_database)


def test_two_processes_that_start_at_once_migrate_once(empty_database: Database) -> None:
    with ThreadPoolExecutor(2) as threads:
        steps = [step for taken in threads.map(migrations.upgrade, [empty_database] * 2) for step in taken]
    assert len(steps) == len(set(steps))
    assert migrations.differences(empty_database) == []
