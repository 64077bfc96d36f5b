"""Logs: one line of JSON for each event on standard error; no addresses, no tokens, no bodies, no secrets.

Events of libraries and of Python itself are logged in the same way. Each event is cleaned here once more: an
address becomes "…@…", a link loses its token, a URL its password. An error of a class outside lists/errors.py
is logged only by its kind and its places in the code, because its text may quote a message.
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

QUIET_LIBRARIES = ("uvicorn", "apscheduler", "mail.log", "asyncio")  # logged from WARNING on
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
    """Write this process's log to standard error from INFO on, and that of libraries from WARNING on."""
    renderer = structlog.processors.JSONRenderer(ensure_ascii=True)
    steps: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        clean,
    ]
    structlog.configure(
        processors=[*steps, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    _capture_logging(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_add_library, *steps], processors=[_drop_private_keys, renderer]
        )
    )
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda fault: _log_uncaught(
        fault.exc_type, fault.exc_value or fault.exc_type(), fault.exc_traceback
    )


def clean(_logger: object, _method: str, event: LogEvent) -> LogEvent:
    """Remove personal data from an event, and describe an error by its kind and places."""
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
    text = _ADDRESS.sub(lambda match: match.group() if match.group() == "…@…" else "…@…", text)
    return " ".join(text.split())[:MAX_VALUE_LENGTH]


def _find_exception(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    details = exc_info if isinstance(exc_info, tuple) else sys.exc_info() if exc_info else (None, None, None)
    return details[1] if isinstance(details[1], BaseException) else None


def _describe_exception(error: BaseException) -> list[dict[str, object]]:
    """Return an error and its causes, each with its kind and places; with the text of a MailerError only."""
    causes: list[dict[str, object]] = []
    current: BaseException | None = error
    while current is not None and len(causes) < MAX_CAUSES:
        entry: dict[str, object] = {"kind": type(current).__name__, "at": _list_frames(current)}
        if isinstance(current, MailerError):
            entry["said"] = scrub(str(current))
        causes.append(entry)
        inner = current.exceptions[0] if isinstance(current, BaseExceptionGroup) else None
        current = inner or current.__cause__ or current.__context__
    return causes


def _list_frames(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
    return [f"{_shorten_path(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]


def _shorten_path(path: str) -> str:
    try:
        return Path(path).relative_to(ROOT).as_posix()
    except ValueError:
        return "/".join(Path(path).parts[-2:])


def _capture_logging(formatter: logging.Formatter) -> None:
    """Send all events of Python's logging, and its warnings, through this formatter only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for previous in [existing for existing in root.handlers if type(existing) is logging.StreamHandler]:
        root.removeHandler(previous)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def _add_library(_logger: object, _method: str, event: LogEvent) -> LogEvent:
    """Add the library's name, and keep only the first line: the rest may quote objects with any content."""
    record = event.get("_record")
    if isinstance(record, logging.LogRecord):
        event["library"] = record.name
        event["event"] = str(event.get("event", "")).partition("\n")[0]
    return event


def _drop_private_keys(_logger: object, _method: str, event: LogEvent) -> LogEvent:
    """Drop the formatter's internal keys."""
    return {key: value for key, value in event.items() if not key.startswith("_")}


def _log_uncaught(kind: type[BaseException], fault: BaseException, _trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger().critical("a fault nobody caught ended this", exc_info=fault)
