"""`mailer contact set`, `tag`, `untag`, `tagged` and `note`: what staff store about a person."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from sqlalchemy.orm import Session

from lists import addresses, audit, contacts, fields, geography, notes, tags
from lists.contacts import LANGUAGES, NAME_LENGTH, Contact
from lists.errors import BadInput, NotFound
from mailer.cli import context, output, parameter_types
from mailer.service import Service
from mailer.sources import journeys

PERSON_COLUMNS = {"email": "Address", "name": "Name", "language": "Language", "zip": "ZIP"}
SEEN_HELP = "The version you looked at; refuses if somebody has changed it since."


def _parse_name(text: str) -> Mapping[str, Any]:
    return {"name": contacts.clean(text, label="name", limit=NAME_LENGTH)}


def _parse_language(text: str) -> Mapping[str, Any]:
    if text not in LANGUAGES:
        raise BadInput(f"“{text[:40]}” is not a language of this service. Write {' or '.join(LANGUAGES)}.")
    return {"language": text}


def _parse_zip(text: str) -> Mapping[str, Any]:
    place = geography.find(text) if text else None
    if text and place is None:
        raise BadInput(f"The ZIP code {text[:40]} is not known. Please check it.")
    return contacts.place_columns(place)


def _build_line_parser(name: str) -> Callable[[str], Mapping[str, Any]]:
    return lambda text: {name: contacts.clean(text, label=name)}


# What every contact has and staff may change; choices of the person's own (discreet mail, kinds of mail, the
# lists) are not among it, nor is the address, which would have to be confirmed again.
PARSERS: Mapping[str, Callable[[str], Mapping[str, Any]]] = {
    "name": _parse_name,
    "language": _parse_language,
    "zip": _parse_zip,
    **{name: _build_line_parser(name) for name in ("organization", "tradition", "role")},
}


@click.command("set")
@click.argument("address")
@click.argument("pairs", nargs=-1, required=True, metavar="FIELD=VALUE...")
@click.option(
    "--seen",
    type=parameter_types.INTEGER,
    help=SEEN_HELP,
)
@output.json_option
def set_(*, address: str, pairs: Sequence[str], seen: int | None, as_json: bool) -> None:
    """Change what is known of a person: “mailer contact set ana@example.org name=Ana region=north”.

    Fields are name, language, zip, organization, tradition and role, and those of “mailer field list”.
    Nothing after the “=” empties it. “mailer contact show” tells the version for --seen.
    """
    with context.open_service() as service, service.database.write() as session:
        contact = find_contact(service, session, address)
        columns, custom_values = _parse_values(session, _parse_pairs(pairs))
        now = service.clock.now()
        contacts.amend(session, contact.id, version=contact.version if seen is None else seen, **columns)
        fields.set_values(session, contact.id, custom_values)
        if columns.get("zone"):
            journeys.change_zone(session, contact.id, zone=columns["zone"])
        names = ", ".join(name for name, _ in _parse_pairs(pairs).items())
        subject = f"contact {contact.id}: {names}"
        audit.record(session, actor=context.ACTOR, action="contact change", subject=subject, now=now)
        session.expire_all()
        version = contact.version
    if as_json:
        output.print_json({"email": contact.email, "version": version})
    else:
        output.print_line(f"Done. {contact.email} has version {version} now.")


@click.command()
@click.argument("address")
@click.argument("words", nargs=-1, required=True, metavar="TAG...")
def tag(*, address: str, words: Sequence[str]) -> None:
    """Put tags on a person: “mailer contact tag ana@example.org speaker choir”."""
    with context.open_service() as service, service.database.write() as session:
        contact, now = find_contact(service, session, address), service.clock.now()
        parsed = [tags.parse(word) for word in words]
        if len({*parsed, *tags.list_for_contact(session, contact.id)}) > tags.MAX_TAGS:
            raise BadInput(f"A person has at most {tags.MAX_TAGS} tags. Take some off first.")
        tags.add_all(session, [(contact.id, parsed)], now=now)
        subject = f"contact {contact.id}"  # never the values
        audit.record(session, actor=context.ACTOR, action="contact tag", subject=subject, now=now)
    output.print_line("Done.")


@click.command()
@click.argument("address")
@click.argument("words", nargs=-1, required=True, metavar="TAG...")
def untag(*, address: str, words: Sequence[str]) -> None:
    """Take tags off a person: “mailer contact untag ana@example.org speaker”."""
    with context.open_service() as service, service.database.write() as session:
        contact, now = find_contact(service, session, address), service.clock.now()
        for word in words:
            if not tags.remove(session, contact.id, tags.parse(word)):
                raise NotFound(f"{contact.email} has no tag {tags.parse(word)}. Nothing was changed.")
        subject = f"contact {contact.id}"
        audit.record(session, actor=context.ACTOR, action="contact untag", subject=subject, now=now)
    output.print_line("Done.")


@click.command()
@click.argument("word", metavar="TAG")
@click.option("--limit", default=200, show_default=True, type=parameter_types.LIMIT, help="How many to name.")
@output.json_option
def tagged(*, word: str, limit: int, as_json: bool) -> None:
    """Name everybody with a tag: “mailer contact tagged speaker”."""
    with context.open_service() as service, service.database.read() as session:
        people = tags.list_contacts(session, tags.parse(word), limit=limit)
        rows = [{key: getattr(contact, key) for key in PERSON_COLUMNS} for contact in people]
    output.print_rows(rows, columns=PERSON_COLUMNS, as_json=as_json, none="Nobody has this tag.")


@click.command()
@click.argument("address")
@click.argument("text")
def note(*, address: str, text: str) -> None:
    """Write a note about a person: “mailer contact note ana@example.org "Called; will host on May 3."”.

    It is kept for 90 days, and shown to staff. The person may read it, like all that is kept of them.
    """
    with context.open_service() as service, service.database.write() as session:
        contact = find_contact(service, session, address)
        notes.add(session, contact.id, text, actor=context.ACTOR, now=service.clock.now())
    output.print_line("Done. It is kept for 90 days; the person may read it.")


def find_contact(service: Service, session: Session, address: str) -> Contact:
    """Return the contact of a typed address; raises NotFound, BadAddress."""
    parsed = addresses.parse(address, pepper=service.keys.pepper)
    contact = contacts.find(session, parsed)
    if contact is None:
        raise NotFound(f"{parsed.email} is not here. Check the spelling.")
    return contact


def _parse_pairs(pairs: Sequence[str]) -> Mapping[str, str]:
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise BadInput(f"“{wrong[0][:40]}” says no field and value. Write them like this: name=Ana.")
    parts = [pair.partition("=") for pair in pairs]
    return {name.strip(): value.strip() for name, _, value in parts}


def _parse_values(session: Session, pairs: Mapping[str, str]) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Return the columns of the contact that change, and the values of custom fields."""
    in_use = fields.list_active(session)
    columns: dict[str, Any] = {}
    custom_values: dict[str, str] = {}
    for name, value in pairs.items():
        if name in PARSERS:
            columns |= PARSERS[name](value)
        elif name in in_use:
            custom_values[name] = fields.parse(in_use[name], value)
        elif name in ("email", "address"):
            raise BadInput("A new address must be confirmed: “mailer contact change-address OLD NEW”.")
        else:
            names = ", ".join([*PARSERS, *in_use])
            raise BadInput(f"There is no field called “{name[:40]}” that can be set. These are: {names}.")
    return columns, custom_values
