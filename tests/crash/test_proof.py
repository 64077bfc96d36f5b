"""The short form of the proof (scripts/prove-kills): every named point once, and some kills at random.

On PostgreSQL the points where the database itself matters; scripts/prove-kills does all of it at length.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from lists.db import Database
from tests.crash.points import DOT, POINTS, Point
from tests.crash.proof import SERVED, prove
from tests.crash.report import Line, ProofReport, format_report

RECIPIENTS = 2_000
KILLS = 10
BUSY_SECONDS = 40.0  # the other tests run at the same time; scripts/prove-kills is strict
AT_THE_DATABASE = (
    "upgrade",
    "announce",
    "fill: a batch",
    "page: Cleo",
    "claim",
    "record",
    "give back",
    "rescue",
)


def _of_the_database() -> list[Point]:
    return [point for point in POINTS if point.name.startswith(AT_THE_DATABASE)] + [DOT]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
def test_nobody_is_lost_or_mailed_twice_though_it_is_killed_at_every_named_point(
    empty_database: Database, tmp_path: Path
) -> None:
    report = prove(tmp_path, url=empty_database.url, people=RECIPIENTS, kills=KILLS)
    assert {point.name for point in POINTS} <= {line.point for line in report.lines}
    assert list(report.broken(within=BUSY_SECONDS)) == [], format_report(report)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
def test_nor_where_the_database_is_a_server(empty_database: Database, tmp_path: Path) -> None:
    report = prove(
        tmp_path,
        url=empty_database.url,
        people=RECIPIENTS,
        kills=SERVED,
        points=_of_the_database(),
    )
    assert list(report.broken(within=BUSY_SECONDS)) == [], format_report(report)


def test_a_point_that_is_never_passed_fails_the_proof(tmp_path: Path) -> None:
    never = Point(name="never", where="mailer.outbox.in_doubt.resolve", moment="before", scene="upgrade")
    with pytest.raises(AssertionError, match="“never” is never passed"):
        prove(tmp_path, url=f"sqlite:///{tmp_path}/mailer.db", people=1, kills=0, points=[never])


def test_every_broken_promise_is_told() -> None:
    whole = ProofReport(
        lines=[Line(point="claim", kills=1, unknown=1, twice=0, waits=[1.0])],
        expected=2,
        taken=3,
        lost=[],
        strange=[],
        twice=["<7.x@example.org>"],
        sure_twice=[],
        unknown=1,
        processes=1,
    )
    assert list(whole.broken()) == []
    for change in (
        {"lost": ["ben@vecinos.example.org"]},
        {"strange": ["cleo@left.example.org"]},
        {"twice": ["<7.x@example.org>", "<8.x@example.org>"]},
        {"sure_twice": ["<7.x@example.org>"]},
        {"unknown": 11},
        {"lines": [replace(whole.lines[0], waits=[1.0, 10.5])]},
    ):
        assert len(list(replace(whole, **change).broken())) == 1, change
