"""Plan: the properties of a world, drawn from its seed before it begins; each world has another mix."""

from dataclasses import dataclass, replace
from random import Random

from tests.simulation.peer import MISHAPS

CONNECTIONS = 2
STALLED_SECONDS = 40.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of a world, its length, and the frequency of each fault.

    Seconds are virtual; "often" is the probability at each occasion; zero: this world does not have the
    fault.
    """

    people: int
    workers: int
    weights: tuple[int, ...]  # of its relays
    pipelining: bool
    rate: str  # of each relay, "" for none
    domain_rate: str  # of each recipient's domain
    seconds: float  # until the world is healed
    lateness: float  # the factor by which each job's interval is longer than it should be
    calm: float  # seconds at the beginning without faults
    latency: float
    mishaps: tuple[str, ...]
    mishap_often: float
    kill_within: int  # a process is killed at some step up to this one
    kill_often: float
    reboots: int
    stalls: int
    outages: int
    long_outage: bool
    full_disks: int
    set_backs: int
    locked: float
    lost_answers: float
    journal_refusals: float
    pauses: int  # by staff
    freezes: int  # of one process, in the middle of a step
    suspensions: int  # of the whole machine
    machine_pauses: int  # of one worker's virtual machine
    stalled: int  # readers whose mail server never answers
    stalled_at: str  # at this moment of the SMTP session
    connections: int  # of each worker to each relay
    shared: bool  # the relay allows all workers together no more than these
    apart: bool  # the second worker has a machine, and a folder, of its own
    restore: bool  # a restore at the end, which is killed

    @classmethod
    def of(cls, chance: Random) -> "Plan":
        """Draw a plan."""

        def sometimes(share: float, low: int, high: int) -> int:
            return chance.randint(low, high) if chance.random() < share else 0

        calm = chance.random() < 0.4
        kinds = sorted(chance.sample(sorted(MISHAPS), chance.randint(1, len(MISHAPS))))
        plan = cls(
            people=chance.randint(6, 24),
            workers=2 if chance.random() < 0.35 else 1,
            weights=chance.choice([(1,), (1,), (1, 1), (3, 1), (1, 0), (1, 1, 0)]),
            pipelining=chance.random() < 0.5,
            rate=chance.choice(["", "", "", "", "40/minute", "5/second"]),
            domain_rate=chance.choice(["", "", "", "", "10/minute", "2/second"]),
            seconds=chance.choice([12.0, 25.0, 25.0, 60.0, 60.0, 150.0]),
            lateness=chance.choice([1.0, 2.0, 5.0]),
            calm=6.0 if calm else 0.0,
            latency=chance.choice([0.0005, 0.004, 0.015]),
            mishaps=tuple(kinds),
            mishap_often=chance.choice([0.0, 0.01, 0.03, 0.1]),
            kill_within=chance.choice([30, 150, 500]),
            kill_often=chance.choice([0.0, 0.5, 0.9]),
            reboots=sometimes(0.2, 1, 2),
            stalls=sometimes(0.25, 1, 3),
            outages=sometimes(0.3, 1, 3),
            long_outage=chance.random() < 0.05,
            full_disks=sometimes(0.25, 1, 3),
            set_backs=sometimes(0.2, 1, 2),
            locked=chance.choice([0.0, 0.0, 0.02, 0.1]),
            lost_answers=chance.choice([0.0, 0.0, 0.0, 0.02]),
            journal_refusals=chance.choice([0.0, 0.0, 0.02, 0.2]),
            pauses=sometimes(0.6, 1, 3),
            freezes=sometimes(0.2, 1, 3),
            suspensions=sometimes(0.15, 1, 2),
            machine_pauses=sometimes(0.15, 1, 2),
            stalled=sometimes(0.12, 1, 10),
            stalled_at=chance.choice(["RCPT", "DATA", "dot"]),
            connections=CONNECTIONS,
            shared=chance.random() < 0.2,
            apart=chance.random() < 0.5,
            restore=chance.random() < 0.01,
        )
        return plan.stalling(chance) if plan.stalled else plan

    def stalling(self, chance: Random) -> "Plan":
        """Return the plan of a world whose only faults at first are servers that never answer."""
        seconds = max(self.seconds, 60.0)
        return replace(
            self,
            calm=STALLED_SECONDS,
            seconds=seconds,
            connections=chance.choice([CONNECTIONS, 4, 10]),
            shared=False,  # else there is no guarantee for the other messages
        )
