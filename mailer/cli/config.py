"""`mailer config`: check the settings, and show where each comes from."""

import os

import click

from mailer import dkim, selectors, settings
from mailer.cli import output

COLUMNS = {"key": "Setting", "value": "Value", "place": "From"}


@click.group()
def command() -> None:
    """Check the settings, and show where each comes from."""


@command.command()
def check() -> None:
    """Tell every mistake in the settings, or that there is none."""
    found = settings.load(os.environ)
    keys = selectors.load(selectors.folder(found.home), domains=found.sending_domains)
    output.say(f"The settings are good. Pages are at {found.public_url}, data is in {found.home}.")
    if found.tryout:
        output.say("No mail server is set, so this is a try-out: mail goes to the built-in post office.")
    if sentence := dkim.unsigned(keys, domain=found.from_address.rpartition("@")[2].lower()):
        output.say(sentence)


@command.command()
@output.json_option
def show(*, as_json: bool) -> None:
    """Show every setting and where it comes from; secrets are not shown."""
    told = settings.explain(os.environ).keys
    rows = [{"key": row.key, "value": row.value, "place": row.place, "what": row.what} for row in told]
    output.rows(rows, columns=COLUMNS, as_json=as_json)
