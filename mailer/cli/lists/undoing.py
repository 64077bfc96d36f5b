"""`mailer list undo`: take back an import that was wrong, after a look at what it has done."""

import click

from lists import audit, imports
from lists.errors import NotFound
from lists.imports import ListImport
from lists.tables import undoing
from mailer.batches import PAUSE_SECONDS
from mailer.cli import opening, output, progress
from mailer.people import import_undo as mail_undoing
from mailer.people.import_undo import Look
from mailer.service import Service

NEWEST = 5
MOST_SHOWN = 10_000
MAIL = {"kind": "Kind of mail", "state": "State", "number": "How many"}
WHO = {"email": "Address", "kind": "Kind of mail", "state": "State", "sent_at": "Sent"}
STATES = {"here": "finished", "arriving": "not finished", "undone": "taken back"}


@click.command(name="undo")
@click.argument("number", type=click.IntRange(1), required=False)
@click.option("--yes", is_flag=True, help="Do it; without this it is only shown.")
@click.option("--show", is_flag=True, help="Name who has got mail by this import already.")
@output.json_option
def undo(*, number: int | None, yes: bool, show: bool, as_json: bool) -> None:
    """Take back an import that was wrong: “mailer list undo 3”.

    First it shows what would happen; --yes does it. Whom the import brought is taken off its list, what waits
    for them is cancelled, and of whom nothing else is known is deleted. Mail that has left already is
    counted, and --show names who has got it.

    Who was here before stays as they were. Who has confirmed since, or changed something by a link of theirs,
    stays; who left stays left; who signed up by the form meanwhile is asked to confirm.

    Without a number it takes back the import that was interrupted, at once: none of its people was written
    to.
    Status 0: done, or shown. Status 2: refused, nothing was changed.
    """
    with opening.service() as service:
        arrival = _which(service, number)
        interrupted = arrival.state == "arriving" and arrival.undo_began_at is None
        with service.database.read() as session:
            looked = mail_undoing.look(session, arrival)
            named = mail_undoing.mails(session, arrival, limit=MOST_SHOWN) if show else []
        done = arrival.state != "undone" and (yes or (interrupted and number is None))
        gone = _take_back(service, arrival, looked) if done else 0
    if as_json:
        told = _told(arrival, looked, undone=done or arrival.state == "undone", gone=gone)
        output.print_json({**told, "people": named} if show else told)
        return
    _say(arrival, looked, done=done, gone=gone)
    if show:
        output.say("")
        output.rows(named, columns=WHO, as_json=False, none="Nobody has got mail by this import.")


def _which(service: Service, number: int | None) -> ListImport:
    with service.database.read() as session:
        if number is not None:
            return imports.find(session, number)
        arrival = imports.find_unfinished(session)
        if arrival is not None:
            return arrival
        newest = imports.list_newest(session, limit=NEWEST)
    sentence = "There is no unfinished import."
    if newest:
        listed = "; ".join(
            f"{each.id}, {each.began_at:%B %-d, %Y at %H:%M} UTC, to {each.list}, {STATES[each.state]}"
            for each in newest
        )
        sentence += f" To take back one that was finished, say its number: mailer list undo {newest[0].id}."
        sentence += f" The newest are: {listed}."
    raise NotFound(sentence)


def _take_back(service: Service, arrival: ListImport, looked: Look) -> int:
    """Take an import back, a small transaction at a time; returns how many contacts are gone."""
    database, clock = service.database, service.clock
    number, finished = arrival.id, arrival.state == "here"
    after: int | None = 0 if finished else None
    while after is not None:
        with database.write() as session:
            after = undoing.release_proven(session, arrival, after=after)
        clock.sleep(PAUSE_SECONDS)
    with database.write() as session:
        arrival = imports.begin_undo(session, number, now=clock.now())
    sequences = [each.name for each in service.sequences.schedules if each.list == arrival.list]
    back = gone = 0
    after = 0
    with progress.bar("Taking back", total=looked.standing.people) as told:
        while after is not None:
            with database.write() as session:
                people, deleted, after = mail_undoing.take_back(
                    session, arrival, sequences=sequences, after=after, now=clock.now()
                )
            back, gone = back + people, gone + deleted
            told(back)
            clock.sleep(PAUSE_SECONDS)
    with database.write() as session:
        imports.end(session, number, state="undone", now=clock.now())
        subject = f"import {number}, {back} off {arrival.list}"
        audit.record(
            session, actor=opening.ACTOR, action="import taken back", subject=subject, now=clock.now()
        )
    service.database.truncate_wal()
    return gone


def _told(arrival: ListImport, looked: Look, *, undone: bool, gone: int) -> dict[str, object]:
    standing = looked.standing
    return {
        "import": arrival.id,
        "list": arrival.list,
        "undone": undone,
        "off_the_list": standing.removed - standing.asked_again,
        "asked_again": standing.asked_again,
        "left": standing.left,
        "stay": standing.proven,
        "cancelled": looked.waiting,
        "deleted": gone,
        "mails": [{"kind": kind, "state": state, "number": number} for kind, state, number in looked.mails],
    }


def _say(arrival: ListImport, looked: Look, *, done: bool, gone: int) -> None:
    standing, number = looked.standing, arrival.id
    output.say(
        f"Import {number} of {arrival.began_at:%B %-d, %Y at %H:%M} UTC, to the list {arrival.list}.\n"
    )
    if arrival.state == "undone":
        output.say("It was taken back already.")
    else:
        for many, one in (
            (standing.removed - standing.asked_again, "taken off the list"),
            (standing.asked_again, "signed up themselves meanwhile, and are asked to confirm"),
            (standing.proven, "confirmed or changed something themselves, and stay"),
            (standing.left, "left meanwhile, and stay so"),
            (looked.waiting, "messages that wait for them, cancelled"),
        ):
            if many:
                output.say(f"{many:>7,}  {one}")
    output.say("")
    mails = [{"kind": kind, "state": state, "number": many} for kind, state, many in looked.mails]
    if mails:
        output.say("This mail has left for them already, and nobody can call it back:")
        output.rows(mails, columns=MAIL, as_json=False)
        output.say(f"Who has got it: mailer list undo {number} --show")
    else:
        output.say("Nobody whom it brought was written to.")
    if done:
        known = standing.removed - standing.asked_again - gone
        stay = f" {known:,} are still known here, without this list." if known else ""
        output.say(f"\nTaken back. Of {gone:,} nothing is kept.{stay}")
    elif arrival.state != "undone":
        output.say(f"\nNothing was changed. To do it: mailer list undo {number} --yes")
