"""Plants: known faults, put into the product for a test, to prove that the simulation detects them.

Each is a change of the product's own source. Where the source has changed so much that the change no longer
fits, planting fails, and the plant must be adapted.
"""

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest.mock import patch

from mailer.backup import restore_run
from mailer.compose import composer
from mailer.delivery import journal, recorder, relay_pool, worker_lease
from mailer.outbox import outbox
from mailer.sources import broadcasts


@dataclass(frozen=True, kw_only=True)
class Plant:
    """One fault: the function (of `owner`), a part of its source, and the replacement of that part.

    `found_by` are words of the promises it breaks; worlds of the plan `provoked` find it sooner than others.
    """

    sentence: str
    module: ModuleType
    owner: Any
    function: str
    before: str
    after: str
    found_by: tuple[str, ...]
    provoked: Mapping[str, Any]

    def build_faulty_function(self) -> Any:
        """Return the function with the fault in it."""
        source = textwrap.dedent(inspect.getsource(getattr(self.owner, self.function)))
        assert source.count(self.before) == 1, f"{self.function} no longer says {self.before!r}"
        names: dict[str, Any] = {}
        exec(source.replace(self.before, self.after), vars(self.module), names)
        return names[self.function]


BUFFERED = """lines = self.__dict__.setdefault("buffered_lines", [])
    lines.append(_pack(mark, row, attempt))
    if len(lines) == 64:
        self._file.write(b"".join(lines))
        lines.clear()"""

PLANTS: Mapping[str, Plant] = {
    "buffered": Plant(
        sentence="the journal keeps its lines in memory",
        module=journal,
        owner=journal.Journal,
        function="_write_line",
        before="self._file.write(_pack(mark, row, attempt))",
        after=BUFFERED,
        found_by=("never was unknown",),
        provoked={"kill_often": 1.0, "kill_within": 150, "calm": 0.0, "people": 30, "locked": 0.0},
    ),
    "unfenced": Plant(
        sentence="an outcome is recorded whose claim was lost",
        module=outbox,
        owner=outbox,
        function="record",
        before=".where(OutboxRow.id.in_(list(group)), OutboxRow.attempt == attempt)",
        after=".where(OutboxRow.id.in_(list(group)))",
        found_by=("ended the claim of", "never was unknown", "holds no more"),
        provoked={
            "workers": 2,  # a second worker takes the row while the first tries to write it down again
            "lost_answers": 0.2,
            "outages": 6,
            "seconds": 60.0,
            "calm": 0.0,
            "kill_often": 0.0,
        },
    ),
    "not corrected": Plant(
        sentence="what was given up for lost is not corrected by its worker",
        module=outbox,
        owner=outbox,
        function="record",
        before="else IS_CLAIMED | IS_LOST)",
        after="else IS_CLAIMED)",
        found_by=("its final dot was never written",),
        provoked={
            "workers": 2,
            "apart": True,
            "freezes": 4,
            "seconds": 150.0,
            "calm": 0.0,
            "kill_often": 0.0,
            "reboots": 0,
            "restore": False,
            "people": 24,
        },
    ),
    "no sleep": Plant(
        sentence="the lease does not count the sleep of the machine",
        module=worker_lease,
        owner=worker_lease.WorkerLease,
        function="find_dot_deadline",
        before="self.clock.elapsed()",
        after="self.clock.monotonic()",
        found_by=("which it holds no more", "after its lease is over"),
        provoked={
            "workers": 2,
            "apart": True,
            "machine_pauses": 4,
            "seconds": 60.0,
            "calm": 0.0,
            "kill_often": 0.0,
            "restore": False,
            "people": 24,
        },
    ),
    "places kept": Plant(
        sentence="stalled messages keep their places, and none is reserved for urgent mail",
        module=relay_pool,
        owner=relay_pool.RelayPool,
        function="has_room",
        before="self.busy + self.backing_off - self.stalled < usual_count + (self.reserve if urgent else 0)",
        after="self.busy + self.backing_off < usual_count",
        found_by=("had not left 2 s after",),
        provoked={
            "stalled": 10,
            "people": 24,
            "calm": 40.0,
            "seconds": 60.0,
            "rate": "",
            "domain_rate": "",
            "kill_often": 0.0,
            "restore": False,
        },
    ),
    "no marker": Plant(
        sentence="a restore does not say that it has begun",
        module=restore_run,
        owner=restore_run,
        function="_append",
        before='file.write(json.dumps(line).encode() + b"\\n")',
        after="pass",
        found_by=("takes half of it for whole", "the same command again fails"),
        provoked={"restore": True, "people": 6, "seconds": 12.0, "kill_often": 0.0, "stalled": 0},
    ),
    "asked once": Plant(
        sentence="permission is asked only when the outbox is filled",
        module=composer,
        owner=composer.Composer,
        function="compose",
        before="elif recipient is None or reason is not None:",
        after="elif recipient is None:",
        found_by=("was begun",),
        provoked={"mishap_often": 0.1, "kill_often": 0.0},
    ),
    "paused late": Plant(
        sentence="a pause of a domain is asked only when rows are claimed",
        module=recorder,
        owner=recorder.Recorder,
        function="give_back_suspended",
        before="results.give_back(message.entry) if waits(message) else message",
        after="message",
        found_by=("after a pause of",),
        provoked={
            "people": 24,
            "seconds": 12.0,
            "calm": 0.0,
            "mishap_often": 0.0,
            "pauses": 4,
            "latency": 0.4,  # so that what is composed waits for a connection
            "shared": True,
            "stalled": 0,
            "restore": False,
            "pipelining": False,
            "weights": (1,),
            "kill_often": 0.0,
        },
    ),
    "not recalled": Plant(
        sentence="a recall is asked only where messages wait in the outbox",
        module=broadcasts,
        owner=broadcasts.Broadcasts,
        function="compose",
        before="refusal if message.entry.ref in recalled else content",
        after="content",
        found_by=("after its recall",),
        provoked={
            "people": 24,
            "rate": "40/minute",
            "mishap_often": 0.03,
            "kill_often": 0.0,
            "lateness": 5.0,
        },
    ),
}


@contextmanager
def planted(fault: str) -> Iterator[None]:
    """Put one fault into the product for the block; none for ""."""
    if not fault:
        yield
        return
    plant = PLANTS[fault]
    with patch.object(plant.owner, plant.function, plant.build_faulty_function()):
        yield
