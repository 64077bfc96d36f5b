"""Command line: `mailer <command>`, every function of the service by hand.

A command is a row in COMMANDS and a module of this folder with a click command called `command`. Modules
are imported only when their command is used, so that `mailer --help` answers at once. Every command that
prints facts takes `--json` (mailer/cli/output.py). A refusal is one sentence on the error output and no
traceback; exit status 2 means that the command cannot be done, 75 that it may be tried again.
"""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence

import click

from lists.errors import BadSettings, MailerError, StorageError
from mailer.cli import standard_output
from mailer.cli.renamed import RenamingGroup

EXIT_REFUSED = 2
EXIT_TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
EXIT_STOPPED = 130
EXIT_READER_GONE = 1  # click's status for it
PRIVATE_UMASK = 0o077
OUTPUT_LOST = (
    "The output cannot be written: {fault}. What you asked for may have been done; look before you repeat it."
)

COMMANDS: Mapping[str, tuple[str, str]] = {
    "serve": ("serve", "Run everything: pages, schedule and delivery. Stop with Ctrl-C."),
    "work": ("work", "Run delivery only, beside a “serve” or on another machine."),
    "config": ("config", "Check the settings, and show where each comes from."),
    "dkim": ("dkim", "Make the keys that sign mail, and see their DNS records."),
    "db": ("db.group", "Keep the database: bring it up to date, back it up, put it back."),
    "list": ("lists.group", "Show the lists; bring people in from a file, or out."),
    "contact": ("contacts.group", "Show what we know about one person; merge two; forget them."),
    "field": ("field", "Define what more is kept of people; list and retire it."),
    "status": ("status", "See at one glance what waits for you, and what to type."),
    "organizer": ("organizer", "See who wants to be on the map; approve or reject them."),
    "sequence": ("sequence", "Show the follow-up sequences and who is where in them."),
    "event": ("event", "Plan a call, and invite people to it."),
    "broadcast": ("broadcast", "Send an update to a list, after a look at who gets it."),
    "resource": ("resource", "Keep the toolkit, the webinar and the other resources."),
    "law-card": ("law_card", "Keep the cards on present law, and say when they were checked."),
    "outbox": ("outbox.group", "See what waits, what left, what failed, and why."),
    "relay": ("relay", "See the mail servers and what they took; pause and resume."),
    "deliver": ("deliver", "Deliver what is due now, then stop."),
    "jobs": ("jobs", "List what happens by itself, or run one of it by hand."),
    "postoffice": ("postoffice", "Read the try-out's mail, and move its clock."),
}

RENAMED = {"fact": "law-card"}  # old names, each with the present one


class LazyGroup(RenamingGroup):
    """A group whose commands are imported when used; help comes from the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the table's order, from first use to rare use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; None when there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{COMMANDS[cmd_name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help of every command without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(
    cls=LazyGroup,
    renamed=RENAMED,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="beloved-mailer", message="%(version)s")
def root() -> None:
    """Email and mailing lists for a campaign that stores little, shows less and never tracks.

    “mailer COMMAND --help” explains each command.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit status; its files are for this account alone."""
    os.umask(PRIVATE_UMASK)
    try:
        status = _run(arguments)
    except MailerError as refusal:
        click.echo(format_refusal(refusal), err=True)
        sys.exit(EXIT_TRY_AGAIN if isinstance(refusal, StorageError) else EXIT_REFUSED)
    except click.ClickException as misuse:
        misuse.show()
        sys.exit(misuse.exit_code)
    except click.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(EXIT_STOPPED)
    sys.exit(status)


def _run(arguments: Sequence[str] | None) -> int:
    """Run one command and return its exit status; raises what `main` turns into a sentence."""
    with standard_output.watch() as watched:
        try:
            status = root.main(args=arguments, prog_name="mailer", standalone_mode=False)
            watched.flush()
        except OSError as fault:
            if fault is not watched.fault:
                raise
            if isinstance(fault, BrokenPipeError):  # its reader, such as “head”, has enough
                return EXIT_READER_GONE
            raise StorageError(OUTPUT_LOST.format(fault=fault.strerror)) from fault
    return status if isinstance(status, int) else 0


def format_refusal(refusal: MailerError) -> str:
    """Return a refusal as text for a terminal: a line for each mistake."""
    if isinstance(refusal, BadSettings) and len(refusal.mistakes) > 1:
        return "\n".join(["The settings have these mistakes:", *(f"  - {text}" for text in refusal.mistakes)])
    return str(refusal)
