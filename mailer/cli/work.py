"""`mailer work`: delivers, beside a `mailer serve` or on another machine."""

import click

from mailer.cli import context
from mailer.monitoring import logs
from mailer.processes import work


@click.command()
@click.option("--attached", is_flag=True, hidden=True, help="Stop when standard input ends.")
def command(attached: bool) -> None:
    """Run delivery only, until it is stopped.

    “mailer serve” already runs one. With PostgreSQL any number may run, on any number of machines; with the
    embedded database only one may. Ctrl-C, or SIGTERM, finishes what was begun and ends.
    """
    logs.configure()
    with context.open_checked_service() as service:
        work.run(service, attached=attached)
