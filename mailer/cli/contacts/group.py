"""`mailer contact`: everything stored about a person; merging, a new address, erasure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import click
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from lists import addresses, consents, contacts, fields, notes, search, subscriptions, suppressions, tags
from lists.addresses import Address
from lists.contacts import Contact
from lists.directory import Listing
from lists.errors import BadInput, NotFound
from mailer.cli import context, output, relay
from mailer.cli.contacts import address_change, editing, merging
from mailer.cli.renamed import RenamingGroup
from mailer.people import data_export, eligibility, erasure, messages, timeline
from mailer.people.data_export import Facts
from mailer.sources.invitations import Rsvp
from mailer.tryout import postoffice
from mailer.tryout.postoffice import CapturedMessage

MAX_MESSAGES = 200
CONTACT_LABELS = {
    "id": "Number",
    "email": "Address",
    "name": "Name",
    "language": "Language",
    "zip": "ZIP",
    "city": "City",
    "county": "County",
    "state": "State",
    "zone": "Time zone",
    "latitude": "Latitude, coarse",
    "longitude": "Longitude, coarse",
    "organization": "Organization",
    "tradition": "Tradition",
    "role": "Role",
    "created_at": "Here since",
    "version": "Version",
}
SEARCH_COLUMNS = {
    "email": "Address",
    "name": "Name",
    "organization": "Organization",
    "city": "City",
    "state": "State",
    "lists": "Lists",
}
ELIGIBILITY_COLUMNS = {"list": "List", "kind": "Mail", "goes": "Goes now?", "rule": "Kept by", "why": "Why"}
SUBSCRIPTION_COLUMNS = {
    "list": "List",
    "state": "State",
    "asked_at": "Asked",
    "confirmed_at": "Confirmed",
    "left_at": "Left",
    "paused_until": "Paused until",
}
TIMELINE_COLUMNS = {"at": "When", "what": "What happened", "by": "Where, or by whom", "words": "Words"}
JOURNEY_COLUMNS = {
    "sequence": "Sequence",
    "step": "Next step",
    "state": "State",
    "due_at": "Due",
    "zone": "Zone",
}
FIELD_COLUMNS = {"field": "Field", "value": "Value"}
TAG_COLUMNS = {"tag": "Tag", "at": "Since"}
MESSAGE_COLUMNS = {key: label for key, label in messages.MESSAGE_COLUMNS.items() if key != "email"}
SECTIONS: Sequence[tuple[str, str, Mapping[str, str], str]] = (
    ("standing", "Would a mail go now, and if not, why", ELIGIBILITY_COLUMNS, ""),
    ("subscriptions", "Subscriptions", SUBSCRIPTION_COLUMNS, "They never joined a list."),
    ("field_values", "Your own fields", FIELD_COLUMNS, "None."),
    ("tags", "Tags", TAG_COLUMNS, "None."),
    ("journeys", "Follow-up sequences", JOURNEY_COLUMNS, "None."),
    ("messages", "Messages, the newest first", MESSAGE_COLUMNS, "None."),
    ("story", "Everything that happened, in order", TIMELINE_COLUMNS, ""),
)
ERASURE_LABELS = {
    "contact": "everything known about them: name, place, language",
    "subscriptions": "subscriptions",
    "consents": "consents",
    "applications": "applications to be on the map",
    "answers": "answers to calls",
    "details": "values of your own fields, tags and notes",
    "messages": "messages in the outbox, with every attempt",
    "posted": "messages to them in the try-out's post office",
}


@click.group(cls=RenamingGroup, renamed={"readdress": "change-address"})
def command() -> None:
    """Find people; show what we know about one; merge two who are one; give a new address; forget them."""


@command.command()
@click.argument("words", nargs=-1, required=True)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1_000), help="How many.")
@output.json_option
def find(*, words: Sequence[str], limit: int, as_json: bool) -> None:
    """Find people by how a word begins: “mailer contact find mark ana”.

    It looks in addresses, domains, names and organizations, and finds those of whom every word you write
    begins one. Accents and capital letters make no difference. Who joined within the last minute is found by
    the whole address.
    """
    with context.open_service() as service, service.database.read() as session:
        result = search.find(session, " ".join(words), limit=limit)
        subscriptions_by_contact = subscriptions.list_for_contacts(
            session, [each.id for each in result.people]
        )
        rows: list[dict[str, object]] = [
            {
                **{key: getattr(each, key) for key in SEARCH_COLUMNS if key != "lists"},
                "lists": ", ".join(
                    f"{entry.list}: {entry.state}" for entry in subscriptions_by_contact.get(each.id, [])
                ),
            }
            for each in result.people
        ]
    if as_json:
        output.print_json({"people": rows, "more": result.has_more})
        return
    output.print_rows(
        rows, columns=SEARCH_COLUMNS, as_json=False, none="Nobody was found. Write fewer letters of a word."
    )
    if result.has_more:
        output.print_line("There are more. Write one more word, or more of one.")


@command.command()
@click.argument("address")
@output.json_option
def show(*, address: str, as_json: bool) -> None:
    """Tell everything known about one person: “mailer contact show ana@example.org”.

    For each list and kind of mail it says whether one would go now, and if not, which rule keeps it. Below
    that is everything that happened, in order: what they agreed to and when, every message with what the
    servers said, their answers, and what staff did.
    """
    with context.open_service() as service, service.database.read() as session:
        contact = _get_contact(session, addresses.parse(address, pepper=service.keys.pepper))
        now = service.clock.now()
        relays = [each.name for each in relay.list_relays(service)]
        answers = eligibility.check_all(session, contact, schedules=service.schedules, relays=relays, now=now)
        facts = {
            **data_export.collect(session, contact, now=now, limit=MAX_MESSAGES),
            "standing": [asdict(each) for each in answers],
            "story": [
                asdict(each) for each in timeline.list_events(session, contact, now=now, limit=MAX_MESSAGES)
            ],
        }
    if as_json:
        output.print_json(facts)
        return
    about = facts["contact"]
    assert isinstance(about, dict)
    output.print_facts(
        about,
        labels={key: CONTACT_LABELS[key] for key in CONTACT_LABELS if about[key] not in ("", None)},
        as_json=False,
    )
    for key, title, columns, none in SECTIONS:
        rows = facts[key]
        assert isinstance(rows, list)
        output.print_line(f"\n{title}")
        output.print_rows(rows, columns=columns, as_json=False, none=none)
    _print_attempts(facts)


@command.command()
@click.argument("address")
def export(*, address: str) -> None:
    """Print all that is known about one person as JSON: “mailer contact export ana@example.org > ana.json”.

    This is the answer to somebody who asks what you have about them: every row of every table that is theirs,
    with every message. They can get the same themselves, by the link at the end of each mail.
    """
    with context.open_service() as service, service.database.read() as session:
        parsed = addresses.parse(address, pepper=service.keys.pepper)
        facts = data_export.collect(session, _get_contact(session, parsed), now=service.clock.now())
    output.print_json(facts)


@command.command()
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@output.json_option
def forget(*, address: str, yes: bool, as_json: bool) -> None:
    """Erase everything about one person, for good: “mailer contact forget ana@example.org”.

    What happens next: nobody can write to this address from here any more, not even after another sign-up or
    import. Only a keyed hash is kept, from which the address cannot be read, here and in the file of
    departures. No mail says so. This cannot be undone. Copies in backups go when the backups go; a restore
    forgets them again by the file of departures.
    """
    with context.open_service() as service:
        parsed = addresses.parse(address, pepper=service.keys.pepper)
        with service.database.read() as session:
            counts = _count_rows(session, parsed)
        if not as_json:
            _print_erasure(parsed, counts)
        if not yes:
            if as_json:
                raise BadInput("With --json nobody is asked, so add --yes to forget them.")
            click.confirm(f"Forget {parsed.email} for good?", abort=True, err=True)
        with service.database.write() as session:
            counts = _count_rows(session, parsed)
            was_known = erasure.erase_person(session, parsed, now=service.clock.now(), actor=context.ACTOR)
        service.jobs.write_departures()
        service.database.truncate_wal()
    if as_json:
        output.print_json({"was_known": was_known, "erased": counts})
    else:
        output.print_line("Done. Nothing is left of them, and this address will not be written to again.")


for verb in (editing.set_, editing.tag, editing.untag, editing.tagged, editing.note):
    command.add_command(verb)
command.add_command(merging.merge)
command.add_command(address_change.change_address)
command.add_command(merging.list_duplicates)


def _get_contact(session: Session, address: Address) -> Contact:
    """Return the contact of this address; raises NotFound, with the reason of its suppression."""
    contact = contacts.find(session, address)
    if contact is not None:
        return contact
    suppressed = suppressions.find_reason(session, address.digest)
    if suppressed is not None:
        raise NotFound(
            f"Nothing is known about {address.email}. It must not be written to any more: {suppressed}."
        )
    raise NotFound(f"{address.email} is not here. Check the spelling; they may have joined another way.")


def _list_rows(session: Session, table: type[Listing | Rsvp], contact_id: int) -> Sequence[object]:
    return session.scalars(select(table).where(table.contact_id == contact_id).order_by(table.id)).all()


def _print_attempts(facts: Facts) -> None:
    rows = facts["messages"]
    assert isinstance(rows, list)
    attempt_rows = [{"id": row["id"], **attempt} for row in rows for attempt in row["attempts"]]
    if attempt_rows:
        output.print_line("\nEach time a message was handed over")
        output.print_rows(attempt_rows, columns={"id": "Message", **messages.ATTEMPT_COLUMNS}, as_json=False)
    if len(rows) == MAX_MESSAGES:
        output.print_line(f"Only the newest {MAX_MESSAGES} messages are shown.")


def _count_rows(session: Session, address: Address) -> dict[str, int]:
    """Count what an erasure would delete."""
    posted = select(func.count()).select_from(CapturedMessage).where(_is_posted_to(session, address))
    contact = contacts.find(session, address)
    zeros = dict.fromkeys(ERASURE_LABELS, 0)
    if contact is None:
        return {**zeros, "posted": session.scalar(posted) or 0}
    details = (
        fields.find_values(session, contact.id),
        tags.list_for_contact(session, contact.id),
        notes.list_for_contact(session, contact.id),
    )
    counts = {
        "contact": 1,
        "subscriptions": len(subscriptions.list_for_contact(session, contact.id)),
        "consents": len(consents.list_for_contact(session, contact.id)),
        "applications": len(_list_rows(session, Listing, contact.id)),
        "answers": len(_list_rows(session, Rsvp, contact.id)),
        "details": sum(map(len, details)),
        "messages": messages.count(session, contact_id=contact.id),
        "posted": session.scalar(posted) or 0,
    }
    return {**zeros, **counts}


def _is_posted_to(session: Session, address: Address) -> ColumnElement[bool]:
    """Return the condition that a message of the post office went to this person."""
    return postoffice.is_sent_to(erasure.list_spellings(session, address))


def _print_erasure(address: Address, counts: Mapping[str, int]) -> None:
    if not any(counts.values()):
        output.print_line(
            f"Nothing is known about {address.email}. Forgetting still bars the address for good."
        )
        return
    output.print_line(f"This will be erased about {address.email}:")
    for key, number in counts.items():
        if key == "contact" and number:
            output.print_line(f"  - {ERASURE_LABELS[key]}")
        elif number:
            output.print_line(f"  - {ERASURE_LABELS[key]}: {number:,}")
