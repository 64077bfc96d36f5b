"""`mailer config`: check the settings, and show where each comes from."""

import os

import click

from lists import audit
from lists.addresses import domain_of
from lists.clock import Clock
from lists.db import Database
from mailer import migrations
from mailer.cli import context, output
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
    settings = _load_settings()
    keys = dkim_keys.load(dkim_keys.folder(settings.home), domains=settings.sending_domains)
    _require_match(settings)
    output.print_line(
        f"The settings are good. Pages are at {settings.public_url}, data is in {settings.home}."
    )
    if settings.tryout:
        output.print_line(
            "No mail server is set, so this is a try-out: mail goes to the built-in post office."
        )
    elif settings.loopback:
        output.print_line(
            "Links in mail lead to this machine only; write public_url before you write to anybody."
        )
    if not data_folder.has_keys(settings.home):
        output.print_line("This folder holds no keys and no people yet: “mailer serve” begins there.")
    if sentence := dkim.describe_missing_keys(keys, domain=domain_of(settings.from_address).lower()):
        output.print_line(sentence)


@command.command()
@output.json_option
def show(*, as_json: bool) -> None:
    """Show every setting and where it comes from; secrets are not shown."""
    _load_settings()
    values = loading.explain(os.environ).keys
    rows = [{"key": row.key, "value": row.value, "place": row.place, "what": row.what} for row in values]
    output.print_rows(rows, columns=COLUMNS, as_json=as_json)


@command.command("accept-url")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def accept_url(*, yes: bool) -> None:
    """Say that public_url has really changed: from now on, mail leads to the new address.

    Links in mail that was sent begin with the old one, also those to leave. Keep it leading here.
    """
    with context.open_database() as (settings, database, _):
        migrations.require_up_to_date(database)
        with database.read() as session:
            previous_url = public_url.find(session)
        if previous_url in ("", settings.public_url):
            output.print_line(f"Nothing has changed: links lead to {settings.public_url}.")
            return
        output.print_line(
            f"Links in mail that was sent begin with {previous_url}. Keep that address leading here,"
            f" or nobody can leave by them. From now on links begin with {settings.public_url}."
        )
        if not yes:
            click.confirm("Is that meant?", abort=True, err=True)
        with database.write() as session:
            public_url.replace(session, settings)
            now = Clock().now()
            audit.record(
                session, actor=context.ACTOR, action="public URL", subject=settings.public_url, now=now
            )
    output.print_line("That is noted. Change public_url on every machine, and start each again.")


def _require_match(settings: Settings) -> None:
    """Refuse settings that do not match the database: other keys, or another public URL."""
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
    """Return the settings of a folder that holds a service, or of one that has not started yet."""
    settings = loading.load(os.environ)
    if data_folder.is_prepared(settings.home):
        data_folder.refuse_unfinished(settings.home)
    else:
        data_folder.require(settings.home, os.environ)
    return settings
