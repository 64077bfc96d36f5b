"""Run worlds, each under its seed: `scripts/simulate --seeds 1000`, `scripts/simulate --seed 7 --trace`."""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.simulation.plants import PLANTS
from tests.simulation.seeds import LAST_LINES, in_parallel, tell

MOST_SEEDS = 100  # of the plan that provokes it, within which a planted fault must be found
TELL_EVERY = 500
SHOWN = 10  # broken worlds


def find_faults() -> int:
    """Plant each fault in worlds that provoke it, and see which seed finds it; 1 when one is not found."""
    missed = 0
    for fault, plant in PLANTS.items():
        began = time.monotonic()
        for told in tell(range(1, MOST_SEEDS + 1), fault=fault, **plant.provoked):
            if any(words in told.broken for words in plant.found_by):
                print(f"{plant.sentence}: found by seed {told.seed}, {time.monotonic() - began:.0f} s")
                print(f"    {told.broken}", flush=True)
                break
        else:
            missed += 1
            print(f"{plant.sentence}: NOT FOUND in {MOST_SEEDS} seeds")
    return 1 if missed else 0


def main(words: Sequence[str]) -> int:
    """Run what the words ask for; 0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many worlds (100)")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--seed", type=int, help="only this world")
    parser.add_argument("--trace", action="store_true", help="with --seed: print everything that happens")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one a core)")
    parser.add_argument("--faults", action="store_true", help="plant each known fault, and find it")
    asked = parser.parse_args(words)
    if asked.faults:
        return find_faults()
    if asked.seed is not None:
        (told,) = tell([asked.seed], lines=1_000_000 if asked.trace else LAST_LINES)
        print("\n".join(told.last))
        print(f"seed {told.seed}: {told.broken or 'every promise was kept'}")
        return 1 if told.broken else 0
    seeds = range(asked.first, asked.first + asked.seeds)
    began = time.monotonic()
    kinds: Counter[str] = Counter()
    for number, told in enumerate(in_parallel(seeds, jobs=asked.jobs), 1):
        if number % TELL_EVERY == 0:
            print(f"{number} worlds, {time.monotonic() - began:.0f} s", flush=True)
        if told.broken:
            if kinds.total() < SHOWN:
                print(f"\nseed {told.seed} broke a promise: {told.broken}\nthe last that happened:")
                print("\n".join(told.last))
                print(f"again: scripts/simulate --seed {told.seed} --trace", flush=True)
            kinds["".join(sign for sign in told.broken if not sign.isdigit())] += 1
    seconds = time.monotonic() - began
    print(f"{len(seeds)} worlds, {kinds.total()} broken, {seconds:.0f} s, {seconds / len(seeds):.3f} s each")
    for kind, number in kinds.most_common():
        print(f"{number:6} × {kind}")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
