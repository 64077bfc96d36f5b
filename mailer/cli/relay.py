"""`mailer relay`: the relays, their results, and suspensions by staff."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import click

from lists import audit
from lists.errors import NotFound
from mailer.cli import context, output
from mailer.coordination import counters, suspensions
from mailer.coordination.suspensions import DOMAIN_SCOPE, RELAY_SCOPE, Suspension
from mailer.outbox import attempts
from mailer.service import Service
from mailer.smtp.relay_settings import Relay

HOUR = timedelta(hours=1)
COLUMNS = {
    "name": "Mail server",
    "weight": "Weight",
    "limits": "Limits",
    "state": "State",
    "sent_last_hour": "Sent in the last hour",
    "sent": "Sent",
    "refused": "Refused",
    "unreachable": "Not reached",
}
SUSPENSION_COLUMNS = {"what": "Paused", "since": "Since", "try_at": "Tried again", "why": "Why"}


@click.group()
def command() -> None:
    """See the mail servers and what they took; pause one, or a domain of recipients, and resume it."""


@command.command("list")
@output.json_option
def list_(*, as_json: bool) -> None:
    """Show each mail server, what it took, and what is paused: “mailer relay list”."""
    with context.open_service() as service, service.database.read() as session:
        by_scope = suspensions.read_all(session)
        sums = attempts.select_relay_totals(counters.read_totals(session))
        sent_last_hour = {
            relay.name: counters.count_since(
                session, attempts.build_counter_name(relay.name, "sent"), since=service.clock.now() - HOUR
            )
            for relay in list_relays(service)
        }
        relays = [
            {**_relay_row(relay, by_scope, sums), "sent_last_hour": sent_last_hour[relay.name]}
            for relay in list_relays(service)
        ]
    suspension_rows = [_suspension_row(suspension) for suspension in by_scope.values()]
    if as_json:
        output.print_json({"relays": relays, "pauses": suspension_rows})
        return
    output.print_rows(
        relays, columns=COLUMNS, as_json=False, none="No mail server is set: this is a try-out."
    )
    if suspension_rows:
        output.print_line("")
        output.print_rows(suspension_rows, columns=SUSPENSION_COLUMNS, as_json=False)


@command.command()
@click.argument("name")
def pause(*, name: str) -> None:
    """Let mail to one mail server or one domain wait: “mailer relay pause gmail.com”.

    NAME is a mail server as “mailer relay list” shows it, or the domain after the @ of addresses. Nothing is
    lost; what was begun is finished. It waits until “mailer relay resume”, confirmations too.
    """
    with context.open_service() as service, service.database.write() as session:
        suspensions.begin_by_staff(session, _parse_scope(service, name), real=service.clock.real())
        audit.record(session, actor=context.ACTOR, action="pause mail", subject=name, now=service.clock.now())
    output.print_line(f"Mail to {name} waits until “mailer relay resume {name}”.")


@command.command()
@click.argument("name")
def resume(*, name: str) -> None:
    """Let mail to a paused mail server or domain go again: “mailer relay resume gmail.com”."""
    with context.open_service() as service, service.database.write() as session:
        if not suspensions.end(session, _parse_scope(service, name)):
            raise NotFound(f"Mail to {name} is not paused. “mailer relay list” shows what is.")
        audit.record(
            session, actor=context.ACTOR, action="resume mail", subject=name, now=service.clock.now()
        )
    output.print_line(f"Mail to {name} goes again.")


def list_relays(service: Service) -> Sequence[Relay]:
    """Return the relays in use; none in a try-out."""
    url = service.settings.smtp_url
    return Relay.parse_all(url.get_secret_value()) if url is not None else ()


def _parse_scope(service: Service, name: str) -> str:
    """Return the scope of a name: one of our relays, else a domain."""
    if name in {relay.name for relay in list_relays(service)}:
        return f"{RELAY_SCOPE}{name}"
    if ":" in name or "." not in name or "@" in name:
        raise NotFound(
            f"There is no mail server called {name}, and it is not a domain, such as gmail.com."
            " “mailer relay list” shows the mail servers."
        )
    return f"{DOMAIN_SCOPE}{name.lower()}"


def _relay_row(
    relay: Relay, by_scope: Mapping[str, Suspension], sums: Mapping[tuple[str, str], int]
) -> Mapping[str, object]:
    limits = [f"{relay.rate}"] if relay.rate else []
    limits += [f"{relay.connections} connections"] if relay.connections else []
    counts = {outcome: sums.get((relay.name, outcome), 0) for outcome in attempts.OUTCOMES}
    state = "paused" if f"{RELAY_SCOPE}{relay.name}" in by_scope else "takes mail"
    return {
        "name": relay.name,
        "weight": relay.weight,
        "limits": ", ".join(limits),
        "state": state,
        **counts,
    }


def _suspension_row(suspension: Suspension) -> Mapping[str, object]:
    why = suspension.reply if suspension.is_automatic else "staff paused it"
    return {
        "what": suspension.scope.partition("/")[2],
        "since": suspension.since,
        "try_at": suspension.try_at or "when staff resume it",
        "why": why,
    }
