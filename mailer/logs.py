"""Logs: one line of JSON for each event on standard error; no addresses, no tokens, no bodies."""

import logging
import sys

import structlog


def configure() -> None:
    """Write this process's log to standard error, from INFO on."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
