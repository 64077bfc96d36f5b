"""Logs: one line of JSON for each event on standard error; no addresses, no tokens, no bodies, no secrets.

What other libraries and Python itself have to say goes the same way. Whatever is written is cleaned here once
more: an address becomes "…@…", a link loses its token, a URL its password. Of an error that is not one of our
own sentences only its kind and its places in the code are told, because its words may quote a letter.
"""

import logging
import re
import sys
import threading
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from lists.errors import MailerError

QUIET_LIBRARIES = ("uvicorn", "apscheduler", "mail.log", "asyncio")  # they tell of trouble only
MAX_VALUE_LENGTH = 500  # characters of one value
MAX_FRAMES = 12
MAX_CAUSES = 4
ROOT = Path(__file__).resolve().parents[2]

_LOGIN = re.compile(r"(?<=://)[^\s/@]+@")
_ADDRESS = re.compile(r"(?:\"[^\"\n]*\"|[^\s<>,;:\"()\[\]]+)(?:@|%40)[^\s<>,;:\"'()]+")
_TOKEN = re.compile(r"/(confirm|preferences|mine|unsubscribe|rsvp)/[^\s\"'<>]+")
_BEARER = re.compile(r"(?i)\b(bearer|basic|plain|login)\s+[A-Za-z0-9._~+/=-]{8,}")

LogEvent = MutableMapping[str, Any]


def configure() -> None:
    """Write this process's log to standard error, from INFO on; of other libraries from WARNING on."""
    last = structlog.processors.JSONRenderer(ensure_ascii=True)
    steps: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        clean,
    ]
    structlog.configure(
        processors=[*steps, last],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    _capture_logging(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_add_library, *steps], processors=[_drop_private_keys, last]
        )
    )
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda fault: _log_uncaught(
        fault.exc_type, fault.exc_value or fault.exc_type(), fault.exc_traceback
    )


def clean(_logger: object, _method: str, event: LogEvent) -> LogEvent:
    """Take out of an event whatever could be somebody's, and tell an error by its kind and places."""
    fault = _find_exception(event.pop("exc_info", None))
    cleaned: LogEvent = {key: _clean_value(value) for key, value in event.items()}
    if fault is not None:
        cleaned["fault"] = _describe_exception(fault)
    return cleaned


def _clean_value(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    return scrub(str(value))


def scrub(text: str) -> str:
    """Return a text without addresses, tokens of links and passwords, at most 500 characters of one line."""
    text = _LOGIN.sub("…@", text)
    text = _TOKEN.sub(r"/\1/…", text)
    text = _BEARER.sub(r"\1 …", text)
    text = _ADDRESS.sub(lambda found: found.group() if found.group() == "…@…" else "…@…", text)
    return " ".join(text.split())[:MAX_VALUE_LENGTH]


def _find_exception(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    found = exc_info if isinstance(exc_info, tuple) else sys.exc_info() if exc_info else (None, None, None)
    return found[1] if isinstance(found[1], BaseException) else None


def _describe_exception(error: BaseException) -> list[dict[str, object]]:
    """Return an error and what caused it, each by its kind and its places; only our own words are told."""
    told: list[dict[str, object]] = []
    next_one: BaseException | None = error
    while next_one is not None and len(told) < MAX_CAUSES:
        entry: dict[str, object] = {"kind": type(next_one).__name__, "at": _list_frames(next_one)}
        if isinstance(next_one, MailerError):
            entry["said"] = scrub(str(next_one))
        told.append(entry)
        inner = next_one.exceptions[0] if isinstance(next_one, BaseExceptionGroup) else None
        next_one = inner or next_one.__cause__ or next_one.__context__
    return told


def _list_frames(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    return [f"{_shorten_path(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]


def _shorten_path(path: str) -> str:
    try:
        return Path(path).relative_to(ROOT).as_posix()
    except ValueError:
        return "/".join(Path(path).parts[-2:])


def _capture_logging(formatter: logging.Formatter) -> None:
    """Let everything that goes through Python's own logging, and its warnings, go our way and no other."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in [each for each in root.handlers if type(each) is logging.StreamHandler]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def _add_library(_logger: object, _method: str, event: LogEvent) -> LogEvent:
    """Say whose line it is, and keep only its first line: the rest quotes objects, and they hold anything."""
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        event["library"] = record.name
        event["event"] = str(event.get("event", "")).partition("\n")[0]
    return event


def _drop_private_keys(_logger: object, _method: str, event: LogEvent) -> LogEvent:
    """Drop what the formatter carries along for itself."""
    return {key: value for key, value in event.items() if not key.startswith("_")}


def _log_uncaught(kind: type[BaseException], fault: BaseException, _trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger().critical("a fault nobody caught ended this", exc_info=fault)
