"""JSON values: encode the service's values as JSON, the same on the command line and on a page."""

import dataclasses
import json
from datetime import datetime
from pathlib import Path


def to_json(value: object) -> str:
    """Return a value as JSON (RFC 8259) in ASCII, so that no text in it can control a terminal.

    Moments are ISO 8601 in UTC, octets hexadecimal, sets sorted lists. Raises TypeError for anything unknown.
    """
    return json.dumps(value, default=_to_plain, indent=2)


def _to_plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
