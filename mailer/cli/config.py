"""`mailer config`: check the settings, and show where each comes from."""

import os

import click

from lists import audit
from lists.addresses import domain_of
from lists.clock import Clock
from lists.db import Database
from mailer import migrations
from mailer.cli import opening, output
from mailer.compose import dkim, dkim_keys
from mailer.settings import data_folder, key_check, loading, public_url
from mailer.settings.loading import Settings, secret_folder

COLUMNS = {"key": "Setting", "value": "Value", "place": "From"}


@click.group()
def command() -> None:
    """Check the settings, and show where each comes from."""


@command.command()
def check() -> None:
    """Tell every mistake in the settings, or that there is none; compare keys and links with the database."""
    found = _load_settings()
    keys = dkim_keys.load(dkim_keys.folder(found.home), domains=found.sending_domains)
    _require_match(found)
    output.print_line(f"The settings are good. Pages are at {found.public_url}, data is in {found.home}.")
    if found.tryout:
        output.print_line(
            "No mail server is set, so this is a try-out: mail goes to the built-in post office."
        )
    elif found.loopback:
        output.print_line(
            "Links in mail lead to this machine only; write public_url before you write to anybody."
        )
    if not data_folder.has_keys(found.home):
        output.print_line("This folder holds no keys and no people yet: “mailer serve” begins there.")
    if sentence := dkim.describe_missing_keys(keys, domain=domain_of(found.from_address).lower()):
        output.print_line(sentence)


@command.command()
@output.json_option
def show(*, as_json: bool) -> None:
    """Show every setting and where it comes from; secrets are not shown."""
    _load_settings()
    told = loading.explain(os.environ).keys
    rows = [{"key": row.key, "value": row.value, "place": row.place, "what": row.what} for row in told]
    output.print_rows(rows, columns=COLUMNS, as_json=as_json)


@command.command("accept-url")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def accept_url(*, yes: bool) -> None:
    """Say that public_url has really changed: from now on, mail leads to the new address.

    Links in mail that was sent begin with the old one, also those to leave. Keep it leading here.
    """
    with opening.open_database() as (found, database, _):
        migrations.require_up_to_date(database)
        with database.read() as session:
            before = public_url.find(session)
        if before in ("", found.public_url):
            output.print_line(f"Nothing has changed: links lead to {found.public_url}.")
            return
        output.print_line(
            f"Links in mail that was sent begin with {before}. Keep that address leading here, or nobody can"
            f" leave by them. From now on links begin with {found.public_url}."
        )
        if not yes:
            click.confirm("Is that meant?", abort=True, err=True)
        with database.write() as session:
            public_url.replace(session, found)
            now = Clock().now()
            audit.record(session, actor=opening.ACTOR, action="public URL", subject=found.public_url, now=now)
    output.print_line("That is noted. Change public_url on every machine, and start each again.")


def _require_match(settings: Settings) -> None:
    """Refuse settings that the database is not used with: other keys, or another public URL."""
    database = Database(settings.database_url)
    try:
        if data_folder.has_keys(settings.home):
            migrations.require_tables(database)
        elif not migrations.has_tables(database):
            return
        key_check.require(database, secret_folder(settings))
        if migrations.is_up_to_date(database):
            with database.read() as session:
                public_url.require(session, settings)
    finally:
        database.dispose()


def _load_settings() -> Settings:
    """Return the settings of a folder that holds a service, or settings for one that is yet to start."""
    found = loading.load(os.environ)
    if data_folder.is_prepared(found.home):
        data_folder.refuse_unfinished(found.home)
    else:
        data_folder.require(found.home, os.environ)
    return found
