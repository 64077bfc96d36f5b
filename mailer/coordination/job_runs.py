"""Job runs: the last run of each job: its time, duration, number of changed rows, and fault."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Double, String, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from lists.db import Base, Timestamp


class JobRun(Base):
    """The last run of one job; `at` is the machine's time, `fault` the kind of error or ""."""

    __tablename__ = "runs"

    job: Mapped[str] = mapped_column(String(40), primary_key=True)
    at: Mapped[Timestamp]
    seconds: Mapped[float] = mapped_column(Double)
    moved: Mapped[int] = mapped_column(BigInteger)
    fault: Mapped[str] = mapped_column(String(60))


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """One run that has ended."""

    job: str
    at: datetime
    seconds: float
    rows: int = 0
    fault: str = ""


def record(session: Session, runs: Iterable[FinishedRun]) -> None:
    """Record runs that have ended; each replaces the previous run of its job."""
    rows = [_column_values(run) for run in sorted(runs, key=lambda run: run.job)]  # in one order: no deadlock
    if rows:
        insertion = insert(JobRun)
        values = {name: insertion.excluded[name] for name in ("at", "seconds", "moved", "fault")}
        session.execute(insertion.on_conflict_do_update(index_elements=[JobRun.job], set_=values), rows)


def list_latest(session: Session) -> Sequence[JobRun]:
    """Return the last run of every job, by name."""
    return session.scalars(select(JobRun).order_by(JobRun.job)).all()


def _column_values(run: FinishedRun) -> dict[str, object]:
    values = asdict(run)
    values["moved"] = values.pop("rows")
    return values
