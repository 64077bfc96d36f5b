"""Seeds: run many worlds, one after the other in each of several processes."""

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tests.simulation.plants import planted
from tests.simulation.stage import stage
from tests.simulation.world import Broken, World

LAST_LINES = 40  # of a broken world's trace
AT_ONCE = 10  # seeds that a process takes at a time
PARTS = 50  # that a process takes before another replaces it


class WorldResult(NamedTuple):
    """The result of one world: the promise it broke, or "", and the end of its trace."""

    seed: int
    broken: str
    last: Sequence[str]


def run_worlds(
    seeds: Iterable[int], *, lines: int = LAST_LINES, fault: str = "", **plan: Any
) -> Iterator[WorldResult]:
    """Run these worlds one after the other; `plan` overrides the plans of the seeds."""
    with stage() as prepared_stage, planted(fault):
        for seed in seeds:
            world = World(seed, prepared_stage, **plan)
            broken = ""
            try:
                world.run()
            except Broken as error:
                broken = str(error)
            yield WorldResult(seed, broken, world.trace[-lines:] if broken or lines > LAST_LINES else ())


def _some(seeds: Sequence[int]) -> list[WorldResult]:
    return list(run_worlds(seeds))


def in_parallel(seeds: Sequence[int], *, jobs: int) -> Iterator[WorldResult]:
    """Run these worlds in several processes."""
    parts = [seeds[first : first + AT_ONCE] for first in range(0, len(seeds), AT_ONCE)]
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=PARTS) as pool:
        for results in pool.imap_unordered(_some, parts):
            yield from results
