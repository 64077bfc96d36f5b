"""`mailer deliver`: delivers what is due now, then stops."""

from dataclasses import asdict

import click

from mailer.cli import EXIT_TRY_AGAIN, context, output
from mailer.processes import draining
from mailer.processes.draining import DeliverySummary


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
    with context.open_sending_service() as service:
        summary = draining.deliver(service)
    if as_json:
        output.print_json(asdict(summary))
    else:
        _print_summary(summary)
    if summary.trouble:
        raise click.exceptions.Exit(EXIT_TRY_AGAIN)


def _print_summary(summary: DeliverySummary) -> None:
    output.print_line(f"{_format_messages(summary.sent)} sent.")
    if summary.waiting:
        output.print_line(f"{_format_messages(summary.waiting)} still waiting.")
    if summary.trouble:
        output.print_line(f"Nothing more can leave now: {summary.trouble}")
        output.print_line("Nothing is lost. Try again later, or let “mailer serve” do it.")
    if summary.held:
        output.print_line(f"{_format_messages(summary.held)} held; “mailer outbox stats” says why.")
    if summary.next_due is not None:
        output.print_line(f"The next one is due at {output.format_value(summary.next_due)}.")


def _format_messages(number: int) -> str:
    return f"{number:,} message is" if number == 1 else f"{number:,} messages are"
