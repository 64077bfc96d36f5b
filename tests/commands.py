"""Commands as people run them, on a test's own service."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
from click.testing import CliRunner

from lists.errors import MailerError, StorageError
from mailer import cli
from mailer.service import Service


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command printed, its refusal ("" when there is none) and its exit status."""

    out: str
    refusal: str
    status: int

    @property
    def json(self) -> Any:
        """The output, read as JSON."""
        return json.loads(self.out)


Mailer = Callable[..., Ran]


def mailer(service: Service | None) -> Mailer:
    """Return a function that runs `mailer <words>` on this service, or on that of the environment.

    `typed` is the input.
    """

    def run(*words: object, typed: str | None = None) -> Ran:
        result = CliRunner().invoke(
            cli.root, [str(word) for word in words], obj=service, input=typed, standalone_mode=False
        )
        error = result.exception
        if isinstance(error, MailerError):
            status = cli.EXIT_TRY_AGAIN if isinstance(error, StorageError) else cli.EXIT_REFUSED
            return Ran(out=result.stdout, refusal=cli.format_refusal(error), status=status)
        if isinstance(error, click.Abort):
            return Ran(out=result.stdout, refusal="Stopped.", status=cli.EXIT_STOPPED)
        if isinstance(error, click.ClickException):
            return Ran(out=result.stdout, refusal=error.format_message(), status=error.exit_code)
        if error is not None:
            raise error
        status = result.return_value if isinstance(result.return_value, int) else 0
        return Ran(out=result.stdout, refusal="", status=status)

    return run
