"""Seeds: many worlds, one after the other in each of several processes."""

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.simulation.plants import planted
from tests.simulation.stage import stage
from tests.simulation.world import Broken, World

LAST_LINES = 40  # of a broken world's trace
AT_ONCE = 10  # seeds that a process takes at a time
PARTS = 50  # that a process takes before another takes its place


class Told(NamedTuple):
    """What became of one world: the promise it broke, or "", and the end of its trace."""

    seed: int
    broken: str
    last: Sequence[str]


def tell(seeds: Iterable[int], *, lines: int = LAST_LINES, fault: str = "", **plan: Any) -> Iterator[Told]:
    """Run these worlds one after the other; `plan` decides what the seeds would have."""
    with stage() as ready, planted(fault):
        for seed in seeds:
            world = World(seed, ready, **plan)
            broken = ""
            try:
                world.run()
            except Broken as promise:
                broken = str(promise)
            yield Told(seed, broken, world.trace[-lines:] if broken or lines > LAST_LINES else ())


def _some(seeds: Sequence[int]) -> list[Told]:
    return list(tell(seeds))


def in_parallel(seeds: Sequence[int], *, jobs: int) -> Iterator[Told]:
    """Run these worlds in several processes."""
    parts = [seeds[first : first + AT_ONCE] for first in range(0, len(seeds), AT_ONCE)]
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=PARTS) as pool:
        for told in pool.imap_unordered(_some, parts):
            yield from told
