"""`mailer deliver`: deliver what is due now, then stop."""

from dataclasses import asdict

import click

from mailer.cli import TRY_AGAIN, opening, output
from mailer.processes import draining
from mailer.processes.draining import Delivered


@click.command()
@click.option(
    "--until-empty",
    is_flag=True,
    expose_value=False,
    help="Go on until nothing is due any more, which it does anyway.",
)
@output.json_option
def command(*, as_json: bool) -> None:
    """Deliver what is due now, then stop: “mailer deliver --until-empty”.

    “mailer serve” delivers by itself; this is for machines where it does not run all the time. While it runs
    on the same data folder, this waits until it has delivered everything that is due.

    Status 0: nothing is left to deliver. Status 75: the mail server cannot be reached; nothing is lost, and
    the same command may be tried again later.
    """
    with opening.sending() as service:
        delivered = draining.deliver(service)
    if as_json:
        output.print_json(asdict(delivered))
    else:
        _say(delivered)
    if delivered.trouble:
        raise click.exceptions.Exit(TRY_AGAIN)


def _say(delivered: Delivered) -> None:
    output.say(f"{_messages(delivered.sent)} sent.")
    if delivered.waiting:
        output.say(f"{_messages(delivered.waiting)} still waiting.")
    if delivered.trouble:
        output.say(f"Nothing more can leave now: {delivered.trouble}")
        output.say("Nothing is lost. Try again later, or let “mailer serve” do it.")
    if delivered.held:
        output.say(f"{_messages(delivered.held)} held; “mailer outbox stats” says why.")
    if delivered.next_due is not None:
        output.say(f"The next one is due at {output.shown(delivered.next_due)}.")


def _messages(number: int) -> str:
    return f"{number:,} message is" if number == 1 else f"{number:,} messages are"
