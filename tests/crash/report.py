"""ProofReport: what the sink took compared with what was expected, and the table of kills."""

from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from sqlalchemy import select

from mailer.outbox.attempts import Attempt
from tests.crash.campaign import CONNECTIONS, Campaign, Kill
from tests.crash.tape import SinkRecord

FIRST_SEND_SECONDS = 10.0
NOTE_WIDTH = 40


@dataclass(frozen=True, kw_only=True)
class Line:
    """The results of the kills at one point; `waits` are the seconds from each kill to the next message."""

    point: str
    kills: int
    unknown: int
    twice: int
    waits: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Note:
    """Another measurement: what, its value and its maximum, in `unit`."""

    what: str
    measured: float
    most: float
    unit: str = "s"

    def __str__(self) -> str:
        return f"{self.what:{NOTE_WIDTH}}{self.measured:,.4g} {self.unit} (at most {self.most:,g})"


@dataclass(frozen=True, kw_only=True)
class ProofReport:
    """The results. `lost` and `strange` name messages of the sink's file; `unknown` counts rows ever unknown.

    `stranded` are sentences about rows that are unknown without need.
    """

    lines: Sequence[Line]
    expected: int
    taken: int
    lost: Sequence[str]
    strange: Sequence[str]
    twice: Sequence[str]
    unknown: int
    sure_twice: Sequence[str]
    processes: int
    stranded: Sequence[str] = ()
    notes: Sequence[Note] = ()

    @property
    def waits(self) -> Sequence[float]:
        """Seconds from each kill of a sending worker to the next message."""
        return [wait for line in self.lines for wait in line.waits]

    def broken(self, *, within: float = FIRST_SEND_SECONDS) -> Iterator[str]:
        """Yield each broken promise as a sentence; mail must be sent again `within` so many seconds."""
        if self.lost:
            yield f"{len(self.lost)} messages are lost, such as one to {self.lost[0]}."
        if self.strange:
            yield f"{len(self.strange)} got what they should not, such as {self.strange[0]}."
        if len(self.twice) > self.unknown:
            yield f"{len(self.twice)} were delivered twice, and only {self.unknown} unknown."
        if self.sure_twice:
            yield f"{len(self.sure_twice)} that were never unknown came twice, such as {self.sure_twice[0]}."
        if self.unknown > CONNECTIONS * self.processes:
            yield f"{self.unknown} unknown are more than {CONNECTIONS} × {self.processes} kills."
        if self.stranded:
            yield f"{len(self.stranded)} are stranded: {self.stranded[0]}."
        for note in self.notes:
            if note.measured > note.most:
                yield f"{note.what}: {note.measured:.4g} {note.unit}, which is more than {note.most:g}."
        slow = [line for line in self.lines if max(line.waits, default=0) > within]
        for line in slow:
            yield f"After “{line.point}” nothing left for {max(line.waits):.1f} s."


def reach(campaign: Campaign, *notes: Note) -> ProofReport:
    """Count everything, once all is delivered."""
    campaign.account()
    with campaign.service.database.read() as session:
        doubtful = Counter(session.scalars(select(Attempt.outbox_id).where(Attempt.outcome == "unknown")))
    tape = campaign.tape
    copies, distinct = tape.copies(), tape.distinct()
    rows = {each.message_id: each.row for each in tape.records}
    twice = [message for message, number in copies.items() for _ in range(number - 1)]
    return ProofReport(
        lines=list(_lines(campaign)),
        expected=campaign.expected.total(),
        taken=len(tape.records),
        lost=sorted((campaign.expected - distinct).elements()),
        strange=sorted((distinct - campaign.expected).elements()),
        twice=twice,
        unknown=doubtful.total(),
        sure_twice=[message for message in twice if copies[message] - 1 > doubtful[rows[message]]],
        processes=sum(kill.processes for kill in campaign.kills),
        stranded=list(campaign.stranded),
        notes=list(notes),
    )


def _lines(campaign: Campaign) -> Iterator[Line]:
    kills = sorted(campaign.kills, key=lambda kill: kill.at)
    twice: Counter[str] = Counter()
    seen: set[str] = set()
    for record in campaign.tape.records:
        index = bisect(kills, record.at, key=lambda kill: kill.at)
        if record.message_id in seen and index:
            twice[kills[index - 1].point] += 1
        seen.add(record.message_id)
    first = {kill.point: place for place, kill in reversed(list(enumerate(kills)))}
    in_order = sorted(kills, key=lambda kill: first[kill.point])
    for point, same_point in groupby(in_order, key=lambda kill: kill.point):
        group = list(same_point)
        next_messages = [(kill, _goes_on(campaign, kill)) for kill in group if kill.timed]
        yield Line(
            point=point,
            kills=sum(kill.processes for kill in group),
            unknown=sum(kill.unknown for kill in group),
            twice=twice[point],
            waits=[first.at - kill.at for kill, first in next_messages if first],
        )


def _goes_on(campaign: Campaign, kill: Kill) -> SinkRecord | None:
    tape = campaign.tape
    return tape.first_after(kill.at) if kill.anew else tape.next_after(kill.at)


def format_report(report: ProofReport) -> str:
    """Return the table, the sums, and each broken promise."""
    width = max([len("killed"), *(len(line.point) for line in report.lines)])
    rows = [f"{'killed':{width}}  kills  unknown  twice  first send: median, worst"]
    for line in report.lines:
        waits = f"{median(line.waits):9.2f} s {max(line.waits):8.2f} s" if line.waits else ""
        rows.append(
            f"{line.point:{width}}  {line.kills:5}  {line.unknown:7}  {line.twice:5}  {waits}".rstrip()
        )
    waits = f"{median(report.waits):.2f} s, worst {max(report.waits):.2f} s" if report.waits else "-"
    rows += [
        "",
        f"messages expected  {report.expected:,}",
        f"taken by the sink  {report.taken:,}",
        f"lost               {len(report.lost):,}",
        f"stranded           {len(report.stranded):,}",
        f"delivered twice    {len(report.twice):,}",
        f"unknown            {report.unknown:,} (at most {CONNECTIONS} × {report.processes:,} killed)",
        f"first send         median {waits}",
        *map(str, report.notes),
    ]
    broken = list(report.broken())
    return "\n".join([*rows, "", *(broken or ["Every promise is kept."])])
