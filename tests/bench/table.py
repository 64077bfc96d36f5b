"""The table that scripts/bench prints: what was measured, the target, and whether it was met."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class Line:
    """One measurement. With a `target`, `held` says whether it was met; without, it is for comparison."""

    what: str
    found: str
    target: str = ""
    held: bool | None = None


def at_least(what: str, ratio: float, target: float, *, about: str) -> Line:
    """A ratio that must not be smaller than the target."""
    held = ratio >= target
    return Line(what=what, found=f"{ratio:.2f} × ({about})", target=f"≥ {target:g} ×", held=held)


def at_most(what: str, seconds: float, target: float, *, about: str = "") -> Line:
    """A time in seconds that must not be longer than the target."""
    text_found = f"{seconds * 1000:.1f} ms" + (f" ({about})" if about else "")
    return Line(what=what, found=text_found, target=f"≤ {target * 1000:g} ms", held=seconds <= target)


def megabytes(what: str, amount: float, target: float) -> Line:
    """An amount of memory that must not be larger than the target."""
    return Line(what=what, found=f"{amount:.0f} MB", target=f"≤ {target:g} MB", held=amount <= target)


def octets(what: str, size: float, target: float) -> Line:
    """A size that must not be larger than the target."""
    return Line(what=what, found=f"{size:.0f} octets", target=f"≤ {target:g} octets", held=size <= target)


def at(numbers: Sequence[float], part: float) -> float:
    """Return the value that this part of the numbers does not exceed: 0.99 for the 99th percentile."""
    return sorted(numbers)[min(int(len(numbers) * part), len(numbers) - 1)]


def text(lines: Sequence[Line]) -> str:
    """Return the lines as a table for people."""
    rows = [("measured", "found", "target", "held")]
    words = {True: "yes", False: "NO", None: ""}
    rows += [(line.what, line.found, line.target, words[line.held]) for line in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    formatted = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    ]
    return "\n".join(
        [formatted[0].rstrip(), "  ".join("─" * width for width in widths), *map(str.rstrip, formatted[1:])]
    )


def as_json(lines: Sequence[Line]) -> str:
    """Return the lines for a program."""
    return json.dumps([asdict(line) for line in lines], ensure_ascii=False, indent=1)
