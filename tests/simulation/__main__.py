"""Command: run worlds, each under its seed: `scripts/simulate --seeds 1000`, `--seed 7 --trace`."""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.simulation.plants import PLANTS
from tests.simulation.seeds import LAST_LINES, in_parallel, run_worlds

MAX_SEEDS = 100  # of the plan that provokes a planted fault; one of them must find it
TELL_EVERY = 500
SHOWN = 10  # broken worlds


def find_faults() -> int:
    """Plant each fault in worlds that provoke it, and print the seed that finds it; 1 if none does."""
    missed = 0
    for fault, plant in PLANTS.items():
        began = time.monotonic()
        for result in run_worlds(range(1, MAX_SEEDS + 1), fault=fault, **plant.provoked):
            if any(words in result.broken for words in plant.found_by):
                print(f"{plant.sentence}: found by seed {result.seed}, {time.monotonic() - began:.0f} s")
                print(f"    {result.broken}", flush=True)
                break
        else:
            missed += 1
            print(f"{plant.sentence}: NOT FOUND in {MAX_SEEDS} seeds")
    return 1 if missed else 0


def main(words: Sequence[str]) -> int:
    """Run the worlds of these arguments; returns 0 when every promise was kept."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many worlds (100)")
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--seed", type=int, help="only this world")
    parser.add_argument("--trace", action="store_true", help="with --seed: print everything that happens")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one a core)")
    parser.add_argument("--faults", action="store_true", help="plant each known fault, and find it")
    arguments = parser.parse_args(words)
    if arguments.faults:
        return find_faults()
    if arguments.seed is not None:
        (result,) = run_worlds([arguments.seed], lines=1_000_000 if arguments.trace else LAST_LINES)
        print("\n".join(result.last))
        print(f"seed {result.seed}: {result.broken or 'every promise was kept'}")
        return 1 if result.broken else 0
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    began = time.monotonic()
    kinds: Counter[str] = Counter()
    for number, result in enumerate(in_parallel(seeds, jobs=arguments.jobs), 1):
        if number % TELL_EVERY == 0:
            print(f"{number} worlds, {time.monotonic() - began:.0f} s", flush=True)
        if result.broken:
            if kinds.total() < SHOWN:
                print(f"\nseed {result.seed} broke a promise: {result.broken}\nthe last that happened:")
                print("\n".join(result.last))
                print(f"again: scripts/simulate --seed {result.seed} --trace", flush=True)
            kinds["".join(sign for sign in result.broken if not sign.isdigit())] += 1
    seconds = time.monotonic() - began
    print(f"{len(seeds)} worlds, {kinds.total()} broken, {seconds:.0f} s, {seconds / len(seeds):.3f} s each")
    for kind, number in kinds.most_common():
        print(f"{number:6} × {kind}")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
