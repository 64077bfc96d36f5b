"""`mailer dkim`: makes the keys that sign mail, and prints the DNS records that let receivers verify it."""

from typing import TextIO

import click

from lists.clock import Clock
from lists.errors import BadInput, NotFound
from mailer.cli import context, output
from mailer.compose import dkim, dkim_keys
from mailer.compose.dkim_keys import KINDS, DkimKey
from mailer.settings.loading import Settings

MAX_ANSWER_LENGTH = 64 * 1024
NEXT_STEPS = """
Next:
  1. Add this record where the domain's DNS is kept. Many forms take the value in one piece, without quotes.
  2. See that it is there:
     dig +short TXT {name} | mailer dkim check {domain} --published -
  3. Restart the service. Each mail then carries a signature of every key this domain has.
  4. Where the new key replaces an old one: a day later take the old key's file away and restart. Leave its
     record in the DNS for another week, for mail that is still on its way.
Keep the secrets folder in your backup, encrypted."""
COLUMNS = {"domain": "Domain", "selector": "Selector", "type": "Type", "bits": "Bits"}


@click.group()
def command() -> None:
    """Make the keys that sign mail (DKIM), and print the DNS records that belong to them.

    Example: “mailer dkim keygen example.org”, publish the record it prints, then restart the service.
    """


@command.command()
@click.argument("domain")
@click.option("--selector", "name", help="The key's name in the DNS; without it, its type, year and month.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(KINDS),
    default="rsa",
    show_default=True,
    help="Keep an rsa key: many receivers read no other.",
)
@output.json_option
def keygen(*, domain: str, name: str | None, kind: str, as_json: bool) -> None:
    """Make a key for a sending domain: “mailer dkim keygen example.org”.

    The key is written into the data folder's secrets and never shown; no key is ever replaced. What is
    printed is public: the DNS record, and what to do next.
    """
    settings, domain = _load_domain(domain)
    selector = name or f"{kind}-{Clock().now():%Y-%m}"
    key = dkim_keys.generate(dkim_keys.folder(settings.home), domain=domain, name=selector, kind=kind)
    if as_json:
        output.print_json(_to_row(key))
        return
    output.print_line(
        "The key is made. Nothing is signed with it before the service is started again."
        f"\n\n{_format_record(key)}"
    )
    output.print_line(NEXT_STEPS.format(name=key.record_name, domain=domain))


@command.command("list")
@output.json_option
def list_(*, as_json: bool) -> None:
    """Show the keys of every sending domain, and their DNS records again."""
    settings = context.load_settings()
    keys = _load_keys(settings)
    if as_json:
        output.print_json([_to_row(key) for key in keys])
        return
    output.print_rows(
        [_to_row(key) for key in keys], columns=COLUMNS, as_json=False, none="There is no key yet."
    )
    for key in keys:
        output.print_line(f"\n{_format_record(key)}")
    for domain in settings.sending_domains:
        if sentence := dkim.describe_missing_keys(keys, domain=domain):
            output.print_line(f"\n{sentence}")


@command.command()
@click.argument("domain")
@click.option(
    "--published",
    type=click.File("r", encoding="utf-8", errors="replace"),
    help="A file with what the DNS answers, or - for the standard input.",
)
@output.json_option
def check(*, domain: str, published: TextIO | None, as_json: bool) -> None:
    """Check a domain's keys: “mailer dkim check example.org”.

    This asks no DNS. With --published, a file with the answer of dig or lines of a zone file, it says whether
    the records belong to the keys; exit status 2 when none does.
    """
    settings, domain = _load_domain(domain)
    keys = [key for key in _load_keys(settings) if key.domain == domain]
    if not keys:
        raise NotFound(f"There is no key for {domain}. Make one with: mailer dkim keygen {domain}")
    text = published.read(MAX_ANSWER_LENGTH) if published else None
    rows = []
    for key in keys:
        row = _to_row(key)
        if text is not None:
            row["difference"] = dkim_keys.describe_difference(key, text)
        rows.append(row)
    if as_json:
        output.print_json(rows)
    else:
        for key, row in zip(keys, rows, strict=True):
            output.print_line(_describe_check(key, row.get("difference")))
        if sentence := dkim.describe_missing_keys(keys, domain=domain):
            output.print_line(sentence)
    if text is not None and all(row["difference"] for row in rows):
        raise BadInput(f"None of these records lets receivers verify mail from {domain}.")


def _load_domain(domain: str) -> tuple[Settings, str]:
    """Return the settings and the normalized domain; BadInput for one that is no sending domain."""
    settings, domain = context.load_settings(), domain.strip().rstrip(".").lower()
    if domain not in settings.sending_domains:
        domains = ", ".join(settings.sending_domains) or "none yet"
        raise BadInput(f"“{domain[:80]}” is not among sending_domains ({domains}). Add it there first.")
    return settings, domain


def _load_keys(settings: Settings) -> tuple[DkimKey, ...]:
    return dkim_keys.load(dkim_keys.folder(settings.home), domains=settings.sending_domains)


def _to_row(key: DkimKey) -> dict[str, object]:
    return {
        "domain": key.domain,
        "selector": key.name,
        "type": key.kind,
        "bits": key.bits,
        "record_name": key.record_name,
        "record": key.record,
        "strings": key.strings,
    }


def _format_record(key: DkimKey) -> str:
    value = "\n".join(f'         "{string}"' for string in key.strings).lstrip()
    return f"  Name   {key.record_name}\n  Type   TXT\n  Value  {value}"


def _describe_check(key: DkimKey, difference: object) -> str:
    name = f"{key.name} ({key.kind}, {key.bits} bits)"
    if difference is None:
        return (
            f"{name}: the key is good. Compare its record with:"
            f"  dig +short TXT {key.record_name} | mailer dkim check {key.domain} --published -"
        )
    return f"{name}: {difference}." if difference else f"{name}: the record belongs to this key."
