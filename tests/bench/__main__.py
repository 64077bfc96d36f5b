"""`python -m tests.bench`: measures everything, prints the table; exits with 1 when a target was missed."""

import argparse
import logging
import os
import platform
from collections.abc import Callable, Iterable

import structlog

from tests.bench import backups, erasure, importing, joins, promises, searching, sending, table, waiting
from tests.bench.table import Line

PARTS = (
    "door", "delivery", "safety", "ticks", "filling", "timelines", "memory", "imports",
    "backups", "joins", "erasure", "searching", "help",
)  # fmt: skip


def main() -> int:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all when none is named"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--json", action="store_true", help="print the lines for a program")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    messages, people, seconds = (2_000, 20_000, 2) if options.quick else (20_000, 1_000_000, 10)
    measures: dict[str, Callable[[], Iterable[Line]]] = {
        "door": lambda: sending.bare(messages),
        "delivery": lambda: sending.delivered(messages),
        "safety": lambda: sending.safety(messages // 4),
        "ticks": lambda: waiting.ticks(people),
        "filling": lambda: waiting.filling(people),
        "timelines": lambda: promises.timelines(min(people, 100_000)),
        "memory": lambda: promises.memory(people),
        "imports": lambda: importing.imported(min(people, 100_000)),
        "backups": lambda: backups.backed_up(people),
        "joins": lambda: joins.rushed(min(people, 100_000), seconds),
        "erasure": lambda: erasure.forgotten(people),
        "searching": lambda: searching.searched(people),
        "help": waiting.helping,
    }
    lines = [line for part in PARTS if part in (options.parts or PARTS) for line in measures[part]()]
    if options.json:
        print(table.as_json(lines))
    else:
        load = os.getloadavg()[0]
        print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load before {load:.1f}\n")
        print(table.text(lines))
    return 0 if all(line.held is not False for line in lines) else 1


if __name__ == "__main__":
    raise SystemExit(main())
